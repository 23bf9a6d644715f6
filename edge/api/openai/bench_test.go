package openai_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bimamba/edge/chat"
)

// talker says n tokens as fast as they are taken.
type talker struct {
	fake
	n     int
	event chat.Event
}

func (s *talker) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	for range s.n {
		if err := emit(s.event); err != nil {
			return nil, err
		}
	}
	return &chat.Reply{Finish: chat.FinishStop}, nil
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

// BenchmarkStream is the cost of a token: of the handler alone, with logprobs, and over a connection of this machine with a client that reads.
func BenchmarkStream(b *testing.B) {
	plain := chat.Event{Text: " token"}
	logprobs := chat.Event{Text: " token", Tokens: []chat.Token{tok(" token", -0.123456789, " token", -0.123456789, " other", -2.3456789)}}
	for name, event := range map[string]chat.Event{"handler": plain, "logprobs": logprobs} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h := handlerOf(&talker{n: b.N, event: event})
			h.ServeHTTP(discard{http.Header{}}, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(streamed)))
		})
	}
	b.Run("loopback", func(b *testing.B) {
		b.ReportAllocs()
		server := httptest.NewServer(handlerOf(&talker{n: b.N, event: plain}))
		defer server.Close()
		resp, err := http.Post(server.URL+"/v1/chat/completions", "application/json", strings.NewReader(streamed))
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < int64(b.N) {
			b.Fatal(n, err)
		}
	})
}
