package daemon

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLoad has sixteen clients of all kinds, and reloads, at it for two seconds: the race detector's hunting ground.
func TestLoad(t *testing.T) {
	d := newTester(t)
	lines := []string{fmt.Sprintf("state_dir = %q", d.state()), "queue = 4", "sessions = 3", "max_body = 20000", `log_level = "debug"`}
	d.configure(lines...)
	d.run(Options{})
	kinds := []struct {
		method, path, body string
		leave              bool // in the middle
	}{
		{"POST", "/v1/chat/completions", lights, false},
		{"POST", "/v1/chat/completions", strings.Replace(lights, "{", `{"stream":true,"stream_options":{"include_usage":true},"prompt_cache_key":"one",`, 1), false},
		{"POST", "/v1/completions", `{"model":"default","prompt":["a b c",[1,2,3]],"max_tokens":5,"echo":true,"logprobs":3}`, false},
		{"POST", "/api/chat", lights, false},
		{"POST", "/api/generate", `{"model":"default","prompt":"x","raw":true,"format":{"type":"array","items":{"type":"boolean"},"minItems":10,"maxItems":10}}`, false},
		{"POST", "/api/generate", `{"model":"default","prompt":"x","raw":true,"options":{"num_predict":100000},"format":{"type":"array","items":{"type":"null"},"minItems":200}}`, true},
		{"POST", "/v1/state", `{"op":"save","name":"one","session":"one"}`, false},
		{"POST", "/v1/state", `{"op":"load","name":"one","session":"two"}`, false},
		{"POST", "/v1/state", `{"op":"delete","name":"one"}`, false},
		{"GET", "/v1/state", "", false},
		{"GET", "/metrics", "", false},
		{"GET", "/status", "", false},
		{"GET", "/v1/models", "", false},
		{"POST", "/api/show", `{"model":"default"}`, false},
		{"POST", "/v1/chat/completions", `{"messages":`, false},
		{"POST", "/v1/completions", `{"prompt":"` + strings.Repeat("x", 30000) + `"}`, false},
	}
	end := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for n := 0; time.Now().Before(end); n++ {
				k := kinds[rng.IntN(len(kinds))]
				if n == 0 {
					k = kinds[i] // each kind at least once
				}
				d.once(rng, k.method, k.path, k.body, k.leave)
			}
		})
	}
	wg.Go(func() {
		for i := 0; time.Now().Before(end); i++ {
			d.configure(append(lines, fmt.Sprintf("max_prompt = %d", 1000+i))...)
			d.reload <- syscall.SIGHUP
			time.Sleep(200 * time.Millisecond)
		}
	})
	wg.Wait()
	d.lives()
	_, _, body := d.do("GET", "/metrics", "")
	m := parseMetrics(t, body)
	if m["bimamba_panics_total"] != 0 || m["bimamba_reloads_total"] == 0 {
		t.Errorf("%v panics, %v reloads", m["bimamba_panics_total"], m["bimamba_reloads_total"])
	}
	eventually(t, "all requests are over", func() bool { return d.metric(`bimamba_requests{state="active"}`) == "0" })
}

// once sends a request of which any answer will do but a failure of the daemon.
func (d *tester) once(rng *rand.Rand, method, path, body string, leave bool) {
	ctx := context.Background()
	if leave {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		defer cancel()
	}
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, r)
	if err != nil {
		d.t.Error(err)
		return
	}
	res, err := d.client.Do(req)
	if err != nil {
		if !leave {
			d.t.Errorf("%s %s: %v", method, path, err)
		}
		return
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if leave {
		return
	}
	if err != nil || res.StatusCode == 500 || res.StatusCode == 503 {
		d.t.Errorf("%s %s: %d %v %.300s", method, path, res.StatusCode, err, b)
	}
}
