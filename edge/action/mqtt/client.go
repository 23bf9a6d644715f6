package mqtt

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	connectTime = 10 * time.Second       // that a connection takes at most, with TLS and CONNACK
	firstPause  = 500 * time.Millisecond // between a connection that ended and the next try,
	lastPause   = 30 * time.Second       // which doubles up to this
	leastPause  = 200 * time.Millisecond // even if somebody waits
	settled     = 10 * time.Second       // a connection that lasted so long starts the pauses anew
)

// Message is one that is published.
type Message struct {
	Topic   string
	Payload []byte // at most 250,000 bytes
	QoS     byte   // 0 or 1
	Retain  bool
}

func (m *Message) check() error {
	if err := checkTopic(m.Topic); err != nil {
		return fmt.Errorf("topic %.80q: %w", m.Topic, err)
	}
	if m.QoS > 1 {
		return fmt.Errorf("QoS %d: 0 or 1 are here", m.QoS)
	}
	if len(m.Payload) > maxPacket-maxTopic-4 {
		return fmt.Errorf("a message of %d bytes: at most %d are sent", len(m.Payload), maxPacket-maxTopic-4)
	}
	return nil
}

// Options of New.
type Options struct {
	URL            string        // mqtt://HOST[:1883] or, with TLS, mqtts://HOST[:8883]
	User, Password string        // none if empty
	ClientID       string        // at most 23 of 0-9, a-z, A-Z and hyphen work with every broker; empty: a random one
	KeepAlive      time.Duration // the longest silence; 0: 30 s
	Will           *Message      // what the broker publishes when this client is gone without a goodbye; nil: nothing
	TLS            *tls.Config   // of mqtts; nil: the system's certificates
	Log            *slog.Logger  // nil: nothing is logged

	// Connected is called in a goroutine of its own after each connection is made and subscriptions are asked for anew. Its ctx ends with the connection. May be nil.
	Connected func(ctx context.Context, c *Client)

	dial func(ctx context.Context, network, address string) (net.Conn, error) // for tests
}

// parse checks the options and sets those that have defaults.
func (o *Options) parse() (address string, err error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == "" || u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the broker's address is mqtt://HOST:PORT or mqtts://HOST:PORT") // without what was given: it may hold a password
	}
	if u.User != nil {
		return "", errors.New("the broker's address holds a user or a password: give them on their own")
	}
	port := u.Port()
	if u.Scheme == "mqtt" {
		o.TLS = nil
		if port == "" {
			port = "1883"
		}
	} else {
		if port == "" {
			port = "8883"
		}
		if o.TLS == nil {
			roots, err := x509.SystemCertPool() // now: a sandbox may hide the files later
			if err != nil {
				return "", fmt.Errorf("the system's certificates: %w", err)
			}
			o.TLS = &tls.Config{RootCAs: roots}
		}
		o.TLS = o.TLS.Clone()
		o.TLS.MinVersion = tls.VersionTLS12
		if o.TLS.ServerName == "" {
			o.TLS.ServerName = u.Hostname()
		}
	}
	if o.ClientID == "" {
		o.ClientID = "bimamba-" + rand.Text()[:12]
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 30 * time.Second
	}
	if o.KeepAlive < time.Second || o.KeepAlive > 18*time.Hour {
		return "", fmt.Errorf("keep-alive %v: 1 s to 18 h", o.KeepAlive)
	}
	if o.Password != "" && o.User == "" {
		return "", errors.New("a password without a user")
	}
	for _, s := range []struct{ what, s string }{{"user", o.User}, {"password", o.Password}, {"client identifier", o.ClientID}} {
		if s.s != "" {
			if err := checkString(s.s); err != nil {
				return "", fmt.Errorf("%s: %w", s.what, err)
			}
		}
	}
	if o.Will != nil {
		if err := o.Will.check(); err != nil {
			return "", fmt.Errorf("will: %w", err)
		}
		if len(o.Will.Payload) > 65535 {
			return "", fmt.Errorf("will: %d bytes, more than 65535", len(o.Will.Payload))
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.dial == nil {
		o.dial = (&net.Dialer{}).DialContext
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// Check says what is wrong with options, as New does. It connects to nothing.
func (o Options) Check() error {
	_, err := o.parse()
	return err
}

// An Error is why a message was not acknowledged.
type Error struct {
	Sent bool // the broker may have it all the same
	Err  error
}

func (e *Error) Error() string {
	if e.Sent {
		return "the broker has not acknowledged the message: " + e.Err.Error()
	}
	return "the broker is not reached: " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

var errClosed = errors.New("the client is closed")

// Client is a connection to a broker that is made again whenever it breaks. Its methods may be called from several goroutines.
type Client struct {
	opt     Options
	address string
	stop    context.CancelFunc
	done    chan struct{} // closed when run has ended
	wake    chan struct{} // somebody waits for a connection

	mu       sync.Mutex
	session  *session      // nil: there is none
	failures int           // attempts that failed
	last     error         // why there is no connection
	changed  chan struct{} // closed and replaced when one of these changes
	subs     []subscription
}

type subscription struct {
	filter  string
	handler func(Message)
}

// New starts to connect. An error is about the options; whether the broker is there, Publish and State say.
func New(opt Options) (*Client, error) {
	c := &Client{opt: opt, done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}), last: errors.New("no connection was tried yet")}
	var err error
	if c.address, err = c.opt.parse(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.run(ctx)
	return c, nil
}

// Address is the broker's, HOST:PORT.
func (c *Client) Address() string { return c.address }

// State is nil while the client is connected, and else why it is not.
func (c *Client) State() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		return nil
	}
	return c.last
}

// Close says goodbye to the broker, which then does not publish the will, and ends the connection. Messages that wait for it fail.
func (c *Client) Close() {
	c.stop()
	<-c.done
}

// run connects until ctx is done.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	pause := firstPause
	logged := "" // the failure that was logged last: each is once
	for {
		began := time.Now()
		s, err := c.connect(ctx)
		if err == nil {
			logged = ""
			c.opt.Log.Info("MQTT: connected", "broker", c.address)
			err = c.serve(ctx, s)
		}
		if ctx.Err() != nil {
			c.set(nil, errClosed)
			return
		}
		c.set(nil, err)
		if err.Error() != logged {
			logged = err.Error()
			c.opt.Log.Warn("MQTT: no connection", "broker", c.address, "error", logged)
		}
		if time.Since(began) > settled+connectTime {
			pause = firstPause
		}
		if !c.pause(ctx, time.Duration(float64(pause)*(0.5+mrand.Float64()/2))) {
			c.set(nil, errClosed)
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// pause waits for d, or less if somebody needs the connection; false if ctx is done.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	least := time.NewTimer(min(leastPause, d))
	defer least.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-least.C:
	}
	rest := time.NewTimer(d - min(leastPause, d))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
	case <-c.wake:
	}
	return true
}

// set changes what is known of the connection; s is nil if there is none, because of err.
func (c *Client) set(s *session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.last = s, err
	if s == nil {
		c.failures++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// connect makes a connection that the broker has accepted.
func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := c.opt.dial(ctx, "tcp", c.address)
	if err != nil {
		if host, _, _ := net.SplitHostPort(c.address); strings.HasSuffix(host, ".local") {
			var dns *net.DNSError
			if errors.As(err, &dns) {
				return nil, fmt.Errorf("%w; a name that ends in .local may be known to other programs only: give the address", err)
			}
		}
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (*session, error) {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%s took longer than %v to answer: is it an MQTT broker?", c.address, connectTime)
		}
		return nil, err
	}
	if c.opt.TLS != nil {
		encrypted := tls.Client(conn, c.opt.TLS)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return fail(fmt.Errorf("TLS: %w", err))
		}
		conn = encrypted
	}
	if _, err := conn.Write(appendConnect(nil, &c.opt)); err != nil {
		return fail(err)
	}
	s := &session{conn: conn, r: bufio.NewReader(conn), alive: c.opt.KeepAlive, gone: make(chan struct{}), waiting: map[uint16]chan error{}}
	p, err := readPacket(s.r)
	if err == nil {
		err = p.connack()
	} else {
		err = fmt.Errorf("no answer to CONNECT: %w", unexpected(err))
	}
	if err != nil {
		return fail(err)
	}
	if !stop() {
		return fail(ctx.Err())
	}
	return s, conn.SetDeadline(time.Time{})
}

// serve reads from a connection until it ends, and says why it did.
func (c *Client) serve(ctx context.Context, s *session) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	c.set(s, nil)
	c.mu.Lock()
	subs := slices.Clone(c.subs)
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, s.goodbye)
	defer stop()
	wg.Go(func() { s.ping(ctx) })
	wg.Go(func() {
		for _, sub := range subs {
			if err := s.subscribe(ctx, sub.filter); err != nil && ctx.Err() == nil {
				c.opt.Log.Warn("MQTT: no subscription", "filter", sub.filter, "error", err)
			}
		}
		if c.opt.Connected != nil {
			c.opt.Connected(ctx, c)
		}
	})
	err := s.read(c.deliver)
	s.end(err)
	return err
}

// deliver gives a message to whom it is for.
func (c *Client) deliver(m Message) {
	c.mu.Lock()
	subs := slices.Clone(c.subs)
	c.mu.Unlock()
	for _, sub := range subs {
		if match(sub.filter, m.Topic) {
			sub.handler(m)
		}
	}
}

// get is the connection. If there is none, it waits for the next attempt to make one.
func (c *Client) get(ctx context.Context) (*session, error) {
	select {
	case c.wake <- struct{}{}:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	failures := c.failures
	for c.session == nil {
		if c.failures > failures || c.last == errClosed {
			return nil, &Error{Err: c.last}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return nil, &Error{Err: c.why(ctx)}
		}
	}
	return c.session, nil
}

// why is the reason for the time that has run out.
func (c *Client) why(ctx context.Context) error {
	if c.last != nil && c.last != errClosed {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), c.last)
	}
	return context.Cause(ctx)
}

// Publish sends a message and, of QoS 1, waits until the broker has acknowledged it. If there is no connection, it waits for the next attempt to make one.
// An error about the connection is an *Error; the message is then not sent again.
func (c *Client) Publish(ctx context.Context, m Message) error {
	if err := m.check(); err != nil {
		return err
	}
	s, err := c.get(ctx)
	if err != nil {
		return err
	}
	return s.publish(ctx, m)
}

// Subscribe asks for the topics of a filter, with QoS 1, now and after each new connection. The handler is called for one message after the other, and nothing else comes
// meanwhile: it returns soon, and publishes nothing itself. If there is no connection now, nil says nothing about the broker's consent.
func (c *Client) Subscribe(ctx context.Context, filter string, handler func(Message)) error {
	if err := checkFilter(filter); err != nil {
		return fmt.Errorf("filter %.80q: %w", filter, err)
	}
	c.mu.Lock()
	c.subs = append(c.subs, subscription{filter, handler})
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.subscribe(ctx, filter)
}
