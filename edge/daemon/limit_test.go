package daemon

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends a request on a connection that stays open, and returns the status and whether the connection was still there.
func ask(t *testing.T, c net.Conn) (status int, ok bool) {
	t.Helper()
	io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if ne, timeout := errors.AsType[net.Error](err); timeout && ne.Timeout() {
			t.Fatal("no answer, and no end: ", err)
		}
		return 0, false
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Error(err)
	}
	return res.StatusCode, true
}

// idle waits until so many TCP connections wait for a request: the server notes it shortly after the answer.
func (l *limit) waitIdle(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d connections are idle", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.tcp.idle.Len() == n
	})
}

// TestIdleGivesWay: idle connections do not keep others out, those go first that have been idle longest, and busy ones stay.
func TestIdleGivesWay(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprint("encrypted=", encrypted), func(t *testing.T) {
			l := &limit{max: 4}
			var encrypt *tls.Config
			dial := func(a string) (net.Conn, error) { return net.Dial("tcp", a) }
			if encrypted {
				file := filepath.Join(t.TempDir(), "tls.pem")
				if err := makeCertificate(file); err != nil {
					t.Fatal(err)
				}
				pair, err := tls.LoadX509KeyPair(file, file)
				if err != nil {
					t.Fatal(err)
				}
				encrypt = &tls.Config{Certificates: []tls.Certificate{pair}}
				dial = func(a string) (net.Conn, error) { return tls.Dial("tcp", a, &tls.Config{InsecureSkipVerify: true}) }
			}
			in, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{
				ConnState: l.watch, ErrorLog: log.New(io.Discard, "", 0),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "here") }),
			}
			defer server.Close()
			go server.Serve(newListener(in, l, encrypt))

			var kept []net.Conn
			for range 12 {
				c, err := dial(in.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				if status, ok := ask(t, c); !ok || status != 200 {
					t.Fatalf("connection %d: %d %v", len(kept)+1, status, ok)
				}
				kept = append(kept, c)
				l.waitIdle(t, min(len(kept), 4))
			}
			for i, c := range kept {
				if _, ok := ask(t, c); ok != (i >= 8) {
					t.Errorf("connection %d of 12: open is %v", i+1, ok)
				}
			}
			l.waitIdle(t, 4)
			l.set(2)
			c, err := dial(in.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			if status, ok := ask(t, c); !ok || status != 200 {
				t.Errorf("with fewer places: %d %v", status, ok)
			}
			if open, refused := l.counts(); open != 2 || refused != 0 {
				t.Errorf("%d connections are open with two places, %d were refused", open, refused)
			}
		})
	}
}

// from is a connection of a peer's.
type from struct {
	net.Conn
	addr   string
	closed bool
}

func (f *from) Close() error         { f.closed = true; return nil }
func (f *from) RemoteAddr() net.Addr { return f }
func (f *from) Network() string      { return "tcp" }
func (f *from) String() string       { return f.addr }

// TestPeersShare: who is on the network has half of the places, this machine's programs have all, and Unix sockets have their own.
func TestPeersShare(t *testing.T) {
	l := &limit{max: 8}
	var all []*countedConn
	take := func(addr string, r reach, want bool) *countedConn {
		t.Helper()
		c := l.take(&from{addr: addr}, r)
		if (c != nil) != want {
			t.Fatalf("%s, with %d places taken: let in is %v", addr, l.tcp.open, c != nil)
		}
		if c != nil {
			all = append(all, c)
		}
		return c
	}
	first := take("192.0.2.1:1000", fromNetwork, true)
	for range 3 {
		take("192.0.2.1:1001", fromNetwork, true)
	}
	take("192.0.2.1:1002", fromNetwork, false)
	take("[::ffff:192.0.2.1]:1002", fromNetwork, false)
	other := take("[2001:db8::1]:1", fromNetwork, true)
	take("[2001:db8::2]:1", fromNetwork, true) // of the same network
	// The idle connection of somebody else is not in the way of one who has half of all; his own is.
	l.watch(other, http.StateIdle)
	take("192.0.2.1:1003", fromNetwork, false)
	l.watch(first, http.StateIdle)
	take("192.0.2.1:1004", fromNetwork, true)
	if !first.Conn.(*from).closed || other.Conn.(*from).closed {
		t.Errorf("closed: the peer's own %v, another's %v", first.Conn.(*from).closed, other.Conn.(*from).closed)
	}
	l.watch(other, http.StateActive)
	take("127.0.0.1:1", fromNetwork, true)
	take("[::1]:1", fromLoopback, true)
	take("[2001:db8::3]:1", fromNetwork, false) // full
	take("127.0.0.1:2", fromLoopback, false)
	for range 8 {
		take("@", fromUnix, true)
	}
	take("@", fromUnix, false)
	if open, refused := l.counts(); open != 16 || refused != 6 {
		t.Errorf("%d are open, %d were refused", open, refused)
	}
	for _, c := range all {
		c.Close()
		c.Close() // as servers do
		l.watch(c, http.StateIdle)
	}
	if open, _ := l.counts(); open != 0 || len(l.tcp.peers) != 0 || l.tcp.idle.Len() != 0 {
		t.Errorf("afterwards %d are open, of %v, %d are idle", open, l.tcp.peers, l.tcp.idle.Len())
	}
}

// TestUnixHasRoom: the network does not keep a Unix socket's clients out.
func TestUnixHasRoom(t *testing.T) {
	d := newTester(t)
	path := filepath.Join(d.dir, "s")
	d.configure("max_connections = 4", `read_timeout = "60s"`, fmt.Sprintf("listen = [%q, %q]", "127.0.0.1:0", "unix:"+path))
	d.run(Options{})
	for range 4 {
		io.WriteString(d.dial(), "GET /health HT")
	}
	if got := d.talk("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"); !strings.Contains(got, "max_connections") {
		t.Errorf("a fifth: %q", got)
	}
	res, err := overUnix(path).Get("http://localhost/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("the Unix socket: %d", res.StatusCode)
	}
}
