package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// nopConn swallows what is written.
type nopConn struct{ net.Conn }

func (nopConn) Write(b []byte) (int, error)        { return len(b), nil }
func (nopConn) SetWriteDeadline(t time.Time) error { return nil }
func (nopConn) Close() error                       { return nil }

// peer is a broker's end of one connection, played by a test.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// next is the next packet of a client.
func (p *peer) next() packet {
	p.t.Helper()
	got, err := readPacket(p.r)
	if err != nil {
		p.t.Fatalf("reading from the client: %v", err)
	}
	return got
}

// want reads a packet of a type and returns its body.
func (p *peer) want(kind byte) []byte {
	p.t.Helper()
	got := p.next()
	if got.kind != kind {
		p.t.Fatalf("a packet of type %d, want %d", got.kind, kind)
	}
	return got.body
}

func (p *peer) send(b string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(b)); err != nil {
		p.t.Fatalf("writing to the client: %v", err)
	}
}

// accept answers CONNECT.
func (p *peer) accept() {
	p.t.Helper()
	p.want(typeConnect)
	p.send("\x20\x02\x00\x00")
}

// drain reads until the client hangs up.
func (p *peer) drain() {
	for {
		if _, err := readPacket(p.r); err != nil {
			p.conn.Close()
			return
		}
	}
}

// network gives each connection of a client to a test.
type network chan *peer

func (n network) dial(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		a, b := net.Pipe()
		select {
		case n <- &peer{t, b, bufio.NewReader(b)}:
			return a, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// bubble runs a test with a clock of its own, a client, and its connections.
func bubble(t *testing.T, opt Options, run func(t *testing.T, c *Client, n network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := make(network)
		opt.URL, opt.dial = "mqtt://broker", n.dial(t)
		c, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		run(t, c, n)
		c.Close()
	})
}

// async runs a call in the background.
func async(call func() error) <-chan error {
	out := make(chan error, 1)
	go func() { out <- call() }()
	return out
}

func publish(c *Client, ctx context.Context, payload string) <-chan error {
	return async(func() error { return c.Publish(ctx, Message{Topic: "a", Payload: []byte(payload), QoS: 1}) })
}

func TestPublish(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Client, n network) {
		ctx := t.Context()
		first := publish(c, ctx, "1") // before there is a connection
		p := <-n
		p.accept()
		if b := p.want(typePublish); string(b) != "\x00\x01a\x00\x011" {
			t.Errorf("%q", b)
		}
		second := publish(c, ctx, "2")
		if b := p.want(typePublish); string(b) != "\x00\x01a\x00\x022" {
			t.Errorf("%q", b)
		}
		synctest.Wait()
		select {
		case err := <-first:
			t.Errorf("done before it was acknowledged: %v", err)
		default:
		}
		p.send("\x40\x02\x00\x02")
		if err := <-second; err != nil {
			t.Error(err)
		}
		p.send("\x40\x02\x00\x01")
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := c.State(); err != nil {
			t.Error(err)
		}
		// The connection breaks before the acknowledgement: an error, and no second time.
		third := publish(c, ctx, "3")
		p.want(typePublish)
		p.conn.Close()
		var e *Error
		if err := <-third; !errors.As(err, &e) || !e.Sent {
			t.Errorf("the connection broke: %v", err)
		}
		synctest.Wait()
		if err := c.State(); err == nil || err.Error() != "the connection ended" {
			t.Errorf("state: %v", err)
		}
		p = <-n
		p.accept()
		fourth := publish(c, ctx, "4")
		if b := p.want(typePublish); !strings.HasSuffix(string(b), "4") {
			t.Errorf("after the new connection: %q", b)
		}
		p.send("\x40\x02\x00\x01")
		if err := <-fourth; err != nil {
			t.Error(err)
		}
		// A message that is not acknowledged in time. Its late acknowledgement is no other's.
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		fifth := publish(c, short, "5")
		p.want(typePublish)
		if err := <-fifth; !errors.As(err, &e) || !e.Sent || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no acknowledgement: %v", err)
		}
		p.send("\x40\x02\x00\x02")
		sixth := publish(c, ctx, "6")
		p.want(typePublish)
		p.send("\x40\x02\x00\x03")
		if err := <-sixth; err != nil {
			t.Error(err)
		}
		go p.drain()
	})
}

func TestQoS0(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Client, n network) {
		out := async(func() error { return c.Publish(t.Context(), Message{Topic: "a", Payload: []byte("x")}) })
		p := <-n
		p.accept()
		if b := p.want(typePublish); string(b) != "\x00\x01ax" {
			t.Errorf("%q", b)
		}
		if err := <-out; err != nil {
			t.Error(err)
		}
		go p.drain()
	})
}

// TestInFlight has a broker that acknowledges nothing.
func TestInFlight(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Client, n network) {
		p := func() *peer { p := <-n; p.accept(); return p }()
		var out []<-chan error
		for range maxInFlight {
			out = append(out, publish(c, t.Context(), "x"))
			p.want(typePublish)
		}
		var e *Error
		if err := c.Publish(t.Context(), Message{Topic: "a", QoS: 1}); !errors.As(err, &e) || e.Sent {
			t.Errorf("one more: %v", err)
		}
		p.conn.Close()
		for _, o := range out {
			if err := <-o; err == nil {
				t.Error("acknowledged by nobody")
			}
		}
	})
}

func TestSubscribe(t *testing.T) {
	got := make(chan string, 10)
	connected := make(chan struct{}, 10)
	bubble(t, Options{Connected: func(context.Context, *Client) { connected <- struct{}{} }}, func(t *testing.T, c *Client, n network) {
		handler := func(m Message) { got <- m.Topic + "=" + string(m.Payload) }
		if err := c.Subscribe(t.Context(), "a/#", handler); err != nil { // there is no connection yet
			t.Fatal(err)
		}
		for range 2 { // again with each connection
			p := <-n
			p.accept()
			if b := p.want(typeSubscribe); string(b) != "\x00\x01\x00\x03a/#\x01" {
				t.Errorf("%q", b)
			}
			select {
			case <-connected:
				t.Error("connected before the subscription was answered")
			default:
			}
			p.send("\x90\x03\x00\x01\x01")
			<-connected
			p.send("\x30\x04\x00\x01bx" + "\x32\x08\x00\x03a/b\x00\x09x")
			if b := p.want(typePuback); string(b) != "\x00\x09" {
				t.Errorf("acknowledged %q", b)
			}
			if m := <-got; m != "a/b=x" {
				t.Errorf("message %q", m)
			}
			p.conn.Close()
		}
		p := <-n
		p.accept()
		p.want(typeSubscribe)
		p.send("\x90\x03\x00\x01\x80") // refused: goes on
		<-connected
		refused := async(func() error { return c.Subscribe(t.Context(), "b", handler) })
		p.want(typeSubscribe)
		p.send("\x90\x03\x00\x02\x80")
		if err := <-refused; !errors.Is(err, errRefused) {
			t.Errorf("refused: %v", err)
		}
		if err := c.Subscribe(t.Context(), "a#", nil); err == nil {
			t.Error("a bad filter")
		}
		go p.drain()
	})
}

func TestKeepAlive(t *testing.T) {
	bubble(t, Options{KeepAlive: 10 * time.Second}, func(t *testing.T, c *Client, n network) {
		p := <-n
		p.accept()
		start := time.Now()
		for range 3 {
			p.want(typePingreq)
			p.send("\xd0\x00")
		}
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("three pings in %v", d)
		}
		for { // a broker that answers nothing any more
			if _, err := readPacket(p.r); err != nil {
				break
			}
		}
		if d := time.Since(start); d != 25*time.Second {
			t.Errorf("given up after %v", d)
		}
		synctest.Wait()
		if err := c.State(); err == nil || err.Error() != "nothing came for 10s" {
			t.Errorf("state: %v", err)
		}
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		start := time.Now()
		down := errors.New("connection refused")
		c, err := New(Options{URL: "mqtt://broker", dial: func(context.Context, string, string) (net.Conn, error) {
			tries = append(tries, time.Since(start))
			return nil, down
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(tries); n < 20 || n > 50 { // 30 s apart at most, 15 at least, once it has given up hope
			t.Errorf("%d tries in 10 minutes", n)
		}
		for i := 1; i < len(tries); i++ {
			if d := tries[i] - tries[i-1]; d > lastPause {
				t.Errorf("a pause of %v", d)
			}
		}
		// Who wants to publish does not wait for the pause, and hears at once that there is no broker.
		before, n := time.Now(), len(tries)
		var e *Error
		err = c.Publish(t.Context(), Message{Topic: "a", QoS: 1})
		if !errors.As(err, &e) || e.Sent || !errors.Is(err, down) {
			t.Errorf("published: %v", err)
		}
		if d := time.Since(before); d > leastPause || len(tries) != n+1 {
			t.Errorf("%v and %d tries until it was clear", d, len(tries)-n)
		}
		if c.State() == nil {
			t.Error("it says that it is connected")
		}
		c.Close()
		if err := c.Publish(t.Context(), Message{Topic: "a"}); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestHostile has brokers that are none.
func TestHostile(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string // to CONNECT, after which nothing comes
		want   string
	}{
		"silent":         {"", "broker:1883 took longer than 10s to answer: is it an MQTT broker?"},
		"half an answer": {"\x20\x02\x00", "broker:1883 took longer than 10s to answer: is it an MQTT broker?"},
		"HTTP":           {"HTTP/1.1 400 Bad Request\r\nServer: x\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", "no CONNACK but a packet of type 4"},
		"password":       {"\x20\x02\x00\x05", "the broker refuses user and password"},
		"flood":          {"\x20\xff\xff\xff\x7f", "no answer to CONNECT: a packet of type 2 with 268435455 bytes"},
		"QoS 2":          {"\x20\x02\x00\x00\x34\x05\x00\x01a\x00\x01", "a message of QoS 2"},
		"garbage":        {"\x20\x02\x00\x00\x00\x00", "a packet of type 0"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, c *Client, n network) {
				p := <-n
				p.want(typeConnect)
				go p.conn.Write([]byte(tc.answer))
				go p.drain()
				time.Sleep(connectTime + 100*time.Millisecond)
				synctest.Wait()
				if err := c.State(); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
					t.Errorf("state: %v, want %s", err, tc.want)
				}
			})
		})
	}
}

// TestSlowBroker has one that reads nothing any more.
func TestSlowBroker(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, c *Client, n network) {
		p := <-n
		p.accept()
		start := time.Now()
		if err := <-publish(c, t.Context(), "x"); err == nil || time.Since(start) > writeTime {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestLocalName(t *testing.T) {
	c, err := New(Options{URL: "mqtt://homeassistant.local", dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "homeassistant.local", IsNotFound: true}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(t.Context(), Message{Topic: "a"}); err == nil || !strings.Contains(err.Error(), "give the address") {
		t.Error(err)
	}
}

func TestTLSName(t *testing.T) {
	o := Options{URL: "mqtts://broker", TLS: &tls.Config{}}
	if _, err := o.parse(); err != nil || o.TLS.ServerName != "broker" || o.TLS.MinVersion != tls.VersionTLS12 {
		t.Errorf("%v, %s, %x", err, o.TLS.ServerName, o.TLS.MinVersion)
	}
}

func ExampleClient_Publish() {
	c, err := New(Options{URL: "mqtt://127.0.0.1:1"}) // nobody is there
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	err = c.Publish(context.Background(), Message{Topic: "kitchen/light", Payload: []byte("on"), QoS: 1})
	var away *Error
	fmt.Println(errors.As(err, &away), away.Sent)
	// Output: true false
}
