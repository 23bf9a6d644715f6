package states

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	snapshot "bimamba/edge/state"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// served is an engine with its snapshots' API.
type served struct {
	e     *engine.Engine
	dir   *snapshot.Dir
	inUse int // engines that were not given back
	http.Handler
}

func serve(t *testing.T, kind memmap.Kind, dir string, limits snapshot.Limits) *served {
	t.Helper()
	e, err := engine.Open(testmodel.Tiny(t, kind), engine.Options{Model: model.Options{Prefixes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	s := &served{e: e}
	if dir != "" {
		if s.dir, err = snapshot.OpenDir(dir, limits); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.dir.Close() })
	}
	s.Handler = New(Options{
		Engine: func() (*engine.Engine, func()) { s.inUse++; return e, func() { s.inUse-- } },
		Dir:    func() *snapshot.Dir { return s.dir },
	})
	return s
}

// turn runs a request of a session and returns how many of its tokens were known.
func (s *served) turn(t *testing.T, session, text string) int {
	t.Helper()
	ids, err := s.e.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.e.Generate(context.Background(), engine.Request{Prompt: ids, Sample: sample.Params{TopP: 1, RepetitionPenalty: 1}, Name: session}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res.Cached
}

// do sends a request and checks that the answer is JSON and the engine was given back.
func (s *served) do(t *testing.T, method, body string, header ...string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, "/v1/state", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if s.inUse != 0 {
		t.Fatalf("%s %s: the engine was not given back", method, body)
	}
	var v map[string]any
	if w.Code != http.StatusMethodNotAllowed {
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s %s: %q (%s), %v", method, body, w.Body, w.Header().Get("Content-Type"), err)
		}
	}
	return w.Code, v
}

// TestRoundTrip saves, lists, loads into another process's engine and deletes.
func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "states")
	a := serve(t, memmap.KindBase, dir, snapshot.Limits{})
	const text = "on the line"
	a.turn(t, "s", text)
	code, v := a.do(t, "POST", `{"op":"save","name":"x","session":"s"}`)
	n, _ := v["tokens"].(float64)
	if code != 200 || n < 5 || v["name"] != "x" || v["session"] != "s" {
		t.Fatalf("save: %d %v", code, v)
	}
	b := serve(t, memmap.KindBase, dir, snapshot.Limits{})
	for _, method := range []string{"GET", "HEAD"} {
		if method == "HEAD" { // httptest keeps the body
			code, v = b.do(t, method, "")
		} else {
			code, v = b.do(t, method, "")
		}
		data, _ := v["data"].([]any)
		if code != 200 || v["object"] != "list" || len(data) != 1 {
			t.Fatalf("%s: %d %v", method, code, v)
		}
		x := data[0].(map[string]any)
		if x["name"] != "x" || x["tokens"] != n || x["usable"] != true || x["bytes"].(float64) < 1000 || !strings.HasSuffix(x["modified"].(string), "Z") {
			t.Errorf("%s: %v", method, x)
		}
	}
	if code, v := b.do(t, "POST", `{"op":"load","name":"x"}`, "X-Session", "t"); code != 200 || v["tokens"] != n || v["session"] != "t" {
		t.Errorf("load: %d %v", code, v)
	}
	if known := b.turn(t, "t", text+" again"); known != int(n) {
		t.Errorf("%d tokens were known behind load, not %v", known, n)
	}
	if code, v := b.do(t, "POST", `{"op":"save","name":"y","session":"t"}`); code != 200 || v["tokens"].(float64) <= n {
		t.Errorf("save of what was loaded: %d %v", code, v)
	}
	for _, name := range []string{"x", "y"} {
		if code, v := b.do(t, "POST", `{"op":"delete","name":"`+name+`"}`); code != 200 || v["name"] != name {
			t.Errorf("delete: %d %v", code, v)
		}
	}
	if _, v := b.do(t, "GET", ""); len(v["data"].([]any)) != 0 {
		t.Errorf("behind delete: %v", v)
	}
}

// TestErrors have a status and one line that says what to do.
func TestErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "states")
	s := serve(t, memmap.KindBase, dir, snapshot.Limits{Files: 2})
	s.turn(t, "s", "on the line")
	if code, v := s.do(t, "POST", `{"op":"save","name":"x","session":"s"}`); code != 200 {
		t.Fatal(code, v)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "x.state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "half.state"), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	other := serve(t, memmap.KindInstruct, dir, snapshot.Limits{})
	none := serve(t, memmap.KindBase, "", snapshot.Limits{})
	full := serve(t, memmap.KindBase, filepath.Join(t.TempDir(), "small"), snapshot.Limits{Bytes: 100})
	full.turn(t, "s", "on the line")
	pinned := serve(t, memmap.KindBase, dir, snapshot.Limits{})
	pinned.turn(t, "s", "on the line")
	load := func(want snapshot.Expect, to *snapshot.Snapshot) error { return pinned.dir.Load("x", want, to) }
	if _, err := pinned.e.Import("", true, load); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s          *served
		body       string
		code       int
		kind, text string
	}{
		{s, `{"op":"save"`, 400, "invalid_request_error", "not JSON"},
		{s, `{"op":1}`, 400, "invalid_request_error", "op"},
		{s, `{"op":"copy","name":"x"}`, 400, "invalid_request_error", "save, load and delete"},
		{s, `{}`, 400, "invalid_request_error", "save, load and delete"},
		{s, `{"op":"save","name":"y"}`, 400, "invalid_request_error", "session: it is missing"},
		{s, `{"op":"load","name":"y"}`, 400, "invalid_request_error", "session: it is missing"},
		{s, `{"op":"save","name":"../y","session":"s"}`, 400, "invalid_request_error", "not a name"},
		{s, `{"op":"load","name":"A","session":"s"}`, 400, "invalid_request_error", "not a name"},
		{s, `{"op":"delete","name":""}`, 400, "invalid_request_error", "not a name"},
		{s, `{"op":"load","name":"y","session":"s"}`, 404, "not_found_error", "none of this name"},
		{s, `{"op":"delete","name":"y"}`, 404, "not_found_error", "none of this name"},
		{s, `{"op":"save","name":"y","session":"t"}`, 404, "not_found_error", "no session of that name"},
		{s, `{"op":"load","name":"half","session":"s"}`, 422, "invalid_request_error", "cut short"},
		{other, `{"op":"load","name":"x","session":"s"}`, 409, "invalid_request_error", "made with model"},
		{s, `{"op":"save","name":"z","session":"s"}`, 507, "server_error", "delete one"},
		{full, `{"op":"save","name":"z","session":"s"}`, 507, "server_error", "delete one"},
		{none, `{"op":"save","name":"z","session":"s"}`, 503, "server_error", "state_dir"},
	} {
		code, v := c.s.do(t, "POST", c.body)
		e, _ := v["error"].(map[string]any)
		message, _ := e["message"].(string)
		if code != c.code || e["type"] != c.kind || !strings.Contains(message, c.text) || strings.Contains(message, "\n") {
			t.Errorf("%s: %d %v, not %d about %q", c.body, code, v, c.code, c.text)
		}
	}
	if code, _ := none.do(t, "GET", ""); code != 503 {
		t.Errorf("GET without a folder: %d", code)
	}
	for _, method := range []string{"PUT", "DELETE"} {
		if code, _ := s.do(t, method, ""); code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, code)
		}
	}

	// While a session is read, nobody else saves it, and where a persona has the only copy there is no room to load.
	err = pinned.e.Export("s", func(*snapshot.Snapshot) error {
		for body, text := range map[string]string{
			`{"op":"save","name":"q","session":"s"}`: "wait for its end", `{"op":"load","name":"x","session":"s"}`: "no room",
		} {
			code, v := pinned.do(t, "POST", body)
			if message := v["error"].(map[string]any)["message"].(string); code != 409 || !strings.Contains(message, text) {
				t.Errorf("%s: %d %v", body, code, v)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// The list tells what cannot be loaded.
	_, v := other.do(t, "GET", "")
	for _, x := range v["data"].([]any) {
		x := x.(map[string]any)
		if reason, _ := x["reason"].(string); x["usable"] != false || reason == "" {
			t.Errorf("%v", x)
		}
	}
}
