package measure

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/boards/sensor"
)

// Limits of a report.
const (
	maxReport = 16 << 20 // bytes
	maxText   = 4096     // of a string
	maxRuns   = 1000
	maxEvents = 200
	maxList   = 200 // of anything else
)

// Read reads a report's JSON, strictly: what this version does not know or cannot be true is an error that names the field.
func Read(r io.Reader) (*Report, error) {
	rep := &Report{}
	if err := decode(r, rep); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if err := rep.validate(); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return rep, nil
}

// LoadReport reads the report in a file, or report.json in a folder.
func LoadReport(path string) (*Report, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "report.json")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rep, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rep, nil
}

// decode reads one JSON value without unknown fields, whose version it looks at first.
func decode(r io.Reader, to any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return err
	}
	if len(b) > maxReport {
		return fmt.Errorf("more than %d bytes", maxReport)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return position(err)
	}
	if v.Version != Version {
		return fmt.Errorf("version %d is not %d; read it with the program that wrote it, or measure again", v.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return position(err)
	}
	if err := texts(b); err != nil {
		return err
	}
	return nil
}

// position adds where a JSON error is.
func position(err error) error {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("byte %d: %w", s.Offset, err)
	}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("byte %d, field %s: a %s is no value for it", t.Offset, t.Field, t.Value)
	}
	return err
}

// texts checks every string: they end up in HTML, Markdown and terminals.
func texts(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		s, ok := t.(string)
		if !ok {
			continue
		}
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return fmt.Errorf("byte %d: a string of more than %d bytes, or with what cannot be printed", d.InputOffset(), maxText)
		}
	}
}

// lines makes every text of what v points to one that [texts] takes: most are errors of others, and names that a board gives itself.
func lines(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			lines(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				lines(v.Field(i))
			}
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.String {
			for i := range v.Len() {
				lines(v.Index(i))
			}
		}
	case reflect.String:
		v.SetString(line(v.String()))
	}
}

// line is a text as one printable line of at most maxText bytes. That it was not empty stays true.
func line(s string) string {
	if s == "" {
		return s
	}
	parts := strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(c rune) bool { return c == '\n' || c == '\r' })
	out := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.Join(parts, "; "))
	if len(out) > maxText {
		end := maxText - len("...")
		for !utf8.RuneStart(out[end]) {
			end--
		}
		out = out[:end] + "..."
	}
	return cmp.Or(strings.TrimSpace(out), "a text that cannot be printed")
}

// checker collects the first wrong field.
type checker struct{ err error }

func (c *checker) fail(field, format string, a ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("field %s: %s", field, fmt.Sprintf(format, a...))
	}
}

// within checks that a number is in a range.
func (c *checker) within(field string, v, lo, hi float64) {
	if !(v >= lo && v <= hi) { // also if it is not a number
		c.fail(field, "%g is not within %g and %g", v, lo, hi)
	}
}

func (c *checker) atMost(field string, n, most int) {
	if n > most {
		c.fail(field, "%d entries are more than %d", n, most)
	}
}

// Ranges that are far beyond any board.
const (
	anyLong  = 1e9  // seconds
	anyBytes = 1e15 //
	anyRate  = 1e9  // tokens a second
	anyJoule = 1e12
	anyWatt  = 1e4
	anyHeat  = 200
	anyMHz   = 20000
)

func (c *checker) bytes(field string, n *int64) {
	if n != nil {
		c.within(field, float64(*n), 0, anyBytes)
	}
}

func (c *checker) number(field string, v *float64, lo, hi float64) {
	if v != nil {
		c.within(field, *v, lo, hi)
	}
}

func (c *checker) phase(field string, p *Phase) {
	if p == nil {
		return
	}
	c.within(field+".start_s", p.Start, 0, anyLong)
	c.within(field+".seconds", p.Seconds, 0, anyLong)
	if e := p.Energy; e != nil {
		c.within(field+".energy.joules", e.Joules, 0, anyJoule)
		c.within(field+".energy.uncertainty", e.Uncertainty, 0, anyJoule)
		c.within(field+".energy.watts", e.Watts, 0, anyWatt)
		c.within(field+".energy.samples", float64(e.Samples), sensor.MinSamples, anyRate)
		c.within(field+".energy.covered_s", e.Covered, 0, anyLong)
		if e.Above != nil {
			c.within(field+".energy.above_idle.joules", e.Above.Joules, -anyJoule, anyJoule)
			c.within(field+".energy.above_idle.watts", e.Above.Watts, -anyWatt, anyWatt)
			c.within(field+".energy.above_idle.uncertainty", e.Above.Uncertainty, 0, anyJoule)
		}
	} else if p.NoEnergy == "" {
		c.fail(field+".no_energy", "there is neither an energy nor a reason")
	}
	c.heat(field+".celsius", p.Heat)
	c.clock(field+".mhz", p.Clock)
	if m := p.Memory; m != nil {
		for _, n := range []*int64{m.PSS, m.RSS, m.Peak, m.Cgroup, m.CgroupPeak} {
			c.bytes(field+".memory", n)
		}
	}
	if f := p.Faults; f != nil {
		c.within(field+".page_faults", float64(min(f.Major, f.Minor)), 0, anyBytes)
		c.bytes(field+".page_faults.read_bytes", f.Read)
	}
}

func (c *checker) heat(field string, h *Heat) {
	if h != nil {
		c.within(field+".start", h.Start, -anyHeat, anyHeat)
		c.within(field+".max", h.Max, h.Start, anyHeat)
	}
}

func (c *checker) clock(field string, k *Clock) {
	if k != nil {
		c.within(field+".min", k.Min, 0, anyMHz)
		c.within(field+".max", k.Max, k.Min, anyMHz)
	}
}

func (c *checker) times(field string, t *Times) {
	if t != nil {
		c.within(field+".count", float64(t.Count), 1, anyBytes)
		c.within(field+".p50_ms", t.P50, 0, anyLong)
		c.within(field+".p95_ms", t.P95, t.P50, anyLong)
		c.within(field+".max_ms", t.Max, 0, anyLong)
	}
}

func (c *checker) per(field string, p *Per) {
	if p != nil {
		c.within(field+".joules", p.Joules, 0, anyJoule)
		c.within(field+".uncertainty", p.Uncertainty, 0, anyJoule)
		c.within(field+".samples", float64(p.Samples), sensor.MinSamples, anyRate)
		c.number(field+".above_idle", p.Above, -anyJoule, anyJoule)
		c.number(field+".above_idle_uncertainty", p.AboveUncertainty, 0, anyJoule)
		if (p.Above == nil) != (p.AboveUncertainty == nil) {
			c.fail(field+".above_idle", "it is there without its uncertainty, or the other way round")
		}
	}
}

func (c *checker) spread(field string, s *Spread, most float64) {
	if s != nil {
		c.within(field+".min", s.Min, 0, most)
		c.within(field+".median", s.Median, s.Min, most)
		c.within(field+".max", s.Max, s.Median, most)
	}
}

func (r *Report) validate() error {
	c := &checker{}
	if r.Time.Year() < 1970 || r.Time.Year() > 9999 {
		c.fail("time", "%v is no time of a measurement", r.Time)
	}
	if !r.Complete && r.Ended == "" {
		c.fail("ended", "it is not complete, and there is no reason")
	}
	r.Machine.check(c)
	r.Board.check(c)
	r.Model.check(c)
	r.Options.check(c)
	if r.Sensors.Power == nil && r.Sensors.NoPower == "" {
		c.fail("sensors.no_power", "there is neither a sensor nor a reason")
	}
	if p := r.Sensors.Power; p != nil {
		c.within("sensors.power.relative_error", p.Error, 0, 1)
		c.within("sensors.power.interval_s", p.Interval, 0, anyLong)
	}
	c.atMost("sensors.others", len(r.Sensors.Others), maxList)
	c.atMost("sensors.failures", len(r.Sensors.Failures), maxList)
	c.atMost("unsteady", len(r.Unsteady), maxRuns)
	c.atMost("throttling", len(r.Throttling), maxEvents)
	c.atMost("runs", len(r.Runs), maxRuns)
	c.phase("idle_before", r.Before)
	c.phase("idle_after", r.After)
	for i := range r.Runs {
		r.Runs[i].check(c, fmt.Sprintf("runs[%d]", i))
	}
	if s := r.Soak; s != nil {
		s.check(c)
	}
	for i, e := range r.Throttling {
		c.within(fmt.Sprintf("throttling[%d].at_s", i), e.At, 0, anyLong)
		c.atMost(fmt.Sprintf("throttling[%d]", i), len(e.Now)+len(e.Since), 8)
	}
	if s := r.Summary; s != nil {
		s.check(c, "summary")
	} else if r.Complete && len(r.Unsteady) == 0 {
		c.fail("unsteady", "there is neither a summary nor a reason")
	}
	r.Series.check(c)
	return c.err
}

func (m *Machine) check(c *checker) {
	if m.Kind != Hardware && m.Kind != Virtual && m.Kind != Emulator {
		c.fail("machine.kind", "%q is not %s, %s or %s", m.Kind, Hardware, Virtual, Emulator)
	}
}

func (b *Board) check(c *checker) {
	if b.ID == "" {
		c.fail("board.id", "it is empty")
	}
	if strings.ContainsFunc(b.ID, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }) || len(b.ID) > 64 {
		c.fail("board.id", "%.80q is no name of lower-case letters, digits and hyphens", b.ID)
	}
	c.atMost("board.cores", len(b.Cores), maxList)
	c.atMost("board.features", len(b.Features), maxList)
	c.atMost("board.missing", len(b.Missing), maxList)
	c.within("board.memory_bytes", float64(b.Memory), 0, anyBytes)
	for i := range b.Cores {
		k := &b.Cores[i]
		c.within(fmt.Sprintf("board.cores[%d].count", i), float64(k.Count), 1, 1e4)
		c.within(fmt.Sprintf("board.cores[%d].max_mhz", i), float64(k.MHz), 0, anyMHz)
		c.within(fmt.Sprintf("board.cores[%d].limit_mhz", i), float64(k.LimitMHz), 0, anyMHz)
	}
}

func hexSum(s string) bool {
	return len(s) == 64 && !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

func (m *Model) check(c *checker) {
	if m.Name == "" {
		c.fail("model.name", "it is empty")
	}
	if !hexSum(m.ID) {
		c.fail("model.id", "%.80q is no SHA-256 in hex", m.ID)
	}
	c.within("model.file_bytes", float64(m.Bytes), 1, anyBytes)
	c.within("model.bytes_per_token", float64(m.Moves), 0, anyBytes)
	p := &m.Parts
	for _, n := range []int64{p.Weights, p.Head, p.Tokenizer, p.Padding, p.States, p.Logits, p.Workspace, p.Buffers} {
		c.bytes("model.parts", &n)
	}
	if s := m.Storage; s != nil {
		c.within("model.storage.layers", float64(s.Layers), 1, 1e4)
		c.within("model.storage.bytes_per_token", float64(s.Bytes), 1, anyBytes)
	}
}

func (o *Options) check(c *checker) {
	c.within("options.threads", float64(o.Threads), 1, 1e4)
	c.within("options.decode_threads", float64(o.Decode), 1, 1e4)
	c.within("options.memory_bytes", float64(o.Memory), 0, anyBytes)
	c.within("options.duration_s", o.Duration, 0, anyLong)
	c.within("options.soak_s", o.Soak, 0, anyLong)
	c.within("options.repeat", float64(o.Repeat), 1, maxRuns)
	c.within("options.max_tokens", float64(o.MaxTokens), 1, anyRate)
	c.within("options.prompts.count", float64(o.Prompts.Count), 1, anyRate)
	c.within("options.prompts.tokens", float64(o.Prompts.Tokens), 1, anyRate)
	if !hexSum(o.Prompts.SHA256) {
		c.fail("options.prompts.sha256", "%.80q is no SHA-256 in hex", o.Prompts.SHA256)
	}
}

func (r *Repeat) check(c *checker, field string) {
	if l := r.Load; l != nil {
		c.phase(field+".load", &l.Phase)
		c.within(field+".load.open_s", l.Open, 0, l.Seconds)
	}
	if p := r.Prefill; p != nil {
		c.phase(field+".prefill", &p.Phase)
		c.within(field+".prefill.tokens", float64(p.Tokens), 0, anyBytes)
		c.within(field+".prefill.tokens_per_s", p.TokensPerSecond, 0, anyRate)
		c.per(field+".prefill.energy_per_token", p.PerToken)
	}
	if d := r.Decode; d != nil {
		c.phase(field+".decode", &d.Phase)
		for _, n := range []int{d.Answers, d.Tokens, d.Prompted} {
			c.within(field+".decode.tokens", float64(n), 0, anyBytes)
		}
		c.within(field+".decode.generating_s", d.Generating, 0, d.Seconds*1.001)
		c.number(field+".decode.tokens_per_s", d.TokensPerSecond, 0, anyRate)
		if d.TokensPerSecond == nil && d.NoRate == "" {
			c.fail(field+".decode.no_tokens_per_s", "there is neither a rate nor a reason")
		}
		c.times(field+".decode.first_token", d.FirstToken)
		c.times(field+".decode.next_token", d.NextToken)
		c.per(field+".decode.energy_per_token", d.PerToken)
		c.per(field+".decode.energy_per_answer", d.PerAnswer)
	}
	c.atMost(field+".throttled", len(r.Throttled), 8)
	c.within(field+".throttle_changes", float64(r.Throttling), 0, anyRate)
}

func (s *Soak) check(c *checker) {
	c.phase("soak", &s.Phase)
	c.within("soak.tokens", float64(s.Tokens), 0, anyBytes)
	c.within("soak.answers", float64(s.Answers), 0, anyBytes)
	c.atMost("soak.throttled", len(s.Throttled), 8)
	if s.Window == nil && s.First == nil && s.Last == nil && s.Drift == nil {
		if s.NoWindows == "" {
			c.fail("soak.no_windows", "there is neither a first and a last window nor a reason")
		}
		return
	}
	most := s.Seconds / 2 * 1.001
	switch {
	case s.Cut && s.Window != nil && s.First != nil && s.Last == nil && s.Drift == nil: // it ended between the two
		if most = s.Seconds * 1.001; s.NoWindows == "" {
			c.fail("soak.no_windows", "there is neither a last window nor a reason")
		}
	case s.Window == nil || s.First == nil || s.Last == nil || s.Drift == nil:
		c.fail("soak", "of window_s, first, last and drift some are there and some are not")
		return
	}
	c.within("soak.window_s", *s.Window, 0, most)
	for _, m := range []struct {
		field string
		*Minute
	}{{"soak.first", s.First}, {"soak.last", s.Last}} {
		if m.Minute == nil {
			continue
		}
		c.number(m.field+".tokens_per_s", m.TokensPerSecond, 0, anyRate)
		c.bytes(m.field+".pss_bytes", m.PSS)
		c.number(m.field+".celsius", m.Heat, -anyHeat, anyHeat)
		c.number(m.field+".watts", m.Watts, 0, anyWatt)
	}
	if s.Drift != nil {
		s.Drift.check(c, "soak.drift")
	}
}

func (d *Drift) check(c *checker, field string) {
	for _, v := range []*float64{d.TokensPerSecond, d.PSS, d.Heat, d.Watts} {
		c.number(field, v, -anyRate, anyRate)
	}
}

func (s *Summary) check(c *checker, field string) {
	c.spread(field+".load_s", s.Load, anyLong)
	c.spread(field+".prefill_tokens_per_s", s.Prefill, anyRate)
	c.spread(field+".decode_tokens_per_s", s.Decode, anyRate)
	if s.Decode == nil && s.NoDecode == "" {
		c.fail(field+".no_decode_tokens_per_s", "there is neither a rate nor a reason")
	}
	c.times(field+".first_token", s.FirstToken)
	c.times(field+".next_token", s.NextToken)
	c.per(field+".energy_per_prompt_token", s.PerPromptToken)
	c.per(field+".energy_per_token", s.PerToken)
	c.per(field+".energy_per_answer", s.PerAnswer)
	if (s.PerToken == nil || s.PerAnswer == nil || s.PerPromptToken == nil) && s.NoEnergy == "" {
		c.fail(field+".no_energy", "an energy is missing, and there is no reason")
	}
	c.number(field+".decode_watts", s.Watts, 0, anyWatt)
	c.number(field+".decode_watts_uncertainty", s.WattsUncertainty, 0, anyWatt)
	for _, n := range []*int64{s.PSS, s.Peak, s.CgroupPeak} {
		c.bytes(field+" bytes", n)
	}
	if s.CgroupPeak == nil && s.NoCgroupPeak == "" {
		c.fail(field+".no_cgroup_peak", "there is neither a peak nor a reason")
	}
	c.heat(field+".celsius", s.Heat)
	c.clock(field+".mhz", s.Clock)
}

func (s *Series) check(c *checker) {
	c.within("series.step_s", s.Step, 0, anyLong)
	n := len(s.Tokens)
	c.atMost("series", n, maxPoints)
	c.atMost("series.phases", len(s.Marks), maxMarks)
	for _, x := range []struct {
		name   string
		column Column
		lo, hi float64
	}{{"watts", s.Watts, 0, anyWatt}, {"celsius", s.Heat, -anyHeat, anyHeat}, {"mhz", s.Clock, 0, anyMHz}, {"tokens_per_s", s.Tokens, 0, anyRate}} {
		if len(x.column) != n {
			c.fail("series."+x.name, "%d values are not %d", len(x.column), n)
		}
		for _, v := range x.column {
			if !math.IsNaN(v) {
				c.within("series."+x.name, v, x.lo, x.hi)
			}
		}
	}
	last := 0.0
	for i, m := range s.Marks {
		c.within(fmt.Sprintf("series.phases[%d].at_s", i), m.At, last, anyLong)
		if c.err == nil {
			last = m.At
		}
	}
}
