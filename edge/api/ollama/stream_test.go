package ollama

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bimamba/edge/chat"
)

const chatBody = `{"model":"default","messages":[{"role":"user","content":"x"}]}`

// post sends a chat over a connection; the answer's body is still open.
func post(t testing.TB, ctx context.Context, url, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/api/chat", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// TestFlush has each line arrive before the next one is made.
func TestFlush(t *testing.T) {
	f := &fake{wait: make(chan struct{}), events: []chat.Event{{Text: "a"}, {Text: "b"}, {Text: "c"}}}
	s := httptest.NewServer(New(f, Options{}))
	defer s.Close()
	got := make(chan string)
	go func() {
		defer close(got)
		lines := bufio.NewScanner(post(t, t.Context(), s.URL, chatBody).Body)
		for lines.Scan() {
			var l struct{ Message struct{ Content string } }
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Error(err)
			}
			got <- l.Message.Content
		}
	}()
	for _, want := range []string{"a", "b", "c"} {
		f.wait <- struct{}{}
		if text := <-got; text != want {
			t.Fatalf("got %q, want %q", text, want)
		}
	}
	if text, ok := <-got; text != "" || !ok {
		t.Errorf("the last line has %q", text)
	}
	if text, ok := <-got; ok {
		t.Errorf("another line: %q", text)
	}
}

// TestErrorInStream ends the chunked body behind a line with the error.
func TestErrorInStream(t *testing.T) {
	f := &fake{events: []chat.Event{{Text: "a"}}, err: chat.Errorf(chat.Timeout, "", "the request's time is up")}
	s := httptest.NewServer(New(f, Options{}))
	defer s.Close()
	res := post(t, t.Context(), s.URL, chatBody)
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res.Status, err)
	}
	_, last, _ := strings.Cut(string(b), "\n")
	if last != `{"error":"the request's time is up"}`+"\n" {
		t.Errorf("the stream ends with %q", last)
	}
}

// TestClientGoes cancels the request, whether it waits for a line or for the whole answer.
func TestClientGoes(t *testing.T) {
	for _, stream := range []string{"true", "false"} {
		f := &fake{wait: make(chan struct{}, 1), gone: make(chan struct{}), events: []chat.Event{{Text: "a"}, {Text: "b"}}}
		f.wait <- struct{}{}
		s := httptest.NewServer(New(f, Options{}))
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/api/chat", strings.NewReader(strings.Replace(chatBody, "{", `{"stream":`+stream+",", 1)))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if res, err := http.DefaultClient.Do(r); err == nil {
				res.Body.Close()
			}
		}()
		for len(f.wait) > 0 { // until the first event is taken
			time.Sleep(time.Millisecond)
		}
		cancel()
		select {
		case <-f.gone:
		case <-time.After(10 * time.Second):
			t.Errorf("stream %s: the request goes on without its client", stream)
		}
		s.Close()
	}
}

// brokenWriter fails at the second write, as a connection that broke does.
type brokenWriter struct {
	*httptest.ResponseRecorder
	writes int
}

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.writes++; w.writes > 1 {
		return 0, io.ErrClosedPipe
	}
	return w.ResponseRecorder.Write(b)
}

// TestBrokenConnection ends the request at the first line that cannot be written.
func TestBrokenConnection(t *testing.T) {
	w := &brokenWriter{ResponseRecorder: httptest.NewRecorder()}
	f := &fake{events: []chat.Event{{Text: "a"}, {Text: "b"}, {Text: "c"}, {Text: "d"}}}
	clocked(f).ServeHTTP(w, httptest.NewRequest("POST", "/api/chat", strings.NewReader(chatBody)))
	if w.writes != 3 { // the second line, and the error's
		t.Errorf("%d writes", w.writes)
	}
}

// TestBadArguments of a model do not become a line that is no JSON.
func TestBadArguments(t *testing.T) {
	for _, before := range [][]chat.Event{nil, {{Text: "a"}}} {
		f := &fake{events: append(before, chat.Event{ToolCall: &chat.ToolCall{Name: "f", Arguments: json.RawMessage(`{"a":`)}})}
		w := do(t, clocked(f), "POST", "/api/chat", chatBody)
		checkLines(t, w)
		if want := map[bool]int{true: 500, false: 200}[before == nil]; w.Code != want || !strings.Contains(w.Body.String(), `{"error":`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// TestNames follows what /api/ps tells of.
func TestNames(t *testing.T) {
	var n names
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	expect := func(after time.Duration, want string) {
		t.Helper()
		alive, until := n.alive(models(), now.Add(after))
		var got []string
		for i := range alive {
			got = append(got, alive[i].Name+" "+until[i].Format(time.DateTime))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("after %v: %q, want %q", after, s, want)
		}
	}
	expect(0, "")
	n.begin("default", now, 0)
	n.set("bimamba-780m", now, time.Minute)
	n.set("replaced", now, time.Minute)
	expect(30*time.Second, "default 2026-01-01 00:00:00, bimamba-780m 2026-01-01 00:01:00")
	expect(time.Minute, "default 2026-01-01 00:00:00")
	n.begin("default", now, time.Minute)
	n.end("default", now.Add(time.Second), time.Minute)
	expect(time.Hour, "default 2026-01-01 00:01:01")
	n.end("default", now.Add(time.Second), time.Minute)
	expect(time.Minute, "default 2026-01-01 00:01:01")
	expect(61*time.Second, "")
	n.set("default", now, forever)
	if s := stamp(now.Add(forever)); !fromISOFormat.MatchString(s) {
		t.Errorf("forever is %s", s)
	}
	expect(1000000*time.Hour, "default "+now.Add(forever).Format(time.DateTime))
	n.set("default", now, 0)
	expect(0, "")
	if len(n.m) != 0 {
		t.Errorf("%v is kept", n.m)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 4_500: "4.5K", 22_100_000: "22M", 780_000_000: "780M", 1_370_000_000: "1.4B", 2_700_000_000: "2.7B", 13e9: "13B",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
