package daemon

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// limit keeps connections within max_connections. Those of Unix sockets are counted apart: this machine's programs get in whatever the network does.
type limit struct {
	mu        sync.Mutex
	max       int
	tcp, unix places
	refused   uint64
	leaving   atomic.Int64 // are being turned away
}

// places is the connections that share a maximum.
type places struct {
	open  int
	peers map[string]int // how many are from where; not from this machine
	idle  list.List      // of *countedConn that wait for their next request, longest first
}

// countedConn is a connection that counts from take until it is closed.
type countedConn struct {
	net.Conn
	limit  *limit
	places *places
	from   reach
	peer   string        // "" is this machine
	idle   *list.Element // among the places that are idle; nil while a request runs
	gone   bool
}

func (l *limit) set(n int) {
	l.mu.Lock()
	l.max = n
	l.mu.Unlock()
}

// counts are how many connections are open, and how many were refused.
func (l *limit) counts() (open int, refused uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tcp.open + l.unix.open, l.refused
}

// take counts a connection, or returns nil if there is no room for it. Room is made by closing connections that wait for their next request, those
// first that have waited longest. A peer on the network has half of all places at most, and its own connections give way to its new ones then.
func (l *limit) take(c net.Conn, from reach) *countedConn {
	out := &countedConn{Conn: c, limit: l, places: &l.tcp, from: from}
	if from == fromUnix {
		out.places = &l.unix
	} else if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err != nil || !a.Addr().Unmap().IsLoopback() {
		out.peer = peer(c.RemoteAddr().String())
	}
	closing, ok := l.admit(out)
	for _, c := range closing {
		c.Conn.Close()
	}
	if !ok {
		return nil
	}
	return out
}

// admit is take's part under the lock; closing are the connections that give way.
func (l *limit) admit(c *countedConn) (closing []*countedConn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := c.places
	for {
		half := c.peer != "" && p.peers[c.peer] >= max(1, l.max/2)
		if !half && p.open < l.max {
			break
		}
		old := p.oldest(c.peer, half)
		if old == nil {
			l.refused++
			return closing, false
		}
		old.leave()
		closing = append(closing, old)
	}
	p.open++
	if c.peer != "" {
		if p.peers == nil {
			p.peers = map[string]int{}
		}
		p.peers[c.peer]++
	}
	return closing, true
}

// oldest is the connection that has been idle longest, of one peer or of all; nil if none is.
func (p *places) oldest(peer string, one bool) *countedConn {
	for e := p.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*countedConn); !one || c.peer == peer {
			return c
		}
	}
	return nil
}

// leave gives the connection's place back, once. The lock is held.
func (c *countedConn) leave() {
	if c.gone {
		return
	}
	c.gone = true
	c.rest(false)
	c.places.open--
	if c.peer == "" {
		return
	}
	if c.places.peers[c.peer]--; c.places.peers[c.peer] == 0 {
		delete(c.places.peers, c.peer)
	}
}

// rest notes whether the connection waits for a request. The lock is held.
func (c *countedConn) rest(idle bool) {
	if c.idle != nil {
		c.places.idle.Remove(c.idle)
		c.idle = nil
	}
	if idle && !c.gone {
		c.idle = c.places.idle.PushBack(c)
	}
}

// watch is the part of http.Server.ConnState that knows which connections are idle.
func (l *limit) watch(c net.Conn, s http.ConnState) {
	if s == http.StateIdle || s == http.StateActive {
		l.rest(c, s == http.StateIdle)
	}
}

// rest notes whether a connection waits for a request.
func (l *limit) rest(c net.Conn, idle bool) {
	if c := counted(c); c != nil {
		l.mu.Lock()
		c.rest(idle)
		l.mu.Unlock()
	}
}

// Close gives the connection's place back.
func (c *countedConn) Close() error {
	c.limit.mu.Lock()
	c.leave()
	c.limit.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the server end an answer before it closes the connection.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
