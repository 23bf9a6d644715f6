package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/edge/action"
)

func message() *action.Message {
	return &action.Message{ID: "id-1", Intent: "HassTurnOn", Slots: map[string]any{"area": "living room", "brightness": 50, "item": "-rf", "quote": "'; rm -rf / #"}, Time: time.Unix(0, 0), Expires: time.Unix(60, 0)}
}

// script is a program that a test wrote.
func script(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+strings.Join(lines, "\n")+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func send(t *testing.T, opt Options) error {
	t.Helper()
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Send(t.Context(), message())
}

func TestSend(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	path := script(t, `{ for a in "$@"; do echo "[$a]"; done; cat; } >`+out)
	err := send(t, Options{Argv: []string{path, "{intent}", "in {slots.area}: {slots.brightness}%", "{slots.none}", "--item={slots.item}", "{slots.quote}", "{id}", "$HOME"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := "[HassTurnOn]\n[in living room: 50%]\n[]\n[--item=-rf]\n['; rm -rf / #]\n[id-1]\n[$HOME]\n" +
		`{"id":"id-1","intent":"HassTurnOn","slots":{"area":"living room","brightness":50,"item":"-rf","quote":"'; rm -rf / #"},"entities":null,"time":"1970-01-01T00:00:00Z","expires":"1970-01-01T00:01:00Z"}` + "\n"
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		opt  Options
		want string
		away bool
	}{
		"exit status": {Options{Argv: []string{script(t, "echo no; printf '\\033[1mlamp' >&2; exit 3")}}, ": exit status 3: no [1mlamp", false},
		"try again":   {Options{Argv: []string{script(t, "exit 75")}}, ": exit status 75", true},
		"killed":      {Options{Argv: []string{script(t, "kill -9 $$")}}, ": signal: killed", false},
		"too long":    {Options{Argv: []string{script(t, "echo begun; sleep 60 & sleep 60")}, Timeout: 200 * time.Millisecond}, ": it took longer than 200ms: begun", false},
		"option":      {Options{Argv: []string{script(t), "{slots.item}"}}, `: argument 1: it is "-rf", which would be an option; put text before {slots.item}`, false},
		"floods":      {Options{Argv: []string{script(t, "yes | head -c 1000000; exit 1")}}, "y y  ...", false},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			err := send(t, tc.opt)
			if err == nil || !strings.HasSuffix(err.Error(), tc.want) || errors.As(err, new(*action.Away)) != tc.away || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("after %v", d)
			}
		})
	}
}

// TestLeavesChild has a program that starts another one and ends well: that is no failure.
func TestLeavesChild(t *testing.T) {
	if err := send(t, Options{Argv: []string{script(t, "sleep 5 &")}}); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	path := script(t)
	for _, argv := range [][]string{nil, {"/no/such/program"}, {path, "{slot.area}"}, {path, "{"}, {path, "{}"}, {path, "a {slots.} b"}, {path, "{id"}} {
		if _, err := New(Options{Argv: argv}); err == nil {
			t.Errorf("%q", argv)
		}
	}
}

func FuzzFill(f *testing.F) {
	f.Add("in {slots.area}", "kitchen")
	f.Add("{slots.area}", "-x")
	f.Add("{slots.x}{slots.area}", "-x")
	f.Add("{{id}}", "")
	f.Fuzz(func(t *testing.T, arg, value string) {
		parts, err := parse(arg)
		if err != nil {
			return
		}
		got, err := fill(parts, &action.Message{ID: "i", Intent: "n", Slots: map[string]any{"area": value}})
		if err == nil && strings.HasPrefix(got, "-") && !strings.HasPrefix(arg, "-") {
			t.Errorf("%q with %q is %q", arg, value, got)
		}
	})
}
