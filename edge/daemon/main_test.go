package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/convert"
	"bimamba/convert/checkpoint"
	"bimamba/convert/tokenizer"
	"bimamba/edge/daemon/config"
	"bimamba/internal/testmodel"
)

// built is the daemon's program without cgo, made when the first test wants it.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(status)
}

// program is the path of the daemon's program.
func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if _, built.err = exec.LookPath("go"); built.err != nil {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "bimambad-test-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "bimambad")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", built.path, "./cmd/bimambad")
		cmd.Dir, cmd.Env = testmodel.Root(), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Skip("the program cannot be built here: ", built.err)
	}
	return built.path
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tester is a daemon under test.
type tester struct {
	t      testing.TB
	dir    string // of blob, configuration and state
	blob   string
	addrs  []string
	url    string // of the first TCP address
	log    logBuffer
	reload chan os.Signal
	done   chan error
	stop   context.CancelFunc
	client *http.Client
	env    []string
	onLoad func() // called when the configuration is read; set before the start or a reload
}

// copyDefault copies the default model to path, whole or not at all.
func copyDefault(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testmodel.Root(), "models", "default.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// writeBase writes a small base model of random weights to path.
func writeBase(t testing.TB, path string) {
	t.Helper()
	c, err := checkpoint.Open(filepath.Join(testmodel.Root(), "testdata", "golden", "bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tok, err := tokenizer.Load(filepath.Join(testmodel.Root(), "testdata", "tokenizer-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := convert.Convert(context.Background(), f, c, convert.Options{Tokenizer: tok}); err != nil {
		t.Fatal(err)
	}
}

// configure writes the configuration file: lines of TOML and, where they do not say, what tests want.
func (d *tester) configure(lines ...string) {
	d.t.Helper()
	for _, line := range []string{
		fmt.Sprintf("model = %q", d.blob), `listen = ["127.0.0.1:0"]`, `sandbox = "off"`, "max_tokens_limit = 1000000", "threads = 1",
	} {
		key, _, _ := strings.Cut(line, "=")
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, key) }) {
			lines = append(lines, line)
		}
	}
	if err := os.WriteFile(d.file(), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *tester) file() string  { return filepath.Join(d.dir, "bimambad.toml") }
func (d *tester) state() string { return filepath.Join(d.dir, "state") }

func newTester(t testing.TB) *tester {
	t.Helper()
	d := &tester{t: t, dir: t.TempDir(), reload: make(chan os.Signal), done: make(chan error, 1)}
	d.blob = filepath.Join(d.dir, "m.bimamba")
	copyDefault(t, d.blob)
	d.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
	return d
}

// start runs a daemon in this process until the test ends.
func start(t testing.TB, lines ...string) *tester {
	t.Helper()
	d := newTester(t)
	d.configure(lines...)
	d.run(Options{})
	return d
}

// run starts it with the configuration as it is.
func (d *tester) run(opt Options) {
	d.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan []string, 1)
	d.stop = stop
	opt.Load = func() (*config.Config, error) {
		if d.onLoad != nil {
			d.onLoad()
		}
		return config.Load([]string{"--config", d.file()}, d.env, os.ReadFile)
	}
	opt.Reload, opt.Log, opt.Ready = d.reload, &d.log, func(a []string) { ready <- a }
	ended := make(chan struct{})
	go func() {
		d.done <- Run(ctx, opt)
		close(ended)
	}()
	d.t.Cleanup(func() {
		d.client.CloseIdleConnections()
		stop()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			d.t.Error("the daemon does not stop")
		}
		if d.t.Failed() {
			d.t.Logf("log:\n%s", &d.log)
		}
	})
	select {
	case d.addrs = <-ready:
	case <-ended:
		d.t.Fatalf("it did not start: %v\n%s", <-d.done, &d.log)
	}
	for _, a := range d.addrs {
		if strings.HasPrefix(a, "http") && d.url == "" {
			d.url = a
		}
	}
}

// end waits for the daemon's end.
func (d *tester) end(within time.Duration) error {
	d.t.Helper()
	select {
	case err := <-d.done:
		return err
	case <-time.After(within):
		d.t.Fatalf("it goes on after %v\n%s", within, &d.log)
		return nil
	}
}

// address is HOST:PORT of the first TCP address.
func (d *tester) address() string {
	_, a, _ := strings.Cut(d.url, "://")
	return a
}

// dial opens a connection to the first TCP address.
func (d *tester) dial() net.Conn {
	d.t.Helper()
	c, err := net.Dial("tcp", d.address())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// do sends a request with headers "Name: value" and returns the status and the body.
func (d *tester) do(method, path, body string, headers ...string) (int, http.Header, string) {
	d.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	url := path
	if !strings.Contains(path, "://") {
		url = d.url + path
	}
	req, err := http.NewRequest(method, url, r)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
		return 0, http.Header{}, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, res.Header, string(b)
}

// lives checks that the daemon still does its work.
func (d *tester) lives(headers ...string) {
	d.t.Helper()
	status, _, body := d.do("POST", "/v1/chat/completions", lights, headers...)
	if status != 200 || !strings.Contains(body, "HassTurnOn") {
		d.t.Errorf("a plain request afterwards: %d %s", status, body)
	}
}

// lights is a short request, and long one whose answer takes many seconds: its schema has the model write some hundred thousand characters.
const lights = `{"model":"default:home","temperature":0,"messages":[{"role":"user","content":"turn on the kitchen lights"}]}`

var long = func() string {
	word := strings.Repeat("z", 11)
	schema := map[string]any{"type": "array", "minItems": 400, "items": map[string]any{"enum": []string{word}}}
	schema = map[string]any{"type": "array", "minItems": 100, "items": schema}
	b, _ := json.Marshal(map[string]any{
		"model": "default", "prompt": "lights", "raw": true, "format": schema, "options": map[string]any{"num_predict": 1000000},
	})
	return string(b)
}()

// stream begins the long answer and returns when its first line is there.
func (d *tester) stream() (res *http.Response, first []byte) {
	d.t.Helper()
	res, err := d.client.Post(d.url+"/api/generate", "application/json", strings.NewReader(long))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	first = make([]byte, 20)
	if _, err := io.ReadFull(res.Body, first); err != nil || res.StatusCode != 200 {
		d.t.Fatalf("the stream: %d %v", res.StatusCode, err)
	}
	return res, first
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// metric is a value of /metrics, by its name and labels as they are written there.
func (d *tester) metric(name string) (value string) {
	d.t.Helper()
	_, _, body := d.do("GET", "/metrics", "")
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	d.t.Fatalf("no metric %s in:\n%s", name, body)
	return ""
}

// runToEnd runs a daemon that is not expected to start.
func (d *tester) runToEnd() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return Run(ctx, Options{
		Load: func() (*config.Config, error) { return config.Load([]string{"--config", d.file()}, nil, os.ReadFile) },
		Log:  &d.log,
	})
}
