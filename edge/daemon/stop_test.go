package daemon

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bimamba/edge/daemon/config"
)

// stopLimit is the five seconds of a stop, and one more for a busy machine.
const stopLimit = 6 * time.Second

// TestReloadBeside: while a reload takes its time, requests are answered, the watchdog is fed, and one more reload is noted.
func TestReloadBeside(t *testing.T) {
	path, messages := manager(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "200000")
	d := start(t)
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	d.onLoad = func() {
		begun <- struct{}{}
		<-goOn
	}
	d.reload <- syscall.SIGHUP
	<-begun
	for range 3 {
		d.reload <- syscall.SIGHUP // taken at once, for one reload afterwards
	}
	expect(t, messages, "RELOADING=1")
	for range 4 {
		expect(t, messages, "WATCHDOG=1")
	}
	d.lives()
	goOn <- struct{}{}
	<-begun
	if n := strings.Count(d.log.String(), "msg=reloaded"); n != 1 {
		t.Errorf("%d reloads are over, not 1", n)
	}
	goOn <- struct{}{}
	eventually(t, "both reloads are over", func() bool { return strings.Count(d.log.String(), "msg=reloaded") == 2 })
	time.Sleep(50 * time.Millisecond)
	if len(begun) != 0 {
		t.Error("a third reload")
	}
	close(goOn)
}

// TestStopWaitsForReload: a stop lets a reload that is under way end, which then changes nothing.
func TestStopWaitsForReload(t *testing.T) {
	d := start(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	d.onLoad = func() {
		close(begun)
		<-goOn
	}
	copyDefault(t, d.blob) // so that there is a model to open
	d.reload <- syscall.SIGHUP
	<-begun
	d.stop()
	eventually(t, "it stops", func() bool { return strings.Contains(d.log.String(), "msg=stopping") })
	close(goOn)
	if err := d.end(stopLimit); err != nil {
		t.Error(err)
	}
	log := d.log.String()
	if !strings.Contains(log, "all stays as it was") || strings.Contains(log, "msg=reloaded") || strings.Contains(log, "ending before") {
		t.Errorf("log:\n%s", log)
	}
	if n := mapped(t, d.blob); n != 0 {
		t.Errorf("%d mappings of the blob are left", n)
	}
}

// TestReloadTwoModels: a reload waits while a request runs on the model before the last, for there is memory for two.
func TestReloadTwoModels(t *testing.T) {
	d := start(t, `drain_timeout = "300ms"`)
	res, _ := d.stream()
	copyDefault(t, d.blob)
	if !d.sighup() {
		t.Fatal("the first reload failed")
	}
	copyDefault(t, d.blob)
	d.reload <- syscall.SIGHUP
	eventually(t, "the second one waits", func() bool { return strings.Contains(d.log.String(), "waiting for requests on the model before") })
	d.lives()
	if n := mapped(t, d.blob); n != 2 {
		t.Errorf("%d models are mapped while it waits", n)
	}
	if n := strings.Count(d.log.String(), "msg=reloaded"); n != 1 {
		t.Errorf("%d reloads are over", n)
	}
	res.Body.Close()
	eventually(t, "the second reload", func() bool { return strings.Count(d.log.String(), "msg=reloaded") == 2 })
	eventually(t, "one model is left", func() bool { return mapped(t, d.blob) == 1 })

	// A stop does not wait for the requests that a reload waits for any longer than for others.
	d.stream()
	copyDefault(t, d.blob)
	if !d.sighup() {
		t.Fatal("the third reload failed")
	}
	copyDefault(t, d.blob)
	before := strings.Count(d.log.String(), "waiting for requests")
	d.reload <- syscall.SIGHUP
	eventually(t, "the fourth one waits", func() bool { return strings.Count(d.log.String(), "waiting for requests") > before })
	d.stop()
	if err := d.end(stopLimit); err != nil {
		t.Error(err)
	}
}

// TestStopStuck: a handler that cannot be cancelled does not keep Run from returning.
func TestStopStuck(t *testing.T) {
	t.Parallel()
	d := newTester(t)
	d.configure(`drain_timeout = "300ms"`)
	begun, goOn := make(chan struct{}), make(chan struct{})
	defer close(goOn)
	d.run(Options{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stuck" {
				close(begun)
				<-goOn
			}
			next.ServeHTTP(w, r)
		})
	}})
	go func() {
		if res, err := d.client.Get(d.url + "/stuck"); err == nil {
			res.Body.Close()
		}
	}()
	<-begun
	d.stop()
	if err := d.end(stopLimit); err != nil {
		t.Error(err)
	}
	if log := d.log.String(); !strings.Contains(log, "requests=1") {
		t.Errorf("the log does not say what was not done:\n%s", log)
	}
}

// TestProgramStuck: the program ends within five seconds of a SIGTERM while it opens a file that never opens.
func TestProgramStuck(t *testing.T) {
	t.Parallel()
	pipe := func(t *testing.T) string { // opening it takes until somebody writes
		path := filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Skip("no named pipes: ", err)
		}
		return path
	}
	terminate := func(t *testing.T, c *child, status int, want string) {
		t.Helper()
		began := time.Now()
		c.cmd.Process.Signal(syscall.SIGTERM)
		if got := c.wait(); got != status {
			t.Errorf("status %d, not %d", got, status)
		}
		if took := time.Since(began); took > stopLimit {
			t.Errorf("it took %v", took)
		}
		if !strings.Contains(c.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		d := newTester(t)
		d.configure(fmt.Sprintf("model = %q", pipe(t)))
		socket, messages := manager(t)
		c := d.launch([]string{"NOTIFY_SOCKET=" + socket})
		expect(t, messages, "STATUS=opening")
		terminate(t, c, 1, "ending at once")
	})
	t.Run("in a reload", func(t *testing.T) {
		t.Parallel()
		d := newTester(t)
		d.configure()
		socket, messages := manager(t)
		c := d.launch([]string{"NOTIFY_SOCKET=" + socket})
		expect(t, messages, "READY=1")
		d.configure(fmt.Sprintf("persona = [%q]", "p="+pipe(t)))
		c.cmd.Process.Signal(syscall.SIGHUP)
		expect(t, messages, "RELOADING=1")
		terminate(t, c, 0, "ending before all memory is free")
	})
}

// TestStopWhileOpening: a daemon that is told to stop before it is open never answers, and says nothing of being ready.
func TestStopWhileOpening(t *testing.T) {
	d := newTester(t)
	d.configure()
	ctx, stop := context.WithCancel(t.Context())
	err := Run(ctx, Options{
		Load: func() (*config.Config, error) {
			stop()
			return config.Load([]string{"--config", d.file()}, nil, os.ReadFile)
		},
		Log: &d.log, Ready: func([]string) { t.Error("it is ready") },
	})
	if err != nil {
		t.Error(err)
	}
	if log := d.log.String(); !strings.Contains(log, "msg=model") || strings.Contains(log, "msg=ready") {
		t.Errorf("log:\n%s", log)
	}
	if n := mapped(t, d.blob); n != 0 {
		t.Errorf("%d mappings of the blob are left", n)
	}
}

// TestRequestTimeout: the time of a request counts from its start, whatever it is that takes long, and for all of its prompts together.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	d := newTester(t)
	d.configure(`request_timeout = "3s"`)
	d.run(Options{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Slow") != "" { // as reading a large schema is
				<-r.Context().Done()
			}
			next.ServeHTTP(w, r)
		})
	}})
	var wg sync.WaitGroup
	for _, tt := range []struct{ path, body string }{
		{"/v1/chat/completions", lights},
		{"/v1/completions", `{"prompt":"a","max_tokens":3}`},
		{"/api/chat", lights},
		{"/api/generate", `{"model":"default","prompt":"x","raw":true,"stream":false}`},
	} {
		wg.Go(func() {
			status, _, body := d.do("POST", tt.path, tt.body, "X-Slow: yes")
			if status != 504 || !strings.Contains(body, "request_timeout") && !strings.Contains(body, "time is up") {
				t.Errorf("%s: %d %.200s", tt.path, status, body)
			}
		})
	}
	var prompts []string
	for i := range 1024 { // each has to be read: none begins as another does
		prompts = append(prompts, strconv.Quote(strconv.Itoa(i)+strings.Repeat(" turn on the lights", 40)))
	}
	status, _, body := d.do("POST", "/v1/completions", `{"prompt":[`+strings.Join(prompts, ",")+`],"max_tokens":100,"stop":["never"]}`)
	if status != 504 || !strings.Contains(body, "request_timeout") && !strings.Contains(body, "time is up") {
		t.Errorf("many prompts: %d %.200s", status, body)
	}
	wg.Wait()
}
