// Package eval measures an intent model's outputs against a test set.
package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Row is one line of a test set.
type Row struct {
	Task     string         `json:"task"`
	Prompt   string         `json:"prompt"`
	Intent   string         `json:"intent"`
	Slots    map[string]any `json:"slots"`
	Response string         `json:"response"`
}

// outOfScope is the intent of what the model should decline.
const outOfScope = "oos"

const maxLine = 1 << 20

// ReadRows reads JSON lines. An error names the line.
func ReadRows(r io.Reader) ([]Row, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var rows []Row
	n := 0
	for sc.Scan() {
		n++
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		var row Row
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if row.Task == "" || row.Intent == "" {
			return nil, fmt.Errorf("line %d: a row needs a task and an intent", n)
		}
		rows = append(rows, row)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(rows) == 0 {
		return nil, errors.New("there are no rows")
	}
	return rows, nil
}

// pair is a slot with one of its values, both as they are compared.
type pair struct{ slot, value string }

// fold is how intents and values are compared: trimmed, in lower case, numbers by value.
func fold(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = strings.ToLower(strings.TrimSpace(v))
	case json.Number:
		s = v.String()
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return strings.ToLower(string(b))
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && s != "" && strings.Trim(s, "+-.0123456789e") == "" {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return s
}

// pairs is the set of slots and values. firstOnly takes the first entry of a list.
func pairs(slots map[string]any, firstOnly bool) map[pair]bool {
	out := make(map[pair]bool)
	for k, v := range slots {
		l, ok := v.([]any)
		if !ok {
			l = []any{v}
		}
		if firstOnly && len(l) > 1 {
			l = l[:1]
		}
		for _, x := range l {
			out[pair{k, fold(x)}] = true
		}
	}
	return out
}

// parse reads the first line of an output: its intent and the other fields. ok tells whether it is a JSON object with an intent.
func parse(output string) (intent string, slots map[string]any, ok bool) {
	line, _, _ := strings.Cut(output, "\n")
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&slots); err != nil || slots == nil {
		return "", nil, false
	}
	if _, err := d.Token(); err != io.EOF { // something follows the object
		return "", nil, false
	}
	intent, ok = slots["intent"].(string)
	delete(slots, "intent")
	return intent, slots, ok
}

// counts is the sums of one task.
type counts struct {
	n, valid, intent, exact  int
	tp, fp, fn               int // of slots
	inScope, inScopeRight    int
	outOfScope, outOfScopeOK int
}

// Tally adds outputs up.
type Tally struct {
	tasks map[string]*counts
}

// Add compares one output with its row.
func (t *Tally) Add(r Row, output string) {
	if t.tasks == nil {
		t.tasks = make(map[string]*counts)
	}
	c, ok := t.tasks[r.Task]
	if !ok {
		c = &counts{}
		t.tasks[r.Task] = c
	}
	intent, slots, valid := parse(output)
	right := valid && fold(intent) == fold(r.Intent)
	want, got := pairs(r.Slots, r.Task == "home"), pairs(slots, false)
	same := len(want) == len(got)
	for p := range want {
		if got[p] {
			c.tp++
		} else {
			c.fn++
			same = false
		}
	}
	for p := range got {
		if !want[p] {
			c.fp++
		}
	}
	c.n++
	c.valid += count(valid)
	c.intent += count(right)
	c.exact += count(right && same)
	if fold(r.Intent) == outOfScope {
		c.outOfScope++
		c.outOfScopeOK += count(right)
	} else {
		c.inScope++
		c.inScopeRight += count(right)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Figures is the result of one task: fractions, nil where they mean nothing.
type Figures struct {
	N               int      `json:"n"`
	ValidJSON       *float64 `json:"valid_json"`
	IntentAccuracy  *float64 `json:"intent_accuracy"`
	ExactMatch      *float64 `json:"exact_match"`
	SlotF1          *float64 `json:"slot_f1"`
	InScopeAccuracy *float64 `json:"in_scope_accuracy"`
	OOSRecall       *float64 `json:"oos_recall"`
}

// Report is the figures of every task.
type Report map[string]Figures

func fraction(a, n int) *float64 {
	if n == 0 {
		return nil
	}
	f := float64(a) / float64(n)
	return &f
}

// Report computes the figures.
func (t *Tally) Report() Report {
	r := make(Report)
	for name, c := range t.tasks {
		f := Figures{N: c.n, ValidJSON: fraction(c.valid, c.n), IntentAccuracy: fraction(c.intent, c.n), ExactMatch: fraction(c.exact, c.n),
			SlotF1: fraction(2*c.tp, 2*c.tp+c.fp+c.fn)}
		if c.tp+c.fn == 0 {
			f.SlotF1 = nil // the task has no slots
		}
		if c.outOfScope > 0 {
			f.InScopeAccuracy, f.OOSRecall = fraction(c.inScopeRight, c.inScope), fraction(c.outOfScopeOK, c.outOfScope)
		}
		r[name] = f
	}
	return r
}

// WriteTable writes the figures in percent.
func (r Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "task\tn\tvalid JSON\tintent\texact\tslot F1\tin scope\toos recall\t")
	names := make([]string, 0, len(r))
	for name := range r {
		names = append(names, name)
	}
	slices.Sort(names)
	percent := func(f *float64) string {
		if f == nil {
			return "-"
		}
		return fmt.Sprintf("%.1f %%", 100**f)
	}
	for _, name := range names {
		f := r[name]
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, f.N, percent(f.ValidJSON), percent(f.IntentAccuracy), percent(f.ExactMatch), percent(f.SlotF1), percent(f.InScopeAccuracy), percent(f.OOSRecall))
	}
	return tw.Flush()
}
