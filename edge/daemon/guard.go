package daemon

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"bimamba/edge/daemon/config"
)

const (
	writeTimeout = 30 * time.Second // that a client may take to read a part of an answer
	maxPeers     = 4096             // whose rates are known at a time
	bodyBudget   = 16               // bodies of the largest size that are in memory at a time
	firstRead    = 16 << 10         // bytes of a body that there is a buffer for at first
)

// guard decides which requests come through, and bounds what they can hold.
type guard struct {
	conf  func() *config.Config
	token func() string
	next  http.Handler
	log   *slog.Logger
	write time.Duration // writeTimeout

	rates *rates

	mu     sync.Mutex
	bodies int // bytes set aside for bodies
	panics uint64
}

// rates is how many requests peers send.
type rates struct {
	mu    sync.Mutex
	peers map[string]*bucket
}

// bucket is what a peer may still send.
type bucket struct {
	tokens float64
	at     time.Time
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := g.conf()
	// All that a request takes counts: its body, reading its prompts, compiling its schema, waiting, every one of its answers.
	ctx, cancel := context.WithTimeout(r.Context(), c.RequestTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	out := &timedWriter{ResponseWriter: w, rc: http.NewResponseController(w), time: g.write}
	out.extend()
	defer g.recover(out, r)
	if r.ContentLength != 0 { // also where the body is not wanted: the server reads some of it
		out.rc.SetReadDeadline(time.Now().Add(c.ReadTimeout))
	}
	if status, message := g.admit(c, out, r); status != 0 {
		if r.ContentLength != 0 { // else the answer would wait for the body
			out.hangUp()
		}
		refuse(out, r, status, message)
		return
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		out.WriteHeader(http.StatusNoContent)
		return
	}
	done, ok := g.body(c, out, r)
	if !ok {
		return
	}
	defer done()
	g.next.ServeHTTP(out, r)
}

// recover ends a request whose handler panicked: with an error, or by closing the connection if an answer has begun.
func (g *guard) recover(w *timedWriter, r *http.Request) {
	x := recover()
	if x == nil {
		return
	}
	if x == http.ErrAbortHandler {
		panic(x)
	}
	g.mu.Lock()
	g.panics++
	g.mu.Unlock()
	g.log.Error("a handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(x), "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Connection", "close")
	refuse(w, r, http.StatusInternalServerError, "internal error: this is a bug; the daemon's log has more")
}

// admit decides by a request's header. The status is 0 if it may go on.
func (g *guard) admit(c *config.Config, w http.ResponseWriter, r *http.Request) (status int, message string) {
	from, _ := r.Context().Value(reachKey{}).(reach)
	guarded := needsToken(c, from)
	// A page elsewhere can give its own name this machine's address, and is then of the same origin as far as the browser knows. It does not have
	// the token, though, and no browser opens a Unix socket.
	if !guarded && from != fromUnix && !ownHost(r.Host) {
		return http.StatusForbidden, fmt.Sprintf("the host %q is no name of this machine's own network: ask by its address or as localhost, or for a token (auth = always)", r.Host)
	}
	if message := origin(c, w, r); message != "" {
		return http.StatusForbidden, message
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		return 0, "" // browsers ask without a token
	}
	if wait := g.rates.wait(c.Rate, peer(r.RemoteAddr)); wait > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(math.Ceil(wait.Seconds()))))
		return http.StatusTooManyRequests, fmt.Sprintf("more than %g requests a second from one address (rate)", c.Rate)
	}
	if guarded && !openPath(r.URL.Path) && !g.knows(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="bimambad"`)
		return http.StatusUnauthorized, "a token is needed: send the header \"Authorization: Bearer TOKEN\" with what is in the daemon's token file"
	}
	return 0, ""
}

// openPath tells whether a path says nothing that needs a token.
func openPath(path string) bool { return path == "/" || path == "/health" }

// origin says why a request that a foreign web page makes a browser send is refused, "" for the others.
func origin(c *config.Config, w http.ResponseWriter, r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return ""
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if slices.Contains(c.CORSOrigin, "*") || slices.Contains(c.CORSOrigin, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST, HEAD, OPTIONS")
			h.Set("Access-Control-Max-Age", "600")
			// SDKs send headers of their own. What they ask for decides nothing here.
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Set("Access-Control-Allow-Headers", asked)
			}
		}
		return ""
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return ""
	}
	return fmt.Sprintf("web pages of %q may not call this service (cors_origin)", origin)
}

// ownHost tells whether a Host header cannot be a name of somebody else's: an address, a name without a domain, or one of the domains that are
// local to a network (RFC 6761, 6762 and 8375; .internal, which ICANN has set aside; .lan, which nobody can buy and routers like).
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(host, ".") ||
		slices.ContainsFunc([]string{".localhost", ".local", ".lan", ".home.arpa", ".internal"}, func(s string) bool { return strings.HasSuffix(host, s) })
}

// knows tells whether a request shows the token.
func (g *guard) knows(r *http.Request) bool {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want := g.token()
	return want != "" && strings.EqualFold(kind, "Bearer") && subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(want)) == 1
}

// peer is who sends, by the address of the connection: an address or its network, or "unix".
func peer(remote string) string {
	if a, err := netip.ParseAddrPort(remote); err == nil {
		ip := a.Addr().Unmap()
		if ip.Is6() { // who has one address of a network of this size has all
			p, _ := ip.Prefix(64)
			return p.String()
		}
		return ip.String()
	}
	return "unix"
}

// wait is how long a peer has to wait, 0 if it may go on.
func (r *rates) wait(perSecond float64, peer string) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	burst := max(1, 2*perSecond)
	if r.peers == nil {
		r.peers = map[string]*bucket{}
	}
	b := r.peers[peer]
	if b == nil {
		if len(r.peers) >= maxPeers {
			for p, b := range r.peers {
				if now.Sub(b.at).Seconds()*perSecond >= burst { // full again
					delete(r.peers, p)
				}
			}
			if len(r.peers) >= maxPeers {
				return time.Second
			}
		}
		b = &bucket{burst, now}
		r.peers[peer] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / perSecond * float64(time.Second))
	}
	b.tokens--
	return 0
}

// body reads a request's body whole, within its size, its time and the memory for all bodies. Handlers then find it in memory, and the server
// notices while they work if the client goes away.
func (g *guard) body(c *config.Config, w *timedWriter, r *http.Request) (done func(), ok bool) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return func() {}, true
	}
	limit := int(c.MaxBody)
	large := fmt.Sprintf("the body has more than the %d bytes that are taken (max_body)", limit)
	fail := func(status int, message string) (func(), bool) {
		w.hangUp()
		refuse(w, r, status, message)
		return nil, false
	}
	if r.ContentLength > int64(limit) {
		return fail(http.StatusRequestEntityTooLarge, large)
	}
	room := 0 // set aside: as much as there is a buffer for, so that nobody who only says that he will send takes it from others
	free := func() { g.reserve(-room, math.MaxInt) }
	var b []byte
	for {
		if len(b) == cap(b) {
			next := min(max(2*cap(b), firstRead), limit+1)
			if n := r.ContentLength; n >= 0 {
				next = min(next, int(n)+1)
			}
			if !g.reserve(next-room, int(bodies(c))*limit) {
				free()
				w.Header().Set("Retry-After", "1")
				return fail(http.StatusTooManyRequests, "too many large requests are arriving")
			}
			room = next
			b = append(make([]byte, 0, next), b...)
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		e, _ := err.(net.Error)
		switch {
		case len(b) > limit:
			free()
			return fail(http.StatusRequestEntityTooLarge, large)
		case err == io.EOF:
			w.rc.SetReadDeadline(time.Time{})
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			return free, true
		case e != nil && e.Timeout():
			free()
			return fail(http.StatusRequestTimeout, fmt.Sprintf("the body took longer than %v to arrive (read_timeout)", c.ReadTimeout))
		case err != nil:
			free()
			return fail(http.StatusBadRequest, "the body ended early")
		}
	}
}

// reserve sets bytes aside for a body, if there are so many left of a budget.
func (g *guard) reserve(n, budget int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bodies+n > budget {
		return false
	}
	g.bodies += n
	return true
}

// refuse answers with an error in the form of the protocol that the path belongs to.
func refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		kind := map[int]string{401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}[status]
		switch {
		case status >= 500:
			kind = "server_error"
		case kind == "":
			kind = "invalid_request_error"
		}
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}})
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"error": message})
}

// timedWriter gives a client a time to read each part of an answer.
type timedWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	time  time.Duration
	set   time.Time
	begun bool // the answer
}

func (w *timedWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.begun = true
	w.extend()
	return w.ResponseWriter.Write(b)
}

// Flush sends what was written.
func (w *timedWriter) Flush() { w.FlushError() }

// FlushError is Flush with its error.
func (w *timedWriter) FlushError() error {
	w.begun = true
	w.extend()
	return w.rc.Flush()
}

func (w *timedWriter) extend() {
	if now := time.Now(); now.Sub(w.set) > w.time/30 {
		w.set = now
		w.rc.SetWriteDeadline(now.Add(w.time))
	}
}

// hangUp closes the connection behind the answer. The server reads what is left of the body before that, for a moment, because otherwise the
// answer might be lost.
func (w *timedWriter) hangUp() {
	w.Header().Set("Connection", "close")
	w.rc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
