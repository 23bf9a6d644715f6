package wyoming

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"bimamba/edge/home"
)

// peer is a service that a test plays.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *Reader
}

// play runs a service for one connection, and is a client of it.
func play(t *testing.T, service func(p *peer)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		service(&peer{t, c, NewReader(c, Limits{})})
	}()
	c, err := Dial(t.Context(), "tcp://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		l.Close()
		<-done
	})
	return c
}

// expect reads an event.
func (p *peer) expect(kind, data, payload string) {
	p.t.Helper()
	e, err := p.r.Read()
	if err != nil {
		p.t.Errorf("instead of %s: %v", kind, err)
		return
	}
	if e.Type != kind || string(e.Data) != data || string(e.Payload) != payload {
		p.t.Errorf("%s %s %q, want %s %s %q", e.Type, e.Data, e.Payload, kind, data, payload)
	}
}

func (p *peer) send(kind, data, payload string) {
	b, err := Append(nil, &Event{Type: kind, Data: []byte(data), Payload: []byte(payload)})
	if err == nil {
		_, err = p.conn.Write(b)
	}
	if err != nil {
		p.t.Log(err)
	}
}

var mono16 = Format{16000, 2, 1}

const pcmData = `{"rate":16000,"width":2,"channels":1`

func TestTranscribe(t *testing.T) {
	audio := bytes.Repeat([]byte("0123456789abcdef"), 600) // 9600 bytes, 300 ms
	c := play(t, func(p *peer) {
		p.expect("transcribe", `{"name":"tiny","language":"en"}`, "")
		p.expect("audio-start", pcmData+"}", "")
		p.expect("audio-chunk", pcmData+`,"timestamp":0}`, string(audio[:4096]))
		p.expect("audio-chunk", pcmData+`,"timestamp":128}`, string(audio[4096:8192]))
		p.expect("audio-chunk", pcmData+`,"timestamp":256}`, string(audio[8192:]))
		p.expect("audio-stop", `{"timestamp":300}`, "")
		p.send("transcript-start", "", "")
		p.send("transcript-chunk", `{"text":"turn"}`, "")
		p.send("transcript", `{"text": " turn on", "language": "en", "context": null}`, "")
		p.send("transcript-stop", "", "")
	})
	// A part of a sample at the end is left out.
	got, err := c.Transcribe(t.Context(), "tiny", "en", mono16, io.MultiReader(bytes.NewReader(audio), strings.NewReader("x")))
	if err != nil || *got != (Transcript{" turn on", "en"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFrames(t *testing.T) {
	// Reads that end within a frame are filled up.
	r := io.MultiReader(strings.NewReader("abcde"), strings.NewReader("fgh"), strings.NewReader("ij"))
	buf := make([]byte, 12)
	for _, want := range []string{"abcdef", ""} {
		if n, _ := readFrames(r, buf, 6); string(buf[:n]) != want {
			t.Errorf("%q, want %q", buf[:n], want)
		}
	}
}

func TestDetect(t *testing.T) {
	// A microphone that never ends.
	in, mic := io.Pipe()
	go func() {
		for {
			if _, err := mic.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	}()
	defer in.Close()
	c := play(t, func(p *peer) {
		p.expect("detect", `{"names":["ok_nabu"]}`, "")
		p.expect("audio-start", pcmData+"}", "")
		p.expect("audio-chunk", pcmData+`,"timestamp":0}`, strings.Repeat("\x00", 1024))
		p.send("detection", `{"name": "ok_nabu", "timestamp": 1234, "speaker": null}`, "")
		for {
			if e, err := p.r.Read(); err != nil || e.Type == "audio-stop" {
				return
			}
		}
	})
	d, err := c.Detect(t.Context(), []string{"ok_nabu"}, mono16, in)
	if err != nil || d.Name != "ok_nabu" || *d.Timestamp != 1234 {
		t.Errorf("%+v, %v", d, err)
	}
	c = play(t, func(p *peer) {
		p.expect("detect", "", "")
		p.expect("audio-start", pcmData+"}", "")
		p.expect("audio-stop", `{"timestamp":0}`, "")
		p.send("not-detected", "", "")
	})
	if d, err := c.Detect(t.Context(), nil, mono16, strings.NewReader("")); d != nil || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSynthesize(t *testing.T) {
	c := play(t, func(p *peer) {
		p.expect("synthesize", `{"text":"Hello.","voice":{"name":"slt"}}`, "")
		p.send("audio-start", `{"rate": 22050, "width": 2, "channels": 1, "timestamp": null}`, "")
		p.send("audio-chunk", `{"rate": 22050, "width": 2, "channels": 1}`, "ab")
		p.send("audio-chunk", `{"rate": 22050, "width": 2, "channels": 1}`, "")
		p.send("audio-chunk", `{"rate": 22050, "width": 2, "channels": 1}`, "cdef")
		p.send("audio-stop", `{"timestamp": null}`, "")
	})
	var got string
	err := c.Synthesize(t.Context(), "Hello.", Voice{Name: "slt"}, func(f Format, b []byte) error {
		if f != (Format{22050, 2, 1}) {
			t.Error(f)
		}
		got += string(b)
		return nil
	})
	if err != nil || got != "abcdef" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBadServices: services that lie, break off, refuse or hang.
func TestBadServices(t *testing.T) {
	start := func(p *peer) { p.send("audio-start", pcmData+"}", "") }
	for _, tt := range []struct {
		name, err string // in part
		service   func(p *peer)
	}{
		{"error", "no voice", func(p *peer) { p.send("error", `{"text":"no voice","code":"x"}`, "") }},
		{"goes", "unexpected EOF", func(p *peer) {}},
		{"goes within an event", "unexpected EOF", func(p *peer) { io.WriteString(p.conn, `{"type":`) }},
		{"no protocol", "no JSON", func(p *peer) { io.WriteString(p.conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"no format", "no format of audio", func(p *peer) { p.send("audio-start", `{"rate":0,"width":2,"channels":1}`, "") }},
		{"absurd format", "no format of audio", func(p *peer) { p.send("audio-start", `{"rate":16000,"width":2,"channels":1000000}`, "") }},
		{"another format", "changes", func(p *peer) { start(p); p.send("audio-chunk", `{"rate":8000,"width":2,"channels":1}`, "ab") }},
		{"half a sample", "no whole number", func(p *peer) { start(p); p.send("audio-chunk", pcmData+"}", "abc") }},
		{"large chunk", "bytes of payload", func(p *peer) { io.WriteString(p.conn, `{"type":"audio-chunk","payload_length":1048577}`+"\n") }},
		{"long line", "longer than", func(p *peer) { p.conn.Write(bytes.Repeat([]byte{' '}, 70000)) }},
		{"hangs", "deadline exceeded", func(p *peer) { start(p); p.conn.Read(make([]byte, 1)) }},
		{"talks on", "deadline exceeded", func(p *peer) {
			start(p)
			for range 100 {
				p.send("audio-chunk", pcmData+"}", "ab")
				time.Sleep(10 * time.Millisecond)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := play(t, func(p *peer) {
				p.expect("synthesize", `{"text":"x"}`, "")
				tt.service(p)
			})
			limit := 10 * time.Second
			if strings.HasPrefix(tt.err, "deadline") {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := c.Synthesize(ctx, "x", Voice{}, func(Format, []byte) error { return nil })
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "wyoming service at 127.0.0.1:") {
				t.Errorf("%v; want %q", err, tt.err)
			}
			if _, ok := errors.AsType[*Error](err); ok != (tt.name == "error") {
				t.Errorf("the service's own: %v", ok)
			}
		})
	}
	// Audio that is endless, to a service that refuses it, takes none, or goes; and audio that fails or stands still.
	endless := func() io.Reader { return io.MultiReader(zeros{}) }
	for _, tt := range []struct {
		name, err string
		audio     io.Reader
		service   func(p *peer)
	}{
		{"refuses", "no such model", endless(), func(p *peer) { p.send("error", `{"text":"no such model"}`, ""); io.Copy(io.Discard, p.conn) }},
		{"goes", "wyoming service at", endless(), func(p *peer) {}},
		{"reads nothing", "deadline exceeded", endless(), func(p *peer) { time.Sleep(400 * time.Millisecond) }},
		{"dead source", "unplugged", io.MultiReader(strings.NewReader("abcd"), broken{}), func(p *peer) { io.Copy(io.Discard, p.conn) }},
		{"still source", "deadline exceeded", still{}, func(p *peer) { io.Copy(io.Discard, p.conn) }},
	} {
		t.Run("audio, "+tt.name, func(t *testing.T) {
			c := play(t, tt.service)
			limit := 10 * time.Second
			if strings.HasPrefix(tt.err, "deadline") {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if _, err := c.Transcribe(ctx, "", "", mono16, tt.audio); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v; want %q", err, tt.err)
			}
		})
	}
	if _, err := new(Client).Transcribe(t.Context(), "", "", Format{}, nil); err == nil {
		t.Error("no format was taken")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("unplugged") }

type still struct{}

func (still) Read([]byte) (int, error) { time.Sleep(time.Second); return 0, nil }

// TestHandle is a client's view of this package's own server, and of others.
func TestHandle(t *testing.T) {
	_, addr := listen(t, Options{Handler: newFake()})
	c, err := Dial(t.Context(), "tcp://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	ctx := session{Conversation: "a"}
	lamp := Intent{"HassTurnOn", []Entity{{"area", "kitchen"}, {"name", "lamp"}}, "Both.", ctx}
	set := Intent{"HassLightSet", []Entity{{"brightness", 40.0}, {"name", "b"}}, "", ctx}
	for text, want := range map[string]*Reply{
		"two":     {TypeIntent, []Intent{lamp, set}, "Both."},
		"ask":     {TypeHandled, nil, "Which one?"},
		"decline": {TypeNotRecognized, nil, "I don't know a pool."},
	} {
		if got, err := c.Handle(t.Context(), home.Request{Text: text, Conversation: "a"}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	if _, err := c.Handle(t.Context(), home.Request{Text: "busy"}); !errors.As(err, new(*Error)) {
		t.Errorf("busy: %v", err)
	}
	// An error leaves the connection as it was.
	if i, err := c.Describe(t.Context()); err != nil || !reflect.DeepEqual(i, mustInfo(t)) {
		t.Errorf("%+v, %v", i, err)
	}
	other := play(t, func(p *peer) {
		p.expect("transcript", `{"text":"x"}`, "")
		p.send("intents-start", "", "")
		for range maxIntents + 1 {
			p.send("intent", `{"name":"X"}`, "")
		}
	})
	if _, err := other.Handle(t.Context(), home.Request{Text: "x"}); err == nil || !strings.Contains(err.Error(), "more than 256 intents") {
		t.Error(err)
	}
}

// mustInfo is the tests' info as it is read.
func mustInfo(t *testing.T) *Info {
	e, err := testInfo().event()
	if err != nil {
		t.Fatal(err)
	}
	var i Info
	if err := e.Decode(&i); err != nil {
		t.Fatal(err)
	}
	return &i
}

func TestURI(t *testing.T) {
	for uri, want := range map[string]string{
		"tcp://127.0.0.1:10300": "tcp 127.0.0.1:10300", "tcp://[::1]:1": "tcp [::1]:1", "tcp://host.local:10300": "tcp host.local:10300",
		"unix:///run/s": "unix /run/s",
		"tcp://host":    "", "tcp://host:1/x": "", "http://host:1": "", "host:1": "", "unix://run/s": "", "unix:run": "", "": "", "tcp://a b:1": "", "tcp://host:x": "",
	} {
		network, address, err := ParseURI(uri)
		if got := strings.TrimSpace(network + " " + address); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", uri, got, err)
		}
	}
}
