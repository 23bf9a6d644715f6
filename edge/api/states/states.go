// Package states is the HTTP API of snapshots: at /v1/state, sessions' recurrent states are saved, loaded, listed and deleted by name.
//
// A snapshot holds the prompt and all of the answer: it helps a request that goes on behind that answer, and no other.
package states

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
	"bimamba/edge/engine"
	snapshot "bimamba/edge/state"
)

// Options of New.
type Options struct {
	Engine func() (e *engine.Engine, done func()) // the engine that is served, which stays open until done is called
	Dir    func() *snapshot.Dir                   // nil where there is no state directory
}

// New makes the handler of GET and POST /v1/state.
func New(opt Options) http.Handler {
	mux := http.NewServeMux()
	h := &handler{opt}
	mux.Handle("GET /v1/state", h)
	mux.Handle("POST /v1/state", h)
	return mux
}

type handler struct{ Options }

// request is the body of a POST.
type request struct {
	Op      string `json:"op"`      // save, load or delete
	Name    string `json:"name"`    // of the snapshot
	Session string `json:"session"` // prompt_cache_key or X-Session of the conversation
}

// info describes a snapshot.
type info struct {
	Name     string `json:"name"`
	Session  string `json:"session,omitempty"`
	Tokens   uint64 `json:"tokens"`
	Bytes    int64  `json:"bytes,omitempty"`
	Modified string `json:"modified,omitempty"`
	Model    string `json:"model,omitempty"`
	Usable   *bool  `json:"usable,omitempty"` // by the model that is served
	Reason   string `json:"reason,omitempty"` // why not
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := h.answer(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status, kind := statusOf(err)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": err.Error(), "type": kind, "param": nil, "code": nil}})
		return
	}
	json.NewEncoder(w).Encode(out)
}

func (h *handler) answer(r *http.Request) (any, error) {
	dir := h.Dir()
	if dir == nil {
		return nil, chat.Errorf(chat.Unavailable, "", "there are no snapshots: the daemon was started without state_dir")
	}
	e, done := h.Engine()
	defer done()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return list(dir, e)
	}
	var req request
	if err := body.Decode(r, &req); err != nil {
		return nil, err
	}
	if req.Session == "" {
		req.Session = r.Header.Get("X-Session")
	}
	if req.Session == "" && (req.Op == "save" || req.Op == "load") {
		return nil, chat.Errorf(chat.Invalid, "session", "it is missing: name the conversation as prompt_cache_key or X-Session do")
	}
	out := info{Name: req.Name, Session: req.Session}
	var err error
	switch req.Op {
	case "save":
		err = e.Export(req.Session, func(x *snapshot.Snapshot) error {
			x.Created = time.Now().Unix()
			out.Tokens = uint64(len(x.IDs))
			return dir.Save(req.Name, x)
		})
	case "load":
		var ids []uint32
		ids, err = e.Import(req.Session, false, func(want snapshot.Expect, to *snapshot.Snapshot) error { return dir.Load(req.Name, want, to) })
		out.Tokens = uint64(len(ids))
	case "delete":
		err = dir.Delete(req.Name)
	default:
		err = chat.Errorf(chat.Invalid, "op", "%q is none; there are save, load and delete", req.Op)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func list(dir *snapshot.Dir, e *engine.Engine) (any, error) {
	all, err := dir.List(e.Expect())
	if err != nil {
		return nil, err
	}
	data := make([]info, 0, len(all))
	for _, x := range all {
		usable := x.Err == nil
		line := info{
			Name: x.Name, Tokens: x.Header.Tokens, Bytes: x.Bytes, Modified: x.Modified.UTC().Format(time.RFC3339), Model: x.Header.ModelName, Usable: &usable,
		}
		if !usable {
			line.Reason = x.Err.Error()
		}
		data = append(data, line)
	}
	return map[string]any{"object": "list", "data": data}, nil
}

// statusOf is the HTTP status of an error, and its type as OpenAI's clients know it.
func statusOf(err error) (status int, kind string) {
	if e, ok := errors.AsType[*chat.Error](err); ok {
		status = e.Status()
	} else {
		status = http.StatusInternalServerError
		for target, s := range map[error]int{
			snapshot.ErrNotFound: 404, snapshot.ErrName: 400, snapshot.ErrModel: 409, snapshot.ErrVersion: 409, snapshot.ErrDamaged: 422,
			snapshot.ErrNoSpace: 507, snapshot.ErrTooMany: 507, engine.ErrNoSession: 404, engine.ErrInUse: 409, engine.ErrNoRoom: 409,
		} {
			if errors.Is(err, target) {
				status = s
			}
		}
	}
	switch {
	case status == 404:
		return status, "not_found_error"
	case status < 500:
		return status, "invalid_request_error"
	}
	return status, "server_error"
}
