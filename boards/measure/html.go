package measure

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

//go:embed report.html
var page string

var pages = template.Must(template.New("report").Funcs(template.FuncMap{"code": code}).Parse(page))

// code is a text whose `parts` are code.
func code(s string) template.HTML {
	var b strings.Builder
	parts := strings.Split(s, "`")
	for i, p := range parts {
		p = template.HTMLEscapeString(p)
		switch {
		case i%2 == 0:
			b.WriteString(p)
		case i == len(parts)-1: // it is not closed
			b.WriteString("`" + p)
		default:
			b.WriteString("<code>" + p + "</code>")
		}
	}
	return template.HTML(b.String())
}

// document is what the page shows. Its pictures are stretched to the width of the screen, so that no text is in them.
type document struct {
	Title    string
	Warnings []string
	Sections []block
}

type block struct {
	Title  string
	Notes  []string
	Plots  []plot
	Phases []string
	Stack  []bar
	Bars   []barPlot
	Head   []string
	Rows   [][]string
}

// Wide tells whether the table has more columns than a narrow screen. Its cells have one line then, and it is scrolled within its box.
func (b block) Wide() bool { return len(b.Head) > 4 }

// plot is a quantity over time, in a picture of 1000 by 100.
type plot struct {
	Title, Missing, Label string
	Path                  string
	Bands                 []bar
	Grid                  []float64
	X, Y                  []string // labels, from the left and from the top
}

type bar struct {
	Name, Text string
	Class      any // of the style: a phase, or a number of a colour
	X, Width   float64
}

// barPlot holds one quantity of several things against each other.
type barPlot struct {
	Title string
	Bars  []bar
}

// HTML writes the report as one page that needs nothing else: no scripts, fonts or pictures from anywhere.
func (r *Report) HTML(w io.Writer) error {
	d := document{Title: r.title(), Warnings: r.warnings()}
	s := r.sections()
	for i := range s {
		b := block{Title: s[i].title, Notes: s[i].notes, Head: s[i].head, Rows: s[i].rows}
		switch s[i].title {
		case memoryTitle:
			b.Stack = stack(r.Model.parts())
		case soakTitle:
			b.Bars = r.soakBars()
		}
		d.Sections = append(d.Sections, b)
		if i == 0 && len(r.Series.Tokens) > 0 {
			d.Sections = append(d.Sections, r.overTime())
		}
	}
	return pages.Execute(w, d)
}

// overTime is the plots of the series.
func (r *Report) overTime() block {
	s := &r.Series
	b := block{Title: "Over time", Phases: []string{}, Notes: []string{"Tokens count for the time since the one before: the first of an answer for that in which its prompt was read."}}
	end := s.Step * float64(len(s.Tokens))
	bands := s.bands(end)
	for _, x := range bands {
		if class := x.Class.(string); !slices.Contains(b.Phases, class) {
			b.Phases = append(b.Phases, class)
		}
	}
	add := func(title, unit string, c Column, zero bool, missing string) {
		p := plot{Title: title + ", " + unit}
		if !c.known() {
			if missing == "" {
				missing = "There was no reading."
			}
			p.Missing = missing
		} else {
			p.draw(s.Step, c, zero)
			p.Bands = bands
			p.Label = fmt.Sprintf("%s over %s: from %s to %s %s", title, duration(end), p.Y[len(p.Y)-1], p.Y[0], unit)
			p.X = []string{"0 s", clockTime(end / 2), clockTime(end)}
		}
		b.Plots = append(b.Plots, p)
	}
	add("Generated", "tokens/s", s.Tokens, true, "No token was generated.")
	power := ""
	if r.Sensors.Power == nil {
		power = "No power sensor, see below."
	}
	add("Power", "W", s.Watts, true, power)
	add("Temperature", "°C", s.Heat, false, prefixed("No temperature: ", r.Sensors.NoHeat))
	add("Clock", "MHz", s.Clock, false, prefixed("No clock: ", r.Sensors.NoClock))
	return b
}

func prefixed(prefix, reason string) string {
	if reason == "" {
		return ""
	}
	return prefix + reason + "."
}

func clockTime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// bands is the phases as parts of the width.
func (s *Series) bands(end float64) (out []bar) {
	for i, m := range s.Marks {
		to := end
		if i+1 < len(s.Marks) {
			to = s.Marks[i+1].At
		}
		x, x1 := place(m.At, end), place(to, end)
		name := m.Name
		if m.Run > 0 {
			name = fmt.Sprintf("run %d: %s", m.Run, m.Name)
		}
		if x1 > x {
			out = append(out, bar{Name: name, Class: m.Name, X: x, Width: round1(x1 - x)})
		}
	}
	return out
}

func place(at, end float64) float64 { return round1(1000 * min(max(at/end, 0), 1)) }

func round1(v float64) float64 { return math.Round(v*10) / 10 }

// draw puts a column into the picture, with a line that breaks where a value is not known. zero says that the axis begins at 0.
func (p *plot) draw(step float64, c Column, zero bool) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range c {
		if !math.IsNaN(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if zero {
		lo = 0
	}
	ticks := ticks(lo, hi)
	lo, hi = ticks[0], ticks[len(ticks)-1]
	y := func(v float64) float64 { return round1(100 - 100*(v-lo)/(hi-lo)) }
	for _, t := range slices.Backward(ticks) {
		p.Y = append(p.Y, label(t))
		p.Grid = append(p.Grid, y(t))
	}
	end := step * float64(len(c))
	var b strings.Builder
	for i, v := range c {
		if math.IsNaN(v) {
			continue
		}
		move, dot := "L", ""
		if i == 0 || math.IsNaN(c[i-1]) {
			move, dot = "M", "h0" // a dot, if no other follows
		}
		fmt.Fprintf(&b, "%s%g %g%s", move, place(step*(float64(i)+1), end), y(v), dot)
	}
	p.Path = b.String()
}

// ticks is 3 to 6 round numbers, the first not above lo and the last not below hi.
func ticks(lo, hi float64) []float64 {
	if hi-lo < 1e-9*max(math.Abs(hi), 1e-9) {
		pad := max(math.Abs(hi)*0.05, 1e-3)
		lo, hi = lo-pad, hi+pad
		if lo < 0 && hi >= 0 {
			lo = 0
		}
	}
	unit := math.Pow(10, math.Floor(math.Log10(hi-lo)))
	for _, step := range []float64{0.2 * unit, 0.5 * unit, unit, 2 * unit, 5 * unit} {
		first, n := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
		if n-first <= 5 {
			var out []float64
			for i := first; i <= max(n, first+1); i++ {
				out = append(out, i*step)
			}
			return out
		}
	}
	return []float64{lo, hi}
}

// label writes a tick.
func label(v float64) string {
	if a := math.Abs(v); a >= 10_000 {
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	}
	return fmt.Sprintf("%g", math.Round(v*1e6)/1e6)
}

// stack is the parts of the memory in one bar.
func stack(parts []part) (out []bar) {
	var total, at float64
	for _, p := range parts {
		total += float64(p.bytes)
	}
	for i, p := range parts {
		w := 1000 * float64(p.bytes) / max(total, 1)
		out = append(out, bar{Name: p.name, Text: megabytes(p.bytes), Class: i, X: round1(at), Width: round1(w)})
		at += w
	}
	return out
}

// soakBars holds the last minute against the first.
func (r *Report) soakBars() []barPlot {
	k := r.Soak
	var out []barPlot
	if k.Drift == nil {
		return nil
	}
	add := func(title, unit string, first, last *float64, scale float64) {
		if first != nil && last != nil {
			out = append(out, bars(title, unit, []string{"first", "last"}, []*float64{first, last}, scale))
		}
	}
	add("Decode", "tokens/s", k.First.TokensPerSecond, k.Last.TokensPerSecond, 1)
	add("Power", "W", k.First.Watts, k.Last.Watts, 1)
	add("Temperature", "°C", k.First.Heat, k.Last.Heat, 1)
	add("Memory (PSS)", "MB", float(k.First.PSS), float(k.Last.PSS), 1e6)
	return out
}

// bars is a quantity of several things; nil has no bar.
func bars(title, unit string, names []string, values []*float64, scale float64) barPlot {
	p := barPlot{Title: title + ", " + unit}
	top := 0.0
	for _, v := range values {
		if v != nil {
			top = max(top, *v)
		}
	}
	for i, v := range values {
		b := bar{Name: names[i], Text: none, Class: i % 7}
		if v != nil {
			b.Text = three(*v / scale)
			if top > 0 {
				b.Width = round1(1000 * max(*v, 0) / top)
			}
		}
		p.Bars = append(p.Bars, b)
	}
	return p
}
