package voice

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Metrics counts what the loop does, for Prometheus.
type Metrics struct {
	mu       sync.Mutex
	turns    map[string]int64 // by kind
	wakes    map[string]int64 // by what
	faults   map[string]int64 // by stage
	stages   map[string]*histogram
	restarts int64
	isDead   bool
}

// bounds of the histograms, in milliseconds.
var bounds = [...]int64{10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}

type histogram struct {
	counts [len(bounds) + 1]int64
	sum    int64
}

// NewMetrics counts from zero.
func NewMetrics() *Metrics {
	return &Metrics{turns: map[string]int64{}, wakes: map[string]int64{}, faults: map[string]int64{}, stages: map[string]*histogram{}}
}

func (m *Metrics) count(in map[string]int64, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in[name]++
}

func (m *Metrics) turned(kind string)  { m.count(m.turns, kind) }
func (m *Metrics) woken(by string)     { m.count(m.wakes, by) }
func (m *Metrics) failed(stage string) { m.count(m.faults, stage) }

func (m *Metrics) restarted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts++
}

func (m *Metrics) dead(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isDead = is
}

// turn counts a turn and its stages. A stage that was not come to is not counted.
func (m *Metrics) turn(t *Turn) {
	m.turned(t.Kind)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &t.Stages
	for _, x := range []struct {
		name string
		ms   int64
		come bool
	}{
		{"pause", s.Pause, s.Speech > 0},
		{"recognize", s.Recognize, s.Speech > 0},
		{"understand", s.Understand, t.Heard != ""},
		{"act", s.Act, len(t.Actions) > 0},
		{"synthesize", s.Synthesize, s.Synthesize > 0 || s.Answer > 0},
		{"play", s.Play, s.Play > 0},
		{"action", s.Action, len(t.Actions) > 0},
		{"answer", s.Answer, s.Answer > 0},
	} {
		if !x.come {
			continue
		}
		h := m.stages[x.name]
		if h == nil {
			h = new(histogram)
			m.stages[x.name] = h
		}
		i, _ := slices.BinarySearch(bounds[:], x.ms)
		h.counts[i]++
		h.sum += x.ms
	}
}

// Write writes all in Prometheus' text format, version 0.0.4.
func (m *Metrics) Write(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	counter := func(name, help, label string, values map[string]int64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s counter\n", name, help, name)
		for _, k := range sortedKeys(values) {
			fmt.Fprintf(&b, "%s{%s=%q} %d\n", name, label, k, values[k])
		}
	}
	counter("bimamba_voice_turns_total", "Commands by what became of them.", "kind", m.turns)
	counter("bimamba_voice_wakes_total", "Wake words heard and buttons pressed.", "by", m.wakes)
	counter("bimamba_voice_errors_total", "Stages that failed or took too long.", "stage", m.faults)
	const stage = "bimamba_voice_stage_seconds"
	fmt.Fprintf(&b, "# HELP %s How long stages took; action and answer are from the end of speech.\n# TYPE %s histogram\n", stage, stage)
	for _, k := range sortedKeys(m.stages) {
		h := m.stages[k]
		var n int64
		for i, le := range bounds {
			n += h.counts[i]
			fmt.Fprintf(&b, "%s_bucket{stage=%q,le=\"%g\"} %d\n", stage, k, float64(le)/1000, n)
		}
		n += h.counts[len(bounds)]
		fmt.Fprintf(&b, "%s_bucket{stage=%q,le=\"+Inf\"} %d\n%s_sum{stage=%q} %g\n%s_count{stage=%q} %d\n", stage, k, n, stage, k, float64(h.sum)/1000, stage, k, n)
	}
	fmt.Fprintf(&b, "# HELP bimamba_voice_microphone_restarts_total How often the microphone had to be started again.\n# TYPE bimamba_voice_microphone_restarts_total counter\n")
	fmt.Fprintf(&b, "bimamba_voice_microphone_restarts_total %d\n", m.restarts)
	dead := 0
	if m.isDead {
		dead = 1
	}
	fmt.Fprintf(&b, "# HELP bimamba_voice_microphone_dead Whether it gives nothing but zeros.\n# TYPE bimamba_voice_microphone_dead gauge\nbimamba_voice_microphone_dead %d\n", dead)
	_, err := io.WriteString(w, b.String())
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
