package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Tuning is what `bimamba doctor --tune` measured on a board, of which a plan needs how fast threads read memory together. Its file is JSON:
//
//	{"version": 1, "board": "pi-5", "read": [{"threads": 1, "bytes_per_s": 9.8e9}, {"threads": 2, "bytes_per_s": 1.1e10}]}
//
// Other fields may stand beside these.
type Tuning struct {
	Version int    `json:"version"` // 1
	Board   string `json:"board"`   // a name of Find, with or without RAM; "": of any board
	Read    []Read `json:"read"`
}

// Read is the bandwidth of so many threads that read memory.
type Read struct {
	Threads int     `json:"threads"`
	Rate    float64 `json:"bytes_per_s"`
}

// Limits of a file.
const (
	maxTuning  = 64 << 10
	maxThreads = 1024
	minRate    = 1e7  // bytes a second: slower than any memory of a board
	maxRate    = 1e13 // faster than any
)

// ReadTuning reads the file. An error says which field is at fault.
func ReadTuning(r io.Reader) (*Tuning, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxTuning+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxTuning {
		return nil, fmt.Errorf("more than %d bytes: that is no file of doctor --tune", maxTuning)
	}
	var t Tuning
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("%w: run `bimamba doctor --tune` again", err)
	}
	if t.Version != 1 {
		return nil, fmt.Errorf("version is %d, not 1: run `bimamba doctor --tune` of this version", t.Version)
	}
	if t.Board != "" {
		if _, err := Find(t.Board); err != nil {
			return nil, fmt.Errorf("board: %w", err)
		}
	}
	if len(t.Read) == 0 {
		return nil, errors.New("read: there is no measurement")
	}
	for i, m := range t.Read {
		if m.Threads < 1 || m.Threads > maxThreads {
			return nil, fmt.Errorf("read[%d].threads is %d, not 1 to %d", i, m.Threads, maxThreads)
		}
		if !(m.Rate >= minRate && m.Rate <= maxRate) {
			return nil, fmt.Errorf("read[%d].bytes_per_s is %g, not %g to %g", i, m.Rate, minRate, maxRate)
		}
	}
	return &t, nil
}

// of tells whether the measurement is of that kind of board.
func (t *Tuning) of(b *Board) bool {
	if t.Board == "" {
		return true
	}
	own, err := Find(t.Board)
	return err == nil && own.Title == b.Title
}

// best is the fastest measurement.
func (t *Tuning) best() Read {
	best := t.Read[0]
	for _, m := range t.Read[1:] {
		if m.Rate > best.Rate {
			best = m
		}
	}
	return best
}
