package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// sighup asks for a reload and waits until it is over; it tells whether it worked.
func (d *tester) sighup() bool {
	d.t.Helper()
	count := func(s string) int { return strings.Count(d.log.String(), s) }
	worked, failed := count("msg=reloaded"), count("all stays as it was")
	d.reload <- syscall.SIGHUP
	eventually(d.t, "the reload ends", func() bool { return count("msg=reloaded")+count("all stays as it was") > worked+failed })
	return count("msg=reloaded") > worked
}

func TestReload(t *testing.T) {
	d := start(t, "max_body = 2000", `cors_origin = ["https://a.example"]`)
	large := `{"model":"default:home","messages":[{"role":"user","content":"` + strings.Repeat("x", 3000) + `"}]}`
	state := func(want int, when string) {
		t.Helper()
		status, _, body := d.do("POST", "/v1/chat/completions", large)
		if status != want {
			t.Errorf("%s: a large body: %d %.200s; want %d", when, status, body, want)
		}
		if status, _, _ := d.do("GET", "/health", "", "Origin: https://a.example"); status != 200 {
			t.Errorf("%s: an origin that may: %d", when, status)
		}
		d.lives()
	}
	state(413, "at first")

	// None of these changes anything.
	for _, tt := range []struct{ lines, want string }{
		{"max_body = 100000\nmodel = 7", "model"},
		{"max_body = 100000\nmodel = \"/nonexistent/x.bimamba\"", "/nonexistent/x.bimamba"},
		{"max_body = 100000\nno_such_option = 1", "no_such_option"},
		{"max_body = 100000\n= 1", "bimambad.toml"},
		{"max_body = 100000\nauth = \"always\"\ntoken_file = \"/nonexistent/token\"", "token"},
		{fmt.Sprintf("max_body = 100000\npersona = [\"p=%s\"]", d.file()), "persona p"},
	} {
		d.configure(strings.Split(tt.lines, "\n")...)
		if d.sighup() {
			t.Errorf("%q was taken", tt.lines)
		}
		if lines := strings.Split(strings.TrimSpace(d.log.String()), "\n"); !strings.Contains(lines[len(lines)-1], tt.want) {
			t.Errorf("%q: the log does not say %q: %s", tt.lines, tt.want, lines[len(lines)-1])
		}
		state(413, "after a reload that failed")
	}
	if got := d.metric("bimamba_reloads_total"); got != "0" {
		t.Errorf("%s reloads", got)
	}

	// What needs a restart is named, the rest is taken.
	d.configure("max_body = 100000", `listen = ["127.0.0.1:1"]`, `cors_origin = ["https://a.example"]`, `read_timeout = "7s"`, `log_format = "json"`, `log_level = "warn"`)
	d.reload <- syscall.SIGHUP
	eventually(t, "the reload", func() bool { return d.metric("bimamba_reloads_total") == "1" })
	if log := d.log.String(); !strings.Contains(log, `options="listen read_timeout"`) {
		t.Errorf("the log does not name what needs a restart:\n%s", log)
	}
	state(200, "afterwards")
	before := d.log.String()
	os.WriteFile(d.file(), []byte("x"), 0o644)
	d.reload <- syscall.SIGHUP
	eventually(t, "a line in the new format", func() bool {
		return strings.HasPrefix(strings.TrimPrefix(d.log.String(), before), `{"time"`)
	})
}

// mapped counts mappings of a file in this process.
func mapped(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("the system does not say what is mapped: ", err)
	}
	return strings.Count(string(b), path)
}

// TestReloadUnderStreams exchanges the blob while eight clients stream: all answers are whole, and the old blob goes.
func TestReloadUnderStreams(t *testing.T) {
	d := start(t, "sessions = 3")
	if got := mapped(t, d.blob); got != 1 {
		t.Fatalf("%d mappings of the blob", got)
	}
	const clients, swaps = 8, 4
	var wg sync.WaitGroup
	var stop atomic.Bool
	var answers atomic.Int64
	body := `{"model":"default","prompt":"x","raw":true,"format":{"type":"array","items":{"type":"boolean"},"minItems":8,"maxItems":8}}`
	for range clients {
		wg.Go(func() {
			for !stop.Load() {
				res, err := d.client.Post(d.url+"/api/generate", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 || !strings.Contains(string(tail(b)), `"done":true`) {
					t.Errorf("a stream: %d %v %.300q", res.StatusCode, err, tail(b))
					return
				}
				answers.Add(1)
			}
		})
	}
	for range swaps {
		seen := answers.Load()
		eventually(t, "answers between swaps", func() bool { return answers.Load() > seen+2 || t.Failed() })
		copyDefault(t, d.blob)
		if !d.sighup() {
			t.Error("the reload failed")
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	eventually(t, "only the last blob is mapped", func() bool { return mapped(t, d.blob) == 1 })
	if got := mapped(t, d.blob+" (deleted)"); got != 0 {
		t.Errorf("%d mappings of blobs that were replaced", got)
	}
	if got := d.metric("bimamba_reloads_total"); got != fmt.Sprint(swaps) {
		t.Errorf("%s reloads, not %d", got, swaps)
	}
	if got := d.metric("bimamba_panics_total"); got != "0" {
		t.Errorf("%s panics", got)
	}
}

// TestReloadOtherModel serves another model after a reload; a stream that runs ends on the one that it began on.
func TestReloadOtherModel(t *testing.T) {
	d := start(t)
	res, _ := d.stream()
	other := filepath.Join(d.dir, "other.bimamba")
	writeBase(t, other)
	d.configure(fmt.Sprintf("model = %q", other))
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	if _, _, body := d.do("GET", "/api/tags", ""); strings.Contains(body, "assistant") {
		t.Errorf("models afterwards: %s", body)
	}
	status, _, body := d.do("POST", "/v1/completions", `{"prompt":"a","max_tokens":3}`)
	if status != 200 || !strings.Contains(body, "completion_tokens") {
		t.Errorf("the new model: %d %s", status, body)
	}
	if got := mapped(t, d.blob); got != 1 {
		t.Errorf("%d mappings of the old blob while a stream runs on it", got)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 10000)); err != nil {
		t.Errorf("the stream on the old model: %v", err)
	}
	res.Body.Close()
	eventually(t, "the old blob goes when its last stream does", func() bool { return mapped(t, d.blob) == 0 })
}

// TestReloadMemory: a limit of memory that layers do not fit into leaves no room for a second model, and the one that is served stays.
func TestReloadMemory(t *testing.T) {
	d := start(t, "sessions = 1", "checkpoints = 0", `memory = "31MB"`)
	const request = `{"prompt":"a","max_tokens":3}`
	if status, _, body := d.do("POST", "/v1/completions", request); status != 200 || !strings.Contains(body, "completion_tokens") {
		t.Errorf("with layers from storage: %d %s", status, body)
	}
	if _, _, body := d.do("GET", "/status", ""); !regexp.MustCompile(`"streamed":[1-9]`).MatchString(body) {
		t.Errorf("/status says %s", body)
	}
	// Another model waits for a restart, and so does another file under its name; what else changes does so now.
	other := filepath.Join(d.dir, "other.bimamba")
	writeBase(t, other)
	limited := []string{"sessions = 1", "checkpoints = 0", `memory = "31MB"`, "metrics = false"}
	d.configure(append(limited, fmt.Sprintf("model = %q", other))...)
	if !d.sighup() || !strings.Contains(d.log.String(), "room for one model at a time\" options=model") {
		t.Errorf("the log:\n%s", d.log.String())
	}
	if status, _, _ := d.do("GET", "/metrics", ""); status != 404 {
		t.Error("another option did not change")
	}
	copyDefault(t, d.blob)
	if !d.sighup() || !strings.Contains(d.log.String(), "another file has the model's name") {
		t.Errorf("the log:\n%s", d.log.String())
	}
	if status, _, body := d.do("POST", "/v1/completions", request); status != 200 || !strings.Contains(body, "completion_tokens") {
		t.Errorf("after the reloads: %d %s", status, body)
	}
}

// TestFaultMemory: a layer that cannot be read fails its request; when it can be read again the daemon is healthy again by itself, and by a reload.
func TestFaultMemory(t *testing.T) {
	d := start(t, "sessions = 1", "checkpoints = 0", `memory = "31MB"`)
	whole, err := os.ReadFile(d.blob)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		status, _, _ := d.do("POST", "/v1/completions", `{"prompt":"a","max_tokens":3}`)
		return status
	}
	health := func() int {
		status, _, _ := d.do("GET", "/health", "")
		return status
	}
	for _, reload := range []bool{false, true} {
		if err := os.Truncate(d.blob, int64(len(whole))/2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a request fails", func() bool { return ask() == 503 })
		if health() != 503 {
			t.Error("healthy without its file")
		}
		if err := os.WriteFile(d.blob, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		if reload {
			d.sighup()
		} else {
			eventually(t, "requests work again", func() bool { return ask() == 200 })
		}
		if health() != 200 {
			t.Errorf("not healthy with its file put back (by a reload: %v)", reload)
		}
	}
}

// TestReloadSecurity: a token can be changed, and asked for, and the certificate exchanged.
func TestReloadSecurity(t *testing.T) {
	d := newTester(t)
	tlsLines := func(auth string) []string {
		return []string{
			fmt.Sprintf("auth = %q", auth), fmt.Sprintf("state_dir = %q", d.state()), `tls_self_signed = true`,
		}
	}
	d.configure(tlsLines("never")...)
	d.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	d.run(Options{})
	if !strings.HasPrefix(d.url, "https://") {
		t.Fatalf("addresses %v", d.addrs)
	}
	d.lives()
	if _, err := os.Stat(filepath.Join(d.state(), "token")); !os.IsNotExist(err) {
		t.Errorf("a token that nobody needs: %v", err)
	}
	fingerprint := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", d.address(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sum := sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw)
		return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
	}
	first := fingerprint()
	pemFile := filepath.Join(d.state(), selfSigned)
	if st, err := os.Stat(pemFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the certificate's file: %v %v", st, err)
	}
	if !strings.Contains(d.log.String(), "sha256="+first) {
		t.Errorf("the log does not show %s:\n%s", first, &d.log)
	}
	if b, _ := os.ReadFile(pemFile); len(b) == 0 {
		t.Error("no certificate")
	} else if p, _ := pem.Decode(b); p == nil || p.Type != "CERTIFICATE" {
		t.Error("the file does not begin with a certificate")
	}

	// A new certificate, and from now on a token.
	if err := os.Remove(pemFile); err != nil {
		t.Fatal(err)
	}
	d.configure(tlsLines("always")...)
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	second := fingerprint()
	if second == first || !strings.Contains(d.log.String(), "sha256="+second) {
		t.Errorf("the certificate was %s and is %s", first, second)
	}
	b, err := os.ReadFile(filepath.Join(d.state(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	if status, _, body := d.do("GET", "/v1/models", ""); status != 401 {
		t.Errorf("without the token: %d %s", status, body)
	}
	d.lives("Authorization: Bearer " + strings.TrimSpace(string(b)))

	// Another token; and one that is none leaves the last.
	if err := os.WriteFile(filepath.Join(d.state(), "token"), []byte("another-token-of-mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	d.lives("Authorization: Bearer another-token-of-mine")
	os.WriteFile(filepath.Join(d.state(), "token"), []byte("short\n"), 0o600)
	os.WriteFile(pemFile, []byte("nothing\n"), 0o600)
	if d.sighup() {
		t.Error("a bad token and a bad certificate were taken")
	}
	d.lives("Authorization: Bearer another-token-of-mine")
	if fingerprint() != second {
		t.Error("a reload that failed changed the certificate")
	}
	// Plain HTTP at an encrypted address is told so.
	c := d.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.Contains(string(b), "400") || !strings.Contains(string(b), "HTTPS") {
		t.Errorf("plain HTTP: %q", b)
	}
}
