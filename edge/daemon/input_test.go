package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bimamba/edge/daemon/config"
)

// TestBadRequests checks the rows of ERRORS.md that a request alone can cause.
func TestBadRequests(t *testing.T) {
	d := start(t, "max_prompt = 50", "max_body = 20000")
	chat := func(field string) string {
		return `{"messages":[{"role":"user","content":"hi"}],` + field + `}`
	}
	for _, tt := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/v1/chat/completions", `{"messages":`, 400, "not JSON: byte 12"},
		{"/v1/chat/completions", `{"messages":[]} x`, 400, "not JSON"},
		{"/v1/chat/completions", "", 400, "not JSON"},
		{"/v1/chat/completions", "\xff\xfe", 400, "not JSON"},
		{"/v1/chat/completions", `[1]`, 400, "does not fit"},
		{"/v1/chat/completions", strings.Repeat("[", 19000), 400, ""},
		{"/v1/chat/completions", `{"messages":"hi"}`, 400, "messages"},
		{"/v1/chat/completions", `{"messages":[]}`, 400, "messages"},
		{"/v1/chat/completions", `{"messages":[{"role":"king","content":"hi"}]}`, 400, "king"},
		{"/v1/chat/completions", chat(`"model":"gpt-4"`), 404, "gpt-4"},
		{"/v1/chat/completions", chat(`"model":"default:nothing"`), 404, "default:nothing"},
		{"/v1/chat/completions", chat(`"temperature":"hot"`), 400, "temperature"},
		{"/v1/chat/completions", chat(`"max_tokens":-1`), 400, "max_tokens"},
		{"/v1/chat/completions", chat(`"n":2`), 400, "n"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + strings.Repeat("lights ", 100) + `"}]}`, 400, "max_prompt"},
		{"/v1/completions", `{"prompt":[1,2,99999999]}`, 400, "99999999"},
		{"/v1/completions", `{"prompt":""}`, 400, "prompt"},
		{"/v1/completions", `{"prompt":"` + strings.Repeat("x", 20000) + `"}`, 413, "max_body"},
		{"/api/chat", `{"messages":`, 400, "not JSON"},
		{"/api/chat", `{"model":"llama3","messages":[{"role":"user","content":"hi"}]}`, 404, "llama3"},
		{"/api/generate", `{"model":"default","prompt":"a","raw":true,"format":{"type":"sort"}}`, 400, "sort"},
		{"/api/generate", `{"model":"default","prompt":"a","raw":true,"format":{"type":"string","pattern":"("}}`, 400, "pattern"},
		{"/api/generate", `{"model":"default","prompt":"a","options":{"num_predict":"many"}}`, 400, "num_predict"},
		{"/v1/state", `{"op":"save"}`, 503, "state_dir"},
	} {
		status, h, body := d.do("POST", tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %.100q: %d %.300s; want %d, %q", tt.path, tt.body, status, body, tt.status, tt.want)
		}
		if h.Get("Content-Type") != "application/json" && h.Get("Content-Type") != "application/json; charset=utf-8" || !strings.Contains(body, `"error"`) {
			t.Errorf("%s %.100q: no error in JSON: %s %.100s", tt.path, tt.body, h.Get("Content-Type"), body)
		}
	}
	d.lives()
	if got := d.metric("bimamba_panics_total"); got != "0" {
		t.Errorf("%s panics", got)
	}
}

// talk writes raw bytes and returns what comes back until the server closes.
func (d *tester) talk(raw string) string {
	d.t.Helper()
	c := d.dial()
	io.WriteString(c, raw)
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		d.t.Errorf("%.60q: %v", raw, err)
	}
	return string(b)
}

// TestRawConnections sends what no client library would, with times of a test's length.
func TestRawConnections(t *testing.T) {
	t.Parallel()
	d := start(t, `read_timeout = "300ms"`, "max_body = 2000", `cors_origin = []`)
	const post = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
	for _, tt := range []struct{ name, raw, want, message string }{
		{"no HTTP", "hello\r\n\r\n", "400", ""},
		{"a header that does not end", "GET / HTTP/1.1\r\nHost: loc", "", ""},
		{"nothing", "", "", ""},
		{"a large header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 100000) + "\r\n\r\n", "431", ""},
		{"a body that does not come", post + "Content-Length: 100\r\n\r\n{", "408", "read_timeout"},
		{"a chunked one", post + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro", "408", "read_timeout"},
		{"too large by its length", post + "Content-Length: 3000\r\n\r\n", "413", "max_body"},
		{"too large and here", post + "Content-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000), "413", "max_body"},
		{"too large, in chunks", post + "Transfer-Encoding: chunked\r\n\r\nbb9\r\n" + strings.Repeat("x", 3001) + "\r\n0\r\n\r\n", "413", "max_body"},
		{"no chunk", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "ended early"},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400", ""},
		{"no host", "GET /v1/models HTTP/1.1\r\n\r\n", "400", ""},
		{"refused, its body does not come", "POST /v1/completions HTTP/1.1\r\nHost: evil.example.com\r\nContent-Length: 100\r\n\r\n", "403", "evil.example.com"},
		{"not found, its body does not come", "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", "408", "read_timeout"},
		{"a length beyond all", post + "Content-Length: 99999999999999999999\r\n\r\n", "400", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			got := d.talk(tt.raw)
			status, _, _ := strings.Cut(strings.TrimPrefix(got, "HTTP/1.1 "), " ")
			if status != tt.want || !strings.Contains(got, tt.message) {
				t.Errorf("%.300q; want %s with %q", got, tt.want, tt.message)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	d.lives()
	if n := d.metric("bimamba_connections"); n != "1" {
		t.Errorf("%s connections stayed", n)
	}
	if d.guardBodies() != 0 {
		t.Error("memory for bodies was not given back")
	}
}

// guardBodies is what is set aside for bodies, by a probe: as many bodies at a time as there may be are still taken.
func (d *tester) guardBodies() int {
	busy := 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range bodyBudget {
		wg.Go(func() {
			status, _, _ := d.do("POST", "/v1/completions", `{"prompt":"`+strings.Repeat("x", 1500)+``)
			mu.Lock()
			defer mu.Unlock()
			if status != 400 {
				busy++
			}
		})
	}
	wg.Wait()
	return busy
}

// TestBodyBudget: bodies that arrive slowly take their memory from one another, and not from small requests.
func TestBodyBudget(t *testing.T) {
	d := start(t, `max_body = "64KiB"`)
	var slow []net.Conn
	for range bodyBudget + 4 {
		c := d.dial()
		fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n%s", strings.Repeat(" ", 64000))
		slow = append(slow, c)
	}
	refused := make(chan string, len(slow))
	for _, c := range slow {
		go func() {
			b, _ := io.ReadAll(c)
			refused <- string(b)
		}()
	}
	for range 4 {
		if got := <-refused; !strings.HasPrefix(got, "HTTP/1.1 429") || !strings.Contains(got, "Retry-After: 1") || !strings.Contains(got, "too many large requests") {
			t.Errorf("%q", got)
		}
	}
	d.lives()
	for _, c := range slow {
		c.Close()
	}
	eventually(t, "there is room again", func() bool {
		status, _, _ := d.do("POST", "/v1/completions", strings.Repeat(" ", 64000))
		return status == 400
	})
}

// TestKeepAlive uses a connection again after a refusal and an error, and after the time to read the last answer is over.
func TestKeepAlive(t *testing.T) {
	d := newTester(t)
	d.configure(`auth = "always"`, fmt.Sprintf("state_dir = %q", d.state()))
	d.run(Options{write: 100 * time.Millisecond})
	c := d.dial()
	r := bufio.NewReader(c)
	for range 3 {
		io.WriteString(c, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 401 {
			t.Fatalf("%v %v", res, err)
		}
		io.Copy(io.Discard, res.Body)
		time.Sleep(150 * time.Millisecond)
	}
}

// TestClientsThatGo cancel their requests: by closing, by closing half, and by not reading.
func TestClientsThatGo(t *testing.T) {
	t.Parallel()
	d := newTester(t)
	d.configure("sessions = 1")
	d.run(Options{write: 500 * time.Millisecond})
	raw := fmt.Sprintf("POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(long), long)
	for i, leave := range []func(c *net.TCPConn){
		func(c *net.TCPConn) { c.Close() },
		func(c *net.TCPConn) { c.CloseWrite() }, // HTTP cannot tell it from the end
		func(c *net.TCPConn) {},                 // its buffer is small, and nobody reads
	} {
		c := d.dial().(*net.TCPConn)
		if i == 2 {
			c.SetReadBuffer(2048)
		}
		io.WriteString(c, raw)
		eventually(t, "the request runs", func() bool { return d.metric(`bimamba_requests{state="active"}`) == "1" })
		leave(c)
		if i == 2 {
			// Others are served while it is stalled, though the one session is its.
			if status, _, _ := d.do("GET", "/v1/models", ""); status != 200 {
				t.Errorf("another request: %d", status)
			}
		}
		until := time.Now().Add(25 * time.Second)
		for d.metric(`bimamba_requests_total{outcome="cancelled"}`) != fmt.Sprint(i+1) {
			if time.Now().After(until) {
				t.Fatalf("client %d has gone, and its request goes on", i)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	d.lives()
}

func TestQueue(t *testing.T) {
	t.Parallel()
	d := start(t, "sessions = 1", "queue = 1", `request_timeout = "5s"`)
	res, _ := d.stream()
	var wg sync.WaitGroup
	wg.Go(func() {
		status, _, body := d.do("POST", "/v1/chat/completions", lights)
		if status != 200 && (status != 504 || !strings.Contains(body, "request_timeout")) { // the stream's time is up shortly before its own
			t.Errorf("one that waits: %d %s", status, body)
		}
	})
	eventually(t, "it waits", func() bool { return d.metric(`bimamba_requests{state="waiting"}`) == "1" })
	status, h, body := d.do("POST", "/v1/chat/completions", lights)
	if status != 429 || h.Get("Retry-After") == "" || !strings.Contains(body, "queue is full") {
		t.Errorf("one too many: %d %v %s", status, h, body)
	}
	status, h, body = d.do("POST", "/api/chat", lights)
	if status != 429 || h.Get("Retry-After") == "" || !strings.Contains(body, "queue is full") {
		t.Errorf("one too many of Ollama's: %d %v %s", status, h, body)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Contains(tail(b), []byte(`{"error":`)) || !bytes.Contains(tail(b), []byte("request_timeout")) {
		t.Errorf("the end of a stream whose time is up: %v %.300q", err, tail(b))
	}
	wg.Wait()
	status, _, body = d.do("POST", "/api/generate", strings.Replace(long, "{", `{"stream":false,`, 1))
	if status != 504 || !strings.Contains(body, "request_timeout") {
		t.Errorf("one that takes longer than it may: %d %.300s", status, body)
	}
	d.lives()
}

// TestTooManyConnections: those beyond max_connections are told so, the others go on, and their places come back.
func TestTooManyConnections(t *testing.T) {
	d := start(t, "max_connections = 8", `read_timeout = "60s"`)
	var held []net.Conn
	for range 8 {
		held = append(held, d.dial())
	}
	for range 20 {
		got := d.talk("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 503") || !strings.Contains(got, "max_connections") || !strings.Contains(got, "Retry-After: 1") {
			t.Fatalf("one too many: %q", got)
		}
	}
	for _, c := range held {
		c.Close()
	}
	eventually(t, "there is room again", func() bool {
		res, err := d.client.Get(d.url + "/health")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	})
	d.lives()
	if got := d.metric("bimamba_connections_refused_total"); got == "0" {
		t.Error("nothing was refused")
	}
}

// TestTenThousandConnections holds as many connections open as the limit of file descriptors lets a process have. Then 512 are allowed.
func TestTenThousandConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("many connections")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(10000, int(limit.Cur)-200)
	if n < 10000 {
		t.Logf("the limit of file descriptors is %d: %d connections instead of 10,000", limit.Cur, n)
	}
	for _, most := range []int{n + 50, 512} {
		d := newTester(t)
		d.configure(fmt.Sprintf("max_connections = %d", most), `read_timeout = "60s"`)
		c := d.spawn()
		conns := make([]net.Conn, 0, n)
		for range n {
			c, err := net.DialTimeout("tcp", d.address(), 10*time.Second)
			if err != nil {
				t.Fatalf("after %d: %v", len(conns), err)
			}
			conns = append(conns, c)
		}
		if most > n {
			d.lives() // beside all of them
			if open, err := strconv.Atoi(d.metric("bimamba_connections")); err != nil || open < n {
				t.Errorf("%d connections are open, of %d: %v", open, n, err)
			}
		}
		for _, c := range conns {
			c.Close()
		}
		eventually(t, "there is room again", func() bool {
			res, err := d.client.Get(d.url + "/health")
			if err == nil {
				res.Body.Close()
			}
			return err == nil && res.StatusCode == 200
		})
		d.lives()
		c.kill()
	}
}

// TestBlobGoes: a blob that is deleted is still served; one that is cut short is an error that says so, until it is back.
func TestBlobGoes(t *testing.T) {
	d := start(t)
	if err := os.Remove(d.blob); err != nil {
		t.Fatal(err)
	}
	d.lives()
	if d.sighup() {
		t.Error("a reload worked without a blob")
	}
	d.lives()
	copyDefault(t, d.blob)
	if !d.sighup() {
		t.Error("a reload does not find the new blob")
	}
	d.lives()

	whole, err := os.ReadFile(d.blob)
	if err != nil {
		t.Fatal(err)
	}
	res, _ := d.stream()
	if err := os.Truncate(d.blob, 8192); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || !bytes.Contains(tail(b), []byte("cut short")) {
		t.Errorf("the end of a stream under which the blob was cut: %v %.300q", err, tail(b))
	}
	for range 2 {
		status, _, body := d.do("POST", "/v1/chat/completions", lights)
		if status != 503 || !strings.Contains(body, "cut short") || !strings.Contains(body, "put it back") {
			t.Errorf("with a blob that was cut: %d %s", status, body)
		}
	}
	if status, _, body := d.do("GET", "/health", ""); status != 503 || !strings.Contains(body, `"unavailable_error"`) {
		t.Errorf("health: %d %s", status, body)
	}
	if status, _, _ := d.do("GET", "/v1/models", ""); status != 200 {
		t.Errorf("what the model is not needed for: %d", status)
	}
	if err := os.WriteFile(d.blob, whole, 0o644); err != nil { // into the same file
		t.Fatal(err)
	}
	if !d.sighup() {
		t.Error("a reload does not find the blob that is whole again")
	}
	if status, _, body := d.do("GET", "/health", ""); status != 200 {
		t.Errorf("health afterwards: %d %s", status, body)
	}
	d.lives()
}

// TestPanic: a bug in a handler costs its own request alone.
func TestPanic(t *testing.T) {
	var log logBuffer
	c := config.Default()
	g := &guard{
		conf: func() *config.Config { return c }, token: func() string { return "" }, write: writeTimeout, log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	g.next = (http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/late" {
			io.WriteString(w, strings.Repeat("x", 10000))
		}
		panic("bug")
	}))
	server := httptest.NewUnstartedServer(g)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, reachKey{}, fromLoopback)
	}
	server.Config.ErrorLog = slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)
	server.Start()
	defer server.Close()
	s := server.URL
	res, err := http.Get(s + "/v1/early")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 500 || !strings.Contains(string(b), "server_error") || strings.Contains(string(b), "goroutine") {
		t.Errorf("%d %s", res.StatusCode, b)
	}
	if res, err := http.Get(s + "/v1/late"); err == nil {
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("half an answer looks whole: %d bytes", len(b))
		}
		res.Body.Close()
	}
	if g.panics != 2 || !strings.Contains(log.String(), "input_test.go") {
		t.Errorf("%d panics; log without a stack:\n%s", g.panics, &log)
	}
}
