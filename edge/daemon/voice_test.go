package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/edge/api/wyoming"
	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
)

// lamps is a home.toml with an area, the kitchen, and lights of the names in it.
func lamps(names ...string) string {
	var b strings.Builder
	b.WriteString("language = \"en\"\n[[area]]\nid = \"kitchen\"\nname = \"Kitchen\"\n")
	for i, n := range names {
		fmt.Fprintf(&b, "[[entity]]\nid = \"light.l%d\"\nname = %q\narea = \"kitchen\"\n", i, n)
	}
	return b.String()
}

// putHome replaces the home's file as `bimamba home sync` does.
func (d *tester) putHome(text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, "home.toml")
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
		d.t.Fatal(err)
	}
}

// startVoice starts a daemon that speaks Wyoming, in a home with two lamps.
func startVoice(t testing.TB, lines ...string) *tester {
	t.Helper()
	d := newTester(t)
	d.putHome(lamps("Ceiling light", "Desk lamp"))
	d.configure(append(lines, d.voiceLines()...)...)
	d.run(Options{look: 20 * time.Millisecond})
	return d
}

func (d *tester) voiceLines() []string {
	return []string{`wyoming = ["127.0.0.1:0", "unix:` + filepath.Join(d.dir, "wyoming.sock") + `"]`, fmt.Sprintf("home = %q", filepath.Join(d.dir, "home.toml"))}
}

// served is what /status says.
func (d *tester) served() (out struct {
	Home    *statusHome
	Wyoming *statusVoice
}) {
	d.t.Helper()
	_, _, body := d.do("GET", "/status", "")
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		d.t.Fatal(err)
	}
	return out
}

// assistant is a client at the first Wyoming address.
func (d *tester) assistant() *wyoming.Client {
	d.t.Helper()
	c, err := wyoming.Dial(context.Background(), d.served().Wyoming.Listen[0])
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// say is what a service makes of a text.
func say(t testing.TB, c *wyoming.Client, text string) *wyoming.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := c.Handle(ctx, home.Request{Text: text, Language: "en", Conversation: "c"})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

// named is the slot "name" of the one intent of a reply.
func named(r *wyoming.Reply) string {
	if len(r.Intents) != 1 {
		return fmt.Sprintf("%+v", r)
	}
	for _, e := range r.Intents[0].Entities {
		if e.Name == "name" {
			return r.Intents[0].Name + " " + strings.ToLower(fmt.Sprint(e.Value))
		}
	}
	return r.Intents[0].Name
}

func TestWyoming(t *testing.T) {
	d := startVoice(t)
	c := d.assistant()
	info, err := c.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Intent) != 1 || len(info.Handle)+len(info.ASR)+len(info.TTS) != 0 || info.Intent[0].Models[0].Name != "bimamba-assistant-22m" || !info.Intent[0].Installed ||
		!slices.Equal(info.Intent[0].Models[0].Languages, []string{"en"}) {
		t.Errorf("%+v", info)
	}
	if got := named(say(t, c, "turn on the desk lamp")); got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
	if r := say(t, c, "who wrote hamlet"); r.Type != wyoming.TypeNotRecognized || r.Text == "" {
		t.Errorf("%+v", r)
	}
	u, err := wyoming.Dial(t.Context(), d.served().Wyoming.Listen[1])
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if got := named(say(t, u, "turn off the ceiling light")); got != "HassTurnOff ceiling light" {
		t.Error(got)
	}

	st := d.served()
	if st.Home == nil || st.Home.Entities != 2 || st.Home.Areas != 1 || st.Home.Language != "en" || st.Home.Read == nil || st.Home.Fault != "" {
		t.Errorf("%+v", st.Home)
	}
	if w := st.Wyoming; w.Mode != "intent" || w.Connections != 2 || w.Requests["acted"] != 2 || w.Requests["declined"] != 1 || w.Requests["error"] != 0 {
		t.Errorf("%+v", w)
	}
	for name, want := range map[string]string{
		`bimamba_wyoming_requests_total{outcome="acted"}`: "2", `bimamba_wyoming_request_seconds_count`: "3", `bimamba_wyoming_request_seconds_bucket{le="+Inf"}`: "3",
		`bimamba_wyoming_connections`: "2", `bimamba_home_entities`: "2", `bimamba_home_stale`: "0",
	} {
		if got := d.metric(name); got != want {
			t.Errorf("%s %s, want %s", name, got, want)
		}
	}
	if log := d.log.String(); strings.Contains(log, "desk") || strings.Contains(log, "hamlet") {
		t.Errorf("the log has what was said:\n%s", log)
	}
}

// TestWyomingHandle: the daemon acts itself, and says so.
func TestWyomingHandle(t *testing.T) {
	d := startVoice(t, `wyoming_mode = "handle"`)
	c := d.assistant()
	info, err := c.Describe(t.Context())
	if err != nil || len(info.Intent) != 0 || len(info.Handle) != 1 || !info.Handle[0].HomeControl || info.Handle[0].Models[0].Name != "bimamba-assistant-22m" {
		t.Errorf("%+v, %v", info, err)
	}
	if r := say(t, c, "what time is it"); r.Type != wyoming.TypeHandled || r.Text == "" {
		t.Errorf("the time: %+v", r)
	}
	// There is nothing that could do this.
	if r := say(t, c, "turn on the desk lamp"); r.Type != wyoming.TypeNotHandled || r.Text == "" {
		t.Errorf("a lamp: %+v", r)
	}
	if w := d.served().Wyoming; w.Mode != "handle" || w.Requests["acted"] != 1 || w.Requests["failed"] != 1 {
		t.Errorf("%+v", w)
	}
}

// TestHomeChanges: the home is read again when its file changes, and a file that is broken leaves it as it was.
func TestHomeChanges(t *testing.T) {
	d := startVoice(t)
	c := d.assistant()
	d.putHome(lamps("Reading lamp"))
	eventually(t, "the new lamp is there", func() bool { return named(say(t, c, "turn on the reading lamp")) == "HassTurnOn reading lamp" })

	for _, broken := range []string{"[[entity]]\nid = 5\n", "\x00", lamps("a", "b") + "[[entity]]\nid = \"light.l0\"\nname = \"c\"\n"} {
		d.putHome(broken)
		eventually(t, "the fault is seen", func() bool { return d.served().Home.Fault != "" })
		st := d.served()
		if st.Home.Entities != 1 || strings.Contains(st.Home.Fault, "\n") || !strings.Contains(st.Home.Fault, "home.toml") || d.metric("bimamba_home_stale") != "1" {
			t.Errorf("%+v", st.Home)
		}
		if got := named(say(t, c, "turn on the reading lamp")); got != "HassTurnOn reading lamp" {
			t.Errorf("with a broken file: %s", got)
		}
		d.putHome(lamps("Reading lamp"))
		eventually(t, "the fault is over", func() bool { return d.served().Home.Fault == "" })
	}
	if n := strings.Count(d.log.String(), "the home stays as it was"); n != 3 {
		t.Errorf("the log says %d times that the home stays as it was:\n%s", n, d.log.String())
	}
	path := filepath.Join(d.dir, "home.toml")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is missed", func() bool { return strings.Contains(d.served().Home.Fault, "no such file") })
	// A reload with it missing is refused, and one with another home takes it.
	if d.sighup() {
		t.Error("a reload without the home's file worked")
	}
	d.putHome(lamps("Oven light"))
	if !d.sighup() {
		t.Error("a reload failed")
	}
	if got := named(say(t, c, "turn on the oven light")); got != "HassTurnOn oven light" {
		t.Errorf("after a reload: %s", got)
	}
}

// TestOtherLanguage: a home that is not English says so at the start, and clients are not told that its language is understood.
func TestOtherLanguage(t *testing.T) {
	d := newTester(t)
	d.putHome(strings.Replace(lamps("Lampe"), `"en"`, `"de"`, 1))
	d.configure(d.voiceLines()...)
	d.run(Options{look: 20 * time.Millisecond})
	if i, err := d.assistant().Describe(t.Context()); err != nil || !slices.Equal(i.Intent[0].Models[0].Languages, []string{"en"}) {
		t.Errorf("%+v, %v", i, err)
	}
	if log := d.log.String(); !strings.Contains(log, "the home's language is not English") || !strings.Contains(log, "language=de") {
		t.Errorf("log:\n%s", log)
	}
}

// TestNoHome: a default that is missing is an empty home, until there is one.
func TestNoHome(t *testing.T) {
	d := newTester(t)
	d.configure(d.voiceLines()[0])
	d.env = []string{"CONFIGURATION_DIRECTORY=" + d.dir}
	d.run(Options{look: 20 * time.Millisecond})
	if st := d.served(); st.Home.Read != nil || st.Home.Entities != 0 || st.Home.Fault != "" || st.Home.File != filepath.Join(d.dir, "home.toml") {
		t.Errorf("%+v", st.Home)
	}
	c := d.assistant()
	if r := say(t, c, "turn on the desk lamp"); r.Type == wyoming.TypeIntent {
		t.Errorf("%+v", r)
	}
	d.putHome(lamps("Desk lamp"))
	eventually(t, "the home is found", func() bool { return named(say(t, c, "turn on the desk lamp")) == "HassTurnOn desk lamp" })
}

func TestWyomingRefused(t *testing.T) {
	d := newTester(t)
	d.blob = filepath.Join(d.dir, "base.bimamba")
	writeBase(t, d.blob)
	for _, tt := range []struct {
		name, want string
		lines      []string
	}{
		{"a model without the task", `has no task "home", which wyoming needs`, []string{d.voiceLines()[0]}},
		{"a home that is named and missing", "no such file", append(d.voiceLines(), fmt.Sprintf("model = %q", filepath.Join(d.dir, "m.bimamba")))},
		{"an address that is in use", "address already in use", []string{fmt.Sprintf("wyoming = [%q]", busyAddress(t)), fmt.Sprintf("model = %q", filepath.Join(d.dir, "m.bimamba"))}},
	} {
		d.configure(tt.lines...)
		err := d.runToEnd()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if strings.Contains(tt.name, "address") {
			continue // which check does not look at
		}
		c, err := config.Load([]string{"--config", d.file()}, nil, os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, check: %v", tt.name, err)
		}
	}
	// A reload to such a model leaves all as it was.
	d.putHome(lamps("Desk lamp"))
	d.configure(append(d.voiceLines(), fmt.Sprintf("model = %q", filepath.Join(d.dir, "m.bimamba")))...)
	d.run(Options{look: 20 * time.Millisecond})
	d.configure(d.voiceLines()...)
	if d.sighup() {
		t.Error("a reload to a model without the task worked")
	}
	if got := named(say(t, d.assistant(), "turn on the desk lamp")); got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
}

func busyAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// TestWyomingReload: another model under open connections.
func TestWyomingReload(t *testing.T) {
	d := startVoice(t)
	c := d.assistant()
	say(t, c, "turn on the desk lamp")
	copyDefault(t, d.blob)
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	if got := named(say(t, c, "turn on the desk lamp")); got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
}

// TestWyomingFull: connections that wait give way, and busy ones keep their places.
func TestWyomingFull(t *testing.T) {
	d := startVoice(t, "max_connections = 4")
	addr := strings.TrimPrefix(d.served().Wyoming.Listen[0], "tcp://")
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := named(say(t, d.assistant(), "turn on the desk lamp")); got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
	if n := d.served().Wyoming.Connections; n > 4 {
		t.Errorf("%d connections are open", n)
	}
	// Events that have begun hold their places, for as long as one may take to arrive.
	eventually(t, "a connection is turned away", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, `{"type":`)
		c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		b, _ := io.ReadAll(c)
		return strings.Contains(string(b), "too many connections are open")
	})
}

// TestWyomingRate: a peer has as many requests a second here as elsewhere.
func TestWyomingRate(t *testing.T) {
	d := startVoice(t, "rate = 0.1")
	c := d.assistant()
	var busy *wyoming.Error
	for range 3 {
		if _, err := c.Handle(t.Context(), home.Request{Text: "turn on the desk lamp"}); errors.As(err, &busy) {
			break
		}
	}
	if busy == nil || busy.Code != wyoming.CodeBusy {
		t.Errorf("%v", busy)
	}
}

// TestWyomingStop: a stop does not wait for open connections.
func TestWyomingStop(t *testing.T) {
	d := startVoice(t)
	c := d.assistant()
	say(t, c, "turn on the desk lamp")
	began := time.Now()
	d.stop()
	if err := d.end(5 * time.Second); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if _, err := c.Handle(t.Context(), home.Request{Text: "turn on the desk lamp"}); err == nil {
		t.Error("it answers after its end")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "wyoming.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket's file is still there: %v", err)
	}
}

// TestCold: while the model is not open, the service says what it is, and what is asked for waits.
func TestCold(t *testing.T) {
	d := newTester(t)
	d.putHome(lamps("Desk lamp"))
	d.configure(d.voiceLines()...)
	answered := make(chan string, 1)
	d.run(Options{cold: func(v *voice) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := wyoming.Dial(ctx, v.listeners[0].uri())
		if err != nil {
			t.Error(err)
			close(answered)
			return
		}
		t.Cleanup(func() { c.Close() })
		if i, err := c.Describe(ctx); err != nil || i.Intent[0].Models[0].Name != "bimamba-assistant-22m" {
			t.Errorf("%+v, %v", i, err)
		}
		go func() {
			r, err := c.Handle(context.Background(), home.Request{Text: "turn on the desk lamp"})
			if err != nil {
				t.Error(err)
				close(answered)
				return
			}
			answered <- named(r)
		}()
		eventually(t, "the request has come", func() bool { return v.d.requests.Load() == 1 })
	}})
	if got := <-answered; got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
}

// TestProgramWyoming: the program, in its sandbox, reads a home that is replaced, and takes a socket that is passed to it.
func TestProgramWyoming(t *testing.T) {
	d := newTester(t)
	d.putHome(lamps("Desk lamp"))
	d.configure(`sandbox = "auto"`, d.voiceLines()[1])
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := strings.Count(d.log.String(), "msg=ready")
	d.launch([]string{"LISTEN_FDNAMES=wyoming"}, file)
	eventually(t, "the program is ready", func() bool { return strings.Count(d.log.String(), "msg=ready") > before })
	c, err := wyoming.Dial(t.Context(), "tcp://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := named(say(t, c, "turn on the desk lamp")); got != "HassTurnOn desk lamp" {
		t.Error(got)
	}
	d.putHome(lamps("Reading lamp"))
	eventually(t, "the new lamp is there", func() bool { return named(say(t, c, "turn on the reading lamp")) == "HassTurnOn reading lamp" })
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, ms := range []int{5, 10, 11, 60, 6000} {
		h.add(time.Duration(ms) * time.Millisecond)
	}
	var b strings.Builder
	h.write(&b, "x")
	for _, want := range []string{`x_bucket{le="0.01"} 2`, `x_bucket{le="0.02"} 3`, `x_bucket{le="0.05"} 3`, `x_bucket{le="0.1"} 4`, `x_bucket{le="5"} 4`, `x_bucket{le="+Inf"} 5`, "x_sum 6.086", "x_count 5"} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
