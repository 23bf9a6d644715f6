package health

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/boards/slot"
)

// TestMain is also a daemon of tests: it listens at the Unix socket of its arguments, and answers as $HEALTH_DAEMON says.
func TestMain(m *testing.M) {
	answer := os.Getenv("HEALTH_DAEMON")
	if answer == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("unix", strings.TrimPrefix(os.Args[2], "unix:"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	http.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if answer == "sick" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			Prompt    []uint32 `json:"prompt"`
			MaxTokens int      `json:"max_tokens"`
		}
		if json.NewDecoder(r.Body).Decode(&b) != nil || len(b.Prompt) != 2 || b.MaxTokens != 2 || r.Header.Get("Authorization") != "Bearer secret-of-the-board" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if answer == "slow" {
			<-r.Context().Done()
		}
		fmt.Fprint(w, answer)
	})
	http.Serve(l, nil)
}

// service is one process.
type service struct{ pid int }

func (s service) MainPID() (int, error)      { return s.pid, nil }
func (s service) Sockets() ([]string, error) { return nil, nil }

// store is a store whose current version's daemon is program.
func store(t *testing.T, program string) (*slot.Store, string) {
	t.Helper()
	root := t.TempDir()
	h, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := slot.NewFile(slot.Daemon, true, h, st.Size(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &slot.Manifest{Version: 1, Files: []slot.File{*f}, Golden: &slot.Golden{Prompt: []uint32{1, 2}, Text: "on", LogProbs: []float64{-0.1, -2.5e-8}}}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, slot.Dir)
	version := filepath.Join(dir, "versions", m.ID())
	for _, err := range []error{
		os.MkdirAll(version, 0o755), os.WriteFile(filepath.Join(version, "manifest.json"), b, 0o644), os.Symlink(program, filepath.Join(version, slot.Daemon)),
		os.Symlink("versions/"+m.ID(), filepath.Join(dir, "current")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return slot.Open(root, nil), m.ID()
}

func TestCheck(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, id := store(t, own)
	other, otherID := store(t, "/bin/sh")
	answer := func(text, logprobs string) string {
		return fmt.Sprintf(`{"choices":[{"text":%q,"logprobs":{"token_logprobs":[%s]}}]}`, text, logprobs)
	}
	for _, tt := range []struct {
		name, daemon, want string
	}{
		{"well", answer("on", "-0.1,-2.5e-8"), ""},
		{"another bit", answer("on", "-0.1,-2.5000000000000002e-8"), "token 2 of 2 has the logarithm of probability -2.5000000000000002e-08, and -2.5e-08 is right"},
		{"another text", answer("off", "-0.1,-2.5e-8"), `"off", and "on" is right`},
		{"too short", answer("on", "-0.1"), "an answer of 1 tokens, and 2 are right"},
		{"no answer", `{"choices":[]}`, "0 answers"},
		{"no JSON", "x", "the answer: invalid character"},
		{"sick", "sick", "s: /health at unix:"},
		{"slow", "slow", "a slow board needs more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret-of-the-board\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := exec.Command(own, "--listen", "unix:"+filepath.Join(dir, "s"))
			c.Env = []string{"HEALTH_DAEMON=" + tt.daemon, "STATE_DIRECTORY=" + dir}
			if err := c.Start(); err != nil {
				t.Skipf("the test binary cannot run itself here: %v", err)
			}
			defer func() { c.Process.Kill(); c.Wait() }()
			wait := 20 * time.Second
			if tt.daemon == "sick" || tt.daemon == "slow" {
				wait = 3 * time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			r, err := Check(ctx, s, service{c.Process.Pid}, id)
			switch {
			case tt.want == "" && (err != nil || !r.Golden || r.Tokens != 2 || r.PID != c.Process.Pid || !strings.HasPrefix(r.Address, "unix:")):
				t.Errorf("%+v, %v", r, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %s", err, tt.want)
			}
			if tt.want != "" {
				return
			}
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := Check(ctx, other, service{c.Process.Pid}, otherID); err == nil || !strings.Contains(err.Error(), "what runs is "+own) {
				t.Errorf("another program gave %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := Check(ctx, s, service{0}, id); err == nil || !strings.Contains(err.Error(), "it does not run") {
		t.Errorf("no process gave %v", err)
	}
	if _, err := Check(ctx, s, service{0}, otherID); err == nil || !strings.Contains(err.Error(), "is not current") {
		t.Errorf("another version gave %v", err)
	}
}
