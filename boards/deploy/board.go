package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"bimamba/boards/detect"
	"bimamba/boards/slot"
	"bimamba/boards/slot/health"
	"bimamba/internal/ssh"
	"bimamba/internal/static"
)

// program is the board's side of deployments.
const program = slot.Dir + "/bin/bimamba"

// Board is a board that is reached by ssh.
type Board struct {
	host    *ssh.Host
	machine string // as `uname -m` says
	sudo    string // before commands of root: "sudo -n " or nothing
	program string // bimamba there, "" if there is none
}

// Connect looks at what is at the other end: its processor, who we are there, and whether a bimamba is there.
func Connect(ctx context.Context, h *ssh.Host) (*Board, error) {
	out, err := h.Run(ctx, nil, `echo bimamba:uid:$(id -u); echo bimamba:machine:$(uname -m); for p in `+program+` /usr/bin/bimamba; do if [ -x $p ]; then echo bimamba:program:$p; break; fi; done`)
	if err != nil {
		return nil, err
	}
	b := &Board{host: h}
	uid := ""
	for line := range strings.Lines(string(out)) { // start-up files of a shell may have printed others
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key != "bimamba" {
			continue
		}
		switch key, value, _ = strings.Cut(value, ":"); key {
		case "uid":
			uid = value
		case "machine":
			b.machine = value
		case "program":
			b.program = value
		}
	}
	if uid == "" || b.machine == "" {
		return nil, fmt.Errorf("%s: it does not tell who we are there: %.200q", h, out)
	}
	if uid != "0" {
		b.sudo = "sudo -n "
		if _, err := h.Run(ctx, nil, "sudo -n true"); err != nil {
			if lost(err) {
				return nil, err
			}
			return nil, fmt.Errorf("%s: a deployment is done by root there: log in as root, or let this user use sudo without a password (%w)", h, err)
		}
	}
	return b, nil
}

// lost tells whether the connection failed, and not what was run over it.
func lost(err error) bool {
	var e *ssh.Error
	return errors.As(err, &e) && e.Lost
}

// root runs a command there as root.
func (b *Board) root(ctx context.Context, stdin io.Reader, words ...string) ([]byte, error) {
	out, err := b.host.Run(ctx, stdin, b.sudo+ssh.Quote(words...))
	var e *ssh.Error
	if errors.As(err, &e) && !e.Lost {
		e.Said = strings.TrimPrefix(e.Said, "bimamba: ") // ours, there
	}
	return out, err
}

// slot runs a command of the board's side.
func (b *Board) slot(ctx context.Context, words ...string) ([]byte, error) {
	if b.program == "" {
		return nil, fmt.Errorf("%s: nothing was deployed there, and no package is installed", b.host)
	}
	return b.root(ctx, nil, append([]string{b.program, "slot"}, words...)...)
}

// Status is what is on the board.
func (b *Board) Status(ctx context.Context) (*slot.Status, error) {
	out, err := b.slot(ctx, "status", "--json")
	if err != nil {
		return nil, err
	}
	st := new(slot.Status)
	if err := json.Unmarshal(out, st); err != nil {
		return nil, fmt.Errorf("%s: what it says of its versions: %w", b.host, err)
	}
	if st.Protocol != slot.Protocol {
		return st, fmt.Errorf("%s: its bimamba %.40s speaks protocol %d, and this one speaks %d", b.host, st.Program, st.Protocol, slot.Protocol)
	}
	if st.Base != nil {
		if err := st.Base.Validate(); err != nil {
			return nil, fmt.Errorf("%s: what serves there: %w", b.host, err)
		}
	}
	return st, nil
}

// bring makes sure that a program is there that speaks our protocol, and returns what it says. cli is put there if it has to be.
func (b *Board) bring(ctx context.Context, cli string) (*slot.Status, error) {
	put := func() error {
		if cli == "" {
			return fmt.Errorf("%s: no bimamba is there that takes deployments: give --cli and --daemon, static programs for %s", b.host, b.machine)
		}
		if err := static.Check(cli, cli, b.machine); err != nil {
			return err
		}
		f, err := os.Open(cli)
		if err != nil {
			return err
		}
		defer f.Close()
		return b.put(ctx, f)
	}
	if b.program == "" {
		if err := put(); err != nil {
			return nil, err
		}
	}
	st, err := b.Status(ctx)
	if err == nil || lost(err) || ctx.Err() != nil {
		if err == nil && b.program != program { // a package's, which a rollback must not depend on
			if err := b.place(ctx, nil, "cat "+b.program+` >"$t"`); err != nil {
				return nil, err
			}
		}
		return st, err
	}
	if cli == "" {
		return nil, err
	}
	if err := put(); err != nil {
		return nil, err
	}
	return b.Status(ctx)
}

// put makes a file the program there.
func (b *Board) put(ctx context.Context, f io.ReadSeeker) error {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// For cat there a connection that is cut is no other end than the file's.
	return b.place(ctx, f, fmt.Sprintf(`cat >"$t" && if [ "$(sha256sum <"$t" | cut -c -64)" != %x ]; then echo "the program did not come whole: deploy again" >&2; exit 1; fi`, h.Sum(nil)))
}

// place has a line of shell write the program, to a file $t of its own: it appears whole or not at all, also if others do the same.
func (b *Board) place(ctx context.Context, stdin io.Reader, write string) error {
	line := fmt.Sprintf(`umask 022; mkdir -p %s/bin && t=$(mktemp %s.XXXXXX) && trap 'rm -f "$t"' EXIT && %s && chmod 0755 "$t" && sync && mv "$t" %s`, slot.Dir, slot.Incoming, write, program)
	if _, err := b.root(ctx, stdin, "sh", "-c", line); err != nil {
		return err
	}
	b.program = program
	return nil
}

// examination is what matters of `bimamba doctor --json`.
type examination struct {
	Board    *detect.Board    `json:"board"`
	Findings []detect.Finding `json:"findings"`
}

// doctor examines the board, and refuses one whose answers could not be right.
func (b *Board) doctor(ctx context.Context) (*detect.Board, error) {
	out, err := b.root(ctx, nil, b.program, "doctor", "--json")
	var x examination
	if jerr := json.Unmarshal(out, &x); jerr != nil || x.Board == nil { // its exit status is 1 where it found errors
		if err == nil {
			err = fmt.Errorf("%s: what bimamba doctor says: %w", b.host, jerr)
		}
		return nil, err
	}
	for _, f := range x.Findings {
		if f.Severity == detect.Error {
			mend := ""
			if f.Mend != "" {
				mend = "; " + f.Mend
			}
			return nil, fmt.Errorf("%s: bimamba doctor found an error there: %s: %s%s", b.host, f.What, f.Why, mend)
		}
	}
	return x.Board, nil
}

// Logs writes the last lines of the daemon's log to w, and goes on with follow.
func (b *Board) Logs(ctx context.Context, w io.Writer, lines int, follow bool) error {
	words := []string{"journalctl", "--no-pager", "-q", "-u", "bimambad.service", "-n", fmt.Sprint(lines)}
	if follow {
		words = append(words, "-f")
	}
	return b.host.Stream(ctx, nil, w, b.sudo+ssh.Quote(words...))
}

// config is the configuration that the daemon has there without one of ours.
func (b *Board) config(ctx context.Context, deployed bool) ([]byte, error) {
	path := "/etc/bimamba/bimambad.toml"
	if deployed {
		path = slot.Dir + "/current/" + slot.Config
	}
	return b.root(ctx, nil, "sh", "-c", fmt.Sprintf("if [ -e %[1]s ]; then cat %[1]s; fi", path))
}

// parseHealth reads what `bimamba slot health` prints.
func parseHealth(out []byte) (*health.Report, error) {
	r := new(health.Report)
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("what bimamba slot health says: %w", err)
	}
	return r, nil
}
