package action

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"time"
)

const maxSecret = 4096 // bytes of a token's or a password's file

// ReadSecret reads a token or a password, the first line of a file.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	case strings.TrimSpace(line) == "":
		return "", fmt.Errorf("%s: its first line is empty; a token or password belongs there", path)
	case strings.TrimSpace(rest) != "":
		return "", fmt.Errorf("%s has more than one line", path)
	}
	return line, nil
}

// WebhookOptions of NewWebhook.
type WebhookOptions struct {
	URL     string      // http or https
	Token   string      // sent as Authorization: Bearer; none if empty
	TLS     *tls.Config // of https; nil: the system's certificates
	Version string      // of the program, for User-Agent; may be empty
}

// Webhook is a Target that sends each action as a POST of JSON, with its ID in the header Idempotency-Key.
type Webhook struct {
	url     string
	address string
	header  http.Header
	client  *http.Client
}

// NewWebhook checks the options; it sends nothing.
func NewWebhook(opt WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("a webhook's address is http://HOST/PATH or https://HOST/PATH, without user and password") // and without what was given: it may hold a secret
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	w := &Webhook{url: u.String(), address: net.JoinHostPort(u.Hostname(), port), header: http.Header{}}
	if opt.Token != "" {
		for _, c := range opt.Token {
			if c <= ' ' || c > '~' {
				return nil, errors.New("the webhook's token: visible ASCII characters only")
			}
		}
		w.header.Set("Authorization", "Bearer "+opt.Token)
	}
	w.header.Set("Content-Type", "application/json")
	w.header.Set("User-Agent", strings.TrimSuffix("bimamba/"+opt.Version, "/"))
	if opt.TLS == nil && u.Scheme == "https" {
		roots, err := x509.SystemCertPool() // now: a sandbox may hide the files later
		if err != nil {
			return nil, fmt.Errorf("the system's certificates: %w", err)
		}
		opt.TLS = &tls.Config{RootCAs: roots}
	}
	w.client = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: opt.TLS, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConns: 1, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes to nobody else
	}
	return w, nil
}

// Address is the server's, HOST:PORT.
func (w *Webhook) Address() string { return w.address }

// Send is of Target: an answer of 200 to 299 is its yes. Connections that fail, 429 and 500 to 599 are an *Away, all other answers are final.
func (w *Webhook) Send(ctx context.Context, m *Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header = w.header.Clone()
	r.Header.Set("Idempotency-Key", m.ID)
	answer, err := w.client.Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL, which may hold a secret
		}
		return &Away{Err: fmt.Errorf("webhook at %s: %w", w.address, err)}
	}
	io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	answer.Body.Close()
	code := answer.StatusCode
	err = fmt.Errorf("webhook at %s: it answers %d %s", w.address, code, http.StatusText(code))
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests, code >= 500:
		return &Away{Err: err, After: retryAfter(answer.Header, time.Now()), Answered: true}
	case code >= 300 && code < 400:
		return fmt.Errorf("%w: redirects are not followed; configure the address that it leads to", err)
	}
	return err
}

// retryAfter is how long a server wants to be left alone, 0 if it does not say (RFC 9110, 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		if date, err := http.ParseTime(h.Get("Date")); err == nil { // by the server's own clock: this one's may be wrong
			now = date
		}
		return max(0, t.Sub(now))
	}
	return 0
}

// Close ends idle connections.
func (w *Webhook) Close() { w.client.CloseIdleConnections() }
