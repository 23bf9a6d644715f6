package measure

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"bimamba/boards/plan"
	"bimamba/edge/model"
	"bimamba/memmap"
)

// The lines of README between which its table of boards stands.
const (
	tableBegin = "<!-- begin: go generate ./boards/measure -->"
	tableEnd   = "<!-- end -->"
)

// Table is README's table of boards: tokens a second of the sizes that package plan knows, *measured* where results has one, by file name, else *modelled*.
// link is the folder of the results in links.
func Table(results map[string]*Result, link string) (string, error) {
	sizes := plan.Sizes()
	head := append([]string{"board"}, sizes...)
	shapes := make([]*memmap.Manifest, len(sizes))
	for i, s := range sizes {
		m, err := plan.Shape(s, memmap.I8)
		if err != nil {
			return "", err
		}
		shapes[i] = m
	}
	order := newest(results)
	// measured is the newest result of a board and a shape, with the options of the plans.
	measured := func(of func(*Result) bool, m *memmap.Manifest) string {
		weights := model.NewFootprint(m, model.Options{}).Weights // the same in every file of the shape, whichever its head and tokenizer
		for _, name := range order {
			r := results[name]
			if !of(r) || r.Model.Parts.Weights != weights || r.Options.Precision != model.LUT16.String() || r.Options.State != model.StateF16.String() {
				continue
			}
			s := fmt.Sprintf("[%s](%s/%s)", three(r.Summary.Decode.Median), link, name)
			if p := r.Summary.PerToken; p != nil {
				s += ", " + joules(p.Joules, p.Uncertainty)
			}
			return s + " *measured*"
		}
		return ""
	}
	var rows [][]string
	known := map[string]bool{}
	for _, b := range plan.Boards() {
		known[b.Name] = true
		row := []string{markdown(b.Title)}
		for _, m := range shapes {
			cell := measured(func(r *Result) bool { return r.Board.ID == b.Name && r.Machine.Kind == Hardware }, m)
			if cell == "" {
				p, err := plan.New(b, m, plan.Options{Model: model.Options{Sessions: 1}})
				if err != nil {
					return "", err
				}
				switch {
				case !p.Fits:
					cell = "does not fit *modelled*"
				case p.Decode == nil:
					cell = none
				default:
					cell = fmt.Sprintf("%s to %s *modelled*", three(p.Decode.Low), three(p.Decode.High))
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	// Machines that no plan knows: by their name.
	seen := map[string]bool{}
	for _, name := range order {
		r := results[name]
		if known[r.Board.ID] && r.Machine.Kind == Hardware {
			continue
		}
		title := r.Board.title()
		if r.Machine.Kind != Hardware {
			title += " (" + r.Machine.Kind + ")"
		}
		if seen[title] {
			continue
		}
		seen[title] = true
		row := []string{markdown(title)}
		for _, m := range shapes {
			row = append(row, cmp.Or(measured(func(o *Result) bool { return o.Board.title() == r.Board.title() && o.Machine.Kind == r.Machine.Kind }, m), none))
		}
		rows = append(rows, row)
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	writeTable(w, head, rows, func(cell string) string { return cell })
	err := w.Flush()
	return out.String(), err
}

// Replace puts a table between the lines for it in a text.
func Replace(text, table string) (string, error) {
	before, rest, ok := strings.Cut(text, tableBegin+"\n")
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the lines %q and %q are not there", tableBegin, tableEnd)
	}
	return before + tableBegin + "\n" + table + tableEnd + after, nil
}
