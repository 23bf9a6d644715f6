package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"bimamba/boards/measure"
	"bimamba/internal/ssh"
	"bimamba/internal/static"
)

// remote is a board that is reached by the system's ssh, with the user's own configuration, keys and known hosts.
type remote struct {
	env   *env
	host  *ssh.Host
	home  string // a folder of ours there, which keeps models
	work  string // a folder in it, which does not stay
	grace time.Duration
}

const (
	patience = 30 * time.Second // grace of a board that was asked to stop: to write its report, and to send it
	farewell = 10 * time.Second // to remove what was put there
)

// dial connects and makes the folders.
func (e *env) dial(ctx context.Context, target string) (*remote, error) {
	host, err := ssh.New(target, ssh.Options{UserRules: true, Stderr: e.stderr})
	if err != nil {
		return nil, fmt.Errorf("--ssh %w", err)
	}
	r := &remote{env: e, host: host, grace: patience}
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

// output runs a line and gives what it prints.
func (r *remote) output(ctx context.Context, stdin io.Reader, line string) (string, error) {
	out, err := r.host.Run(ctx, stdin, line)
	return string(out), failed(err)
}

// failed names the flag in an error of ssh.
func failed(err error) error {
	var e *ssh.Error
	if errors.As(err, &e) {
		return fmt.Errorf("--ssh %w", err)
	}
	return err
}

// close removes what was put there but for the models, and ends the connection.
func (r *remote) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if r.work != "" {
		r.output(ctx, nil, "rm -rf "+ssh.Quote(r.work))
	}
	r.host.Close()
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
	part := ssh.Quote(to + ".part")
	// sync, so that the kernel can drop the file from its cache.
	_, err = r.output(ctx, in, fmt.Sprintf("cat > %s && chmod %o %s && sync && mv %s %s", part, mode, part, part, ssh.Quote(to)))
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
		if err := static.Check("it", file, lines[0]); err != nil {
			return "", fmt.Errorf("--program %s: %w", file, err)
		}
		to := r.work + "/bimamba"
		if err := r.put(ctx, file, to, 0o755); err != nil {
			return "", err
		}
		if out, err = r.output(ctx, nil, ssh.Quote(to)+" --version"); err != nil {
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
		return "", fmt.Errorf("--ssh %s: its kernel is of %.40q; bimamba runs on aarch64 and x86_64", r.host, lines[0])
	}
	switch {
	case len(lines) != 3:
		return "", fmt.Errorf("--ssh %s: there is no bimamba in its PATH; "+needs, r.host, arch)
	case lines[2] != "bimamba "+version():
		return "", fmt.Errorf("--ssh %s: there is %.60q, and this is bimamba %s; "+needs, r.host, lines[2], version(), arch)
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
	out, err := r.output(ctx, nil, fmt.Sprintf("if [ -f %[1]s ]; then sha256sum < %[1]s; fi", ssh.Quote(to)))
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
	report := r.work + "/report"
	line := ssh.Quote(append(append([]string{program}, args...), "-o", report)...)
	// The end of standard input, at ours or with the connection, ends the measurement there, which then writes what it has.
	line = "exec 3<&0; " + line + " </dev/null & p=$!; (cat <&3; kill -TERM $p) >/dev/null 2>&1 & w=$!; wait $p; s=$?; kill $w 2>/dev/null; exit $s"
	writing, cancel := r.beyond(ctx)
	defer cancel()
	p, err := r.host.Pipe(writing, line, true)
	if err != nil {
		return nil, failed(err)
	}
	stop := context.AfterFunc(ctx, func() { p.Close() })
	io.Copy(io.Discard, p) // the report is in a file
	status := failed(p.Wait())
	if !stop() {
		status = ctx.Err()
	}
	if writing.Err() != nil {
		return nil, fmt.Errorf("--ssh %s: interrupted, and it did not end within %v: what it measured is lost", r.host, r.grace)
	}
	sending, cancel := r.beyond(ctx)
	defer cancel()
	out, err := r.output(sending, nil, "cat "+ssh.Quote(report+"/report.json"))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, cmp.Or(status, err)
	}
	rep, err := measure.Read(strings.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.host, err)
	}
	return rep, status
}
