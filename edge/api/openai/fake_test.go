package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"bimamba/edge/api/openai"
	"bimamba/edge/chat"
)

// script is what the fake service does with one request: the events, then the error or the reply.
type script struct {
	events []chat.Event
	reply  chat.Reply
	err    error
	during func(ctx context.Context) error // before the events; nil for nothing
}

// say is a script that says pieces.
func say(finish chat.FinishReason, pieces ...string) script {
	s := script{reply: chat.Reply{
		Text: strings.Join(pieces, ""), Finish: finish, Usage: chat.Usage{Prompt: 20, Cached: 12, Completion: len(pieces)},
		Timing: chat.Timing{Queued: 1500 * time.Microsecond, Prefill: 100 * time.Millisecond, Decode: time.Second},
	}}
	for _, p := range pieces {
		s.events = append(s.events, chat.Event{Text: p})
	}
	return s
}

// withTokens gives the events and the reply tokens, one list an event.
func (s script) withTokens(tokens ...[]chat.Token) script {
	for i, list := range tokens {
		s.events[i].Tokens = list
		s.reply.Tokens = append(s.reply.Tokens, list...)
	}
	return s
}

func (s script) withCalls(calls ...chat.ToolCall) script {
	for i := range calls {
		s.events = append(s.events, chat.Event{ToolCall: &calls[i]})
	}
	s.reply.ToolCalls = calls
	return s
}

func (s script) withPrompt(tokens ...chat.Token) script {
	s.reply.Prompt = tokens
	return s
}

// fake is a service that follows scripts, the last one again and again.
type fake struct {
	scripts []script

	mu  sync.Mutex
	got []any // the requests
}

func (f *fake) Models() []chat.Info {
	return []chat.Info{
		{Name: "default", Kind: "intent", Tools: true, Modified: time.Unix(1700000000, 0)},
		{Name: "default:home", Kind: "intent", Tools: true, Modified: time.Unix(1700000000, 0)},
	}
}

func (f *fake) Find(name string) (chat.Info, error) {
	name = strings.TrimSuffix(name, ":latest")
	for _, m := range f.Models() {
		if name == m.Name || name == "" {
			return m, nil
		}
	}
	return chat.Info{}, chat.Errorf(chat.NotFound, "", "there is no model %q; there are default and default:home", name)
}

func (f *fake) next(request any) *script {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, request)
	return &f.scripts[min(len(f.got), len(f.scripts))-1]
}

func (f *fake) run(ctx context.Context, s *script, emit func(chat.Event) error) (*chat.Reply, error) {
	if s.during != nil {
		if err := s.during(ctx); err != nil {
			return nil, err
		}
	}
	if emit != nil {
		for _, e := range s.events {
			if err := emit(e); err != nil {
				return nil, err
			}
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	reply := s.reply
	return &reply, nil
}

func (f *fake) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	return f.run(ctx, f.next(*r), emit)
}

func (f *fake) Complete(ctx context.Context, r *chat.Completion, emit func(chat.Event) error) (*chat.Reply, error) {
	return f.run(ctx, f.next(*r), emit)
}

func handler(f *fake) http.Handler { return handlerOf(f) }

// handlerOf is a handler at a fixed time.
func handlerOf(s chat.Service) http.Handler {
	return openai.New(s, openai.Options{
		Fingerprint: "fp_0123456789",
		Now:         func() time.Time { return time.Unix(1750000000, 0) },
		Log:         slog.New(slog.DiscardHandler),
	})
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
	return w
}

// apiError is what a body has as error, or an error if it has none.
func apiError(body []byte) (e struct {
	Message, Type string
	Param, Code   *string
}, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return e, err
	}
	if len(object) != 1 || object["error"] == nil {
		return e, errors.New("there is no error in the body, or more than that: " + string(body))
	}
	d := json.NewDecoder(strings.NewReader(string(object["error"])))
	d.DisallowUnknownFields()
	err = d.Decode(&e)
	if err == nil && (e.Message == "" || strings.Contains(e.Message, "\n") || e.Type == "") {
		err = io.ErrUnexpectedEOF
	}
	return e, err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
