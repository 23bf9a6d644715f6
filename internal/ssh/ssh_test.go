package ssh

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fake puts an ssh into PATH that writes its arguments to a file and then does what body says.
func fake(t *testing.T, body string) (args func() string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "args")
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + log + "\nfor line; do :; done\n" + body
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string { b, _ := os.ReadFile(log); return string(b) }
}

func host(t *testing.T, opt Options) *Host {
	t.Helper()
	h, err := New("pi@board", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestRun(t *testing.T) {
	args := fake(t, `eval "$line"`)
	h := host(t, Options{Batch: true, Config: "my config"})
	out, err := h.Run(context.Background(), strings.NewReader("in"), "cat; echo "+Quote("it's", "b", "*"))
	if err != nil || string(out) != "init's b *\n" {
		t.Errorf("%q, %v", out, err)
	}
	got := args()
	for _, want := range []string{"StrictHostKeyChecking=yes\n", "ServerAliveInterval=10\n", "BatchMode=yes\n", "-F\nmy config\n", "\n--\npi@board\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	_, err = h.Run(context.Background(), nil, "printf 'wr\\033[2Jong\\n' >&2; exit 3")
	var e *Error
	if !errors.As(err, &e) || e.Lost || e.Status != 3 || err.Error() != "pi@board: wr?[2Jong" {
		t.Errorf("%v", err)
	}
	p, err := h.Pipe(context.Background(), "cat", true)
	if err != nil {
		t.Fatal(err)
	}
	go func() { io.WriteString(p, "through"); p.Close() }()
	if b, err := io.ReadAll(p); string(b) != "through" || err != nil || p.Wait() != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestRefused has OpenSSH's own words (version 9.2).
func TestRefused(t *testing.T) {
	for said, want := range map[string]string{
		"No ED25519 host key is known for board and you have requested strict checking.\r\nHost key verification failed.\r\n":                                                                     "pi@board: its host key is not known here; look at its fingerprint and accept it with: ssh -o StrictHostKeyChecking=ask pi@board true",
		"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n...\r\nHost key verification failed.\r\n":                                                                                 "ssh-keygen -R board, then",
		"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n  remove with:\r\n  ssh-keygen -f '/home/me/.ssh/known_hosts' -R '[192.0.2.7]:2222'\r\nHost key verification failed.\r\n": "anew: ssh-keygen -f '/home/me/.ssh/known_hosts' -R '[192.0.2.7]:2222', then",
		"pi@board: Permission denied (publickey,password).\r\n":                                                                                                                                   "ssh-copy-id pi@board",
		"ssh: Could not resolve hostname board: Name or service not known\r\n":                                                                                                                    "Name or service not known",
	} {
		fake(t, "cat >&2 <<'END'\n"+said+"END\nexit 255")
		_, err := host(t, Options{}).Run(context.Background(), nil, "true")
		var e *Error
		if !errors.As(err, &e) || !e.Lost || !e.Refused() || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	fake(t, "exit 255")
	_, err := host(t, Options{}).Run(context.Background(), nil, "true")
	var e *Error
	if !errors.As(err, &e) || !e.Lost || e.Refused() {
		t.Errorf("a lost connection gave %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, bad := range []string{"", "-oProxyCommand=x", "a b", "a'b", "a\x1b[2J", strings.Repeat("a", 600)} {
		if _, err := New(bad, Options{}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestQuote has a shell read the words again.
func TestQuote(t *testing.T) {
	for _, words := range [][]string{
		{"", "a b", "it's; $(rm)", "*", "~", "a\nb", "\\", "-n"}, {"A=b"}, {"=ls"}, {"--limit=5m"}, {"/usr/bin/x", "user@host:22", "100%"}, {"'", "''", "\"", "`id`", "!x", "#", "{a,b}", "ö"},
	} {
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+Quote(words...)).Output()
		if got := strings.TrimSuffix(string(out), "\x00"); err != nil || got != strings.Join(words, "\x00") {
			t.Errorf("%q came as %q, %v", words, got, err)
		}
	}
	for word, want := range map[string]string{"--limit=5m": "--limit=5m", "A=b": "'A=b'", "=ls": "'=ls'", "": "''"} {
		if got := Quote(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}

// TestUserRules: whose keys are taken is left to the configuration, and what is printed is passed on.
func TestUserRules(t *testing.T) {
	args := fake(t, "echo 'ssh: no route' >&2; exit 255")
	var said strings.Builder
	_, err := host(t, Options{UserRules: true, Stderr: &said}).Run(context.Background(), nil, "true")
	var e *Error
	if !errors.As(err, &e) || !e.Lost || err.Error() != "pi@board: the connection was lost" || said.String() != "ssh: no route\n" {
		t.Errorf("%v; %q", err, said.String())
	}
	if strings.Contains(args(), "StrictHostKeyChecking") || !strings.Contains(args(), "ControlMaster=auto\n") {
		t.Error(args())
	}
}
