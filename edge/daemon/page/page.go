package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

//go:embed index.html
var document string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Handler serves the page at / to GET and HEAD. Every other path is not found.
//
// It needs no authorisation: the page has no data of its own, and asks for the token when the API wants one.
func Handler() http.Handler {
	page := strings.NewReplacer("{{style}}", style, "{{script}}", script).Replace(document)
	sum := sha256.Sum256([]byte(page))
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	csp := policy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the page takes GET and HEAD, not "+r.Method, http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // asks with the ETag, so that a new daemon's page is seen at once
		h.Set("Etag", etag)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(page))
	})
}

// policy is the page's Content-Security-Policy: its own style and script by their hashes, its own origin's API, its icon, and nothing else.
func policy() string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src " + hash(script),
		"style-src " + hash(style),
		"connect-src 'self'",
		"img-src data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'", // nothing becomes HTML or code that was text
		"trusted-types 'none'",
	}, "; ")
}

// hash is a source of CSP for an inline element with this text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
