package wyoming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/edge/home"
)

// fake is a Handler and a Performer. What it does depends on the text.
type fake struct {
	mu       sync.Mutex
	requests []home.Request
	done     []home.Action
	begun    chan struct{}
	ended    chan error // why the contexts of "wait" ended
}

func newFake() *fake { return &fake{begun: make(chan struct{}, 100), ended: make(chan error, 100)} }

func on(name string) home.Action {
	return home.Action{ID: name, Intent: "HassTurnOn", Slots: map[string]any{"name": name, "area": "kitchen"}}
}

func (f *fake) Handle(ctx context.Context, r home.Request) (*home.Answer, error) {
	f.mu.Lock()
	f.requests = append(f.requests, r)
	f.mu.Unlock()
	switch r.Text {
	case "one":
		return &home.Answer{Kind: home.Act, Actions: []home.Action{on("lamp")}, Text: "Turning on {{ states }} {%x%} {#x#}."}, nil
	case "two":
		return &home.Answer{Kind: home.Act, Actions: []home.Action{on("lamp"), {Intent: "HassLightSet", Slots: map[string]any{"brightness": 40, "name": "b"}}}, Text: "Both."}, nil
	case "question":
		return &home.Answer{Kind: home.Act, Actions: []home.Action{{Intent: "HassGetState"}, {Intent: "HassTimerStatus"}}, Text: "Done."}, nil
	case "late":
		<-ctx.Done()
		return &home.Answer{Kind: home.Act, Actions: []home.Action{on("late")}}, nil
	case "none":
		return &home.Answer{Kind: home.Act, Text: "Nothing to do."}, nil
	case "slots":
		return &home.Answer{Kind: home.Act, Actions: []home.Action{{Intent: "X", Slots: map[string]any{"f": func() {}}}}}, nil
	case "ask":
		return &home.Answer{Kind: home.Ask, Text: "Which one?"}, nil
	case "say":
		return &home.Answer{Kind: home.Say, Text: "It is 5."}, nil
	case "decline":
		return &home.Answer{Kind: home.Decline, Text: "I don't know a pool."}, nil
	case "fail":
		return nil, errors.New("secret path /x")
	case "busy":
		return nil, fmt.Errorf("wrapped: %w", &Error{"too many at once", CodeBusy})
	case "nil":
		return nil, nil
	case "panic":
		panic("oh")
	case "undoable":
		return &home.Answer{Kind: home.Act, Actions: []home.Action{on("undoable")}}, nil
	case "wait", "stuck":
		f.begun <- struct{}{}
		<-ctx.Done()
		f.ended <- context.Cause(ctx)
		if r.Text == "stuck" {
			time.Sleep(time.Hour)
		}
		return nil, ctx.Err()
	}
	return &home.Answer{Kind: home.Say, Text: "You said " + r.Text}, nil
}

func (f *fake) Perform(ctx context.Context, list []home.Action) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, list...)
	if list[0].ID == "undoable" {
		return "", errors.New("The hub does not answer.")
	}
	if len(list) == 2 {
		return "Both are done.", nil
	}
	return "", nil
}

func testInfo() *Info {
	a := Attribution{"P", "https://x"}
	v := "0.1"
	m := Model{Artifact: Artifact{Name: "m", Attribution: a, Installed: true}, Languages: []string{"en"}}
	return &Info{Intent: []Program{{Artifact: Artifact{Name: "NAME", Attribution: a, Installed: true, Version: &v}, Models: []Model{m}}}}
}

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

// listen serves on TCP until the test ends.
func listen(t testing.TB, opt Options) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, opt), l.Addr().String()
}

func serve(t testing.TB, l net.Listener, opt Options) *Server {
	if opt.Info == nil {
		opt.Info = testInfo
	}
	s := NewServer(opt)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ctx)
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// said is a transcript as the reference writes it.
func said(text string) string {
	data := fmt.Sprintf(`{"text": %q, "language": "en", "context": {"conversation_id": "01J", "device_id": "d", "satellite_id": null}}`, text)
	return fmt.Sprintf(`{"type": "transcript", "version": "1.9.0", "data_length": %d}`+"\n%s", len(data), data)
}

func recognize(text string) string {
	return fmt.Sprintf(`{"type":"recognize","data":{"text":%q}}`+"\n", text)
}

const describe = `{"type": "describe", "version": "1.9.0"}` + "\n"

// line is an event as the server writes it.
func line(kind, data string) string {
	if data == "" {
		return fmt.Sprintf(`{"type":%q,"version":"1.9.0"}`+"\n", kind)
	}
	return fmt.Sprintf(`{"type":%q,"version":"1.9.0","data_length":%d}`+"\n%s", kind, len(data), data)
}

// TestTranscripts is what clients send and what they read, to the byte, up to the end that the client makes.
func TestTranscripts(t *testing.T) {
	const ctx = `"context":{"conversation_id":"01J"}`
	info := line("info", `{"asr":[],"tts":[],"handle":[],"intent":[{"name":"NAME","attribution":{"name":"P","url":"https://x"},"installed":true,"description":null,"version":"0.1",`+
		`"models":[{"name":"m","attribution":{"name":"P","url":"https://x"},"installed":true,"description":null,"version":null,"languages":["en"]}]}],"wake":[],"mic":[],"snd":[]}`)
	lamp := `{"name":"HassTurnOn","entities":[{"name":"area","value":"kitchen"},{"name":"name","value":"lamp"}]`
	internal := line("error", `{"text":"internal error; the log of the service has more","code":"internal"}`)
	for _, tt := range []struct{ name, in, intent, handle string }{ // handle is as intent where it is ""
		{"describe", describe, info, ""},
		{"describe, no version", `{"type":"describe"}` + "\n", info, ""},
		{"ping", line("ping", `{"text":"a"}`) + line("ping", ""), line("pong", `{"text":"a"}`) + line("pong", ""), ""},
		{"unknown events", `{"type":"audio-chunk","data":{"rate":1},"payload_length":3}` + "\n\n{}" + line("run-satellite", "") + line("ping", ""), line("pong", ""), ""},
		{"one action", said("one"), line("intent", lamp+`,"text":"Turning on { { states }} { %x%} { #x#}.",`+ctx+`}`), line("handled", `{"text":"Turning on {{ states }} {%x%} {#x#}.",`+ctx+`}`)},
		{
			"two actions", said("two"),
			line("intents-start", `{`+ctx+`}`) + line("intent", lamp+`,"text":"Both.",`+ctx+`}`) +
				line("intent", `{"name":"HassLightSet","entities":[{"name":"brightness","value":40},{"name":"name","value":"b"}],`+ctx+`}`) + line("intents-stop", `{`+ctx+`}`),
			line("handled", `{"text":"Both are done.",`+ctx+`}`),
		},
		{"questions", said("question"), line("intents-start", `{`+ctx+`}`) + line("intent", `{"name":"HassGetState","text":"It is {{ state.state_with_unit }}.",`+ctx+`}`) +
			line("intent", `{"name":"HassTimerStatus",`+ctx+`}`) + line("intents-stop", `{`+ctx+`}`), line("handled", `{"text":"Both are done.",`+ctx+`}`)},
		{"no action", said("none"), line("handled", `{"text":"Nothing to do.",`+ctx+`}`), ""},
		{"a question", said("ask"), line("handled", `{"text":"Which one?",`+ctx+`}`), ""},
		{"an answer", said("say"), line("handled", `{"text":"It is 5.",`+ctx+`}`), ""},
		{"declined", said("decline"), line("not-recognized", `{"text":"I don't know a pool.",`+ctx+`}`), line("not-handled", `{"text":"I don't know a pool.",`+ctx+`}`)},
		{"undoable", said("undoable"), "", line("not-handled", `{"text":"The hub does not answer.",`+ctx+`}`)},
		{"an error", said("fail"), internal, ""},
		{"no answer", said("nil"), internal, ""},
		{"a panic", said("panic"), internal, ""},
		{"slots that are no JSON", said("slots"), internal, line("handled", `{`+ctx+`}`)},
		{"an error for clients", said("busy"), line("error", `{"text":"too many at once","code":"busy"}`), ""},
		{"recognize one", recognize("one"), line("intent", lamp+`,"text":"Turning on { { states }} { %x%} { #x#}."}`), ""},
		{"recognize a question", recognize("ask"), line("not-recognized", `{"text":"Which one?"}`), ""},
		{"recognize, declined", recognize("decline"), line("not-recognized", `{"text":"I don't know a pool."}`), ""},
		{"several on one connection", said("say") + describe + said("ask"), line("handled", `{"text":"It is 5.",`+ctx+`}`) + info + line("handled", `{"text":"Which one?",`+ctx+`}`), ""},
		{"long", said(strings.Repeat("x", 1001)), line("error", `{"text":"that has 1001 bytes, and 1000 are the most that is listened to","code":"length"}`), ""},
		{
			"a long conversation", fmt.Sprintf(`{"type":"transcript","data":{"text":"one","context":{"conversation_id":"%0257d"}}}`+"\n", 0),
			line("error", `{"text":"language, conversation_id and area have at most 256 bytes each","code":"length"}`), "",
		},
		{"a text that is none", `{"type":"transcript","data":{"text":1}}` + "\n", line("error", `{"text":"the data of \"transcript\": text is a JSON number, and should not be","code":"format"}`), ""},
		{"no JSON", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", line("error", `{"text":"the line of event 1: is no JSON: byte 1: invalid character 'G' looking for beginning of value","code":"format"}`), ""},
		{"a long line", strings.Repeat(" ", 64<<10+1), line("error", `{"text":"the line of event 1 is longer than 65536 bytes","code":"format"}`), ""},
		{"the longest line", strings.Repeat(" ", 64<<10-len(describe)) + describe, info, ""},
		{"much data", `{"type":"x","data_length":65537}` + "\n", line("error", `{"text":"event 1, \"x\", has 65537 bytes of data; 0 to 65536 are taken","code":"format"}`), ""},
	} {
		if tt.handle == "" {
			tt.handle = tt.intent
		}
		if tt.intent == "" {
			tt.intent = line("intent", strings.ReplaceAll(lamp, "lamp", "undoable")+`,`+ctx+`}`)
		}
		for mode, want := range map[string]string{"intent": tt.intent, "handle": tt.handle} {
			t.Run(tt.name+", "+mode, func(t *testing.T) {
				f := newFake()
				opt := Options{Handler: f}
				if mode == "handle" {
					opt.Performer = f
				}
				_, addr := listen(t, opt)
				c := dial(t, addr)
				if _, err := io.WriteString(c, tt.in); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, len(want))
				if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
					t.Fatalf("%v:\n%s\nwant\n%s", err, b, want)
				}
				// Nothing follows: an answer has one end.
				c.(*net.TCPConn).CloseWrite()
				if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
					t.Errorf("behind the end: %q, %v", rest, err)
				}
				if recognized := strings.HasPrefix(tt.name, "recognize"); recognized && len(f.done) > 0 {
					t.Error("recognize did something")
				}
			})
		}
	}
}

// TestSplit sends two requests in parts that meet at every byte.
func TestSplit(t *testing.T) {
	f := newFake()
	l := newPipes()
	serve(t, l, Options{Handler: f})
	in := said("one") + `{"type":"recognize","data":{"text":"x"},"data_length":13,"payload_length":2}` + "\n" + `{"text":"ask"}`[:13]
	in = strings.Replace(in, `"data_length":13`, `"data_length":14`, 1) + "}" + "\n\n"
	var want []byte
	for n := range len(in) + 1 {
		c := l.dial()
		go func() {
			io.WriteString(c, in[:n])
			io.WriteString(c, in[n:])
		}()
		r := NewReader(c, Limits{})
		var got []byte
		for range 2 {
			e, err := r.Read()
			if err != nil {
				t.Fatalf("split at %d: %v", n, err)
			}
			if got, err = Append(got, e); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("split at %d: %s\nwant\n%s", n, got, want)
		}
	}
	if !bytes.Contains(want, []byte("HassTurnOn")) || !bytes.Contains(want, []byte("Which one?")) {
		t.Errorf("%s", want)
	}
}

func TestRequest(t *testing.T) {
	f := newFake()
	_, addr := listen(t, Options{Handler: f})
	c := dial(t, addr)
	r := NewReader(c, Limits{})
	io.WriteString(c, said("one")+`{"type":"transcript","data":{"text":"two","context":{"area":"kitchen"}}}`+"\n"+recognize("ask")+recognize("say"))
	for range 3 + 4 { // intents-start and -stop
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.requests[1].Conversation
	for i, want := range []home.Request{
		{Text: "one", Language: "en", Conversation: "01J"}, {Text: "two", Conversation: own, Device: "kitchen"}, {Text: "ask", Conversation: own}, {Text: "say", Conversation: own},
	} {
		if f.requests[i] != want {
			t.Errorf("%+v, want %+v", f.requests[i], want)
		}
	}
	if len(own) < 10 {
		t.Errorf("a connection's own conversation is %q", own)
	}
}

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, Options{Handler: newFake()})
	c, err := Dial(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Describe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCold: a service describes itself while its handler is not ready.
func TestCold(t *testing.T) {
	f := newFake()
	_, addr := listen(t, Options{Handler: f})
	busy := dial(t, addr)
	io.WriteString(busy, said("wait"))
	<-f.begun
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := Dial(ctx, "tcp://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if i, err := c.Describe(ctx); err != nil || i.Intent[0].Models[0].Name != "m" {
		t.Errorf("%+v, %v", i, err)
	}
}

// TestGone: who leaves gives up what was computed for him, also with more requests sent ahead.
func TestGone(t *testing.T) {
	for name, leave := range map[string]func(net.Conn){
		"closes":        func(c net.Conn) { c.Close() },
		"resets":        func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
		"half":          func(c net.Conn) { c.(*net.TCPConn).CloseWrite() },
		"ahead":         func(c net.Conn) { io.WriteString(c, said("wait")+said("wait")); c.Close() },
		"no event":      func(c net.Conn) { io.WriteString(c, "x\n") },
		"many ahead":    func(c net.Conn) { io.WriteString(c, strings.Repeat(describe, maxAhead+1)) },
		"half an event": func(c net.Conn) { io.WriteString(c, `{"type":`); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			var outcomes atomic.Int64
			_, addr := listen(t, Options{Handler: f, Done: func(o Outcome, _ time.Duration) {
				if o != Errors {
					t.Errorf("outcome %s", o)
				}
				outcomes.Add(1)
			}})
			c := dial(t, addr)
			io.WriteString(c, said("wait"))
			<-f.begun
			leave(c)
			select {
			case <-f.ended:
			case <-time.After(10 * time.Second):
				t.Fatal("the request goes on")
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.requests) != 1 {
				t.Errorf("%d requests were begun", len(f.requests))
			}
		})
	}
	// A half that is open still gets its one answer.
	for in, want := range map[string]string{"": CodeGone, "x\n": CodeFormat, strings.Repeat(describe, maxAhead+1): CodeBusy} {
		f := newFake()
		_, addr := listen(t, Options{Handler: f})
		c := dial(t, addr)
		io.WriteString(c, said("wait"))
		<-f.begun
		io.WriteString(c, in)
		c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil || strings.Count(string(b), `"type":"error"`) != 1 || !strings.Contains(string(b), want) {
			t.Errorf("%q: %s, %v", cut(in, 20), b, err)
		}
	}
}

// TestTimes: what takes too long ends, in a bubble's own time.
func TestTimes(t *testing.T) {
	run := func(name string, f func(t *testing.T, l *pipes, s *fake)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, s := newPipes(), newFake()
				serve(t, l, Options{Handler: s})
				f(t, l, s)
			})
		})
	}
	read := func(t *testing.T, c net.Conn) (string, time.Duration) {
		began := time.Now()
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		return string(b), time.Since(began)
	}
	run("idle", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		if out, took := read(t, c); out != "" || took != DefaultIdle {
			t.Errorf("%q after %v", out, took)
		}
	})
	run("idle after a request", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		go io.WriteString(c, line("ping", ""))
		if out, took := read(t, c); out != line("pong", "") || took != DefaultIdle {
			t.Errorf("%q after %v", out, took)
		}
	})
	run("slow header", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		go func() {
			for _, b := range []byte(describe) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if out, took := read(t, c); !strings.Contains(out, "an event took longer than 10s to arrive") || took != DefaultRead {
			t.Errorf("%q after %v", out, took)
		}
		c.Close()
		time.Sleep(2 * time.Second)
	})
	run("slow reader", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		io.WriteString(c, said("one"))
		time.Sleep(DefaultWrite)
		synctest.Wait()
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection is still there: %d bytes, %v", n, err)
		}
	})
	run("a request that takes long", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		go io.WriteString(c, said("wait"))
		e, err := NewReader(c, Limits{}).Read()
		if err != nil || e.Type != "error" || !strings.Contains(string(e.Data), CodeTimeout) {
			t.Errorf("%+v, %v", e, err)
		}
		if why := <-s.ended; why != errTimeout {
			t.Error(why)
		}
	})
	run("a handler that does not return", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		go io.WriteString(c, said("stuck"))
		out, took := read(t, c)
		if !strings.Contains(out, CodeTimeout) || strings.Count(out, `"type"`) != 1 || took != DefaultDeadline+grace {
			t.Errorf("%q after %v", out, took)
		}
		time.Sleep(2 * time.Hour)
	})
	run("busy for longer than idle", func(t *testing.T, l *pipes, s *fake) {
		c := l.dial()
		go io.WriteString(c, said("one"))
		r := NewReader(c, Limits{})
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultIdle - time.Second)
		go io.WriteString(c, said("one"))
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// TestStop: a stop lets requests end, then ends them, and closes what waits.
func TestStop(t *testing.T) {
	f := newFake()
	s, addr := listen(t, Options{Handler: f})
	idle, busy := dial(t, addr), dial(t, addr)
	io.WriteString(idle, line("ping", ""))
	if _, err := NewReader(idle, Limits{}).Read(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(busy, said("wait"))
	<-f.begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Error(err)
	}
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("an idle connection: %q, %v", b, err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("connections are taken still")
	}
	s.Abort()
	if b, err := io.ReadAll(busy); err != nil || string(b) != line("error", `{"text":"the service is stopping; ask again when it is back","code":"stopping"}`) {
		t.Errorf("a busy connection: %q, %v", b, err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHooks(t *testing.T) {
	f := newFake()
	var waits atomic.Bool
	outcomes := make(chan Outcome, 10)
	_, addr := listen(t, Options{
		Handler: f, Rest: func(_ net.Conn, w bool) { waits.Store(w) }, Done: func(o Outcome, d time.Duration) { outcomes <- o },
		Admit: func(net.Conn) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.requests) == 5 {
				return &Error{"slowly", CodeBusy}
			}
			return nil
		},
	})
	c := dial(t, addr)
	r := NewReader(c, Limits{})
	for _, tt := range []struct {
		text string
		want Outcome
	}{{"one", Acted}, {"ask", Asked}, {"say", Said}, {"decline", Declined}, {"fail", Errors}, {"one", Errors}} {
		io.WriteString(c, said(tt.text))
		e, err := r.Read()
		if got := <-outcomes; err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, %+v", tt.text, got, err, e)
		}
	}
	for until := time.Now().Add(10 * time.Second); !waits.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the connection does not rest")
		}
	}
	io.WriteString(c, `{"type":`)
	for until := time.Now().Add(10 * time.Second); waits.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the connection rests though an event arrives")
		}
	}
}

// TestMany: a hundred clients at once each get their own answers.
func TestMany(t *testing.T) {
	_, addr := listen(t, Options{Handler: newFake()})
	var g sync.WaitGroup
	for i := range 100 {
		g.Go(func() {
			c, err := Dial(t.Context(), "tcp://"+addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range 5 {
				text := fmt.Sprint(i, " ", j)
				if r, err := c.Handle(t.Context(), home.Request{Text: text}); err != nil || r.Text != "You said "+text {
					t.Errorf("%s: %+v, %v", text, r, err)
				}
			}
		})
	}
	g.Wait()
}

// FuzzServer sends anything to a server and closes its half. Each request has one end, and the connection ends.
func FuzzServer(f *testing.F) {
	f.Add([]byte(describe + said("one") + said("two") + recognize("ask")))
	f.Add([]byte(said("panic") + said("nil") + said(strings.Repeat("x", 3000))))
	f.Add([]byte(`{"type":"transcript","data":{"text":null,"context":null}}` + "\n" + `{"type":"ping","data":{"text":[]}}` + "\n"))
	f.Add([]byte(`{"type":"x","payload_length":100}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.Contains(in, []byte("wait")) || bytes.Contains(in, []byte("stuck")) {
			t.Skip()
		}
		h := newFake()
		var ends atomic.Int64
		s := NewServer(Options{Handler: h, Info: testInfo, Done: func(Outcome, time.Duration) { ends.Add(1) }})
		a, b := net.Pipe()
		c := newConn(s, b)
		go func() {
			a.Write(in)
			a.Close()
		}()
		out := make(chan struct{})
		go func() {
			io.Copy(io.Discard, a)
			close(out)
		}()
		c.serve()
		<-out
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := ends.Load(); int(n) < len(h.requests) {
			t.Errorf("%d requests and %d ends", len(h.requests), n)
		}
	})
}

// TestMemory: clients that send the longest events, and never their ends, hold no more than those.
func TestMemory(t *testing.T) {
	_, addr := listen(t, Options{Handler: newFake()})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const conns = 50
	for i := range conns {
		c := dial(t, addr)
		switch i % 3 {
		case 0: // a line
			c.Write(bytes.Repeat([]byte{' '}, 64<<10-1))
		case 1: // data
			io.WriteString(c, `{"type":"transcript","data_length":65536}`+"\n"+strings.Repeat(" ", 65535))
		case 2: // a payload, which nobody wants
			io.WriteString(c, `{"type":"audio-chunk","payload_length":1048576}`+"\n")
			c.Write(make([]byte, 1048575))
		}
	}
	time.Sleep(100 * time.Millisecond) // until it is read; what is not read yet takes less
	if took := int64(heap() - before); took > conns*192<<10 {
		t.Errorf("%d connections hold %d bytes", conns, took)
	} else {
		t.Logf("%d connections hold %d bytes each", conns, took/conns)
	}
}

// TestLateHandler has a handler understand when its time is over: nothing is done then.
func TestLateHandler(t *testing.T) {
	f := newFake()
	s := NewServer(Options{Handler: f, Performer: f, Info: func() *Info { return &Info{} }})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTimeout)
	if _, _, _, err := s.handle(ctx, home.Request{Text: "late"}, false); !errors.Is(err, errTimeout) || len(f.done) > 0 {
		t.Errorf("%v, %v done", err, f.done)
	}
}
