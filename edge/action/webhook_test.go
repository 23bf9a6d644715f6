package action

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func message(t *testing.T, id string) *Message {
	t.Helper()
	m, err := newMessage(act(id), time.Unix(1700000000, 0), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWebhook(t *testing.T) {
	var got []string
	status, header := 204, http.Header{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), r.Header.Get("User-Agent"), body))
		for k := range header {
			w.Header().Set(k, header.Get(k))
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			io.WriteString(w, strings.Repeat("x", 100<<10)) // more than is read
		}
	}))
	defer server.Close()
	w, err := NewWebhook(WebhookOptions{URL: server.URL + "/api/hook", Token: "t0ken", Version: "1.2"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Send(t.Context(), message(t, "id-1")); err != nil {
		t.Fatal(err)
	}
	want := `POST /api/hook application/json Bearer t0ken id-1 bimamba/1.2 {"id":"id-1","intent":"HassTurnOn","slots":{"brightness":50,"name":"Lamp"},"entities":["light.lamp"],"time":"2023-11-14T22:13:20Z","expires":"2023-11-14T22:14:20Z"}`
	if got[0] != want {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
	for _, tc := range []struct {
		status int
		header http.Header
		away   *Away // nil: final
		want   string
	}{
		{200, nil, nil, ""},
		{299, nil, nil, ""},
		{400, nil, nil, "it answers 400 Bad Request"},
		{401, nil, nil, "it answers 401 Unauthorized"},
		{404, nil, nil, "it answers 404 Not Found"},
		{302, http.Header{"Location": {"http://elsewhere.invalid/"}}, nil, "redirects are not followed"},
		{429, http.Header{"Retry-After": {"7"}}, &Away{After: 7 * time.Second, Answered: true}, "it answers 429 Too Many Requests"},
		{500, nil, &Away{Answered: true}, "it answers 500 Internal Server Error"},
		{503, http.Header{"Retry-After": {"Tue, 14 Nov 2023 22:14:00 GMT"}, "Date": {"Tue, 14 Nov 2023 22:13:20 GMT"}}, &Away{After: 40 * time.Second, Answered: true}, "it answers 503"},
		{503, http.Header{"Retry-After": {"-5"}}, &Away{Answered: true}, "it answers 503"},
	} {
		status, header = tc.status, tc.header
		n := len(got)
		err := w.Send(t.Context(), message(t, "id"))
		var away *Away
		errors.As(err, &away)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || (away == nil) != (tc.away == nil) || len(got) != n+1 {
			t.Errorf("%d: %v, want %s", tc.status, err, tc.want)
			continue
		}
		if away != nil && (away.After != tc.away.After || away.Answered != tc.away.Answered) {
			t.Errorf("%d: %+v, want %+v", tc.status, away, tc.away)
		}
	}
}

func TestWebhookAway(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-hang }))
	w, err := NewWebhook(WebhookOptions{URL: server.URL + "/secret-path"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, err := range []error{w.Send(ctx, message(t, "a")), func() error { close(hang); server.Close(); return w.Send(t.Context(), message(t, "a")) }()} {
		if away := (*Away)(nil); !errors.As(err, &away) || away.Answered || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}

// TestWebhookSpool has a server that takes what it is sent and then fails, as one that is killed before it answers: it gets the same action again, by its ID.
func TestWebhookSpool(t *testing.T) {
	ids := make(chan string, 10)
	n := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids <- r.Header.Get("Idempotency-Key")
		if n++; n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := ReadCertificates(file)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewWebhook(WebhookOptions{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Send(t.Context(), message(t, "x")); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	w, err := NewWebhook(WebhookOptions{URL: server.URL, TLS: roots})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(w, SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Do(t.Context(), act("one")); !errors.As(err, new(*Queued)) {
		t.Error(err)
	}
	if a, b := <-ids, <-ids; a != "one" || b != "one" {
		t.Errorf("%s, %s", a, b)
	}
}

func TestWebhookOptions(t *testing.T) {
	for _, o := range []WebhookOptions{
		{}, {URL: "ftp://a"}, {URL: "http://"}, {URL: "http://user:pass@host/"}, {URL: "http://a/#x"}, {URL: "http://a", Token: "a b"}, {URL: "http://a", Token: "a\r\nX: y"}, {URL: "http://a/%zz"},
	} {
		if _, err := NewWebhook(o); err == nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for url, want := range map[string]string{"http://a/b": "a:80", "https://a": "a:443", "http://[::1]:8123/": "[::1]:8123"} {
		w, err := NewWebhook(WebhookOptions{URL: url})
		if err != nil || w.Address() != want {
			t.Errorf("%s: %v, %v", url, w, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for content, want := range map[string]string{"abc": "abc", "abc\n": "abc", "a c\r\n\n": "a c", "": "", "\n": "", "  \n": "", "a\nb\n": "", strings.Repeat("x", 5000): ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSecret(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v", content, got, err)
		}
	}
	if _, err := ReadCertificates(path); err == nil {
		t.Error("a file without certificates")
	}
	if _, err := ReadSecret(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestMessage(t *testing.T) {
	a := act("x")
	a.Slots, a.Entities = nil, nil
	m, err := newMessage(a, time.Unix(1, 0), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m)
	if want := `{"id":"x","intent":"HassTurnOn","slots":{},"entities":[],"time":"1970-01-01T00:00:01Z","expires":"1970-01-01T00:00:02Z"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	full := act("y")
	if m, err = newMessage(full, time.Unix(1, 0), time.Second); err != nil || !reflect.DeepEqual(m.action(), full) {
		t.Errorf("%+v, %v", m.action(), err)
	}
}
