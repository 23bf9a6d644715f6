package measure

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"
)

// section is a part of a report for people: Markdown and HTML are written from the same ones.
type section struct {
	title string
	notes []string
	head  []string // of the table; nil for one of two columns, name and value
	rows  [][]string
}

func (s *section) row(name, format string, a ...any) {
	s.rows = append(s.rows, []string{name, fmt.Sprintf(format, a...)})
}

const none = "–" // in a cell: not known

// Titles of sections that have pictures.
const (
	memoryTitle = "Memory of the model"
	soakTitle   = "Soak"
)

// title is one line.
func (r *Report) title() string {
	return r.Model.Name + " on " + r.Board.title()
}

func (b *Board) title() string {
	return cmp.Or(b.Name, b.Model, b.cores(), b.ID)
}

func (b *Board) cores() string {
	var out []string
	for _, c := range b.Cores {
		s := fmt.Sprintf("%d x %s", c.Count, c.Name)
		if c.MHz > 0 {
			s += fmt.Sprintf(" at %d MHz", c.MHz)
		}
		if c.LimitMHz > 0 && c.LimitMHz != c.MHz {
			s += fmt.Sprintf(" (held to %d)", c.LimitMHz)
		}
		if c.Governor != "" {
			s += ", governor " + c.Governor
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// warnings is what a reader must know before any number.
func (r *Report) warnings() []string {
	out := r.troubles()
	switch r.Machine.Kind {
	case Emulator:
		out = append(out, "This ran in an emulator: "+r.Machine.Evidence+". Its speed and power say nothing about a real board.")
	case Virtual:
		out = append(out, "This ran in a virtual machine: "+r.Machine.Evidence+". Its neighbours take part in its speed.")
	}
	return out
}

// troubles is what went wrong with the measurement.
func (r *Report) troubles() (out []string) {
	if !r.Complete {
		out = append(out, "This measurement is incomplete: "+r.Ended+".")
	}
	switch {
	case len(r.Unsteady) > 0:
		out = append(out, "There are no figures for the runs together, as throttling changed: "+strings.Join(r.Unsteady, "; ")+".")
	case len(r.Runs) > 0 && len(r.Runs[0].Throttled) > 0:
		out = append(out, "The board was held back all the time: "+strings.Join(r.Runs[0].Throttled, ", ")+".")
	}
	if r.Summary != nil {
		if apart := r.Summary.apart(); apart != "" {
			out = append(out, "The "+apart+": something else may have been running.")
		}
	}
	return out
}

// sections is the report for people.
func (r *Report) sections() []section {
	out := []section{r.short(), r.runs()}
	if r.Soak != nil {
		out = append(out, r.soak())
	}
	return append(out, r.memory(), r.conditions())
}

func (r *Report) short() section {
	s := section{title: "In short"}
	m := r.Summary
	if m == nil {
		if len(r.Unsteady) == 0 {
			s.notes = []string{"No run was completed."}
		} else {
			s.notes = []string{"See the runs, one by one."}
		}
		return s
	}
	if m.Decode != nil {
		s.row("Decode", "%s tokens/s", spreadText(m.Decode))
	} else {
		s.row("Decode", "not known: %s", m.NoDecode)
	}
	s.row("Prompt", "%s tokens/s", spreadText(m.Prefill))
	s.row("First token", "%s", timesText(m.FirstToken))
	s.row("Each next token", "%s", timesText(m.NextToken))
	s.row("Loading", "%s s", spreadText(m.Load))
	if m.PerToken != nil {
		s.row("Energy of a token", "%s", perText(m.PerToken))
	}
	if m.PerAnswer != nil {
		s.row("Energy of an answer", "%s", perText(m.PerAnswer))
	}
	if m.PerPromptToken != nil {
		s.row("Energy of a prompt's token", "%s", perText(m.PerPromptToken))
	}
	if m.NoEnergy != "" {
		see := ""
		if r.Sensors.Power == nil {
			see = ", see below"
		}
		s.row("Energy", "not known: %s%s", m.NoEnergy, see)
	}
	if m.Watts != nil {
		s.row("Power while it answers", "%s", wattsText(*m.Watts, m.WattsUncertainty))
	}
	s.row("Memory (PSS)", "%s", bytesText(m.PSS))
	s.row("Peak memory (RSS)", "%s", bytesText(m.Peak))
	if m.CgroupPeak != nil {
		s.row("Peak of the control group", "%s since it was made: this program, and what of the file it was the first to read; pages that another group had read before are not in it", megabytes(*m.CgroupPeak))
	} else {
		s.row("Peak of the control group", "not known: %s", m.NoCgroupPeak)
	}
	s.row("Temperature", "%s", heatText(m.Heat, r.Sensors.NoHeat))
	s.row("Clock", "%s", clockText(m.Clock, r.Sensors.NoClock))
	s.row("Throttling", "%s", throttleText(r.Sensors.NoThrottle, r.Runs))
	return s
}

func throttleText(no string, runs []Repeat) string {
	if len(runs) == 0 || runs[0].Throttled == nil {
		return "not known: " + cmp.Or(no, "no reading")
	}
	if len(runs[0].Throttled) == 0 {
		return "no"
	}
	return strings.Join(runs[0].Throttled, ", ")
}

func (r *Report) runs() section {
	s := section{
		title: "Runs",
		head:  []string{"run", "load s", "major faults", "prompt tokens/s", "decode tokens/s", "answers", "first ms p50 / p95", "next ms p50 / p95", "W", "J/token", "J/answer", "°C max", "MHz", "throttled"},
	}
	for i := range r.Runs {
		x := &r.Runs[i]
		row := []string{fmt.Sprint(i + 1)}
		add := func(ok bool, format string, a ...any) {
			if !ok {
				row = append(row, none)
				return
			}
			row = append(row, fmt.Sprintf(format, a...))
		}
		if x.Cut {
			row[0] += " (cut short)"
		}
		var load Load
		var pre Prefill
		var dec Decode
		if x.Load != nil {
			load = *x.Load
		}
		if x.Prefill != nil {
			pre = *x.Prefill
		}
		if x.Decode != nil {
			dec = *x.Decode
		}
		add(x.Load != nil, "%.3f", load.Seconds)
		add(load.Faults != nil, "%d", valueOf(load.Faults).Major)
		add(x.Prefill != nil, "%s", three(pre.TokensPerSecond))
		add(dec.TokensPerSecond != nil, "%s", three(valueOf(dec.TokensPerSecond)))
		add(x.Decode != nil, "%d", dec.Answers)
		add(dec.FirstToken != nil, "%s / %s", three(valueOf(dec.FirstToken).P50), three(valueOf(dec.FirstToken).P95))
		add(dec.NextToken != nil, "%s / %s", three(valueOf(dec.NextToken).P50), three(valueOf(dec.NextToken).P95))
		add(dec.Energy != nil, "%s", three(valueOf(dec.Energy).Watts))
		add(dec.PerToken != nil, "%s", joules(valueOf(dec.PerToken).Joules, valueOf(dec.PerToken).Uncertainty))
		add(dec.PerAnswer != nil, "%s", joules(valueOf(dec.PerAnswer).Joules, valueOf(dec.PerAnswer).Uncertainty))
		add(dec.Heat != nil, "%.1f", valueOf(dec.Heat).Max)
		add(dec.Clock != nil, "%.0f to %.0f", valueOf(dec.Clock).Min, valueOf(dec.Clock).Max)
		switch {
		case len(x.Throttled) > 0:
			cell := strings.Join(x.Throttled, ", ")
			if x.Throttling > 0 {
				cell += fmt.Sprintf(" (changed %s)", times(x.Throttling))
			}
			row = append(row, cell)
		case x.Throttled != nil:
			row = append(row, "no")
		default:
			row = append(row, none)
		}
		s.rows = append(s.rows, row)
	}
	for _, p := range []struct {
		name string
		*Phase
	}{{"Idle before, without the model", r.Before}, {"Idle after, with it", r.After}} {
		if p.Phase != nil && p.Energy != nil {
			s.notes = append(s.notes, fmt.Sprintf("%s: %s W (%d samples).", p.name, three(p.Energy.Watts), p.Energy.Samples))
		}
	}
	for i := range r.Runs {
		d := r.Runs[i].Decode
		switch {
		case r.Sensors.Power == nil: // said elsewhere
		case d != nil && d.Energy == nil:
			s.notes = append(s.notes, "No energy: "+d.NoEnergy+".")
		case d != nil && r.Before != nil && r.Before.Energy == nil:
			s.notes = append(s.notes, "No energy above idle, of which is known: "+r.Before.NoEnergy+".")
		default:
			continue
		}
		break
	}
	return s
}

func (r *Report) soak() section {
	k := r.Soak
	s := section{title: soakTitle}
	s.notes = []string{fmt.Sprintf("%s of answers without a pause: %d whole answers, %d tokens.", duration(k.Seconds), k.Answers, k.Tokens)}
	if k.Cut {
		s.notes[0] += " It was ended early."
	}
	if k.Throttling > 0 {
		s.notes = append(s.notes, fmt.Sprintf("Throttling changed %s in it: %s.", times(k.Throttling), strings.Join(k.Throttled, ", ")))
	}
	if k.Drift == nil {
		s.notes = append(s.notes, "No drift: "+k.NoWindows+".")
	}
	switch {
	case k.First == nil:
		return s
	case k.Last == nil:
		s.notes[0] += fmt.Sprintf(" First is its first %s s.", three(*k.Window))
	default:
		s.notes[0] += fmt.Sprintf(" First and last are its first and its last %s s.", three(*k.Window))
	}
	last, drift := valueOf(k.Last), valueOf(k.Drift)
	s.head = []string{"", "first", "last", "drift"}
	line := func(name string, a, b, drift *float64, scale float64, driftUnit string) {
		text := func(v *float64, scale float64) string {
			if v == nil {
				return none
			}
			return three(*v / scale)
		}
		d := none
		if drift != nil {
			d = fmt.Sprintf("%+.1f %s", *drift, driftUnit)
		}
		s.rows = append(s.rows, []string{name, text(a, scale), text(b, scale), d})
	}
	line("Decode, tokens/s", k.First.TokensPerSecond, last.TokensPerSecond, drift.TokensPerSecond, 1, "%")
	line("Memory (PSS), MB", float(k.First.PSS), float(last.PSS), drift.PSS, 1e6, "%")
	line("Temperature, °C", k.First.Heat, last.Heat, drift.Heat, 1, "°C")
	line("Power, W", k.First.Watts, last.Watts, drift.Watts, 1, "%")
	if no := cmp.Or(k.First.NoWatts, last.NoWatts); no != "" && r.Sensors.Power != nil {
		s.notes = append(s.notes, "No power: "+no+".")
	}
	return s
}

// part is a part of the memory.
type part struct {
	name  string
	bytes int64
}

// parts is those of the memory; buffers only where there are any.
func (m *Model) parts() []part {
	p := &m.Parts
	list := []part{
		{"weights", p.Weights}, {"head", p.Head}, {"tokenizer", p.Tokenizer}, {"padding", p.Padding}, {"state", p.States}, {"logits", p.Logits}, {"workspace", p.Workspace}, {"buffers", p.Buffers},
	}
	if m.Storage == nil {
		list = list[:len(list)-1]
	}
	return list
}

func (r *Report) memory() section {
	s := section{title: memoryTitle}
	for _, p := range r.Model.parts() {
		mapped := ""
		switch p.name {
		case "weights", "head", "tokenizer", "padding":
			mapped = ", mapped"
		}
		s.row(p.name, "%s%s", megabytes(p.bytes), mapped)
	}
	s.row("all of it", "%s", megabytes(r.Model.Parts.Total()))
	s.row("moved for a token", "%s", megabytes(r.Model.Moves))
	if f := r.Model.Storage; f != nil {
		through := ""
		if f.Buffered {
			through = ", through the page cache: the file system has no direct reads"
		}
		s.row("read from storage for a token", "%s (%d layers)%s", megabytes(f.Bytes), f.Layers, through)
		if f.Unlocked != "" {
			s.row("other layers", "not locked in memory, so that they may be read again: %s", f.Unlocked)
		}
	}
	return s
}

func (r *Report) conditions() section {
	s := section{title: "How it was measured"}
	b, o := &r.Board, &r.Options
	s.row("Time", "%s", r.Time.Format("2006-01-02 15:04:05 UTC")+", by the board's clock")
	s.row("Machine", "%s", joined(b.Model, b.SoC, r.Machine.Kind))
	s.row("Cores", "%s", cmp.Or(b.cores(), "not known"))
	s.row("Memory", "%s, pages of %d KiB", megabytes(b.Memory), b.PageSize>>10)
	s.row("System", "%s", joined(b.OS, b.Kernel))
	if b.Storage != "" {
		s.row("The file is on", "%s", b.Storage)
	}
	s.row("Program", "%s", joined("bimamba "+r.Program.Version, r.Program.Go, r.Program.Arch, "kernels "+r.Program.Kernels))
	s.row("Model", "%s, %s, %s, %s", r.Model.Name, r.Model.Kind, megabytes(r.Model.Bytes), r.Model.ID[:min(12, len(r.Model.ID))])
	s.row("Options", "precision %s, state %s, %d threads, %d of them decode, memory %s", o.Precision, o.State, o.Threads, o.Decode, memoryText(o))
	task := ""
	if o.Prompts.Task != "" {
		task = ", task " + o.Prompts.Task
	}
	s.row("Prompts", "%d (%s), %d tokens%s; answers of %d tokens at most", o.Prompts.Count, o.Prompts.Source, o.Prompts.Tokens, task, o.MaxTokens)
	soak := ""
	if o.Soak > 0 {
		soak = ", then a soak of " + duration(o.Soak)
	}
	s.row("Phases", "%s of answers in each of %d runs%s", duration(o.Duration), o.Repeat, soak)
	if p := r.Sensors.Power; p != nil {
		text := fmt.Sprintf("%s, every %s s, ± %.3g %% (%s)", p.Name, three(p.Interval), 100*p.Error, p.ErrorSource)
		if p.Includes != "" {
			text += "; includes " + p.Includes
		}
		if p.Calibration != "" {
			text += "; calibrated: " + p.Calibration
		}
		s.row("Power sensor", "%s", text)
	} else {
		none := r.Sensors.NoPower
		if !strings.HasPrefix(none, "none ") {
			none = "none: " + none
		}
		s.row("Power sensor", "%s", none)
	}
	for _, o := range r.Sensors.Others {
		s.row("Sensor", "%s, every %s s", o.Name, three(o.Interval))
	}
	for _, f := range r.Sensors.Failures {
		s.row("Sensor "+f.Sensor, "gave no reading %s, at last: %s", times(f.Count), f.Last)
	}
	for _, m := range b.Missing {
		s.row("Not known", "%s: %s", m.What, m.Reason)
	}
	return s
}

// memoryText is the budget of memory.
func memoryText(o *Options) string {
	if o.Memory == 0 {
		return "without a limit"
	}
	return "at most " + megabytes(o.Memory)
}

func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

// valueOf is what p points to, or nothing.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// three writes three significant digits, whole numbers in full.
func three(v float64) string {
	switch a := max(v, -v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	case a == 0:
		return "0"
	}
	return fmt.Sprintf("%.3g", v)
}

func spreadText(s *Spread) string {
	if s == nil {
		return none
	}
	return fmt.Sprintf("%s (%s to %s)", three(s.Median), three(s.Min), three(s.Max))
}

func timesText(t *Times) string {
	if t == nil {
		return "not known: no answer had one"
	}
	return fmt.Sprintf("%s ms, 95 %% within %s ms (%d of them)", three(t.P50), three(t.P95), t.Count)
}

// joules writes an energy with its uncertainty, in the unit that fits.
func joules(v, uncertainty float64) string {
	unit, scale := "J", 1.0
	switch a := max(math.Abs(v), uncertainty); {
	case a < 1e-3:
		unit, scale = "µJ", 1e6
	case a < 1:
		unit, scale = "mJ", 1e3
	}
	return uncertain(v*scale, uncertainty*scale) + " " + unit
}

// uncertain writes a value with its uncertainty, of which two digits count.
func uncertain(v, uncertainty float64) string {
	digits := 0
	if uncertainty > 0 {
		digits = min(max(1-int(math.Floor(math.Log10(uncertainty))), 0), 6)
	}
	return fmt.Sprintf("%.*f ± %.*f", digits, v, digits, uncertainty)
}

func perText(p *Per) string {
	s := joules(p.Joules, p.Uncertainty)
	if p.Above != nil {
		s += "; above idle " + joules(*p.Above, *p.AboveUncertainty)
	}
	return fmt.Sprintf("%s (%d samples)", s, p.Samples)
}

func wattsText(w float64, uncertainty *float64) string {
	if uncertainty == nil {
		return three(w) + " W"
	}
	return uncertain(w, *uncertainty) + " W"
}

func bytesText(n *int64) string {
	if n == nil {
		return none
	}
	return megabytes(*n)
}

func megabytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	case n < 1e5:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func heatText(h *Heat, no string) string {
	if h == nil {
		return "not known: " + cmp.Or(no, "no reading")
	}
	return fmt.Sprintf("%.1f °C at the start, %.1f °C at the most", h.Start, h.Max)
}

func clockText(c *Clock, no string) string {
	if c == nil {
		return "not known: " + cmp.Or(no, "no reading")
	}
	return fmt.Sprintf("%.0f to %.0f MHz", c.Min, c.Max)
}

func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// Brief is the report in a line.
func (r *Report) Brief() string {
	s := r.title() + ": "
	m := r.Summary
	switch {
	case m == nil && len(r.Unsteady) > 0:
		return s + "no figures for the runs together, as throttling changed: " + strings.Join(r.Unsteady, "; ")
	case m == nil:
		return s + "incomplete: " + r.Ended
	}
	if m.Decode != nil {
		s += spreadText(m.Decode) + " tokens/s"
	} else {
		s += "no rate of decoding: " + m.NoDecode
	}
	s += ", prompts " + spreadText(m.Prefill) + " tokens/s"
	switch {
	case m.PerToken != nil:
		s += ", " + perText(m.PerToken) + " a token"
	case r.Sensors.Power == nil:
		s += ", no energy: no power sensor: " + r.Sensors.NoPower
	default:
		s += ", no energy: " + m.NoEnergy
	}
	if apart := m.apart(); apart != "" {
		s += "; the " + apart
	}
	if !r.Complete {
		s += "; incomplete: " + r.Ended
	}
	return s
}
