package daemon

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	nameRule   = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	sampleRule = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*")*)\})? (\S+)$`)
)

// parseMetrics reads Prometheus's text format 0.0.4 strictly: every family has one HELP and one TYPE, in front of its samples, which come together.
func parseMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line does not end")
	}
	values := map[string]float64{}
	helped, typed := map[string]bool{}, map[string]string{}
	family := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			if !nameRule.MatchString(name) || help == "" || helped[name] {
				t.Errorf("%q", line)
			}
			helped[name], family = true, name
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != family || typed[name] != "" || kind != "counter" && kind != "gauge" {
				t.Errorf("%q", line)
			}
			if strings.HasSuffix(name, "_total") != (kind == "counter") {
				t.Errorf("%s is a %s", name, kind)
			}
			typed[name] = kind
			continue
		}
		m := sampleRule.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no sample: %q", line)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil || m[1] != family || typed[m[1]] == "" || typed[m[1]] == "counter" && v < 0 {
			t.Errorf("%q: %v", line, err)
		}
		series := strings.TrimSuffix(line, " "+m[3])
		if _, twice := values[series]; twice {
			t.Errorf("twice: %s", series)
		}
		values[series] = v
	}
	return values
}

func TestMetrics(t *testing.T) {
	d := start(t)
	for range 3 {
		d.lives()
	}
	_, h, body := d.do("GET", "/metrics", "")
	if got := h.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %s", got)
	}
	m := parseMetrics(t, body)
	for series, want := range map[string]float64{
		`bimamba_requests_total{outcome="ok"}`: 3, `bimamba_requests_total{outcome="failed"}`: 0, `bimamba_requests{state="active"}`: 0,
		`bimamba_states{kind="sessions"}`: 2, `bimamba_states{kind="checkpoints"}`: 8, "bimamba_panics_total": 0, "bimamba_reloads_total": 0,
	} {
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s is %v, %t; not %v", series, got, ok, want)
		}
	}
	for _, series := range []string{
		`bimamba_tokens_total{kind="prompt"}`, `bimamba_tokens_total{kind="sampled"}`, "bimamba_passes_total",
		`bimamba_time_seconds_total{phase="decode"}`, `bimamba_memory_bytes{kind="mapped"}`, `bimamba_memory_bytes{kind="arena"}`,
		`bimamba_memory_bytes{kind="heap"}`, `bimamba_memory_bytes{kind="rss"}`, "bimamba_uptime_seconds", "bimamba_connections",
	} {
		if m[series] <= 0 {
			t.Errorf("%s is %v", series, m[series])
		}
	}

	_, h, body = d.do("GET", "/status", "")
	var s status
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil || h.Get("Cache-Control") != "no-store" {
		t.Fatalf("%v: %s", err, body)
	}
	if s.Model.Name != "bimamba-assistant-22m" || len(s.Tasks) != 3 || s.Session.Total != 2 || s.Tokens.Sampled == 0 || s.Rate.Decode == nil || s.Memory.RSS == 0 ||
		s.Memory.Arena != int64(m[`bimamba_memory_bytes{kind="arena"}`]) || len(s.Model.Digest) != 64 || s.Energy != nil {
		t.Errorf("%+v", s)
	}

	d.configure("metrics = false", "page = false")
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	if status, _, body := d.do("GET", "/metrics", ""); status != 404 || !strings.Contains(body, "switched off") {
		t.Errorf("metrics that are off: %d %s", status, body)
	}
	if _, _, body := d.do("GET", "/", "", "Accept: text/html"); body != "Ollama is running" {
		t.Errorf("a page that is off: %.100s", body)
	}
}

func TestLabel(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", `a"b\c` + "\n": `a\"b\\c\n`, "é\t": "é\t", "\xff": "\uFFFD", "\u0085": "\u0085",
	} {
		if got := label(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
		parseMetrics(t, "# HELP x x\n# TYPE x gauge\nx{l=\""+label(in)+"\"} 1\n")
	}
}
