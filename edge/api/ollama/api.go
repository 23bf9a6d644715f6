package ollama

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
)

// version is the release of Ollama that /api/version claims: the first that has all that is here (logprobs came with 0.12.11) and none of what
// is not (/v1/responses and /v1/messages came later). Open WebUI wants numbers and dots.
const version = "0.12.11"

// Options of the API. The zero value is Ollama's behaviour.
type Options struct {
	KeepAlive time.Duration // of requests that do not say; 0 means five minutes, negative means for ever
}

// api is the handlers' state.
type api struct {
	service   chat.Service
	keepAlive time.Duration
	now       func() time.Time
	used      names
}

// New makes the handler of the paths under /api/. The server in front of it limits bodies, headers and time.
func New(s chat.Service, opt Options) http.Handler {
	return newAPI(s, opt).handler()
}

func newAPI(s chat.Service, opt Options) *api {
	a := &api{service: s, keepAlive: opt.KeepAlive, now: time.Now}
	switch {
	case a.keepAlive == 0:
		a.keepAlive = 5 * time.Minute
	case a.keepAlive < 0:
		a.keepAlive = forever
	}
	return a
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range []struct {
		path, methods string
		serve         http.HandlerFunc
	}{
		{"/api/version", "GET HEAD", a.version},
		{"/api/tags", "GET HEAD", a.tags},
		{"/api/ps", "GET HEAD", a.ps},
		{"/api/show", "POST", a.show},
		{"/api/pull", "POST", a.pull},
		{"/api/chat", "POST", a.chat},
		{"/api/generate", "POST", a.generate},
		{"/api/embed", "POST", absent("embeddings: the model continues text and has no embedding to give")},
		{"/api/embeddings", "POST", absent("embeddings: the model continues text and has no embedding to give")},
		{"/api/push", "POST", absent("push: there is no registry here")},
		{"/api/create", "POST", absent("create: the model is a file that bimamba convert makes; name it in the server's configuration")},
		{"/api/copy", "POST", absent("copy: the model is a file; copy it, and name the copy in the server's configuration")},
		{"/api/delete", "DELETE", absent("delete: the model is a file that the server is configured with; remove it there")},
		{"/api/blobs/{digest}", "HEAD POST", absent("blobs: models are not made here, bimamba convert makes them")},
	} {
		mux.HandleFunc(route.path, func(w http.ResponseWriter, r *http.Request) {
			if methods := strings.Fields(route.methods); !slices.Contains(methods, r.Method) {
				w.Header().Set("Allow", strings.Join(methods, ", "))
				writeError(w, http.StatusMethodNotAllowed, r.Method+" is not for this path; it takes "+strings.Join(methods, " and "))
				return
			}
			route.serve(w, r)
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "there is no such path in this API")
	})
	return mux
}

// absent answers for what Ollama has and this does not.
func absent(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotImplemented, "not supported here: "+what)
	}
}

func (a *api) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": version})
}

// decode reads a request's body. v may have embedded structs, whose names encoding/json puts in front of their fields'.
func decode(r *http.Request, v any) error {
	err := body.Decode(r, v)
	if e, ok := errors.AsType[*chat.Error](err); ok {
		for _, embedded := range []string{"shared.", "modelName."} {
			e.Param = strings.TrimPrefix(e.Param, embedded)
		}
	}
	return err
}

// modelName is how show and pull name a model. Old clients say name.
type modelName struct {
	Model string `json:"model"`
	Name  string `json:"name"`
}

func (m *modelName) name() string { return cmp.Or(m.Model, m.Name) }

// find is the model that a request names.
func (a *api) find(name string) (chat.Info, error) {
	if name == "" {
		return chat.Info{}, chat.Errorf(chat.Invalid, "", "model is required")
	}
	return a.service.Find(name)
}

func (a *api) chat(w http.ResponseWriter, r *http.Request) {
	start := a.now()
	var q chatRequest
	if err := decode(r, &q); err != nil {
		writeFailure(w, err, "")
		return
	}
	var req *chat.Request
	info, keep, ok := a.prepare(w, &q.shared, true, len(q.Messages) == 0, func(info *chat.Info) (err error) {
		req, err = q.request(info)
		return err
	})
	if !ok {
		return
	}
	req.Session = r.Header.Get("X-Session")
	a.answer(w, query{
		model: q.Model, name: info.Name, keep: keep, stream: q.streams(), chats: true, start: start,
		run: func(emit func(chat.Event) error) (*chat.Reply, error) { return a.service.Chat(r.Context(), req, emit) },
	})
}

func (a *api) generate(w http.ResponseWriter, r *http.Request) {
	start := a.now()
	var q generateRequest
	if err := decode(r, &q); err != nil {
		writeFailure(w, err, "")
		return
	}
	var req *chat.Completion
	info, keep, ok := a.prepare(w, &q.shared, false, q.Prompt == "", func(*chat.Info) (err error) {
		req, err = q.request()
		return err
	})
	if !ok {
		return
	}
	req.Session = r.Header.Get("X-Session")
	a.answer(w, query{
		model: q.Model, name: info.Name, keep: keep, stream: q.streams(), start: start,
		run: func(emit func(chat.Event) error) (*chat.Reply, error) {
			return a.service.Complete(r.Context(), req, emit)
		},
	})
}

// prepare finds the model of a request and has the rest of it checked. ok is false if the request has its answer: it is wrong, or it is empty,
// by which clients load a model and, with keep zero, unload it.
func (a *api) prepare(w http.ResponseWriter, q *shared, chats, empty bool, check func(*chat.Info) error) (info chat.Info, keep time.Duration, ok bool) {
	info, err := a.find(q.Model)
	if err == nil {
		keep, err = q.keepAlive(a.keepAlive)
	}
	if unload := empty && keep == 0; err == nil && !unload {
		err = check(&info)
	}
	if err != nil {
		writeFailure(w, err, q.Model)
		return info, keep, false
	}
	if !empty {
		return info, keep, true
	}
	now := a.now()
	a.used.set(info.Name, now, keep)
	l := line{Model: q.Model, CreatedAt: stamp(now), Done: true, DoneReason: "load"}
	if keep == 0 {
		l.DoneReason = "unload"
	}
	l.content(chats, "", nil)
	writeJSON(w, http.StatusOK, &l)
	return info, keep, false
}

// pull succeeds for what is here. Clients ask for it when a model is not in their list.
func (a *api) pull(w http.ResponseWriter, r *http.Request) {
	var q struct {
		modelName
		Stream *bool `json:"stream"`
	}
	if err := decode(r, &q); err != nil {
		writeFailure(w, err, "")
		return
	}
	if _, err := a.find(q.name()); err != nil {
		writeFailure(w, err, q.name())
		return
	}
	if q.Stream == nil || *q.Stream {
		w.Header().Set("Content-Type", ndjson)
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "success"})
}

const ndjson = "application/x-ndjson"

// writeJSON writes a whole answer. v is one of this package's own types.
func writeJSON(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // fails only where the client is gone
}
