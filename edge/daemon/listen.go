package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/edge/daemon/config"
	"bimamba/systemd/notify"
)

// reach is who can reach an address.
type reach int

const (
	fromNetwork  reach = iota // other machines
	fromLoopback              // this machine, its browsers included
	fromUnix                  // this machine's programs that may open a socket's file
)

// reachKey is the context key of the reach of the address that a connection came to.
type reachKey struct{}

// listener is an open address.
type listener struct {
	net.Listener
	from  reach
	limit *limit
	tls   *tls.Config // nil: not encrypted
}

// listen opens the addresses of a configuration, unless systemd passed sockets: then those are all.
func listen(c *config.Config, limit *limit, encrypt *tls.Config) (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				l.Close()
			}
		}
	}()
	passed, err := notify.Listeners()
	if err != nil {
		return nil, err
	}
	for _, p := range passed {
		list = append(list, newListener(p.Listener, limit, encrypt))
	}
	if len(passed) > 0 {
		return list, nil
	}
	for _, a := range c.Listen {
		if a.Network == "unix" {
			if err := removeStale(a.Addr); err != nil {
				return list, err
			}
		}
		l, err := net.Listen(a.Network, a.Addr)
		if err != nil {
			return list, fmt.Errorf("--listen %v: %w", a, err)
		}
		if a.Network == "unix" && a.Addr[0] != '@' {
			if err := os.Chmod(a.Addr, 0o660); err != nil {
				l.Close()
				return list, fmt.Errorf("--listen %v: %w", a, err)
			}
		}
		list = append(list, newListener(l, limit, encrypt))
	}
	return list, nil
}

// removeStale removes the socket file that a killed process left: one that nobody answers at.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || path[0] == '@' {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("--listen unix:%s: the file exists and is no socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("--listen unix:%s: another process answers there", path)
	}
	return os.Remove(path)
}

func newListener(l net.Listener, limit *limit, encrypt *tls.Config) *listener {
	out := &listener{Listener: l, limit: limit, from: fromUnix}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		out.from, out.tls = fromNetwork, encrypt
		if a.IP.IsLoopback() {
			out.from = fromLoopback
		}
	}
	return out
}

// String is the address as people write it.
func (l *listener) String() string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	if l.tls != nil {
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// Accept takes the next connection. One more than may be open is told so and closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.limit.take() {
			l.turnAway(c)
			continue
		}
		if t, ok := c.(*net.TCPConn); ok {
			t.SetWriteBuffer(sendBuffer)
		}
		counted := &countedConn{Conn: c, limit: l.limit, from: l.from}
		if l.tls == nil {
			return counted, nil
		}
		return tls.Server(counted, l.tls), nil
	}
}

// turnAway tells a client that there is no room. What the client has sent is read for a moment, because closing a connection with something
// unread would take the answer away again; while many are turned away, that is left out.
func (l *listener) turnAway(c net.Conn) {
	if l.tls != nil || l.limit.leaving.Add(1) > maxLeaving {
		if l.tls == nil {
			l.limit.leaving.Add(-1)
		}
		c.Close()
		return
	}
	go func() {
		defer l.limit.leaving.Add(-1)
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		io.WriteString(c, full)
		if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			io.Copy(io.Discard, io.LimitReader(c, 64<<10))
		}
	}()
}

// sendBuffer is how much of an answer the kernel keeps for a client that reads slowly. Left alone, that grows to megabytes a connection.
const sendBuffer = 64 << 10

// maxLeaving is how many connections are told at a time that there is no room.
const maxLeaving = 64

// full is what a connection reads that is one too many.
var full = func() string {
	const body = `{"error":"too many connections are open (max_connections)"}`
	return fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}()

// limit counts connections.
type limit struct {
	mu        sync.Mutex
	open, max int
	refused   uint64
	leaving   atomic.Int64 // are being turned away
}

func (l *limit) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max {
		l.refused++
		return false
	}
	l.open++
	return true
}

func (l *limit) set(n int) {
	l.mu.Lock()
	l.max = n
	l.mu.Unlock()
}

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	limit *limit
	from  reach
	once  sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.limit.mu.Lock()
		c.limit.open--
		c.limit.mu.Unlock()
	})
	return c.Conn.Close()
}

// CloseWrite lets the server end an answer before it closes the connection.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// withConn marks the requests of a connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	from := fromNetwork
	if counted, ok := c.(*countedConn); ok {
		from = counted.from
	}
	return context.WithValue(ctx, reachKey{}, from)
}
