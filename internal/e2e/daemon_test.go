package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the repository, seen from the folder of these tests.
const root = "../.."

// programs is the folder of bimamba and bimambad, models that of the small models; both are made before the tests.
var programs, models string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "bimamba-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := prepare(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// prepare builds the programs, unless BIMAMBA_BIN is a folder that has them, and converts the small models.
func prepare(dir string) error {
	models = dir
	if programs = os.Getenv("BIMAMBA_BIN"); programs == "" {
		programs = dir
		build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "./cmd/bimamba", "./cmd/bimambad")
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", build.Args, err, out)
		}
	}
	for _, name := range []string{"instruct", "base", "endless"} {
		_, err := bimamba("convert", root+"/testdata/golden/bimamba", "--tokenizer", root+"/testdata/tokenizer-tiny",
			"--card", "testdata/"+name+".toml", "-o", blob(name))
		if err != nil {
			return err
		}
	}
	return nil
}

// blob is the file of a model: default, or one of testdata's cards.
func blob(name string) string {
	if name == "default" {
		return root + "/models/default.bimamba"
	}
	return filepath.Join(models, name+".bimamba")
}

// bimamba runs the command-line program and returns what it prints.
func bimamba(args ...string) ([]byte, error) { return pipe("", args...) }

// pipe is bimamba with something to read.
func pipe(stdin string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	c := exec.Command(filepath.Join(programs, "bimamba"), args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("bimamba %v: %w\n%s", args, err, &errs)
	}
	return out.Bytes(), nil
}

// daemon is a running bimambad.
type daemon struct {
	t     testing.TB
	url   string
	cmd   *exec.Cmd
	mu    sync.Mutex
	log   strings.Builder
	ended chan struct{} // closed when the process has ended and log is whole
	err   error         // how it ended
}

// launch starts bimambad with a model, on a free port of loopback, and does not wait for it.
func launch(t testing.TB, model string, args ...string) (d *daemon, ready <-chan string) {
	t.Helper()
	args = append([]string{"--model", blob(model), "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)
	d = &daemon{t: t, cmd: exec.Command(filepath.Join(programs, "bimambad"), args...), ended: make(chan struct{})}
	dir := t.TempDir() // in place of this machine's configuration
	d.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CONFIGURATION_DIRECTORY=" + dir}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		defer close(d.ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			d.mu.Lock()
			d.log.Write(append(lines.Bytes(), '\n'))
			d.mu.Unlock()
			var line struct{ Msg, Listen string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				first, _, _ := strings.Cut(line.Listen, " ")
				found <- first
			}
		}
		d.err = d.cmd.Wait()
	}()
	t.Cleanup(func() {
		select {
		case <-d.ended:
		default:
			d.stop()
		}
		if t.Failed() {
			t.Logf("bimambad %v:\n%s", args, d.logged())
		}
	})
	return d, found
}

func (d *daemon) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// start is launch; it returns when the daemon answers.
func start(t testing.TB, model string, args ...string) *daemon {
	t.Helper()
	d, ready := launch(t, model, args...)
	select {
	case d.url = <-ready:
	case <-d.ended:
		t.Fatalf("bimambad did not start: %v", d.err)
	case <-time.After(30 * time.Second):
		t.Fatal("bimambad is not ready after 30 s")
	}
	return d
}

// stop ends the daemon as systemd does, and checks that it ends in time and well.
func (d *daemon) stop() {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
		if d.err != nil {
			d.t.Errorf("bimambad ended badly: %v", d.err)
		}
	case <-time.After(10 * time.Second): // 5 s, and what a busy machine adds
		d.cmd.Process.Kill()
		<-d.ended
		d.t.Error("bimambad did not stop within 10 s")
	}
}

// ask sends a request with a body of JSON, or a GET without one, and returns the answer.
func (d *daemon) ask(path string, body any) (status int, answer []byte) {
	d.t.Helper()
	method, b := http.MethodGet, []byte(nil)
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			d.t.Fatal(err)
		}
		method = http.MethodPost
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(b))
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// get is ask for what has to go well; the answer is decoded into v.
func (d *daemon) get(path string, body, v any) {
	d.t.Helper()
	status, answer := d.ask(path, body)
	if status != http.StatusOK {
		d.t.Fatalf("%s: status %d: %s", path, status, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		d.t.Fatalf("%s: %v: %s", path, err, answer)
	}
}

// metric is a value of /metrics, without the prefix that all of their names have.
func (d *daemon) metric(name string) int {
	d.t.Helper()
	status, answer := d.ask("/metrics", nil)
	if status != http.StatusOK {
		d.t.Fatalf("/metrics: status %d: %s", status, answer)
	}
	for line := range strings.Lines(string(answer)) {
		if value, ok := strings.CutPrefix(line, "bimamba_"+name+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				d.t.Fatal(err)
			}
			return n
		}
	}
	d.t.Fatalf("/metrics has no %s", name)
	return 0
}
