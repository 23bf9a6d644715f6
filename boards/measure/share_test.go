package measure

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/boards/plan"
	"bimamba/edge/model"
	"bimamba/memmap"
)

func TestShare(t *testing.T) {
	r := synthesised()
	r.Sensors.Power.Name = "meter /home/anna/read-plug"
	r.Board.Missing = nil
	r.Options.Prompts.Source = "file"
	r.Model.Name, r.Model.Unnamed = "annas-diary.bimamba", true
	res, err := r.Share()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, want := range []string{"pi-5-2026-03-04.json", "pi-5-2026-03-04-2.json", "pi-5-2026-03-04-3.json"} {
		path, err := res.Save(dir)
		if err != nil || filepath.Base(path) != want {
			t.Errorf("%d: %s, %v, want %s", i, path, err, want)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "pi-5-2026-03-04.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"anna", r.Options.Prompts.SHA256 + `",` + "\n    }", "05:06"} {
		if bytes.Contains(b, []byte(private)) {
			t.Errorf("%q is in what is shared", private)
		}
	}
	if res.Model.Name != "unnamed 01234567" || r.Model.Name != "annas-diary.bimamba" {
		t.Errorf("the model is called %s", res.Model.Name)
	}
	if res.Options.Prompts.SHA256 != "" || r.Options.Prompts.SHA256 == "" || r.Sensors.Power.Name != "meter /home/anna/read-plug" {
		t.Error("the sum of one's own prompts is shared, or the report was changed")
	}
	back, err := ReadResult(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(res)
	y, _ := json.Marshal(back)
	if !bytes.Equal(x, y) {
		t.Errorf("it came back otherwise:\n%s\n%s", x, y)
	}
	for _, c := range []struct {
		change func(*Report)
		want   string
	}{
		{func(r *Report) { r.Machine = Machine{Emulator, "QEMU"} }, "this ran in an emulator (QEMU)"},
		{func(r *Report) { r.Complete, r.Ended = false, "interrupted" }, "incomplete: interrupted"},
		{func(r *Report) { *r = *unsteadyReport() }, "throttling changed"},
		{func(r *Report) { r.Summary.Decode, r.Summary.NoDecode = nil, noRate }, "no rate of decoding: no answer had a second token"},
	} {
		r := synthesised()
		c.change(r)
		if _, err := r.Share(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	for _, c := range []struct {
		change func(*Result)
		want   string
	}{
		{func(r *Result) { r.Machine.Kind = Emulator }, "results of emulators are not published"},
		{func(r *Result) { r.Date = "../../../x" }, "field date"},
		{func(r *Result) { r.Board.ID = "../x" }, "field board.id"},
		{func(r *Result) { r.Summary = nil }, "field summary"},
		{func(r *Result) { r.Summary = &Summary{NoDecode: noRate} }, "field summary.decode_tokens_per_s"},
	} {
		bad := *res
		c.change(&bad)
		if _, err := bad.Save(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func FuzzReadResult(f *testing.F) {
	res, err := synthesised().Share()
	if err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(res)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadResult(bytes.NewReader(b))
		if err != nil {
			return
		}
		table, err := Table(map[string]*Result{"x.json": r}, "results")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(table, "\n"); n != 2+len(plan.Boards()) && n != 3+len(plan.Boards()) {
			t.Errorf("%d lines:\n%s", n, table)
		}
	})
}

func TestTable(t *testing.T) {
	weights := func(size string) int64 {
		m, err := plan.Shape(size, memmap.I8)
		if err != nil {
			t.Fatal(err)
		}
		return model.NewFootprint(m, model.Options{}).Weights
	}
	make := func(size, date string, speed float64, change func(*Result)) *Result {
		r, err := synthesised().Share()
		if err != nil {
			t.Fatal(err)
		}
		r.Date, r.Model.Parts.Weights, r.Summary.Decode = date, weights(size), &Spread{speed, speed, speed}
		if change != nil {
			change(r)
		}
		return r
	}
	vm := func(r *Result) {
		r.Machine = Machine{Virtual, "x"}
		r.Board = Board{ID: "x86", Model: "A | B"}
		r.Summary.PerToken = nil
	}
	table, err := Table(map[string]*Result{
		"old.json": make("780M", "2026-01-01", 11, nil), "new.json": make("780M", "2026-02-01", 22, nil), "f32.json": make("780M", "2026-03-01", 33, func(r *Result) { r.Options.State = "f32" }),
		"vm.json": make("assistant", "2026-01-01", 4444, vm), "vm2.json": make("780M", "2026-01-01", 55, vm),
	}, "boards/results")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 2+len(plan.Boards())+1 {
		t.Fatalf("%d lines:\n%s", len(lines), table)
	}
	for _, want := range []string{
		"| board | assistant | 780M | 1.3B | 2.7B |",
		" | [22.0](boards/results/new.json), 277 ± 14 mJ *measured* | ",
		`| A \| B (virtual machine) | [4444](boards/results/vm.json) *measured* | [55.0](boards/results/vm2.json) *measured* | – | – |`,
	} {
		if !strings.Contains(table, want) {
			t.Errorf("there is no %q in\n%s", want, table)
		}
	}
	if strings.Contains(table, "old.json") || strings.Contains(table, "f32.json") {
		t.Errorf("old or other results are in\n%s", table)
	}
	for _, l := range lines[2:] {
		for _, cell := range strings.Split(strings.Trim(strings.ReplaceAll(l, `\|`, ""), "| "), " | ")[1:] {
			if !strings.HasSuffix(cell, "*measured*") && !strings.HasSuffix(cell, "*modelled*") && cell != none {
				t.Errorf("%q is neither measured nor modelled", cell)
			}
		}
	}
	text := "a\n" + tableBegin + "\nold\n" + tableEnd + "\nb\n"
	if got, err := Replace(text, "new\n"); err != nil || got != "a\n"+tableBegin+"\nnew\n"+tableEnd+"\nb\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Replace("a\nb\n", "new\n"); err == nil {
		t.Error("a text without the lines")
	}
}

// TestResults reads what is published, and that README's table is of it.
func TestResults(t *testing.T) {
	results, err := ReadResults(os.DirFS(filepath.Join("..", "results")))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Table(results, "boards/results")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Replace(string(b), table); err != nil || got != string(b) {
		t.Errorf("README's table is not that of boards/results: go generate ./boards/measure (%v)", err)
	}
}

func TestCompare(t *testing.T) {
	a, b := synthesised(), synthesised()
	b.Board.Name, b.Summary.Decode.Median, b.Program.Kernels = "Raspberry Pi 4", 12, "portable"
	c := Compare([]string{"pi-5", "pi-4"}, []*Report{a, b})
	if !c.Comparable || len(c.Notes) != 1 || c.Notes[0] != "kernels: neon in pi-5, portable in pi-4" {
		t.Errorf("%+v", c)
	}
	var text, page bytes.Buffer
	if err := c.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Decode, tokens/s 28.2 (28.1 to 28.3) 12.0 (28.1 to 28.3)", "Energy of a token 277 ± 14 mJ 277 ± 14 mJ"} {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), want) {
			t.Errorf("there is no %q in\n%s", want, text.String())
		}
	}
	if err := c.HTML(&page); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, "comparison", page.String())

	for _, x := range []struct {
		change func(*Report)
		want   string
	}{
		{func(r *Report) { r.Model.ID = strings.Repeat("f", 64) }, "model: test-model (0123456789ab) in a, test-model (ffffffffffff) in b"},
		{func(r *Report) { r.Options.Precision = "fast" }, "precision: lut16 in a, fast in b"},
		{func(r *Report) { r.Options.Memory = 128e6 }, "memory: without a limit in a, at most 128.0 MB in b"},
		{func(r *Report) { r.Options.State = "f32" }, "state: f16 in a, f32 in b"},
		{func(r *Report) { r.Options.Prompts.SHA256 = strings.Repeat("f", 64) }, "prompts: "},
		{func(r *Report) { r.Options.MaxTokens = 5 }, "tokens of an answer at most: 128 in a, 5 in b"},
	} {
		b := synthesised()
		x.change(b)
		c := Compare([]string{"a", "b"}, []*Report{synthesised(), b})
		if c.Comparable || len(c.Reasons) != 1 || !strings.HasPrefix(c.Reasons[0], x.want) {
			t.Errorf("%v, want %q", c.Reasons, x.want)
		}
		var text, page bytes.Buffer
		if err := c.Text(&text); err != nil || !strings.HasPrefix(text.String(), "These reports are not comparable. ") {
			t.Errorf("%v, %s", err, text.String())
		}
		if err := c.HTML(&page); err != nil || !strings.Contains(page.String(), `<p class="warning">These reports are not comparable.`) {
			t.Errorf("%v, %.200s", err, page.String())
		}
	}
	// One without a mean has its reasons, and no numbers.
	c = Compare([]string{"a", "b", "c"}, []*Report{synthesised(), unsteadyReport(), missing()})
	if err := c.HTML(io.Discard); err != nil {
		t.Fatal(err)
	}
	text.Reset()
	if err := c.Text(&text); err != nil || !strings.Contains(text.String(), "b: There are no figures for the runs together") || !strings.Contains(text.String(), "c: This measurement is incomplete: interrupted") {
		t.Errorf("%v\n%s", err, text.String())
	}
}
