package hass

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/websocket"

	"bimamba/edge/home"
)

const (
	// maxMessage is the largest message that is read, in bytes: the states of 10,000 entities take about 10 MB.
	maxMessage = 64 << 20
	// maxHandshake is the most that is read until the first message, in bytes.
	maxHandshake = 64 << 10
	// idle is how long nothing may come: Home Assistant pings every 55 s.
	idle = 2 * time.Minute
	// patience is how long a dial or a call takes at the most.
	patience = time.Minute
	// floorsSince is the version of Home Assistant that knows floors.
	floorsSince = "2024.4"
)

// ErrToken is what [Dial] returns if Home Assistant does not take the token. To try again is of no use, and gets the address banned.
var ErrToken = errors.New("Home Assistant does not take the token; make a long-lived access token under your profile, Security, and put it into the file")

// A Client is a connection to Home Assistant. It serves one caller at a time.
type Client struct {
	ws       *websocket.Conn
	conn     *limited // below ws
	decoder  *json.Decoder
	version  string
	lastID   int
	messages chan message
	err      error // why the connection ended, once messages is closed
	closed   chan struct{}
	closing  sync.Once
	changed  bool // something was reported that Home reads
}

// message is one of Home Assistant's, as far as anything here looks at it.
type message struct {
	ID      int             `json:"id"`
	Type    string          `json:"type"`
	Success bool            `json:"success"`
	Result  json.RawMessage `json:"result"`
	Error   *Error          `json:"error"`
	Version string          `json:"ha_version"`
	Message string          `json:"message"`
}

// An Error is Home Assistant's answer to a command that it refuses.
type Error struct {
	Command string `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	if e.Code == "unauthorized" {
		return fmt.Sprintf("Home Assistant refuses %s: the token's user is no administrator; make the token as one", e.Command)
	}
	return fmt.Sprintf("Home Assistant refuses %s: %s (%s)", e.Command, home.Clean(e.Message), home.Clean(e.Code))
}

// ParseURL is the address of Home Assistant's WebSocket API. It takes ws, wss, http and https URLs; a path is taken as it is, and none is /api/websocket.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%q is no address of Home Assistant; write ws://HOST:8123, or wss://HOST", s)
	}
	switch u.Scheme {
	case "http", "https":
		u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	case "ws", "wss":
	default:
		return nil, fmt.Errorf("%q begins with %s://; Home Assistant is at ws:// or wss://", s, u.Scheme)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q has more than a host, a port and a path; the token goes into a file", s)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/api/websocket"
	}
	return u, nil
}

// Dial connects to Home Assistant and shows it the token. Errors are one line that says what to do. The context is for dialling only.
func Dial(ctx context.Context, u *url.URL, token string) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := dial(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("%s is not reachable: %w", u.Host, reason(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, err := handshake(conn, u, token)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s does not answer: %w", u.Host, reason(ctx, err))
		}
		return nil, err
	}
	go c.read()
	return c, nil
}

// reason is the context's error if that is why err came.
func reason(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", patience)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

func dial(ctx context.Context, u *url.URL) (*limited, error) {
	port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	if u.Port() != "" {
		port = u.Port()
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	var conn net.Conn
	var err error
	if u.Scheme == "wss" {
		conn, err = (&tls.Dialer{Config: &tls.Config{ServerName: u.Hostname()}}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	l := &limited{Conn: conn}
	l.left.Store(maxHandshake)
	return l, nil
}

// limited is a connection that gives up a peer that is silent for too long, and one that sends more than left.
type limited struct {
	net.Conn
	left atomic.Int64 // bytes until the next message
}

var errTooLong = errors.New("the message is too long")

func (l *limited) Read(p []byte) (int, error) {
	left := l.left.Load()
	if left <= 0 {
		return 0, errTooLong
	}
	if err := l.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	n, err := l.Conn.Read(p[:min(int64(len(p)), left)])
	l.left.Add(-int64(n))
	return n, err
}

func (l *limited) Write(p []byte) (int, error) {
	if err := l.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return l.Conn.Write(p)
}

// handshake makes the connection a WebSocket and shows the token.
func handshake(conn *limited, u *url.URL, token string) (*Client, error) {
	config := &websocket.Config{Location: u, Origin: &url.URL{Scheme: "http" + strings.TrimPrefix(u.Scheme, "ws"), Host: u.Host}, Version: websocket.ProtocolVersionHybi13, Header: http.Header{}}
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		return nil, fmt.Errorf("%s answers, but there is no Home Assistant at %s: %w", u.Host, u, err)
	}
	// A decoder reads on across the fragments of a message, which the codecs of package websocket do not.
	c := &Client{ws: ws, conn: conn, decoder: json.NewDecoder(ws), messages: make(chan message), closed: make(chan struct{})}
	var m message
	if err := c.decoder.Decode(&m); err != nil || m.Type != "auth_required" {
		return nil, fmt.Errorf("%s speaks WebSocket, but does not greet as Home Assistant does", u)
	}
	c.version = home.Clean(m.Version)
	if older(c.version, floorsSince) {
		return nil, fmt.Errorf("Home Assistant at %s is version %s; the oldest that can be read is %s", u.Host, c.version, floorsSince)
	}
	if err := c.send(map[string]string{"type": "auth", "access_token": token}); err != nil {
		return nil, err
	}
	m = message{}
	if err := c.decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s ended the connection when it saw the token: %w", u.Host, err)
	}
	switch m.Type {
	case "auth_ok":
	case "auth_invalid":
		return nil, ErrToken
	default:
		return nil, fmt.Errorf("%s answers to the token with %q", u.Host, home.Clean(m.Type))
	}
	return c, nil
}

// older tells whether version a (YEAR.MONTH.PATCH) is before b. What is no version is not.
func older(a, b string) bool {
	number := func(v string, i int) int {
		parts := strings.SplitN(v, ".", 3)
		if i >= len(parts) {
			return 0
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return 1 << 30
		}
		return n
	}
	for i := range 2 {
		if x, y := number(a, i), number(b, i); x != y {
			return x < y
		}
	}
	return false
}

// Version is Home Assistant's, as "2026.8.1".
func (c *Client) Version() string { return c.version }

// Close ends the connection.
func (c *Client) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.ws.Close()
}

func (c *Client) send(v any) error { return websocket.JSON.Send(c.ws, v) }

// call sends a command and decodes its result, if result is not nil.
func (c *Client) call(ctx context.Context, command map[string]any, result any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.lastID++
	command["id"] = c.lastID
	if err := c.send(command); err != nil {
		return fmt.Errorf("writing to Home Assistant: %w", err)
	}
	for {
		m, err := c.next(ctx)
		if err != nil {
			return fmt.Errorf("%v: %w", command["type"], err)
		}
		if m.Type != "result" || m.ID != c.lastID {
			continue
		}
		switch {
		case m.Success && result == nil:
			return nil
		case m.Success:
			if err := json.Unmarshal(m.Result, result); err != nil {
				return fmt.Errorf("Home Assistant's answer to %v: %w", command["type"], err)
			}
			return nil
		case m.Error == nil:
			m.Error = &Error{Code: "unknown"}
		}
		m.Error.Command = fmt.Sprint(command["type"])
		return m.Error
	}
}

// next is the next message. Events are noted.
func (c *Client) next(ctx context.Context) (message, error) {
	select {
	case m, ok := <-c.messages:
		if !ok {
			return m, c.err
		}
		if m.Type == "event" {
			c.changed = true
		}
		return m, nil
	case <-ctx.Done():
		return message{}, reason(ctx, ctx.Err())
	}
}

// events are those after which a house may be another one. A change of what is exposed is one of the entity registry.
var events = []string{"floor_registry_updated", "area_registry_updated", "device_registry_updated", "entity_registry_updated", "core_config_updated"}

// Subscribe has Home Assistant report what changes; Wait waits for it.
func (c *Client) Subscribe(ctx context.Context) error {
	for _, e := range events {
		if err := c.call(ctx, map[string]any{"type": "subscribe_events", "event_type": e}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Wait returns when something has changed since the last Wait, and nothing more has for the time of quiet, or the connection has ended: a
// device that comes has many entities. A house that changes without end is waited for ten times as long.
func (c *Client) Wait(ctx context.Context, quiet time.Duration) error {
	for !c.changed {
		if _, err := c.next(ctx); err != nil {
			return err
		}
	}
	limit, cancel := context.WithTimeout(ctx, 10*quiet)
	defer cancel()
	for c.changed {
		c.changed = false
		calm, cancel := context.WithTimeout(limit, quiet)
		for calm.Err() == nil {
			if _, err := c.next(calm); err != nil && calm.Err() == nil {
				cancel()
				return err
			}
		}
		cancel()
		if limit.Err() != nil {
			break
		}
	}
	c.changed = false
	return ctx.Err()
}

// read hands messages over until the connection ends.
func (c *Client) read() {
	defer close(c.messages)
	for {
		c.conn.left.Store(maxMessage)
		var m message
		if err := c.decoder.Decode(&m); err != nil {
			c.err = ended(err)
			return
		}
		select {
		case c.messages <- m:
		case <-c.closed:
			return
		}
	}
}

// ended is why a connection ended, in words.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		return errors.New("Home Assistant ended the connection")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("Home Assistant was silent for %v", idle)
	}
	return fmt.Errorf("reading from Home Assistant: %w", err)
}
