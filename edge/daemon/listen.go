package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
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
	full  string      // what a connection reads that is one too many
}

// listen opens the addresses of an option, unless systemd passed sockets for it: then those are all, and the log says so.
func listen(c *config.Config, option string, addresses []config.Address, passed []notify.Listener, limit *limit, encrypt *tls.Config, log *slog.Logger) (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				l.Close()
			}
		}
	}()
	var names []string
	for _, p := range passed {
		l := newListener(p.Listener, limit, encrypt)
		names = append(names, p.Name+"="+l.String())
		list = append(list, l)
	}
	if len(passed) > 0 {
		log.Info("sockets that systemd passed", "names", strings.Join(names, " "))
		if from := c.Origin(option); from != "" {
			log.Warn(option+" is not used: the sockets that systemd passed come instead; change the socket unit, or disable it", option, fmt.Sprint(addresses), "from", from)
		}
		return list, nil
	}
	for _, a := range addresses {
		if a.Network == "unix" {
			if err := removeStale(option, a.Addr); err != nil {
				return list, err
			}
		}
		l, err := net.Listen(a.Network, a.Addr)
		if err != nil {
			return list, fmt.Errorf("--%s %v: %w", option, a, err)
		}
		if a.Network == "unix" && a.Addr[0] != '@' {
			if err := os.Chmod(a.Addr, 0o660); err != nil {
				l.Close()
				return list, fmt.Errorf("--%s %v: %w", option, a, err)
			}
		}
		list = append(list, newListener(l, limit, encrypt))
	}
	return list, nil
}

// removeStale removes the socket file that a killed process left: one that nobody answers at.
func removeStale(option, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || path[0] == '@' {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("--%s unix:%s: the file exists and is no socket", option, path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("--%s unix:%s: another process answers there", option, path)
	}
	return os.Remove(path)
}

func newListener(l net.Listener, limit *limit, encrypt *tls.Config) *listener {
	out := &listener{Listener: l, limit: limit, from: fromUnix, full: httpFull}
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
		counted := l.limit.take(c, l.from)
		if counted == nil {
			l.turnAway(c)
			continue
		}
		if t, ok := c.(*net.TCPConn); ok {
			t.SetWriteBuffer(sendBuffer)
		}
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
		io.WriteString(c, l.full)
		if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			io.Copy(io.Discard, io.LimitReader(c, 64<<10))
		}
	}()
}

// sendBuffer is how much of an answer the kernel keeps for a client that reads slowly. Left alone, that grows to megabytes a connection.
const sendBuffer = 64 << 10

// maxLeaving is how many connections are told at a time that there is no room.
const maxLeaving = 64

// httpFull is what a connection reads that is one too many, where HTTP is spoken.
var httpFull = func() string {
	const body = `{"error":"too many connections are open (max_connections)"}`
	return fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}()

// counted is the connection under one that the server has, nil if it is none of a listener's.
func counted(c net.Conn) *countedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	out, _ := c.(*countedConn)
	return out
}

// withConn marks the requests of a connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	from := fromNetwork
	if c := counted(c); c != nil {
		from = c.from
	}
	return context.WithValue(ctx, reachKey{}, from)
}
