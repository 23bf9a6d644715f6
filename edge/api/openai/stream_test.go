package openai_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/edge/chat"
)

const streamed = `{"stream":true,"messages":[{"role":"user","content":"Hi"}]}`

// Every piece arrives when it is said and not later: the model goes on only when the client has it.
func TestPiecesArriveAtOnce(t *testing.T) {
	next := make(chan struct{})
	pieces := &stepper{pieces: []string{"Grüß", " dich", " 🌍"}, next: next}
	server := httptest.NewServer(handlerOf(pieces))
	defer server.Close()
	go func() { next <- struct{}{} }()
	resp, err := http.Post(server.URL+"/v1/chat/completions", "application/json", strings.NewReader(streamed))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	text := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			break
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		if piece := chunk.Choices[0].Delta.Content; piece != "" {
			text += piece
			next <- struct{}{}
		}
	}
	if want := strings.Join(pieces.pieces, ""); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "\n" {
		t.Errorf("behind the end: %q, %v", rest, err)
	}
}

// stepper says a piece and waits for next.
type stepper struct {
	fake
	pieces []string
	next   chan struct{}
}

func (s *stepper) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	<-s.next
	for _, p := range s.pieces {
		if err := emit(chat.Event{Text: p}); err != nil {
			return nil, err
		}
		<-s.next
	}
	return &chat.Reply{Finish: chat.FinishStop}, nil
}

// A prompt that takes 50 seconds has three heartbeats, and an error behind them is an event.
func TestHeartbeat(t *testing.T) {
	for _, x := range []struct {
		path, body string
		prefill    time.Duration
		err        error
		beats      int
	}{
		{"/v1/chat/completions", streamed, 14 * time.Second, nil, 0},
		{"/v1/chat/completions", streamed, 50 * time.Second, nil, 3},
		{"/v1/completions", `{"prompt":"Hi","stream":true}`, 50 * time.Second, nil, 3},
		{"/v1/completions", `{"prompt":"Hi","stream":true,"echo":true}`, 31 * time.Second, nil, 2},
		{"/v1/chat/completions", streamed, 16 * time.Second, errors.New("broken"), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := say(chat.FinishStop, "a", "b")
			s.during = func(context.Context) error { time.Sleep(x.prefill); return x.err }
			w := post(handler(&fake{scripts: []script{s}}), x.path, x.body)
			time.Sleep(time.Minute) // nothing comes behind the end
			const beat = ": still working\n\n"
			rest := strings.TrimPrefix(w.Body.String(), strings.Repeat(beat, x.beats))
			if n := strings.Count(w.Body.String(), beat); n != x.beats || strings.Contains(rest, beat) {
				t.Errorf("%v: %d heartbeats: %q", x.prefill, n, w.Body)
			}
			if x.err == nil {
				checkEvents(t, rest)
			} else if _, err := apiError([]byte(strings.TrimPrefix(rest, "data: "))); err != nil || w.Code != 200 {
				t.Errorf("status %d, %q: %v", w.Code, rest, err)
			}
		})
	}
}

// Between two pieces a stream is silent for less than two intervals.
func TestHeartbeatBetweenPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &pauses{pause: 40 * time.Second, pieces: 3}
		w := post(handlerOf(slow), "/v1/chat/completions", streamed)
		if n := strings.Count(w.Body.String(), ": still working\n\n"); n < 4 || n > 6 {
			t.Errorf("%d heartbeats: %q", n, w.Body)
		}
		if n := len(checkEvents(t, w.Body.String())); n != 5 {
			t.Errorf("%d events: %q", n, w.Body)
		}
	})
}

type pauses struct {
	fake
	pause  time.Duration
	pieces int
}

func (p *pauses) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	for range p.pieces {
		if err := emit(chat.Event{Text: "x"}); err != nil {
			return nil, err
		}
		time.Sleep(p.pause)
	}
	return &chat.Reply{Finish: chat.FinishStop}, nil
}

// A client that goes away ends its request, in the prompt and in the answer, streamed or not.
func TestClientGoesAway(t *testing.T) {
	for _, body := range []string{streamed, hello} {
		ended := make(chan error, 1)
		started := make(chan struct{})
		s := say(chat.FinishStop)
		s.during = func(ctx context.Context) error {
			close(started)
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
			case <-time.After(10 * time.Second):
				ended <- errors.New("the request went on")
			}
			return ctx.Err()
		}
		server := httptest.NewServer(handler(&fake{scripts: []script{s}}))
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-started; cancel() }()
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
			t.Error("an answer to a client that has gone")
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cancel()
		server.Close()
	}
}

// brokenWriter fails from the nth write on.
type brokenWriter struct {
	*httptest.ResponseRecorder
	n int
}

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.n--; w.n < 0 {
		return 0, io.ErrClosedPipe
	}
	return w.ResponseRecorder.Write(b)
}

func TestFailedWriteEndsRequest(t *testing.T) {
	const two = `{"prompt":["Hi","Ho"],"stream":true}`
	for _, x := range []struct {
		path, body string
		writes     int // that do not fail
		said       int
	}{
		{"/v1/chat/completions", streamed, 2, 3},
		{"/v1/completions", two, 2, 3},
		{"/v1/completions", two, 4, 4}, // the first prompt's last event
	} {
		many := &counting{fake: fake{scripts: []script{say(chat.FinishStop, "a", "b", "c", "d")}}}
		w := &brokenWriter{httptest.NewRecorder(), x.writes}
		handlerOf(many).ServeHTTP(w, httptest.NewRequest("POST", x.path, strings.NewReader(x.body)))
		if many.said != x.said || len(many.got) != 1 {
			t.Errorf("%s: %d pieces of %d requests with %d writes", x.path, many.said, len(many.got), x.writes)
		}
	}
	// A heartbeat that fails ends the prompt.
	synctest.Test(t, func(t *testing.T) {
		s := say(chat.FinishStop)
		s.during = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		w := &brokenWriter{httptest.NewRecorder(), 1}
		start := time.Now()
		handler(&fake{scripts: []script{s}}).ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(streamed)))
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("the request ended after %v", d)
		}
	})
}

type counting struct {
	fake
	said int
}

func (c *counting) count(emit func(chat.Event) error) func(chat.Event) error {
	return func(e chat.Event) error { c.said++; return emit(e) }
}

func (c *counting) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	return c.fake.Chat(ctx, r, c.count(emit))
}

func (c *counting) Complete(ctx context.Context, r *chat.Completion, emit func(chat.Event) error) (*chat.Reply, error) {
	return c.fake.Complete(ctx, r, c.count(emit))
}
