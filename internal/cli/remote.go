package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bimamba/boards/measure"
	"bimamba/internal/ssh"
)

// remote is a board that is reached by the system's ssh, with the user's own configuration, keys and known hosts.
type remote struct {
	env    *env
	target string
	socket string // of the connection that all commands share, so that a password is asked for once
	home   string // a folder of ours there, which keeps models
	work   string // a folder in it, which does not stay
	grace  time.Duration
}

const (
	patience = 30 * time.Second // grace of a board that was asked to stop: to write its report, and to send it
	farewell = 10 * time.Second // to remove what was put there
)

// dial connects and makes the folders.
func (e *env) dial(ctx context.Context, target string) (*remote, error) {
	if target == "" || strings.HasPrefix(target, "-") || strings.ContainsAny(target, " \t\n") {
		return nil, fmt.Errorf("--ssh %q: it is a host, or user@host", target)
	}
	dir, err := os.MkdirTemp("", "bimamba-ssh-")
	if err != nil {
		return nil, err
	}
	r := &remote{env: e, target: target, socket: filepath.Join(dir, "s"), grace: patience}
	out, err := r.output(ctx, nil, `d=${XDG_CACHE_HOME:-$HOME/.cache}/bimamba/measure && mkdir -p "$d" && cd "$d" && pwd && mktemp -d "$d/run.XXXXXX"`)
	if err != nil {
		r.close(ctx)
		return nil, err
	}
	home, work, ok := strings.Cut(strings.TrimSuffix(out, "\n"), "\n")
	if !ok || !strings.HasPrefix(home, "/") || !strings.HasPrefix(work, "/") || strings.Contains(work, "\n") {
		r.close(ctx)
		return nil, fmt.Errorf("--ssh %s: %.200q are no two folders; its shell's start-up files must print nothing", target, out)
	}
	r.home, r.work = home, work
	return r, nil
}

// command is ssh running a line of shell there.
func (r *remote) command(ctx context.Context, line string) *exec.Cmd {
	c := exec.CommandContext(ctx, "ssh", append(ssh.Alive(), "-T", "-o", "ControlMaster=auto", "-o", "ControlPath="+r.socket, "-o", "ControlPersist=60", "--", r.target, line)...)
	c.Stderr, c.WaitDelay = r.env.stderr, 5*time.Second // for the connection's own process, which may hold what a killed command printed to
	return c
}

// output runs a line and gives what it prints, up to a few MB.
func (r *remote) output(ctx context.Context, stdin io.Reader, line string) (string, error) {
	c := r.command(ctx, line)
	c.Stdin = stdin
	var out limited
	c.Stdout = &out
	if err := c.Run(); err != nil {
		return "", r.failed(ctx, err)
	}
	return out.String(), nil
}

func (r *remote) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("--ssh needs the program ssh: apt install openssh-client")
	}
	return fmt.Errorf("--ssh %s: %w", r.target, err)
}

// limited keeps what is printed, as long as it is not more than a report.
type limited struct{ bytes.Buffer }

const maxOutput = 8 << 20

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutput {
		return 0, errors.New("the board prints too much")
	}
	return l.Buffer.Write(p)
}

// close removes what was put there but for the models, and ends the connection.
func (r *remote) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if r.work != "" {
		r.output(ctx, nil, "rm -rf "+quote(r.work))
	}
	c := exec.CommandContext(ctx, "ssh", "-o", "ControlPath="+r.socket, "-O", "exit", "--", r.target)
	c.Run() // there is none without a socket
	os.RemoveAll(filepath.Dir(r.socket))
}

// put copies a file there; it appears whole or not at all.
func (r *remote) put(ctx context.Context, path, to string, mode os.FileMode) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	bar := newProgress(r.env.stderr, "copying", st.Size(), true)
	defer bar.done()
	in := &counting{r: f, progress: func(n int64) { bar.set(n, st.Size()) }}
	part := quote(to + ".part")
	// sync, so that the kernel can drop the file from its cache.
	_, err = r.output(ctx, in, fmt.Sprintf("cat > %s && chmod %o %s && sync && mv %s %s", part, mode, part, part, quote(to)))
	return err
}

// program is a bimamba there of this version: the one in PATH, or a copy of file.
func (r *remote) program(ctx context.Context, file string) (string, error) {
	out, err := r.output(ctx, nil, `uname -m; PATH=$PATH:/usr/local/bin; command -v bimamba && bimamba --version || true`)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if file != "" {
		if err := ssh.CheckProgram("it", file, lines[0]); err != nil {
			return "", fmt.Errorf("--program %s: %w", file, err)
		}
		to := r.work + "/bimamba"
		if err := r.put(ctx, file, to, 0o755); err != nil {
			return "", err
		}
		if out, err = r.output(ctx, nil, quote(to)+" --version"); err != nil {
			return "", err
		}
		if theirs := strings.TrimSpace(out); theirs != "bimamba "+version() {
			return "", fmt.Errorf("--program %s: it is %.60q, and this is bimamba %s; build both from the same commit", file, theirs, version())
		}
		return to, nil
	}
	const needs = "name a static one for that board with --program (CGO_ENABLED=0 GOARCH=%s go build ./cmd/bimamba)"
	arch := map[string]string{"aarch64": "arm64", "x86_64": "amd64"}[lines[0]]
	if arch == "" {
		return "", fmt.Errorf("--ssh %s: its kernel is of %.40q; bimamba runs on aarch64 and x86_64", r.target, lines[0])
	}
	switch {
	case len(lines) != 3:
		return "", fmt.Errorf("--ssh %s: there is no bimamba in its PATH; "+needs, r.target, arch)
	case lines[2] != "bimamba "+version():
		return "", fmt.Errorf("--ssh %s: there is %.60q, and this is bimamba %s; "+needs, r.target, lines[2], version(), arch)
	}
	return lines[1], nil
}

// model is FILE there: the same built-in one, or a copy that stays.
func (r *remote) model(ctx context.Context, name string) (string, error) {
	if name == defaultName {
		return name, nil
	}
	f, err := openModel(name) // so that a file that is no model is not copied
	if err != nil {
		return "", err
	}
	f.Close()
	sum, err := fileSum(name)
	if err != nil {
		return "", err
	}
	to := r.home + "/" + sum + ".bimamba"
	out, err := r.output(ctx, nil, fmt.Sprintf("if [ -f %[1]s ]; then sha256sum < %[1]s; fi", quote(to)))
	if err != nil {
		return "", err
	}
	if there, _, _ := strings.Cut(strings.TrimSpace(out), " "); there == sum {
		return to, nil
	}
	return to, r.put(ctx, name, to, 0o644)
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// beyond is ctx, and when that ends the board's grace more.
func (r *remote) beyond(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-longer.Done():
		case <-time.After(r.grace):
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}

// run measures there and fetches the report. When ctx ends, the board has its grace to write what it has, and once more to send it.
func (r *remote) run(ctx context.Context, program string, args []string) (*measure.Report, error) {
	line := quote(program)
	for _, a := range args {
		line += " " + quote(a)
	}
	report := r.work + "/report"
	line += " -o " + quote(report)
	// The end of standard input, at ours or with the connection, ends the measurement there, which then writes what it has.
	line = "exec 3<&0; " + line + " </dev/null & p=$!; (cat <&3; kill -TERM $p) >/dev/null 2>&1 & w=$!; wait $p; s=$?; kill $w 2>/dev/null; exit $s"
	writing, cancel := r.beyond(ctx)
	defer cancel()
	c := r.command(writing, line)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which passes it on
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, r.failed(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { in.Close() })
	status := c.Wait()
	if !stop() {
		status = ctx.Err()
	}
	if writing.Err() != nil {
		return nil, fmt.Errorf("--ssh %s: interrupted, and it did not end within %v: what it measured is lost", r.target, r.grace)
	}
	sending, cancel := r.beyond(ctx)
	defer cancel()
	out, err := r.output(sending, nil, "cat "+quote(report+"/report.json"))
	if err != nil {
		if status == nil {
			status = err
		}
		return nil, r.failed(ctx, status)
	}
	rep, err := measure.Read(strings.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.target, err)
	}
	if status != nil {
		status = r.failed(ctx, status)
	}
	return rep, status
}

// quote is a word for the shell there.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
