package ssh

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options of New.
type Options struct {
	Config string // file in the form of ssh_config(5); "" is the user's
	Batch  bool   // nothing is asked for, neither password nor passphrase: for several hosts at a time
}

// Host is another machine. Its commands share one connection, which is made by the first.
type Host struct {
	target string
	opt    Options
	dir    string // of the connection's socket
}

// New is the host of a target: a name, or user@name, as ssh takes it. Nothing is connected yet. Close ends it.
func New(target string, opt Options) (*Host, error) {
	if target == "" || strings.HasPrefix(target, "-") || strings.ContainsAny(target, " \t\r\n'\"") {
		return nil, fmt.Errorf("%q: it is a host, or user@host", target)
	}
	dir, err := os.MkdirTemp("", "bimamba-ssh-")
	if err != nil {
		return nil, err
	}
	return &Host{target, opt, dir}, nil
}

// String is the target.
func (h *Host) String() string { return h.target }

// Close ends the connection.
func (h *Host) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := os.Stat(h.socket()); err == nil {
		exec.CommandContext(ctx, "ssh", append(h.options(), "-O", "exit", "--", h.target)...).Run() // it may have ended by itself
	}
	return os.RemoveAll(h.dir)
}

func (h *Host) socket() string { return filepath.Join(h.dir, "s") }

// Alive is the options with which ssh ends when the other machine no longer answers: after 20 s while it connects, after 30 s later.
func Alive() []string {
	return []string{"-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"}
}

// options come before those of the user's configuration: of several values ssh takes the first.
func (h *Host) options() []string {
	o := append(Alive(), "-T", "-o", "StrictHostKeyChecking=yes", "-o", "NoHostAuthenticationForLocalhost=no",
		"-o", "ControlMaster=auto", "-o", "ControlPath="+h.socket(), "-o", "ControlPersist=60",
	)
	if h.opt.Batch {
		o = append(o, "-o", "BatchMode=yes")
	}
	if h.opt.Config != "" {
		o = append(o, "-F", h.opt.Config)
	}
	return o
}

// maxOutput is more than any command that is called prints.
const maxOutput = 32 << 20

// Run runs a line of shell there and returns what it prints. stdin may be nil. The error is an *Error unless ctx ended.
func (h *Host) Run(ctx context.Context, stdin io.Reader, line string) ([]byte, error) {
	out := limited{most: maxOutput}
	err := h.Stream(ctx, stdin, &out, line)
	return out.Bytes(), err
}

// Stream is Run with output that goes on.
func (h *Host) Stream(ctx context.Context, stdin io.Reader, stdout io.Writer, line string) error {
	c := exec.CommandContext(ctx, "ssh", append(h.options(), "--", h.target, line)...)
	var said tail
	c.Stdin, c.Stdout, c.Stderr, c.WaitDelay = stdin, stdout, &said, 5*time.Second
	return h.failed(ctx, c.Run(), said.String())
}

// Pipe is a command that runs there.
type Pipe struct {
	io.Reader      // what it prints
	io.WriteCloser // what it reads
	wait           func() error
}

// Wait waits for its end. Reading has to have come to an end before.
func (p *Pipe) Wait() error { return p.wait() }

// Pipe starts a line of shell there. The end of ctx ends it.
func (h *Host) Pipe(ctx context.Context, line string) (*Pipe, error) {
	c := exec.CommandContext(ctx, "ssh", append(h.options(), "--", h.target, line)...)
	var said tail
	c.Stderr, c.WaitDelay = &said, 5*time.Second
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, h.failed(ctx, err, "")
	}
	return &Pipe{out, in, sync.OnceValue(func() error { return h.failed(ctx, c.Wait(), said.String()) })}, nil
}

// Error is a command that failed there, or a connection that did not come about.
type Error struct {
	Target string
	Lost   bool   // ssh itself failed: nothing is known of the command
	Status int    // of the command
	Said   string // the last lines of standard error
	hint   string
}

func (e *Error) Error() string {
	switch {
	case e.hint != "":
		return e.Target + ": " + e.hint
	case e.Said != "":
		return e.Target + ": " + e.Said
	case e.Lost:
		return e.Target + ": the connection was lost"
	}
	return fmt.Sprintf("%s: exit status %d", e.Target, e.Status)
}

// Refused tells whether there is no use in trying again: the key, or who logs in, is not accepted.
func (e *Error) Refused() bool { return e.hint != "" }

// failed makes an error of how ssh ended.
func (h *Host) failed(ctx context.Context, err error, said string) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the program ssh is needed: apt install openssh-client")
	case !errors.As(err, &exit):
		return err
	}
	e := &Error{Target: h.target, Status: exit.ExitCode(), Said: strings.TrimSpace(said)}
	e.Lost = e.Status == 255 || e.Status < 0
	if e.Lost {
		e.hint = hint(h.target, h.opt.Config, e.Said)
	}
	return e
}

// hint is what to do about the refusals that OpenSSH words so.
func hint(target, config, said string) string {
	ssh := "ssh "
	if config != "" {
		ssh += "-F " + Quote(config) + " "
	}
	host := target[strings.LastIndexByte(target, '@')+1:]
	switch {
	case strings.Contains(said, "REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return fmt.Sprintf("its host key is not the one that is known: it was set up anew, or somebody is between; if it was set up anew: ssh-keygen -R %s, then %s-o StrictHostKeyChecking=ask %s true",
			host, ssh, target)
	case strings.Contains(said, "Host key verification failed"), strings.Contains(said, "host key is known for"):
		return fmt.Sprintf("its host key is not known here; look at its fingerprint and accept it with: %s-o StrictHostKeyChecking=ask %s true", ssh, target)
	case strings.Contains(said, "Permission denied ("):
		return fmt.Sprintf("it does not let us in (%s); to put your key there: ssh-copy-id %s", lastLine(said), target)
	case strings.Contains(said, "Could not resolve hostname"):
		return lastLine(said)
	}
	return ""
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// Quote is words for the shell there.
func Quote(words ...string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._=:@%+-") == "" {
			b.WriteString(w)
		} else {
			b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
		}
	}
	return b.String()
}

// CheckProgram checks that a file, which errors call name, is a program that needs nothing else on a machine as `uname -m` calls it.
func CheckProgram(name, path, machine string) error {
	want, ok := map[string]elf.Machine{"aarch64": elf.EM_AARCH64, "x86_64": elf.EM_X86_64}[machine]
	if !ok {
		return fmt.Errorf("the board's kernel is of %.40q; bimamba runs on aarch64 and x86_64", machine)
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no program: %w", name, err)
	}
	defer f.Close()
	if f.Machine != want {
		return fmt.Errorf("%s is for %v, and the board is %s", name, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs libraries that the board may not have; build it with CGO_ENABLED=0", name)
		}
	}
	return nil
}

// limited keeps output that is not too much.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.most {
		return 0, errors.New("it prints too much")
	}
	return l.Buffer.Write(p)
}

// tail keeps the last of what is printed.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4 << 10
	t.b = append(t.b, p...)
	if len(t.b) > 2*most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ReplaceAll(string(t.b), "\r\n", "\n")
}
