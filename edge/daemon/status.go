package daemon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/engine"
	"bimamba/neon"
)

// Version is the program's version; the linker sets it.
var Version = "0.1.0-dev"

// status is what /status answers: for the built-in page, and for people with curl.
type status struct {
	Version string       `json:"version"`
	Model   statusModel  `json:"model"`
	Tasks   []string     `json:"tasks"`
	Persona []string     `json:"personas"`
	Kernel  string       `json:"kernel"`
	Threads int          `json:"threads"`
	Uptime  float64      `json:"uptime_s"`
	Memory  statusMemory `json:"memory"`
	Session statusSlots  `json:"sessions"`
	Tokens  statusTokens `json:"tokens"`
	Rate    statusRate   `json:"tokens_per_s"`

	Energy   *statusEnergy   `json:"energy"`   // null: no sensor
	Governor *statusGovernor `json:"governor"` // null: no limit is set
	Home     *statusHome     `json:"home"`     // null, as the next: no Wyoming
	Wyoming  *statusVoice    `json:"wyoming"`
	Actions  *statusActions  `json:"actions"` // null: neither a target nor timers
}

type statusModel struct {
	Name         string `json:"name"`
	Kind         string `json:"kind"`
	Family       string `json:"family"`
	Parameters   int64  `json:"parameters"`
	Quantization string `json:"quantization"`
	Size         int64  `json:"size"`
	VocabSize    int    `json:"vocab_size"`
	Digest       string `json:"digest"`
}

type statusMemory struct {
	Mapped   int64  `json:"mapped"`   // the blob, as far as it is used
	Streamed int64  `json:"streamed"` // what is read of it from storage for every token
	Arena    int64  `json:"arena"`    // states and workspace, reserved at start
	Heap     uint64 `json:"heap"`     // Go's
	RSS      int64  `json:"rss"`      // of the process; 0 where the system does not say
}

type statusSlots struct {
	Total       int `json:"total"`
	Active      int `json:"active"`
	Waiting     int `json:"waiting"`
	Checkpoints int `json:"checkpoints"`
	InUse       int `json:"in_use"` // states that hold a sequence
}

type statusTokens struct {
	Prompt  uint64 `json:"prompt"`
	Cached  uint64 `json:"cached"`
	Sampled uint64 `json:"sampled"`
}

type statusRate struct {
	Prefill *float64 `json:"prefill"` // null: none yet
	Decode  *float64 `json:"decode"`
}

// status collects it.
func (d *daemon) status() status {
	s, done := d.models.use()
	defer done()
	e := s.local.Engine()
	st := e.Stats()
	info := s.local.Models()[0]
	f := e.Model.Footprint()
	kernel, _ := neon.Kernel()
	out := status{
		Version: Version, Kernel: kernel, Threads: e.Model.Options().Threads, Uptime: time.Since(d.started).Seconds(), Tasks: []string{}, Persona: []string{},
		Model:   statusModel{info.Name, info.Kind, info.Family, info.Parameters, info.Quantization, info.Size, info.VocabSize, info.Digest},
		Memory:  statusMemory{f.Mapped(), f.Streamed, f.Arena(), heapBytes(), rss()},
		Session: statusSlots{st.Sessions, st.Active, st.Waiting, st.Copies, st.InUse},
		Tokens:  statusTokens{st.PromptTokens, st.CachedTokens, st.SampledTokens},
		Rate:    statusRate{perSecond(st.PromptTokens-st.CachedTokens, st.PrefillTime), perSecond(st.SampledTokens, st.DecodeTime)},
		Energy:  d.sensors.status(), Governor: d.statusGovernor(), Actions: d.actions.status(),
	}
	if d.voice != nil {
		out.Home, out.Wyoming = d.voice.house.status(), d.voice.status()
	}
	for _, m := range s.local.Models()[1:] {
		if m.Persona != "" {
			out.Persona = append(out.Persona, m.Persona)
		} else {
			out.Tasks = append(out.Tasks, m.Task)
		}
	}
	return out
}

func perSecond(n uint64, d time.Duration) *float64 {
	if n == 0 || d <= 0 {
		return nil
	}
	v := float64(n) / d.Seconds()
	return &v
}

// heapBytes is what Go's memory manager has taken from the system.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// rss is the resident memory of the process.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func (d *daemon) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(d.status())
}

// serveHealth answers as llama.cpp's server does: 503 if the model cannot be read any more.
func (d *daemon) serveHealth(w http.ResponseWriter, r *http.Request) {
	s, done := d.models.use()
	defer done()
	w.Header().Set("Content-Type", "application/json")
	if fault := s.damaged.Load(); fault != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": 503, "message": fault.Error(), "type": "unavailable_error"}})
		return
	}
	io.WriteString(w, `{"status":"ok"}`+"\n")
}

// serveMetrics writes Prometheus's text format.
func (d *daemon) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if !d.config().Metrics {
		refuse(w, r, http.StatusNotFound, "metrics are switched off (metrics)")
		return
	}
	s, done := d.models.use()
	defer done()
	e := s.local.Engine()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	b := bufio.NewWriter(w)
	defer b.Flush()
	writeMetrics(b, e.Stats(), e, d)
}

func writeMetrics(w io.Writer, st engine.Stats, e *engine.Engine, d *daemon) {
	one := func(name, kind, help string, value any) {
		fmt.Fprintf(w, "# HELP bimamba_%s %s\n# TYPE bimamba_%s %s\nbimamba_%s %v\n", name, help, name, kind, name, value)
	}
	labelled := func(name, kind, help, label string, values []any) {
		fmt.Fprintf(w, "# HELP bimamba_%s %s\n# TYPE bimamba_%s %s\n", name, help, name, kind)
		for i := 0; i < len(values); i += 2 {
			fmt.Fprintf(w, "bimamba_%s{%s=\"%v\"} %v\n", name, label, values[i], values[i+1])
		}
	}
	labelled("requests_total", "counter", "Generations by how they ended.", "outcome",
		[]any{"ok", st.Requests, "failed", st.Failed, "cancelled", st.Cancelled, "refused", st.Refused})
	labelled("tokens_total", "counter", "Tokens: of prompts, of those found computed, and sampled.", "kind",
		[]any{"prompt", st.PromptTokens, "cached", st.CachedTokens, "sampled", st.SampledTokens})
	labelled("time_seconds_total", "counter", "Time that requests spent, summed over requests.", "phase",
		[]any{"queue", st.QueueTime.Seconds(), "prefill", st.PrefillTime.Seconds(), "decode", st.DecodeTime.Seconds()})
	one("passes_total", "counter", "Passes over the weights.", st.Passes)
	one("rows_total", "counter", "Tokens in those passes.", st.Rows)
	labelled("requests", "gauge", "Generations now.", "state", []any{"active", st.Active, "waiting", st.Waiting})
	labelled("states", "gauge", "Recurrent states that there are, and that hold a sequence.", "kind",
		[]any{"sessions", st.Sessions, "checkpoints", st.Copies, "in_use", st.InUse})
	f := e.Model.Footprint()
	labelled("memory_bytes", "gauge", "Memory: the blob, the arena of states and workspace, Go's heap, and what is resident.", "kind",
		[]any{"mapped", f.Mapped(), "arena", f.Arena(), "heap", heapBytes(), "rss", rss()})
	labelled("footprint_bytes", "gauge", "What the arena and the blob consist of.", "part", []any{
		"weights", f.Weights, "head", f.Head, "tokenizer", f.Tokenizer, "state", f.State(), "logits", f.Logits, "workspace", f.Workspace, "buffers", f.Buffers, "streamed", f.Streamed,
	})
	d.guard.mu.Lock()
	panics := d.guard.panics
	d.guard.mu.Unlock()
	connections, refused := d.limit.counts()
	one("connections", "gauge", "Open connections.", connections)
	one("connections_refused_total", "counter", "Connections beyond max_connections.", refused)
	one("panics_total", "counter", "Handlers that panicked: each is a bug.", panics)
	one("reloads_total", "counter", "Reloads that worked.", d.reloads.Load())
	one("uptime_seconds", "gauge", "Since the start.", time.Since(d.started).Seconds())
	d.writeBoardMetrics(w)
	d.actions.writeMetrics(w)
	if d.voice != nil {
		d.voice.writeMetrics(w)
	}
	kernel, _ := neon.Kernel()
	m := e.Manifest()
	fmt.Fprintf(w, "# HELP bimamba_info What is served.\n# TYPE bimamba_info gauge\nbimamba_info{version=\"%s\",model=\"%s\",kind=\"%s\",kernel=\"%s\"} 1\n",
		label(Version), label(m.Name), label(string(m.Kind)), label(kernel))
}

// label is a value of a label: Prometheus knows three escapes, and bytes that are no UTF-8 are an error to it.
func label(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
