package measure

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Comparison is several reports side by side.
type Comparison struct {
	Version    int      `json:"version"`
	Comparable bool     `json:"comparable"` // all of them measured the same model in the same way
	Reasons    []string `json:"reasons"`    // why they are not
	Notes      []string `json:"notes"`      // other differences, on which speed may depend
	Reports    []Entry  `json:"reports"`
}

// Entry is a report in a comparison. What was not measured is null.
type Entry struct {
	Name     string   `json:"name"`  // of its folder
	Title    string   `json:"title"` // the model and the board
	Machine  string   `json:"machine"`
	Summary  *Summary `json:"summary"`
	Unsteady []string `json:"unsteady,omitempty"`
	Ended    string   `json:"ended,omitempty"`
}

// Compare puts reports side by side. names are what their user calls them.
func Compare(names []string, reports []*Report) *Comparison {
	c := &Comparison{Version: Version, Reasons: []string{}, Notes: []string{}}
	// differ adds a property that is not the same in all reports, and which has what.
	differ := func(list *[]string, what string, of func(*Report) string) {
		var values []string
		in := map[string][]string{}
		for i, r := range reports {
			v := cmp.Or(of(r), "none")
			if in[v] == nil {
				values = append(values, v)
			}
			in[v] = append(in[v], names[i])
		}
		if len(values) == 1 {
			return
		}
		for i, v := range values {
			values[i] = v + " in " + strings.Join(in[v], " and ")
		}
		*list = append(*list, what+": "+strings.Join(values, ", "))
	}
	differ(&c.Reasons, "model", func(r *Report) string { return fmt.Sprintf("%s (%.12s)", r.Model.Name, r.Model.ID) })
	differ(&c.Reasons, "precision", func(r *Report) string { return r.Options.Precision })
	differ(&c.Reasons, "state", func(r *Report) string { return r.Options.State })
	differ(&c.Reasons, "memory", func(r *Report) string { return memoryText(&r.Options) })
	differ(&c.Reasons, "prompts", func(r *Report) string {
		return fmt.Sprintf("%d of sum %.12s", r.Options.Prompts.Count, r.Options.Prompts.SHA256)
	})
	differ(&c.Reasons, "tokens of an answer at most", func(r *Report) string { return fmt.Sprint(r.Options.MaxTokens) })
	differ(&c.Notes, "kernels", func(r *Report) string { return r.Program.Kernels })
	differ(&c.Notes, "threads that decode", func(r *Report) string { return fmt.Sprint(r.Options.Decode) })
	differ(&c.Notes, "threads that read prompts", func(r *Report) string { return fmt.Sprint(r.Options.Threads) })
	differ(&c.Notes, "program", func(r *Report) string { return joined(r.Program.Version, r.Program.Go) })
	differ(&c.Notes, "power sensor", func(r *Report) string {
		if p := r.Sensors.Power; p != nil {
			return joined(p.Name, p.Includes, p.Calibration)
		}
		return ""
	})
	differ(&c.Notes, "machine", func(r *Report) string { return r.Machine.Kind })
	for i, r := range reports {
		for _, t := range r.troubles() {
			c.Notes = append(c.Notes, names[i]+": "+strings.TrimSuffix(t, "."))
		}
		c.Reports = append(c.Reports, Entry{Name: names[i], Title: r.title(), Machine: r.Machine.Kind, Summary: r.Summary, Unsteady: r.Unsteady, Ended: r.Ended})
	}
	c.Comparable = len(c.Reasons) == 0
	return c
}

// quantity is a row of the table: how a summary has it in words and, where it can be drawn, as a number.
type quantity struct {
	name, unit string
	text       func(*Summary) string
	value      func(*Summary) *float64
	scale      float64
}

func perValue(p *Per) *float64 {
	if p == nil {
		return nil
	}
	return &p.Joules
}

func perShort(p *Per) string {
	if p == nil {
		return none
	}
	return joules(p.Joules, p.Uncertainty)
}

func aboveShort(p *Per) string {
	if p == nil || p.Above == nil {
		return none
	}
	return joules(*p.Above, *p.AboveUncertainty)
}

func median(s *Spread) *float64 {
	if s == nil {
		return nil
	}
	return &s.Median
}

func pair(t *Times) string {
	if t == nil {
		return none
	}
	return three(t.P50) + " / " + three(t.P95)
}

func p50(t *Times) *float64 {
	if t == nil {
		return nil
	}
	return &t.P50
}

var quantities = []quantity{
	{"Decode, tokens/s", "tokens/s", func(s *Summary) string { return spreadText(s.Decode) }, func(s *Summary) *float64 { return median(s.Decode) }, 1},
	{"Prompt, tokens/s", "tokens/s", func(s *Summary) string { return spreadText(s.Prefill) }, func(s *Summary) *float64 { return median(s.Prefill) }, 1},
	{"First token, ms, p50 / p95", "ms", func(s *Summary) string { return pair(s.FirstToken) }, func(s *Summary) *float64 { return p50(s.FirstToken) }, 1},
	{"Next token, ms, p50 / p95", "ms", func(s *Summary) string { return pair(s.NextToken) }, func(s *Summary) *float64 { return p50(s.NextToken) }, 1},
	{"Loading, s", "s", func(s *Summary) string { return spreadText(s.Load) }, nil, 1},
	{"Energy of a token", "J", func(s *Summary) string { return perShort(s.PerToken) }, func(s *Summary) *float64 { return perValue(s.PerToken) }, 1},
	{"Energy of a token above idle", "J", func(s *Summary) string { return aboveShort(s.PerToken) }, nil, 1},
	{"Energy of an answer", "J", func(s *Summary) string { return perShort(s.PerAnswer) }, func(s *Summary) *float64 { return perValue(s.PerAnswer) }, 1},
	{"Power while it answers", "W", func(s *Summary) string {
		if s.Watts == nil {
			return none
		}
		return wattsText(*s.Watts, s.WattsUncertainty)
	}, func(s *Summary) *float64 { return s.Watts }, 1},
	{"Memory (PSS)", "MB", func(s *Summary) string { return bytesText(s.PSS) }, func(s *Summary) *float64 { return float(s.PSS) }, 1e6},
	{"Temperature at the most, °C", "°C", func(s *Summary) string {
		if s.Heat == nil {
			return none
		}
		return fmt.Sprintf("%.1f", s.Heat.Max)
	}, nil, 1},
	{"Clock, MHz", "MHz", func(s *Summary) string {
		if s.Clock == nil {
			return none
		}
		return fmt.Sprintf("%.0f to %.0f", s.Clock.Min, s.Clock.Max)
	}, nil, 1},
}

// table is the rows of all quantities that some report has.
func (c *Comparison) table() (head []string, rows [][]string) {
	head = []string{""}
	for _, r := range c.Reports {
		head = append(head, r.Name)
	}
	titles, machines := []string{"Measured"}, []string{"Machine"}
	for _, r := range c.Reports {
		titles, machines = append(titles, r.Title), append(machines, r.Machine)
	}
	rows = append(rows, titles, machines)
	for _, q := range quantities {
		row, any := []string{q.name}, false
		for _, r := range c.Reports {
			cell := none
			if r.Summary != nil {
				cell = q.text(r.Summary)
			}
			any = any || cell != none
			row = append(row, cell)
		}
		if any {
			rows = append(rows, row)
		}
	}
	return head, rows
}

// verdict is what a reader must know before the table.
func (c *Comparison) verdict() (out []string) {
	if !c.Comparable {
		out = append(out, "These reports are not comparable. "+sentence(c.Reasons))
	}
	if len(c.Notes) > 0 {
		out = append(out, "They differ also otherwise. "+sentence(c.Notes))
	}
	return out
}

func sentence(list []string) string { return strings.Join(list, "; ") + "." }

// Text writes the table for a terminal.
func (c *Comparison) Text(w io.Writer) error {
	for _, s := range c.verdict() {
		fmt.Fprintln(w, s)
	}
	if len(c.Reasons)+len(c.Notes) > 0 {
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head, rows := c.table()
	for _, r := range append([][]string{head}, rows...) {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// HTML writes table and plots as one page that needs nothing else.
func (c *Comparison) HTML(w io.Writer) error {
	b := block{Title: "Side by side"}
	var names []string
	for _, r := range c.Reports {
		names = append(names, r.Name)
	}
	for _, q := range quantities {
		if q.value == nil {
			continue
		}
		values, known := make([]*float64, len(c.Reports)), false
		for i, r := range c.Reports {
			if r.Summary != nil {
				values[i] = q.value(r.Summary)
				known = known || values[i] != nil
			}
		}
		if known {
			title, _, _ := strings.Cut(q.name, ",")
			b.Bars = append(b.Bars, bars(title, q.unit, names, values, q.scale))
		}
	}
	t := block{Title: "Table"}
	t.Head, t.Rows = c.table()
	return pages.Execute(w, document{Title: "Comparison of " + strings.Join(names, ", "), Warnings: c.verdict(), Sections: []block{b, t}})
}
