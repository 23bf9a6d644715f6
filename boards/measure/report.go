package measure

import (
	"time"

	"bimamba/boards/detect"
	"bimamba/boards/sensor"
)

// Version is that of a report's form.
const Version = 1

// Report is what was measured. REPORT.md describes its JSON form.
type Report struct {
	Version  int       `json:"version"`
	Time     time.Time `json:"time"`     // of the start, by the board's clock, which may be wrong
	Complete bool      `json:"complete"` //
	Ended    string    `json:"ended,omitempty"`

	Program Program `json:"program"`
	Machine Machine `json:"machine"`
	Board   Board   `json:"board"`
	Model   Model   `json:"model"`
	Options Options `json:"options"`
	Sensors Sensors `json:"sensors"`

	Before   *Phase   `json:"idle_before"` // the model is not loaded
	Runs     []Repeat `json:"runs"`
	After    *Phase   `json:"idle_after"` // it is
	Summary  *Summary `json:"summary"`    // of the runs; null, and Unsteady says why
	Unsteady []string `json:"unsteady,omitempty"`
	Soak     *Soak    `json:"soak"`

	Throttling []Event `json:"throttling"` // null: no sensor tells
	Series     Series  `json:"series"`
}

// Program is what measured.
type Program struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Arch    string `json:"arch"` // amd64, arm64
	Kernels string `json:"kernels"`
	CPU     string `json:"cpu,omitempty"` // as it calls itself
}

// Board is what of the board matters to speed. It holds no names, serial numbers or paths of its owner.
type Board struct {
	ID       string           `json:"id"`
	Name     string           `json:"name,omitempty"`
	Model    string           `json:"model,omitempty"`
	SoC      string           `json:"soc,omitempty"`
	Cores    []Core           `json:"cores,omitempty"`
	Features []string         `json:"features,omitempty"`
	Memory   int64            `json:"memory_bytes,omitempty"` // what Linux manages
	PageSize int              `json:"page_size_bytes,omitempty"`
	Userland int              `json:"userland_bits,omitempty"`
	OS       string           `json:"os,omitempty"`
	Kernel   string           `json:"kernel,omitempty"`
	Storage  string           `json:"storage,omitempty"` // the kind that the model lies on
	Missing  []detect.Missing `json:"missing,omitempty"`
}

// Core is the cores of one kind.
type Core struct {
	Name     string `json:"name"`
	Count    int    `json:"count"`
	MHz      int    `json:"max_mhz,omitempty"`
	LimitMHz int    `json:"limit_mhz,omitempty"`
	Governor string `json:"governor,omitempty"`
}

// Model is what was measured.
type Model struct {
	Name    string   `json:"name"`
	Unnamed bool     `json:"unnamed,omitempty"` // it has no name of its own: Name is that of its file
	ID      string   `json:"id"`                // hex SHA-256 of the manifest, which has the sums of all tensors
	Kind    string   `json:"kind"`
	Bytes   int64    `json:"file_bytes"`
	Parts   Parts    `json:"parts"`
	Moves   int64    `json:"bytes_per_token"` // between memory and processor, reads and writes
	Storage *Storage `json:"storage"`         // null: all of it stays in memory
}

// Storage is how a model that is larger than Options.Memory is read.
type Storage struct {
	Layers   int    `json:"layers"`          // that are read from storage for each token
	Bytes    int64  `json:"bytes_per_token"` // of them
	Buffered bool   `json:"buffered"`        // they go through the page cache: the file system has no direct reads
	Unlocked string `json:"not_locked,omitempty"`
}

// Parts is the memory of the model as it is measured, with one session, in bytes. What is read from storage for each token is not in it.
type Parts struct {
	Weights   int64 `json:"weights"`   // mapped: the layers
	Head      int64 `json:"head"`      // mapped: embedding, final norm and head
	Tokenizer int64 `json:"tokenizer"` // mapped
	Padding   int64 `json:"padding"`   // mapped: the manifest, and what is between sections
	States    int64 `json:"states"`    // of the session
	Logits    int64 `json:"logits"`
	Workspace int64 `json:"workspace"`
	Buffers   int64 `json:"buffers"` // that layers are read into from storage
}

// Total adds them up.
func (p Parts) Total() int64 {
	return p.Weights + p.Head + p.Tokenizer + p.Padding + p.States + p.Logits + p.Workspace + p.Buffers
}

// Options is how it was measured.
type Options struct {
	Threads   int     `json:"threads"`        // that read prompts
	Decode    int     `json:"decode_threads"` //
	Precision string  `json:"precision"`
	State     string  `json:"state"`
	Memory    int64   `json:"memory_bytes"` // that the model may take at most; 0: as much as it wants
	Duration  float64 `json:"duration_s"`   // of the decode phase
	Repeat    int     `json:"repeat"`
	Soak      float64 `json:"soak_s"`
	MaxTokens int     `json:"max_tokens"` // of an answer
	Prompts   Prompts `json:"prompts"`
}

// Prompts is what was asked, without the text.
type Prompts struct {
	Source string `json:"source"` // built-in, file, or token ids for a model without a tokenizer
	Task   string `json:"task,omitempty"`
	Count  int    `json:"count"`
	Tokens int    `json:"tokens"` // of all of them
	SHA256 string `json:"sha256"` // of their token ids, 4 bytes each, little-endian
}

// Sensors is what was read meanwhile.
type Sensors struct {
	Power      *Source   `json:"power"` // null, and NoPower says why
	NoPower    string    `json:"no_power,omitempty"`
	Others     []Source  `json:"others"` // of temperature, clock and throttling
	NoHeat     string    `json:"no_temperature,omitempty"`
	NoClock    string    `json:"no_clock,omitempty"`
	NoThrottle string    `json:"no_throttling,omitempty"`
	Failures   []Failure `json:"failures,omitempty"` // of readings
}

// Source is a sensor.
type Source struct {
	Name        string  `json:"name"`
	Interval    float64 `json:"interval_s"`
	Error       float64 `json:"relative_error,omitempty"` // of the watts, one standard deviation or what ErrorSource gives
	ErrorSource string  `json:"error_source,omitempty"`
	Includes    string  `json:"includes,omitempty"`    // what of the board the watts include
	Calibration string  `json:"calibration,omitempty"` // that the watts went through, and where it comes from
}

// Failure is a sensor that at times gave no reading.
type Failure struct {
	Sensor string `json:"sensor"`
	Count  int    `json:"count"`
	Last   string `json:"last"`
}

// Phase is a part of the measurement in which the board did one thing.
type Phase struct {
	Start    float64 `json:"start_s"` // since the measurement began
	Seconds  float64 `json:"seconds"`
	Energy   *Energy `json:"energy"` // null, and NoEnergy says why
	NoEnergy string  `json:"no_energy,omitempty"`
	Heat     *Heat   `json:"celsius"`
	Clock    *Clock  `json:"mhz"`
	Memory   *Memory `json:"memory"` // at its end
	Faults   *Faults `json:"page_faults"`
}

// Energy is what the board took in a phase.
type Energy struct {
	Joules      float64 `json:"joules"`      // over Covered
	Uncertainty float64 `json:"uncertainty"` // joules, one standard deviation
	Watts       float64 `json:"watts"`       // the mean
	Samples     int     `json:"samples"`
	Covered     float64 `json:"covered_s"` // the part of the phase that samples cover
	Gaps        int     `json:"gaps,omitempty"`
	Above       *Above  `json:"above_idle"` // null: idle was not measured

	source *sensor.Energy // while it is measured
}

// Above is an energy without that of an idle board.
type Above struct {
	Joules      float64 `json:"joules"`
	Uncertainty float64 `json:"uncertainty"`
	Watts       float64 `json:"watts"`
}

// Per is the energy of one token or one answer, in joules.
type Per struct {
	Joules           float64  `json:"joules"`
	Uncertainty      float64  `json:"uncertainty"`
	Above            *float64 `json:"above_idle"`
	AboveUncertainty *float64 `json:"above_idle_uncertainty"`
	Samples          int      `json:"samples"`
}

// Heat is the temperature of the hottest part.
type Heat struct {
	Start float64 `json:"start"`
	Max   float64 `json:"max"`
}

// Clock is that of the fastest core.
type Clock struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// Repeat is one run through load, prefill and decode.
type Repeat struct {
	Load       *Load    `json:"load"`
	Prefill    *Prefill `json:"prefill"`
	Decode     *Decode  `json:"decode"`
	Throttled  []string `json:"throttled"` // what held the board back at some time in the run; null: no sensor tells
	Throttling int      `json:"throttle_changes"`
	Cut        bool     `json:"cut,omitempty"` // it was ended early, and does not count
}

// Load is from opening the file to the first token.
type Load struct {
	Phase
	Open    float64 `json:"open_s"`  // mapping the file, reserving memory and starting threads; the rest is the first token, which reads all weights
	Dropped bool    `json:"dropped"` // the kernel was asked to drop the file from its cache before
}

// Prefill is reading prompts.
type Prefill struct {
	Phase
	Tokens          int     `json:"tokens"`
	TokensPerSecond float64 `json:"tokens_per_s"`
	PerToken        *Per    `json:"energy_per_token"`
}

// Decode is answering prompts, one after the other.
type Decode struct {
	Phase
	Answers         int      `json:"answers"`
	Prompted        int      `json:"prompt_tokens"`
	Tokens          int      `json:"tokens"`       // that were generated
	Generating      float64  `json:"generating_s"` // seconds from the first token of each answer to its last
	TokensPerSecond *float64 `json:"tokens_per_s"` // those behind the first of each answer, over Generating; null, and NoRate says why
	NoRate          string   `json:"no_tokens_per_s,omitempty"`
	FirstToken      *Times   `json:"first_token"`      // from the start of the prompt
	NextToken       *Times   `json:"next_token"`       // from one to the next
	PerToken        *Per     `json:"energy_per_token"` // all of the phase, prompts included
	PerAnswer       *Per     `json:"energy_per_answer"`

	following  int // tokens behind the first of each answer
	generating time.Duration
}

// Summary is the runs together.
type Summary struct {
	Load             *Spread  `json:"load_s"`
	Prefill          *Spread  `json:"prefill_tokens_per_s"`
	Decode           *Spread  `json:"decode_tokens_per_s"` // of the runs that have a rate; null, and NoDecode says why
	NoDecode         string   `json:"no_decode_tokens_per_s,omitempty"`
	FirstToken       *Times   `json:"first_token"`
	NextToken        *Times   `json:"next_token"`
	PerPromptToken   *Per     `json:"energy_per_prompt_token"`
	PerToken         *Per     `json:"energy_per_token"`
	PerAnswer        *Per     `json:"energy_per_answer"`
	NoEnergy         string   `json:"no_energy,omitempty"`
	Watts            *float64 `json:"decode_watts"` // the mean
	WattsUncertainty *float64 `json:"decode_watts_uncertainty"`
	PSS              *int64   `json:"pss_bytes"`         // the most at the end of a phase
	Peak             *int64   `json:"peak_rss_bytes"`    //
	CgroupPeak       *int64   `json:"cgroup_peak_bytes"` // null, and NoCgroupPeak says why
	NoCgroupPeak     string   `json:"no_cgroup_peak,omitempty"`
	Heat             *Heat    `json:"celsius"`
	Clock            *Clock   `json:"mhz"`
}

// Soak is decoding without a pause.
type Soak struct {
	Phase
	Answers    int      `json:"answers"`
	Tokens     int      `json:"tokens"`        // until its end, those of the answer under way included
	Cut        bool     `json:"cut,omitempty"` // it was ended early, and Last is of what came before
	Window     *float64 `json:"window_s"`      // of First and Last, which are the beginning and the end of the phase; what is null of the four, NoWindows says why
	First      *Minute  `json:"first"`
	Last       *Minute  `json:"last"`
	Drift      *Drift   `json:"drift"`
	NoWindows  string   `json:"no_windows,omitempty"`
	Throttled  []string `json:"throttled"`
	Throttling int      `json:"throttle_changes"`
}

// Minute is the first or the last minute of a soak.
type Minute struct {
	TokensPerSecond *float64 `json:"tokens_per_s"` // as in Decode; a token counts by the part of its time that lies within
	PSS             *int64   `json:"pss_bytes"`    // at its end
	Heat            *float64 `json:"celsius"`      // at its end
	Watts           *float64 `json:"watts"`
	NoWatts         string   `json:"no_watts,omitempty"`
}

// Drift is the last minute against the first, in percent; the temperature in degrees.
type Drift struct {
	TokensPerSecond *float64 `json:"tokens_per_s_percent"`
	PSS             *float64 `json:"pss_percent"`
	Heat            *float64 `json:"celsius"`
	Watts           *float64 `json:"watts_percent"`
}

// Event is a change of throttling.
type Event struct {
	At    float64  `json:"at_s"`
	Now   []string `json:"now"`
	Since []string `json:"since_boot"`
}
