package measure

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"bimamba/boards/plan"
	"bimamba/edge/model"
	"bimamba/memmap"
)

var update = flag.Bool("update", false, "write the golden files of reports")

func ptr[T any](v T) *T { return &v }

// synthesised is a report that nobody measured, of a board that gets warm. Every figure is made up.
func synthesised() *Report {
	r := emptyReport()
	r.Time, r.Complete = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), true
	r.Options.Soak = 600
	r.Sensors = Sensors{
		Power:  &Source{Name: "pi5-pmic", Interval: 0.1, Error: 0.05, ErrorSource: "assumed", Includes: "the rails of the power chip; not what USB devices take"},
		Others: []Source{{Name: "pi-firmware", Interval: 1}},
	}
	energy := func(watts, seconds float64, above bool) *Energy {
		e := &Energy{Joules: watts * seconds, Uncertainty: 0.05 * watts * seconds, Watts: watts, Samples: int(10 * seconds), Covered: seconds}
		if above {
			e.Above = &Above{(watts - 2.7) * seconds, 0.05 * (watts - 2.7) * seconds, watts - 2.7}
		}
		return e
	}
	phase := func(start, seconds, watts, heat float64, idle bool) Phase {
		return Phase{
			Start: start, Seconds: seconds, Energy: energy(watts, seconds, !idle), Heat: &Heat{heat, heat + 2}, Clock: &Clock{1500, 2400},
			Memory: &Memory{PSS: ptr(int64(161e6)), RSS: ptr(int64(163e6)), Peak: ptr(int64(165e6)), Cgroup: ptr(int64(170e6)), CgroupPeak: ptr(int64(320e6))},
			Faults: &Faults{Major: 0, Minor: 12, Read: ptr(int64(0))},
		}
	}
	r.Before = ptr(phase(0, 10, 2.7, 45, true))
	at := 10.0
	for i := range 3 {
		load := Load{Phase: phase(at, 2, 4, 46, false), Open: 0.01, Dropped: true}
		load.Faults = &Faults{Major: 310, Minor: 4000, Read: ptr(int64(150e6))}
		pre := Prefill{Phase: phase(at+2, 5, 7.9, 50, false), Tokens: 512, TokensPerSecond: 102.4, PerToken: &Per{0.0771, 0.0039, ptr(0.0508), ptr(0.003), 50}}
		dec := Decode{
			Phase: phase(at+7, 20, 7.1, 52+float64(i), false), Answers: 4, Prompted: 100, Tokens: 512, Generating: 18.1, TokensPerSecond: ptr(28.1 + 0.1*float64(i)),
			FirstToken: &Times{4, 240, 260, 270}, NextToken: &Times{508, 35.2, 41, 62}, PerToken: &Per{0.277, 0.014, ptr(0.172), ptr(0.009), 200}, PerAnswer: &Per{35.5, 1.8, ptr(22.0), ptr(1.1), 200},
		}
		r.Runs = append(r.Runs, Repeat{Load: &load, Prefill: &pre, Decode: &dec, Throttled: []string{}})
		at += 27
	}
	r.After = ptr(phase(at, 10, 2.9, 50, true))
	at += 10
	r.Summary = &Summary{
		Load: &Spread{2, 1.9, 2.1}, Prefill: &Spread{102.4, 101, 103}, Decode: &Spread{28.2, 28.1, 28.3}, FirstToken: &Times{12, 240, 262, 271}, NextToken: &Times{1524, 35.2, 41.5, 70},
		PerPromptToken: &Per{0.0771, 0.0039, ptr(0.0508), ptr(0.003), 150}, PerToken: &Per{0.277, 0.014, ptr(0.172), ptr(0.009), 600}, PerAnswer: &Per{35.5, 1.8, ptr(22.0), ptr(1.1), 600},
		Watts: ptr(7.1), WattsUncertainty: ptr(0.36), PSS: ptr(int64(161e6)), Peak: ptr(int64(165e6)), CgroupPeak: ptr(int64(320e6)), Heat: &Heat{46, 56}, Clock: &Clock{1500, 2400},
	}
	r.Soak = &Soak{
		Phase: phase(at, 600, 6.8, 55, false), Answers: 118, Tokens: 15104, Window: ptr(60.0), Throttled: []string{"soft temperature limit"}, Throttling: 1,
		First: &Minute{TokensPerSecond: ptr(28.2), PSS: ptr(int64(161e6)), Heat: ptr(58.0), Watts: ptr(7.1)}, Last: &Minute{TokensPerSecond: ptr(25.0), PSS: ptr(int64(161.4e6)), Heat: ptr(80.5), Watts: ptr(6.5)},
		Drift: &Drift{ptr(-11.3), ptr(0.2), ptr(22.5), ptr(-8.5)},
	}
	r.Throttling = []Event{{0.5, []string{}, []string{}}, {520, []string{"soft temperature limit"}, []string{"soft temperature limit"}}}
	s := &r.Series
	s.Step = 1
	for t := 0.0; t < at; {
		if t == 0 || t == at-10 {
			s.Marks = append(s.Marks, Mark{t, "idle", 0})
			t += 10
			continue
		}
		run := len(s.Marks)/3 + 1
		s.Marks = append(s.Marks, Mark{t, "load", run}, Mark{t + 2, "prefill", run}, Mark{t + 7, "decode", run})
		t += 27
	}
	s.Marks = append(s.Marks, Mark{at, "soak", 0})
	mark := 0
	for i := range int(at + 600) {
		t := float64(i) + 1
		for mark+1 < len(s.Marks) && s.Marks[mark+1].At < t {
			mark++
		}
		noise := math.Sin(3*t) + math.Sin(7.3*t)
		watts, mhz, rate := 2.7, 1500.0, math.NaN()
		switch s.Marks[mark].Name {
		case "load":
			watts, mhz = 4, 1500
		case "prefill":
			watts, mhz = 7.9+0.1*noise, 2400
		case "decode", "soak":
			watts, mhz, rate = 7.1+0.1*noise, 2400, 28.2+0.3*noise
		}
		heat := 45 + 36*(1-math.Exp(-t/250))
		if t > 520 {
			watts, mhz, rate = 6.5+0.1*noise, 2100, 25+0.3*noise
		}
		s.point(watts, heat, mhz, rate)
	}
	return r
}

// missing is a report of a machine without sensors that was interrupted in its second run.
func missing() *Report {
	r := synthesised()
	const none = "no sensor of this machine shows it"
	r.Complete, r.Ended, r.Soak, r.After, r.Throttling = false, "interrupted", nil, nil, nil
	r.Machine = Machine{Virtual, "the firmware calls the machine QEMU"}
	r.Board.Cores[0].LimitMHz = 1500
	r.Sensors = Sensors{NoPower: "none of this machine can be read; `bimamba doctor` says why", Others: []Source{}, NoHeat: none, NoClock: none, NoThrottle: none, Failures: []Failure{{"cpu", 3, "no <reading> | _today_"}}}
	r.Runs = r.Runs[:2]
	r.Runs[1].Cut, r.Runs[1].Decode = true, nil
	clear := func(p *Phase) {
		p.Energy, p.NoEnergy, p.Heat, p.Clock = nil, noPower, nil, nil
		p.Memory.Cgroup, p.Memory.CgroupPeak, p.Memory.Missing = nil, nil, "control group: 2 other processes are in it, and their memory"
	}
	clear(r.Before)
	for i := range r.Runs {
		x := &r.Runs[i]
		x.Throttled = nil
		clear(&x.Load.Phase)
		clear(&x.Prefill.Phase)
		x.Prefill.PerToken = nil
		if x.Decode != nil {
			clear(&x.Decode.Phase)
			x.Decode.PerToken, x.Decode.PerAnswer = nil, nil
		}
	}
	m := r.Summary
	m.PerAnswer, m.PerPromptToken, m.PerToken, m.Watts, m.WattsUncertainty, m.Heat, m.Clock = nil, nil, nil, nil, nil, nil, nil
	m.NoEnergy = noPower
	m.CgroupPeak, m.NoCgroupPeak = nil, "2 other processes are in it, and their memory"
	m.Decode = &Spread{1731, 1378, 2084}
	s := &r.Series
	s.Marks = s.Marks[:6]
	s.Watts, s.Heat, s.Clock, s.Tokens = s.Watts[:44], s.Heat[:44], s.Clock[:44], s.Tokens[:44]
	for _, c := range []Column{s.Watts, s.Heat, s.Clock} {
		for i := range c {
			c[i] = math.NaN()
		}
	}
	return r
}

// unsteadyReport is a report whose runs cannot be put together.
func unsteadyReport() *Report {
	r := synthesised()
	r.Runs[2].Throttled, r.Runs[2].Throttling = []string{"under-voltage"}, 2
	r.Soak = nil
	r.Summary, r.Unsteady = nil, unsteady(r.Runs)
	return r
}

func TestGolden(t *testing.T) {
	for name, r := range map[string]*Report{"whole": synthesised(), "missing": missing(), "unsteady": unsteadyReport()} {
		check(t, r)
		for ext, write := range map[string]func(io.Writer) error{"md": r.Markdown, "html": r.HTML} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+"."+ext)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s is not what is written now; look at it, then go test -update", path)
			}
			if ext == "html" {
				wellFormed(t, path, b.String())
			}
		}
	}
}

var outside = regexp.MustCompile(`(?i)https?:|\b(src|href|xlink|srcset|action)\s*=|@import|url\(|<script|\bon[a-z]+\s*=`)

// wellFormed checks that every element of a page is closed, and that it refers to nothing outside and runs nothing.
func wellFormed(t *testing.T, name, page string) {
	t.Helper()
	if m := outside.FindString(page); m != "" {
		t.Errorf("%s: the page has %q", name, m)
	}
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.Entity = true, xml.HTMLEntity
	open := 0
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, ok := tok.(xml.StartElement); ok {
			open++
		}
	}
	if open < 50 {
		t.Errorf("%s: %d elements", name, open)
	}
}

// TestHostile: what is in a report may come from anywhere, and ends up in pages and terminals.
func TestHostile(t *testing.T) {
	good, err := json.Marshal(synthesised())
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string {
		t.Helper()
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the report has no %s", old)
		}
		return strings.Replace(string(good), old, new, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "byte 0: unexpected end of JSON input"},
		{"cut off", string(good[:bytes.Index(good, []byte(`"runs"`))]), "unexpected end"},
		{"newer", replace(`"version":1`, `"version":2`), "version 2 is not 1; read it with the program that wrote it"},
		{"unknown field", replace(`"complete"`, `"compleat"`), `unknown field "compleat"`},
		{"wrong type", replace(`"runs":[`, `"runs":["x",`), "field runs: a string is no value"},
		{"control character", replace(`"pi5-pmic"`, `"pi5\u001b[2J"`), "cannot be printed"},
		{"long text", replace(`"pi5-pmic"`, `"`+strings.Repeat("x", maxText+1)+`"`), "a string of more than 4096 bytes"},
		{"path as a board", replace(`"id":"pi-5"`, `"id":"../../x"`), `field board.id: "../../x" is no name`},
		{"no model", replace(`"name":"test-model"`, `"name":""`), "field model.name: it is empty"},
		{"bad sum", replace(`"sha256":"0123`, `"sha256":"x123`), "field options.prompts.sha256"},
		{"kind", replace(`"kind":"hardware"`, `"kind":"dream"`), "field machine.kind"},
		{"negative", replace(`"answers":4`, `"answers":-4`), "field runs[0].decode.tokens: -4 is not within"},
		{"huge", replace(`"watts":7.1`, `"watts":1e300`), "field runs[0].decode.energy.watts: 1e+300 is not within"},
		{"energy of 3 samples", replace(`"samples":200`, `"samples":3`), "samples: 3 is not within 10"},
		{"no reason", replace(`"complete":true`, `"complete":false`), "field ended"},
		{"other length", replace(`"watts":[2.7,`, `"watts":[`), "field series"},
		{"half a soak", replace(`"drift":{`, `"drift":null,"x":{`), "unknown field"},
		{"no drift", replace(`"window_s":60`, `"window_s":null`), "field soak: of window_s, first, last and drift some are there"},
		{"windows that overlap", replace(`"window_s":60`, `"window_s":301`), "field soak.window_s: 301 is not within 0 and 300"},
		{"no peak", replace(`"cgroup_peak_bytes":320000000,"celsius":{"start":46,"max":56}`, `"cgroup_peak_bytes":null,"celsius":{"start":46,"max":56}`), "field summary.no_cgroup_peak"},
		{"percentiles", replace(`"p95_ms":41,`, `"p95_ms":1,`), "field runs[0].decode.next_token.p95_ms"},
		{"a budget", replace(`"memory_bytes":0,"duration_s"`, `"memory_bytes":-1,"duration_s"`), "field options.memory_bytes"},
		{"no layers", replace(`"storage":null`, `"storage":{"layers":0,"bytes_per_token":5,"buffered":false}`), "field model.storage.layers"},
		{"no rate", replace(`"tokens_per_s":28.1`, `"tokens_per_s":null`), "field runs[0].decode.no_tokens_per_s"},
		{"no rates", replace(`"decode_tokens_per_s":{"median":28.2,"min":28.1,"max":28.3}`, `"decode_tokens_per_s":null`), "field summary.no_decode_tokens_per_s"},
		{"two values", string(good) + string(good), "after top-level value"},
	} {
		_, err := Read(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: %q is not a line", c.name, err)
		}
	}
	if _, err := Read(io.LimitReader(zeros{}, maxReport+100)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a long file: %v", err)
	}
	r := synthesised()
	r.Model.Name = `<script>alert("x")</script> | **bold** & ` + "`code`"
	var page, md bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, "hostile", page.String())
	if err := r.Markdown(&md); err != nil {
		t.Fatal(err)
	}
	if s := md.String(); !strings.Contains(s, `# \<script>alert("x")\</script> \| \*\*bold\*\* & \`) {
		t.Errorf("%.200s", s)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzRead: whatever is read can be written for people.
func FuzzRead(f *testing.F) {
	for _, r := range []*Report{synthesised(), missing(), unsteadyReport(), {}} {
		r.Series.Marks = r.Series.Marks[:min(len(r.Series.Marks), 7)]
		for _, c := range []*Column{&r.Series.Watts, &r.Series.Heat, &r.Series.Clock, &r.Series.Tokens} {
			*c = (*c)[:min(len(*c), 30)]
		}
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if err := r.HTML(io.Discard); err != nil {
			t.Fatal(err)
		}
		if err := r.Markdown(io.Discard); err != nil {
			t.Fatal(err)
		}
		_ = r.Brief()
		if b, err = json.Marshal(r); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(bytes.NewReader(b)); err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
	})
}

// TestApart: runs that differ much carry a caution, in each form.
func TestApart(t *testing.T) {
	for _, c := range []struct {
		decode, prefill *Spread
		want            string
	}{
		{&Spread{100, 95, 104}, &Spread{10, 10, 10.9}, ""},
		{&Spread{1731, 1378, 2084}, &Spread{10, 10, 10}, "runs differ by 41 % in decoding (1378 to 2084 tokens/s)"},
		{&Spread{2, 1, 3}, &Spread{10, 9, 10}, "runs differ by 100 % in decoding (1.00 to 3.00 tokens/s) and by 10 % in reading prompts (9.00 to 10.0 tokens/s)"},
		{&Spread{}, nil, ""},
	} {
		r := synthesised()
		r.Summary.Decode, r.Summary.Prefill = c.decode, c.prefill
		if got := r.Summary.apart(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if c.want == "" {
			if w := r.warnings(); len(w) > 0 {
				t.Errorf("%q", w)
			}
			continue
		}
		if w := strings.Join(r.warnings(), ""); w != "The "+c.want+": something else may have been running." || !strings.Contains(r.Brief(), "; the "+c.want) {
			t.Errorf("%q, %q", w, r.Brief())
		}
	}
}

// TestOnce: why there is no power is said once, and code is shown as code.
func TestOnce(t *testing.T) {
	r := missing()
	var page, md bytes.Buffer
	if err := errors.Join(r.HTML(&page), r.Markdown(&md)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(page.String(), "none of this machine can be read; <code>bimamba doctor</code> says why"); n != 1 {
		t.Errorf("%d times in the page", n)
	}
	if n := strings.Count(md.String(), "none of this machine can be read"); n != 1 {
		t.Errorf("%d times in Markdown", n)
	}
	for in, want := range map[string]string{"a": "a", "`": "`", "a `<b>` `c": "a <code>&lt;b&gt;</code> `c", "``": "<code></code>", "": ""} {
		if got := string(code(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestTexts: whatever a text of a report comes of, it is read again, and says something if it did.
func TestTexts(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"it broke\nand could not stop": "it broke; and could not stop",
		"\n\r\na\tb\x1b[2J\u00a0c\n":   "a b [2J c",
		"a\xffb":                       "a\uFFFDb",
		"\n\x00":                       "a text that cannot be printed",
		strings.Repeat("ß", maxText):   strings.Repeat("ß", (maxText-3)/2) + "...",
	} {
		if got := line(in); got != want {
			t.Errorf("%.50q: %.50q, want %.50q", in, got, want)
		}
	}
	r := synthesised()
	r.Sensors.Failures = []Failure{{"a\nb", 1, "c\x00"}}
	r.Board.Features, r.Before.Energy, r.Before.NoEnergy, r.Sensors.Power.Name = []string{"d\ne"}, nil, "f\n"+strings.Repeat("g", 2*maxText), "h\u2028i"
	lines(reflect.ValueOf(r))
	check(t, r)
	if f := r.Sensors.Failures[0]; f.Sensor != "a; b" || f.Last != "c" || r.Board.Features[0] != "d; e" || len(r.Before.NoEnergy) != maxText || r.Sensors.Power.Name != "h i" {
		t.Errorf("%+v, %q", r.Sensors, r.Board.Features)
	}
}

// TestBudget: what is read from storage for each token is no part of the memory, and is told.
func TestBudget(t *testing.T) {
	m, err := plan.Shape("780M", memmap.I8)
	if err != nil {
		t.Fatal(err)
	}
	f := model.NewFootprint(m, model.Options{Memory: 64 << 20})
	p := parts(&f)
	if f.Streamed == 0 || p.Buffers != f.Buffers || p.Total() != f.Total() || p.Weights+f.Streamed != f.Weights {
		t.Errorf("%+v of %+v", p, f)
	}
	r := synthesised()
	r.Options.Memory, r.Model.Parts = 64<<20, p
	r.Model.Storage = &Storage{Layers: f.StreamedLayers, Bytes: f.Streamed, Buffered: true, Unlocked: "operation not permitted"}
	check(t, r)
	var page, md bytes.Buffer
	if err := errors.Join(r.HTML(&page), r.Markdown(&md)); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, "budget", page.String())
	for _, want := range []string{
		"| buffers | " + megabytes(f.Buffers) + " |", fmt.Sprintf("| read from storage for a token | %s (%d layers), through the page cache", megabytes(f.Streamed), f.StreamedLayers),
		"| other layers | not locked in memory, so that they may be read again: operation not permitted |", ", memory at most 67.1 MB |", "| weights | " + megabytes(p.Weights) + ", mapped |",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("there is no %q in\n%s", want, md.String())
		}
	}
	if !strings.Contains(page.String(), `class="part7"`) {
		t.Error("the page does not draw the buffers")
	}
	if _, err := r.Share(); err == nil || !strings.Contains(err.Error(), "--memory") {
		t.Errorf("%v", err)
	}
	r.Options.Memory = 0
	res, err := r.Share()
	if err != nil {
		t.Fatal(err)
	}
	res.Options.Memory = 64 << 20
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadResult(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "field options.memory_bytes") {
		t.Errorf("%v", err)
	}
}

// TestLine: the line of a plot breaks where nothing is known.
func TestLine(t *testing.T) {
	nan := math.NaN()
	var p plot
	p.draw(1, Column{nan, 5, 10, nan, nan, 0, nan, 10}, true)
	if want := "M250 50h0L375 0M750 100h0M1000 0h0"; p.Path != want {
		t.Errorf("%s, want %s", p.Path, want)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 28.9, "0 10 20 30"}, {0, 4501, "0 1000 2000 3000 4000 5000"}, {45, 80.9, "40 50 60 70 80 90"}, {2400, 2400, "2200 2300 2400 2500 2600"},
		{0, 0, "0 0.0002 0.0004 0.0006 0.0008 0.001"}, {0, 0.3, "0 0.1 0.2 0.3"}, {-5, 5, "-5 0 5"}, {0, 123456, "0 50k 100k 150k"},
	} {
		var got []string
		for _, v := range ticks(c.lo, c.hi) {
			got = append(got, label(v))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%g to %g: %s, want %s", c.lo, c.hi, s, c.want)
		}
	}
}
