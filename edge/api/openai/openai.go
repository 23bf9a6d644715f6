package openai

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/chat"
)

// Options are a handler's. The zero value works.
type Options struct {
	Fingerprint string           // system_fingerprint of every answer; "" leaves it out
	Now         func() time.Time // when answers are created; nil is time.Now
	Log         *slog.Logger     // gets errors of status 500; nil is slog.Default
}

// owner is the owned_by of every model.
const owner = "bimamba"

type api struct {
	Options
	service chat.Service
}

// New is a handler of POST /v1/chat/completions, POST /v1/completions, GET /v1/models and GET /v1/models/{model}. It answers every other path with 404.
// Limits of the body's size and of time are the server's.
func New(s chat.Service, opt Options) http.Handler {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	a := &api{opt, s}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/chat/completions", a.route(a.chat, http.MethodPost))
	mux.HandleFunc("/v1/completions", a.route(a.completions, http.MethodPost))
	mux.HandleFunc("/v1/models", a.route(a.models, http.MethodGet, http.MethodHead))
	mux.HandleFunc("/v1/models/{model...}", a.route(a.model, http.MethodGet, http.MethodHead))
	mux.HandleFunc("/", a.route(unknown))
	return mux
}

// route makes a handler of f, which has written nothing if it returns an error. No methods are all methods.
func (a *api) route(f func(http.ResponseWriter, *http.Request) error, methods ...string) http.HandlerFunc {
	allow := strings.Join(methods, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", requestID(r))
		err := func() error {
			if len(methods) == 0 {
				return f(w, r)
			}
			for _, m := range methods {
				if r.Method == m {
					return f(w, r)
				}
			}
			w.Header().Set("Allow", allow)
			return &refusal{http.StatusMethodNotAllowed, "method_not_allowed", r.URL.Path + " takes " + allow + ", not " + r.Method}
		}()
		if err == nil {
			return
		}
		status, body := a.describe(w.Header(), err)
		writeJSON(w, status, body)
	}
}

// requestID is the client's own id, if it is one that a log can bear, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	printable := strings.IndexFunc(id, func(c rune) bool { return c < '!' || c > '~' }) < 0
	if id == "" || len(id) > 128 || !printable {
		return "req_" + rand.Text()
	}
	return id
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // an error is a client that has gone
}

func unknown(_ http.ResponseWriter, r *http.Request) error {
	return &refusal{http.StatusNotFound, "unknown_url", "Invalid URL (" + r.Method + " " + r.URL.Path + ")"}
}

func (a *api) models(w http.ResponseWriter, _ *http.Request) error {
	b := []byte(`{"object":"list","data":[`)
	for i, m := range a.service.Models() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, m)
	}
	writeJSON(w, http.StatusOK, append(b, ']', '}'))
	return nil
}

func (a *api) model(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("model")
	if name == "" {
		return unknown(w, r)
	}
	m, err := a.service.Find(name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, appendModel(nil, m))
	return nil
}

func appendModel(b []byte, m chat.Info) []byte {
	b = appendString(append(b, `{"id":`...), m.Name)
	b = strconv.AppendInt(append(b, `,"object":"model","created":`...), m.Modified.Unix(), 10)
	return append(b, `,"owned_by":"`+owner+`"}`...)
}

// head is the start of an object: what all parts of one answer have in common, up to the comma before the next field.
func (a *api) head(id, object string, m chat.Info) []byte {
	b := appendString([]byte(`{"id":`), id+rand.Text())
	b = appendString(append(b, `,"object":`...), object)
	b = strconv.AppendInt(append(b, `,"created":`...), a.Now().Unix(), 10)
	b = appendString(append(b, `,"model":`...), m.Name)
	if a.Fingerprint != "" {
		b = appendString(append(b, `,"system_fingerprint":`...), a.Fingerprint)
	}
	return append(b, ',')
}
