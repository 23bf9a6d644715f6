package ollama

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bimamba/edge/chat"
)

// endless answers a chat with n tokens.
type endless struct {
	fake
	n int
}

func (e *endless) Chat(_ context.Context, _ *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	for range e.n {
		if err := emit(chat.Event{Text: " token"}); err != nil {
			return nil, err
		}
	}
	return &chat.Reply{}, nil
}

// discard is a client of no cost.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

// BenchmarkToken is one streamed token without a connection.
func BenchmarkToken(b *testing.B) {
	b.ReportAllocs()
	e := &endless{n: b.N}
	New(e, Options{}).ServeHTTP(discard{http.Header{}}, httptest.NewRequest("POST", "/api/chat", strings.NewReader(chatBody)))
}

// BenchmarkTokenHTTP is one streamed token over loopback, with what the client does to take it.
func BenchmarkTokenHTTP(b *testing.B) {
	b.ReportAllocs()
	e := &endless{n: b.N}
	s := httptest.NewServer(New(e, Options{}))
	defer s.Close()
	b.ResetTimer()
	if _, err := io.Copy(io.Discard, post(b, b.Context(), s.URL, chatBody).Body); err != nil {
		b.Fatal(err)
	}
}
