package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// overUnix is a client of a Unix socket.
func overUnix(path string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return net.Dial("unix", path) },
	}}
}

func TestAnswers(t *testing.T) {
	d := newTester(t)
	path := filepath.Join(d.dir, "s")
	// A socket's file that a killed process left.
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	d.configure(fmt.Sprintf("listen = [%q, %q, %q]", "127.0.0.1:0", "unix:"+path, "unix:@"+path))
	d.run(Options{})
	d.lives()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("the socket's file: %v, %v", st, err)
	}
	for _, p := range []string{path, "@" + path} {
		// Nobody can make a browser open a Unix socket, so any host will do.
		res, err := overUnix(p).Get("http://whatever.example.com/api/version")
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(b), "version") {
			t.Errorf("%s: %d %s", p, res.StatusCode, b)
		}
		res.Body.Close()
	}
	for _, tt := range []struct {
		method, path, accept string
		status               int
		want                 string
	}{
		{"GET", "/health", "", 200, `{"status":"ok"}`},
		{"GET", "/", "", 200, "Ollama is running"},
		{"HEAD", "/", "", 200, ""},
		{"GET", "/", "text/html", 200, "<!doctype html>"},
		{"GET", "/api/tags", "", 200, "bimamba-assistant-22m"},
		{"GET", "/v1/models", "", 200, "bimamba-assistant-22m"},
		{"GET", "/v1/state", "", 503, "state_dir"},
		{"GET", "/v1/nothing", "", 404, "/v1/nothing"},
		{"GET", "/nothing", "", 404, `{"error":"there is nothing at /nothing"}`},
		{"POST", "/health", "", 404, "nothing"},
	} {
		status, _, body := d.do(tt.method, tt.path, "", "Accept: "+tt.accept)
		if status != tt.status || !strings.Contains(strings.ToLower(body), strings.ToLower(tt.want)) {
			t.Errorf("%s %s: %d %.200s; want %d %s", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
	d.stop()
	if err := d.end(5 * time.Second); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket's file is still there: %v", err)
	}
}

func TestDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	inUse := filepath.Join(dir, "used")
	answers, err := net.Listen("unix", inUse)
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	for name, content := range map[string]string{"plain": "x", "open": "0123456789abcdef\n", "short": "abc\n"} {
		mode := os.FileMode(0o600)
		if name == "open" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	loose := filepath.Join(dir, "loose")
	if err := os.Mkdir(loose, 0o700); err != nil {
		t.Fatal(err)
	}
	os.Chmod(loose, 0o777)
	token := func(name string) []string {
		return []string{`auth = "always"`, fmt.Sprintf("token_file = %q", filepath.Join(dir, name))}
	}
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"no blob", []string{`model = "/nonexistent/m.bimamba"`}, []string{"/nonexistent/m.bimamba", "no such file", "--model FILE"}},
		{"no blob in it", []string{fmt.Sprintf("model = %q", filepath.Join(dir, "plain"))}, []string{"plain", "bytes"}},
		{"port", []string{fmt.Sprintf("listen = [%q]", taken.Addr())}, []string{"--listen " + taken.Addr().String(), "address already in use"}},
		{"socket", []string{fmt.Sprintf("listen = [%q]", "unix:"+inUse)}, []string{inUse, "another process answers there"}},
		{"file", []string{fmt.Sprintf("listen = [%q]", "unix:"+filepath.Join(dir, "plain"))}, []string{"plain", "is no socket"}},
		{"token that all can read", token("open"), []string{"open", "others can read the token", "chmod 600"}},
		{"short token", token("short"), []string{"short", "at least 16 characters"}},
		{"token without a folder", token("no/folder"), []string{"making the token file", "no such file"}},
		{"state directory", []string{fmt.Sprintf("state_dir = %q", loose)}, []string{loose, "others may write"}},
		{"personas", []string{`persona = ["butler=/nonexistent/p.state"]`}, []string{"persona butler", "/nonexistent/p.state"}},
		{"certificate", []string{`tls_cert = "/nonexistent/c.pem"`, `tls_key = "/nonexistent/k.pem"`}, []string{"/nonexistent/c.pem", "no such file"}},
		{"sandbox with cgo", []string{`sandbox = "require"`}, []string{"sandbox", "cgo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "sandbox with cgo" && !usesCgo() {
				t.Skip("this test was built without cgo")
			}
			d := newTester(t)
			d.configure(tt.lines...)
			err := d.runToEnd()
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
}

// TestStopIdle stops at once although clients have connections open.
func TestStopIdle(t *testing.T) {
	d := start(t)
	d.lives() // its connection stays
	began := time.Now()
	d.stop()
	if err := d.end(2 * time.Second); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	if !strings.Contains(d.log.String(), "stopping") {
		t.Errorf("log:\n%s", &d.log)
	}
}

// TestStopBusy ends streams that would run for minutes with an error within the stream.
func TestStopBusy(t *testing.T) {
	t.Parallel()
	d := start(t, `drain_timeout = "300ms"`)
	var bodies []io.Reader
	for range 2 {
		res, _ := d.stream()
		bodies = append(bodies, res.Body)
	}
	late := make(chan string, 1)
	go func() { // waits for a session
		_, _, body := d.do("POST", "/v1/chat/completions", lights)
		late <- body
	}()
	eventually(t, "a request waits", func() bool { return d.metric(`bimamba_requests{state="waiting"}`) == "1" })
	silent := d.dial() // a connection without a request holds nothing up for long
	io.WriteString(silent, "GET / HT")
	d.stop()
	if err := d.end(5 * time.Second); err != nil {
		t.Error(err)
	}
	for _, body := range bodies {
		b, err := io.ReadAll(body)
		if err != nil || !strings.Contains(string(b), `{"error":"the daemon is stopping"`) {
			t.Errorf("the stream's end: %v, %.300q", err, tail(b))
		}
	}
	if body := <-late; !strings.Contains(body, "the daemon is stopping") {
		t.Errorf("the one that waited: %s", body)
	}
}

// TestDrain lets requests end that can.
func TestDrain(t *testing.T) {
	d := start(t)
	answer := make(chan string, 1)
	begun := d.metric(`bimamba_requests_total{outcome="ok"}`)
	go func() {
		_, _, body := d.do("POST", "/api/generate", `{"model":"default","prompt":"x","raw":true,"stream":false,"format":{"type":"array","items":{"type":"boolean"},"minItems":100,"maxItems":100}}`)
		answer <- body
	}()
	eventually(t, "the request runs", func() bool {
		return d.metric(`bimamba_requests{state="active"}`) == "1" || d.metric(`bimamba_requests_total{outcome="ok"}`) != begun
	})
	d.stop()
	if body := <-answer; !strings.Contains(body, `"done":true`) {
		t.Errorf("it was cut off: %.300s", body)
	}
	if err := d.end(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestIdleExit(t *testing.T) {
	t.Parallel()
	d := start(t, `idle_exit = "1s"`)
	res, _ := d.stream() // no request for a second is not the same as none that begins
	time.Sleep(2500 * time.Millisecond)
	select {
	case err := <-d.done:
		t.Fatalf("it ended under a request: %v", err)
	default:
	}
	res.Body.Close()
	if err := d.end(10 * time.Second); err != nil {
		t.Error(err)
	}
	if !strings.Contains(d.log.String(), "idle_exit") {
		t.Errorf("log:\n%s", &d.log)
	}
}

// tail is the end of a long text.
func tail(b []byte) []byte { return b[max(0, len(b)-300):] }
