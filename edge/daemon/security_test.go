package daemon

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/edge/daemon/config"
)

// outside is an address of this machine that is not loopback.
func outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

func TestToken(t *testing.T) {
	ip := outside(t)
	d := newTester(t)
	d.configure(fmt.Sprintf("listen = [%q, %q]", "127.0.0.1:0", ip+":0"), fmt.Sprintf("state_dir = %q", d.state()))
	d.run(Options{})
	path := filepath.Join(d.state(), "token")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(b))
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 || len(token) < 16 {
		t.Errorf("the token %q with mode %v", token, st.Mode())
	}
	if log := d.log.String(); strings.Contains(log, token) || !strings.Contains(log, path) {
		t.Errorf("the log has to name the file, and not the token:\n%s", log)
	}
	for _, tt := range []struct {
		base, path, auth string
		status           int
	}{
		{d.addrs[0], "/v1/models", "", 200},
		{d.addrs[1], "/v1/models", "", 401},
		{d.addrs[1], "/v1/models", "Bearer " + token, 200},
		{d.addrs[1], "/v1/models", "bearer  " + token, 200},
		{d.addrs[1], "/v1/models", "Bearer " + token + "x", 401},
		{d.addrs[1], "/v1/models", "Bearer " + token[:len(token)-1], 401},
		{d.addrs[1], "/v1/models", "Bearer ", 401},
		{d.addrs[1], "/v1/models", "Basic " + token, 401},
		{d.addrs[1], "/v1/models", token, 401},
		{d.addrs[1], "/api/tags", "", 401},
		{d.addrs[1], "/api/version", "", 401},
		{d.addrs[1], "/v1/state", "", 401},
		{d.addrs[1], "/status", "", 401},
		{d.addrs[1], "/metrics", "", 401},
		{d.addrs[1], "/nothing", "", 401},
		{d.addrs[1], "//health/../metrics", "", 401},
		{d.addrs[1], "/health", "", 200}, // these two say nothing
		{d.addrs[1], "/", "", 200},
	} {
		status, h, body := d.do("GET", tt.base+tt.path, "", "Authorization: "+tt.auth)
		if status != tt.status || status == 401 && (!strings.Contains(body, "a token is needed") || !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer")) {
			t.Errorf("%s%s with %q: %d %.200s; want %d", tt.base, tt.path, tt.auth, status, body, tt.status)
		}
	}
	// A refusal does not wait for a body.
	if status, _, body := d.do("POST", d.addrs[1]+"/v1/completions", `{"prompt":"a"}`); status != 401 || !strings.Contains(body, `"type":"authentication_error"`) {
		t.Errorf("a body without a token: %d %s", status, body)
	}
	// With a token a name in the domain system is as good as any: the page that uses it would not know the token.
	if status, _, _ := d.do("GET", d.addrs[1]+"/v1/models", "", "Host: models.example.com", "Authorization: Bearer "+token); status != 200 {
		t.Errorf("a public name and a token: %d", status)
	}

	// The token stays over a restart.
	d.stop()
	if err := d.end(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	d.configure(`auth = "always"`, fmt.Sprintf("state_dir = %q", d.state()))
	d.url = ""
	d.run(Options{})
	if status, _, _ := d.do("GET", "/v1/models", ""); status != 401 {
		t.Errorf("auth = always on loopback: %d", status)
	}
	d.lives("Authorization: Bearer " + token)
}

// TestNeedsToken goes from an address that is listened on to whether its clients have to show the token.
func TestNeedsToken(t *testing.T) {
	loopback, lan, all := &net.TCPAddr{IP: net.IPv6loopback}, &net.TCPAddr{IP: net.IPv4(192, 168, 0, 2)}, &net.TCPAddr{IP: net.IPv6unspecified}
	local := &net.UnixAddr{Name: "/s", Net: "unix"}
	for _, tt := range []struct {
		auth string
		addr net.Addr
		want bool
	}{
		{config.AuthAuto, loopback, false}, {config.AuthAuto, lan, true}, {config.AuthAuto, all, true}, {config.AuthAuto, local, false},
		{config.AuthAuto, &net.TCPAddr{}, true}, {config.AuthAlways, loopback, true}, {config.AuthAlways, local, true},
		{config.AuthNever, all, false}, {config.AuthNever, local, false},
	} {
		l := newListener(addressed{addr: tt.addr}, nil, nil)
		if got := needsToken(&config.Config{Auth: tt.auth}, l.from); got != tt.want {
			t.Errorf("%s %v: %v", tt.auth, tt.addr, got)
		}
	}
}

// addressed is a listener that has nothing but an address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (a addressed) Addr() net.Addr { return a.addr }

func TestAuthNever(t *testing.T) {
	ip := outside(t)
	d := start(t, fmt.Sprintf("listen = [%q]", ip+":0"), `auth = "never"`)
	d.lives()
	if status, _, _ := d.do("GET", "/v1/models", "", "Host: evil.example.com"); status != 403 {
		t.Errorf("a foreign name: %d", status)
	}
}

// TestHost refuses names that somebody else can give to this machine.
func TestHost(t *testing.T) {
	d := start(t)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:11434": 200, "app.localhost": 200, "127.0.0.1": 200, "[::1]:80": 200, "192.168.1.2": 200, "pi": 200, "pi.local": 200,
		"host.docker.internal": 200, "localhost.": 200,
		"example.com": 403, "evil.example.com:11434": 403, "127.0.0.1.example.com": 403, "localhost.example.com": 403, "pi.local.example.com.": 403,
	} {
		status, _, body := d.do("GET", "/v1/models", "", "Host: "+host)
		if status != want || status == 403 && !strings.Contains(body, "is no name of this machine") {
			t.Errorf("Host %s: %d %.200s; want %d", host, status, body, want)
		}
	}
}

// FuzzHost: whatever a Host header says, a name that a stranger can register is not this machine's own.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost:80", "[::1]", "evil.example.com", "a.local.", ":", "[", "127.0.0.1.example.com:1", "x.lan:x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if strings.ContainsAny(host, "[]:.") {
			ownHost(host) // no panic is all that can be said
		}
		for _, h := range []string{host + ".example.com", host + ".example.com:80", host + ".example.com."} {
			if !strings.ContainsAny(host, "[]:%") && ownHost(h) {
				t.Errorf("%q counts as this machine's own", h)
			}
		}
	})
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct {
		allowed, origin string
		status          int
		header          string
	}{
		{``, "", 200, ""},
		{``, "https://evil.example", 403, ""},
		{``, "null", 403, ""},
		{``, "http://SAME", 200, ""},
		{``, "http://localhost:1", 403, ""},
		{`"https://a.example"`, "https://a.example", 200, "https://a.example"},
		{`"https://a.example"`, "https://b.example", 403, ""},
		{`"https://a.example"`, "http://a.example", 403, ""},
		{`"https://a.example"`, "https://a.example.evil", 403, ""},
		{`"*"`, "https://b.example", 200, "https://b.example"},
		{`"*"`, "null", 200, "null"},
	} {
		d := start(t, "cors_origin = ["+tt.allowed+"]", fmt.Sprintf("state_dir = %q", filepath.Join(t.TempDir(), "s")))
		origin := strings.ReplaceAll(tt.origin, "SAME", d.address())
		for _, method := range []string{"GET", "OPTIONS"} {
			status, h, body := d.do(method, "/v1/models", "", "Origin: "+origin, "Access-Control-Request-Method: POST",
				"Access-Control-Request-Headers: authorization,x-stainless-lang")
			want := tt.status
			if method == "OPTIONS" && want == 200 {
				want = 204
			}
			if got := h.Get("Access-Control-Allow-Origin"); status != want || got != tt.header {
				t.Errorf("allowed %s, %s from %q: %d %.100s, allows %q; want %d, %q", tt.allowed, method, origin, status, body, got, want, tt.header)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
			if tt.header != "" && method == "OPTIONS" {
				if !strings.Contains(h.Get("Access-Control-Allow-Headers"), "x-stainless-lang") || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
					t.Errorf("a preflight's headers: %v", h)
				}
			}
		}
		d.stop()
		d.end(5 * time.Second)
	}
}

// TestPreflightNeedsNoToken, because browsers send none; what follows does.
func TestPreflightNeedsNoToken(t *testing.T) {
	d := newTester(t)
	d.configure(`auth = "always"`, `cors_origin = ["https://a.example"]`, fmt.Sprintf("state_dir = %q", d.state()))
	d.run(Options{})
	if status, _, _ := d.do("OPTIONS", "/v1/models", "", "Origin: https://a.example", "Access-Control-Request-Method: GET"); status != 204 {
		t.Errorf("the preflight: %d", status)
	}
	if status, h, _ := d.do("GET", "/v1/models", "", "Origin: https://a.example"); status != 401 || h.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("the request: %d %v", status, h)
	}
	if status, _, _ := d.do("OPTIONS", "/v1/models", ""); status != 401 {
		t.Errorf("OPTIONS that is no preflight: %d", status)
	}
}

func TestRate(t *testing.T) {
	d := start(t, "rate = 0.5") // two at a time
	limited := 0
	for range 4 {
		status, h, body := d.do("GET", "/v1/models", "")
		switch {
		case status == 429 && h.Get("Retry-After") != "" && strings.Contains(body, "more than 0.5 requests a second") && strings.Contains(body, "rate_limit_error"):
			limited++
		case status != 200:
			t.Errorf("%d %s", status, body)
		}
	}
	if limited < 2 {
		t.Errorf("%d of 4 requests were refused", limited)
	}
}

func TestRateBuckets(t *testing.T) {
	var r rates
	for i := range maxPeers {
		if r.wait(1, fmt.Sprint(i)) != 0 {
			t.Fatal("a first request was refused")
		}
	}
	if r.wait(1, "one more") == 0 || len(r.peers) > maxPeers {
		t.Errorf("%d peers are known", len(r.peers))
	}
	r.peers["0"].at = time.Now().Add(-time.Hour)
	if r.wait(1, "one more") != 0 || len(r.peers) != maxPeers {
		t.Errorf("a peer that has been silent for an hour keeps its place")
	}
	for addr, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7", "[::ffff:192.0.2.7]:80": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "@": "unix", "": "unix",
	} {
		if got := peer(addr); got != want {
			t.Errorf("%s is %s, not %s", addr, got, want)
		}
	}
}

// TestPathsOfClients are names, never files.
func TestPathsOfClients(t *testing.T) {
	d := newTester(t)
	d.configure(fmt.Sprintf("state_dir = %q", d.state()))
	d.run(Options{})
	secret := filepath.Join(d.dir, "secret.state")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../secret", secret, "..", ".", "/etc/passwd", "a/b", "a\x00b", ""} {
		d.converse("s", "a")
		for _, op := range []string{"save", "load", "delete"} {
			quoted, _ := json.Marshal(name)
			status, _, body := d.do("POST", "/v1/state", fmt.Sprintf(`{"op":%q,"name":%s,"session":"s"}`, op, quoted))
			if status != 400 || strings.Contains(body, "no such file") {
				t.Errorf("%s of %q: %d %s", op, name, status, body)
			}
		}
		status, _, body := d.do("POST", "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"a","max_tokens":1}`, "x"+name))
		if status != 404 && status != 400 {
			t.Errorf("the model %q: %d %s", name, status, body)
		}
	}
	for _, tt := range []struct {
		op, name, session string
		status            int
	}{
		{"load", "missing", "s", 404}, {"delete", "missing", "", 404}, {"save", "one", "missing", 404}, {"save", "one", "", 400}, {"copy", "one", "s", 400},
	} {
		if status, body := d.stateOp(tt.op, tt.name, tt.session); status != tt.status || !strings.Contains(body, `"error"`) {
			t.Errorf("%s of %q: %d %s; want %d", tt.op, tt.name, status, body, tt.status)
		}
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the file beside the state directory: %q %v", b, err)
	}
}
