package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/edge/home"
	"bimamba/internal/hass"
	"bimamba/internal/hass/hasstest"
)

// lines is an output that is waited for.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(l.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q never came; there is\n%s", text, l)
		}
	}
}

func syncer(t *testing.T) (*hasstest.Server, *homeSync, *lines, *lines) {
	t.Helper()
	b, err := os.ReadFile("../hass/testdata/house.json")
	if err != nil {
		t.Fatal(err)
	}
	server, err := hasstest.New(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(hasstest.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := hass.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs lines
	return server, &homeSync{env: &env{stdout: &out, stderr: &errs}, tokenFile: token, out: filepath.Join(dir, "home.toml"), url: u,
		quiet: 10 * time.Millisecond, first: 5 * time.Millisecond, most: 20 * time.Millisecond}, &out, &errs
}

func TestHomeSync(t *testing.T) {
	server, s, out, errs := syncer(t)
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	out.await(t, "home.toml: +2 floors, +3 areas, +6 entities (2 floors, 3 areas, 6 entities; Home Assistant 2026.8.1)\n")
	errs.await(t, "entity light.nameless is left out")
	if _, err := home.Read(s.out); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(s.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	out.await(t, "home.toml: nothing changed (")
	if after, err := os.Stat(s.out); err != nil || !os.SameFile(before, after) {
		t.Error("the file was written although nothing had changed")
	}

	// What is to be asked about is the owner's, and stays.
	b, err := os.ReadFile(s.out)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("language = "), []byte("confirm = [\"script.*\"]\nlanguage = "), 1)
	if err := os.WriteFile(s.out, b, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Set("config/area_registry/list", `[{"area_id":"bedroom","name":"Master bedroom","aliases":[],"floor_id":null}]`)
	s.json = true
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, err := home.Read(s.out); err != nil || len(h.Confirm) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	text := out.String()
	var report struct {
		Written bool         `json:"written"`
		Areas   hass.Changes `json:"areas"`
		Notes   []string     `json:"notes"`
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &report); err != nil {
		t.Fatal(err)
	}
	if !report.Written || len(report.Areas.Removed) != 2 || len(report.Areas.Changed) != 1 || len(report.Notes) != 2 {
		t.Errorf("%+v", report)
	}

	if err := os.WriteFile(s.out, []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err == nil || !strings.Contains(err.Error(), "was not written by sync") {
		t.Error(err)
	}
	s.force = true
	if err := s.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHomeSyncWatch(t *testing.T) {
	server, s, out, errs := syncer(t)
	s.watch = true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	out.await(t, "+6 entities")
	server.Set("config/floor_registry/list", `[]`)
	for server.Fire("floor_registry_updated") == 0 {
		time.Sleep(time.Millisecond)
	}
	out.await(t, "-2 floors, 2 areas changed")

	// A connection that ends is made again, and what changed meanwhile is seen.
	server.Set("config/floor_registry/list", `[{"floor_id":"new","name":"Attic","aliases":[]}]`)
	server.Drop()
	errs.await(t, "the next attempt is in ")
	out.await(t, "+1 floor")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	// A token that is not taken is not tried again.
	if err := os.WriteFile(s.tokenFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.stderr = io.Discard
	if err := s.run(t.Context()); !errors.Is(err, hass.ErrToken) {
		t.Error(err)
	}
}
