package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"bimamba/boards/detect"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	snapshot "bimamba/edge/state"
	"bimamba/memmap"
)

// CheckedModel is what a configuration would serve and the memory that it would take, in bytes.
type CheckedModel struct {
	File     string `json:"file"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Mapped   int64  `json:"mapped_bytes"`   // what stays in memory of the file
	Streamed int64  `json:"streamed_bytes"` // what does not, and is read from storage for every token
	Arena    int64  `json:"arena_bytes"`    // states, logits and workspace
	State    int64  `json:"state_bytes"`    // of one session or checkpoint, with its logits
	Heap     int64  `json:"heap_limit"`     // Go's, at the most
	Resident int64  `json:"resident_bytes"` // all of it; a reload holds two models for a while: see `bimamba units` for MemoryMax=
	Required int64  `json:"unmapped_bytes"` // without the file, which the kernel can drop and read again
}

// String is the model for people.
func (m *CheckedModel) String() string {
	mb := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%s)\n", m.File, m.Name, m.Kind)
	fmt.Fprintf(&b, "mapped %s, arena %s (%s a state), heap at most %s: %s in all, %s of it not backed by the file",
		mb(m.Mapped), mb(m.Arena), mb(m.State), mb(m.Heap), mb(m.Resident), mb(m.Required))
	if m.Streamed > 0 {
		fmt.Fprintf(&b, "\nread from storage for every token: %s", mb(m.Streamed))
	}
	return b.String()
}

// Footprint is the memory of a configuration that serves the model of a manifest.
func Footprint(c *config.Config, m *memmap.Manifest) *CheckedModel {
	p := model.NewFootprint(m, modelOptions(c))
	r := &CheckedModel{Name: m.Name, Kind: string(m.Kind), Mapped: p.Mapped(), Streamed: p.Streamed, Arena: p.Arena(), State: p.State() + p.Logits, Heap: HeapLimit(c)}
	r.Required = r.Arena + r.Heap
	r.Resident = r.Mapped + r.Required
	return r
}

// Check opens what a configuration names as far as it can without serving it.
func Check(c *config.Config) (*CheckedModel, error) {
	f, err := memmap.Open(c.Model)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := Footprint(c, f.Manifest())
	r.File = c.Model
	if _, err := checkSigned(c, f); err != nil {
		return r, err
	}
	if c.Memory > 0 {
		p := model.NewFootprint(f.Manifest(), modelOptions(c))
		if err := p.Within(ModelMemory(c)); err != nil {
			return r, fmt.Errorf("memory %s, of which %.1f MB are for requests and program: %w", c.Memory, float64(HeapLimit(c)+programSize)/1e6, err)
		}
	}
	if len(c.Persona) > c.Checkpoints {
		return r, fmt.Errorf("%d personas need as many checkpoints, and there are %d", len(c.Persona), c.Checkpoints)
	}
	for _, x := range c.Persona {
		if err := checkPersona(c, x, f); err != nil {
			return r, err
		}
	}
	if err := checkAssistant(c, f.Manifest()); err != nil {
		return r, err
	}
	quiet := slog.New(slog.DiscardHandler)
	if _, err := readTuning(c, detect.Model(os.DirFS("/")), quiet); err != nil {
		return r, err
	}
	s, err := openSensors(c, os.DirFS("/"), quiet)
	if err != nil {
		return r, err
	}
	if err := s.close(); err != nil {
		return r, err
	}
	if c.TLSCert != "" {
		if _, err := readCertificate(c); err != nil {
			return r, err
		}
	}
	if _, err := os.Stat(c.TokenFile); c.TokenFile != "" && err == nil { // a missing one is made when it is needed
		if _, _, err := readToken(c.TokenFile); err != nil {
			return r, err
		}
	}
	return r, nil
}

// checkAssistant checks what the assistant would be made of.
func checkAssistant(c *config.Config, m *memmap.Manifest) error {
	if len(c.Wyoming) > 0 {
		if err := checkTask(c, m); err != nil {
			return err
		}
	}
	if _, _, err := readHome(c); err != nil {
		return err
	}
	return checkActions(c)
}

func checkPersona(c *config.Config, p config.Persona, blob *memmap.File) error {
	f, err := os.Open(p.File)
	if err != nil {
		return fmt.Errorf("persona %s: %w", p.Name, err)
	}
	defer f.Close()
	h, err := snapshot.ReadHeader(f)
	if err != nil {
		return fmt.Errorf("persona %s: %s: %w", p.Name, p.File, err)
	}
	if h.DType != c.State.String() {
		return fmt.Errorf("persona %s: %s has a state of type %s, and the daemon's are %s: bake it again, or change the option state", p.Name, p.File, h.DType, c.State)
	}
	if h.Model != blob.ID() {
		return fmt.Errorf("persona %s: %s was baked with another model (%s): bake it again with %s", p.Name, p.File, h.ModelName, blob.Name())
	}
	return nil
}
