package page

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHeaders(t *testing.T) {
	r := get(t, "GET", "/")
	if r.StatusCode != http.StatusOK {
		t.Fatalf("status %d", r.StatusCode)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options":        "DENY",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-cache",
		"Content-Length":         strconv.Itoa(len(text(t, r))),
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRequests(t *testing.T) {
	whole := get(t, "GET", "/")
	etag, length := whole.Header.Get("Etag"), whole.Header.Get("Content-Length")
	for _, c := range []struct {
		name, method, path string
		header             []string
		status             int
		body               bool
	}{
		{"get", "GET", "/", nil, 200, true},
		{"query", "GET", "/?x=1", nil, 200, true},
		{"head", "HEAD", "/", nil, 200, false},
		{"known", "GET", "/", []string{"If-None-Match", etag}, 304, false},
		{"known weakly", "GET", "/", []string{"If-None-Match", `"x", W/` + etag}, 304, false},
		{"known, head", "HEAD", "/", []string{"If-None-Match", etag}, 304, false},
		{"another is known", "GET", "/", []string{"If-None-Match", `"0123"`}, 200, true},
		{"post", "POST", "/", nil, 405, true},
		{"other path", "GET", "/index.html", nil, 404, true},
		{"source", "GET", "/page.js", nil, 404, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := get(t, c.method, c.path, c.header...)
			if r.StatusCode != c.status {
				t.Errorf("status %d, want %d", r.StatusCode, c.status)
			}
			if got := text(t, r) != ""; got != c.body {
				t.Errorf("a body: %v, want %v", got, c.body)
			}
			if (c.status == 200 || c.status == 304) && r.Header.Get("Etag") != etag {
				t.Errorf("Etag %q, want %q", r.Header.Get("Etag"), etag)
			}
			if c.status == 200 && r.Header.Get("Content-Length") != length {
				t.Errorf("Content-Length %q, want %q", r.Header.Get("Content-Length"), length)
			}
			if c.status == 405 && r.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow %q", r.Header.Get("Allow"))
			}
		})
	}
}

// TestPolicy reads the document as a browser does, and compares hashes and policy.
func TestPolicy(t *testing.T) {
	r := get(t, "GET", "/")
	page := text(t, r)
	rules := map[string]string{}
	for rule := range strings.SplitSeq(r.Header.Get("Content-Security-Policy"), "; ") {
		name, value, _ := strings.Cut(rule, " ")
		if _, twice := rules[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		rules[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "connect-src": "'self'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
		"require-trusted-types-for": "'script'", "trusted-types": "'none'",
	} {
		if rules[name] != want {
			t.Errorf("%s: %q, want %q", name, rules[name], want)
		}
	}
	for _, tag := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<`+tag+`[^>]*>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 || len(found[0][1]) < 1000 {
			t.Fatalf("%d elements %s, or an empty one", len(found), tag)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; rules[tag+"-src"] != want {
			t.Errorf("%s-src: %q, want %q", tag, rules[tag+"-src"], want)
		}
	}
	if strings.Contains(page, "\r") {
		t.Error("a carriage return: a browser hashes a line feed instead")
	}
}

// TestDocument holds what the policy cannot: the page is small, whole, and names no other host.
func TestDocument(t *testing.T) {
	page := text(t, get(t, "GET", "/"))
	if len(page) > 40<<10 {
		t.Errorf("%d bytes, more than 40 KiB", len(page))
	}
	for _, bad := range []string{
		`(?i)(https?|wss?|ftp):`,                     // an address
		`(?i)(src|href|action|url\()\s*=?\s*["']?//`, // one without a scheme
		`(?i)\son[a-z]+\s*=\s*["']`,                  // handlers in attributes, which the policy refuses
		`\sstyle\s*=\s*["']`,                         // styles in attributes, likewise
		`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`,
		`localStorage|document\.cookie`,
		`\{\{`, // a part that is missing
		`@import`,
	} {
		if found := regexp.MustCompile(bad).FindString(page); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(document, -1) {
		if ids[m[1]] {
			t.Errorf("id %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, use := range []struct{ where, pattern, text string }{
		{"page.js", `\$\('([^']+)'\)`, script}, {"page.css", `(?m)^\s*#([a-z-]+)`, style}, {"index.html", `\sfor="([^"]+)"`, document},
	} {
		found := regexp.MustCompile(use.pattern).FindAllStringSubmatch(use.text, -1)
		if len(found) == 0 {
			t.Errorf("%s: no ids found", use.where)
		}
		for _, m := range found {
			if !ids[m[1]] {
				t.Errorf("%s: no element has the id %s", use.where, m[1])
			}
		}
	}
}
