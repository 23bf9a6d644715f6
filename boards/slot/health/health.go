package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bimamba/boards/slot"
	"bimamba/edge/daemon/config"
)

// Service is what is to be known of the daemon's service.
type Service interface {
	MainPID() (int, error)      // 0: it does not run
	Sockets() ([]string, error) // of the socket unit: 127.0.0.1:11434, or a path
}

// Report is a daemon that is well.
type Report struct {
	ID      string  `json:"id"`      // of the version that it is of
	PID     int     `json:"pid"`     //
	Address string  `json:"address"` // that it was asked at
	Seconds float64 `json:"seconds"` // that it took until it was ready
	Golden  bool    `json:"golden"`  // it was asked the golden question; false: the version has none, as a package's
	Tokens  int     `json:"tokens"`  // of the answer
}

const maxAnswer = 8 << 20 // bytes of the daemon's answers

// Check waits until the daemon of the current version, or the package's, which has to be id, is ready, as long as ctx lets it, and asks it the golden question. The error says
// what is wrong, and it comes early if id is no longer current: then it has been rolled back.
func Check(ctx context.Context, s *slot.Store, service Service, id string) (*Report, error) {
	m, _, err := s.Current()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	r := &Report{ID: id}
	last := errors.New("it was not asked")
	for {
		_, now, err := s.Current()
		if err != nil {
			return nil, err
		}
		if now != id {
			return nil, fmt.Errorf("version %s is not current: %s", id, s.Why(id))
		}
		d, err := find(s, service)
		if err == nil {
			if err = d.ready(ctx); err == nil {
				r.PID, r.Address, r.Seconds = d.pid, d.address, time.Since(start).Seconds()
				if m != nil && m.Golden != nil {
					err = d.golden(ctx, m.Golden)
					r.Golden, r.Tokens = true, len(m.Golden.LogProbs)
				}
				return r, err
			}
		}
		if ctx.Err() == nil { // the end of the time is no reason
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the daemon was not ready in %.0f s: %w", time.Since(start).Seconds(), last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// daemon is the process that serves.
type daemon struct {
	pid     int
	address string
	url     string
	token   string
	client  *http.Client
}

// find finds the daemon, and how it can be asked, by what it was started with.
func find(s *slot.Store, service Service) (*daemon, error) {
	pid, err := service.MainPID()
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, errors.New("it does not run")
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(proc + "exe")
	if err != nil {
		return nil, err
	}
	want, err := filepath.EvalSymlinks(s.Path(slot.Daemon))
	if err == nil {
		want, err = filepath.Abs(want)
	}
	if err != nil {
		return nil, err
	}
	if exe != want {
		return nil, fmt.Errorf("what runs is %s, and not %s", exe, want)
	}
	args, env := words(proc+"cmdline"), words(proc+"environ")
	if len(args) == 0 {
		return nil, errors.New("it has just ended")
	}
	c, err := config.Load(args[1:], env, os.ReadFile)
	if err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	listen := c.Listen
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "LISTEN_FDS=") }) {
		sockets, err := service.Sockets()
		if err != nil {
			return nil, err
		}
		listen = nil
		for _, a := range sockets {
			if filepath.IsAbs(a) {
				a = "unix:" + a
			}
			if address, err := config.ParseAddress(a); err == nil {
				listen = append(listen, address)
			}
		}
	}
	if len(listen) == 0 {
		return nil, errors.New("it listens nowhere")
	}
	// A Unix socket asks for nothing; of the others one of this machine comes first.
	slices.SortStableFunc(listen, func(a, b config.Address) int { return rank(a) - rank(b) })
	d := &daemon{pid: pid, address: listen[0].String()}
	if b, err := os.ReadFile(c.TokenFile); err == nil {
		d.token = strings.TrimSpace(string(b))
	}
	d.connect(listen[0], c.TLS())
	return d, nil
}

func rank(a config.Address) int {
	switch {
	case a.Network == "unix":
		return 0
	case a.Local():
		return 1
	}
	return 2
}

// words are the strings of a file of /proc that ends each with a zero.
func words(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

func (d *daemon) connect(a config.Address, encrypted bool) {
	network, addr := a.Network, a.Addr
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			addr = net.JoinHostPort("127.0.0.1", port)
			if ip != nil && ip.To4() == nil {
				addr = net.JoinHostPort("::1", port)
			}
		}
	}
	d.url = "http://board"
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	if encrypted && network == "tcp" {
		// It is a process of this machine, found by its number; what name its certificate is for does not matter here.
		d.url, t.TLSClientConfig = "https://board", &tls.Config{InsecureSkipVerify: true}
	}
	d.client = &http.Client{Transport: t}
}

// ask sends a request and returns the answer of status 200.
func (d *daemon) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
	res, err := d.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking it at %s: %w", d.address, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s at %s is answered %s: %.300s", path, d.address, res.Status, strings.TrimSpace(string(b)))
	}
	return b, err
}

func (d *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := d.ask(ctx, http.MethodGet, "/health", nil)
	return err
}

// golden asks the golden question. Nothing but the model, the arithmetic and the processor goes into the answer.
func (d *daemon) golden(ctx context.Context, g *slot.Golden) error {
	body, err := json.Marshal(map[string]any{
		"prompt": g.Prompt, "max_tokens": len(g.LogProbs), "temperature": 0, "repetition_penalty": 1, "logprobs": 0,
	})
	if err != nil {
		return err
	}
	b, err := d.ask(ctx, http.MethodPost, "/v1/completions", body)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("the golden prompt: there is no answer in the time that there is: a slow board needs more (--trial of bimamba deploy, --wait of bimamba slot health)")
	}
	if err != nil {
		return fmt.Errorf("the golden prompt: %w", err)
	}
	var answer struct {
		Choices []struct {
			Text     string `json:"text"`
			LogProbs struct {
				Tokens []float64 `json:"token_logprobs"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("the golden prompt: the answer: %w", err)
	}
	if len(answer.Choices) != 1 {
		return fmt.Errorf("the golden prompt: %d answers", len(answer.Choices))
	}
	got := answer.Choices[0]
	return Compare(g, got.Text, got.LogProbs.Tokens)
}

// Compare says where an answer is not the golden one.
func Compare(g *slot.Golden, text string, logprobs []float64) error {
	for i, want := range g.LogProbs {
		switch {
		case i >= len(logprobs):
			return fmt.Errorf("the golden prompt: an answer of %d tokens, and %d are right: %.80q instead of %.80q", len(logprobs), len(g.LogProbs), text, g.Text)
		case logprobs[i] != want:
			return fmt.Errorf("the golden prompt: token %d of %d has the logarithm of probability %v, and %v is right: %.80q instead of %.80q",
				i+1, len(g.LogProbs), logprobs[i], want, text, g.Text)
		}
	}
	if text != g.Text || len(logprobs) != len(g.LogProbs) {
		return fmt.Errorf("the golden prompt: %.80q, and %.80q is right", text, g.Text)
	}
	return nil
}
