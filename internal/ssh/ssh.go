package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

// Options of New.
type Options struct {
	Config string // file in the form of ssh_config(5); "" is the user's
	Batch  bool   // nothing is asked for, neither password nor passphrase: for several hosts at a time
	// UserRules leaves it to the configuration which keys of hosts are taken. Otherwise they have to be known ones, whatever it says.
	UserRules bool
	// Stderr gets what ssh and commands print to standard error; errors then leave that out. It may be nil.
	Stderr io.Writer
}

// Host is another machine. Its commands share one connection, which is made by the first.
type Host struct {
	target string
	opt    Options
	dir    string // of the connection's socket
}

// New is the host of a target: a name, or user@name, as ssh takes it. Nothing is connected yet. Close ends it.
func New(target string, opt Options) (*Host, error) {
	if err := CheckTarget(target); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bimamba-ssh-")
	if err != nil {
		return nil, err
	}
	return &Host{target, opt, dir}, nil
}

// CheckTarget says what is wrong with a target. One that begins with a hyphen would be an option.
func CheckTarget(target string) error {
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\'' || r == '"' }
	if target == "" || len(target) > 512 || strings.HasPrefix(target, "-") || strings.ContainsFunc(target, odd) {
		return fmt.Errorf("%.80q: it is a host, or user@host", target)
	}
	return nil
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

// options come before those of the user's configuration: of several values ssh takes the first. It ends when the other machine no longer answers: after 20 s while
// it connects, after 30 s later.
func (h *Host) options() []string {
	o := []string{"-T", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3",
		"-o", "ControlMaster=auto", "-o", "ControlPath=" + h.socket(), "-o", "ControlPersist=60"}
	if !h.opt.UserRules {
		o = append(o, "-o", "StrictHostKeyChecking=yes", "-o", "NoHostAuthenticationForLocalhost=no")
	}
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
	c, said := h.command(ctx, line)
	c.Stdin, c.Stdout = stdin, stdout
	return h.failed(ctx, c.Run(), said.String())
}

// command is ssh running a line of shell there. The end of ctx ends it.
func (h *Host) command(ctx context.Context, line string) (*exec.Cmd, *tail) {
	c := exec.CommandContext(ctx, "ssh", append(h.options(), "--", h.target, line)...)
	said := &tail{also: h.opt.Stderr}
	c.Stderr, c.WaitDelay = said, 5*time.Second // for the connection's own process, which may hold what a killed command printed to
	return c, said
}

// Pipe is a command that runs there.
type Pipe struct {
	io.Reader      // what it prints
	io.WriteCloser // what it reads
	wait           func() error
}

// Wait waits for its end. Reading has to have come to an end before.
func (p *Pipe) Wait() error { return p.wait() }

// Pipe starts a line of shell there. The end of ctx ends it. apart keeps a Ctrl-C at the terminal from it, which is then for the caller to pass on; a password cannot be
// asked for, so a connection has to be there.
func (h *Host) Pipe(ctx context.Context, line string, apart bool) (*Pipe, error) {
	c, said := h.command(ctx, line)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: apart}
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
	if h.opt.Stderr != nil {
		e.Said = ""
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
		forget := "ssh-keygen -R " + host
		for line := range strings.Lines(said) { // Debian's ssh names the file, and the host as it stands in there
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "ssh-keygen -f ") {
				forget = line
			}
		}
		return fmt.Sprintf("its host key is not the one that is known: it was set up anew, or somebody is between; if it was set up anew: %s, then %s-o StrictHostKeyChecking=ask %s true",
			forget, ssh, target)
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
		safe := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._:@%+-"
		if strings.HasPrefix(w, "-") {
			safe += "=" // elsewhere it may make an assignment of the word, or the path of a command
		}
		if w != "" && strings.Trim(w, safe) == "" {
			b.WriteString(w)
		} else {
			b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
		}
	}
	return b.String()
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
	also io.Writer // gets all of it; may be nil
	mu   sync.Mutex
	b    []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.also != nil {
		t.also.Write(p) // it is said again in no error, and no reason for one
	}
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
	return Printable(strings.ReplaceAll(string(t.b), "\r\n", "\n"))
}

// Printable is what another machine says, for a terminal here: only its line ends and tabs move the cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, s)
}
