package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bimamba/edge/api/wyoming"
	"bimamba/edge/home"
)

// TestWyomingHostile has peers of every bad kind at the live daemon at once. Others get their answers meanwhile, what the peers hold is bounded, and in the end
// all of it is back.
func TestWyomingHostile(t *testing.T) {
	d := startVoice(t, `read_timeout = "300ms"`)
	listen := d.served().Wyoming.Listen
	addr := strings.TrimPrefix(listen[0], "tcp://")
	good := func(uri string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // some ms, where nothing else runs
		defer cancel()
		c, err := wyoming.Dial(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i, err := c.Describe(ctx); err != nil || len(i.Intent) != 1 {
			t.Errorf("%s: %+v, %v", uri, i, err)
		}
		r, err := c.Handle(ctx, home.Request{Text: "turn on the desk lamp", Conversation: "c"})
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if got := named(r); got != "HassTurnOn desk lamp" {
			t.Errorf("%s: %s", uri, got)
		}
	}
	good(listen[0])
	eventually(t, "the good client has gone", func() bool { return d.served().Wyoming.Connections == 0 })
	goroutines, heap := runtime.NumGoroutine(), heapNow()

	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	// refused reads up to the end, which has to come by itself: after an error, or before a byte was read, where others wanted the place.
	var peers sync.WaitGroup
	refused := func(what string, c net.Conn) {
		peers.Go(func() {
			b, err := io.ReadAll(c)
			if !bytes.Contains(b, []byte(`"type":"error"`)) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v, and it reads %.300q", what, err, b)
			}
		})
	}
	utterance := func(text string) string {
		data := fmt.Sprintf(`{"text":%q}`, text)
		return fmt.Sprintf(`{"type":"transcript","data_length":%d}`+"\n%s", len(data), data)
	}
	for _, p := range []struct{ what, sends string }{
		{"half a header and silence", `{"type":"trans`},
		{"a payload that never comes", `{"type":"audio-chunk","data_length":2,"payload_length":100000}` + "\n{}abc"},
		{"data of 2 GB", `{"type":"transcript","data_length":2147483647}` + "\n{"},
		{"a payload of 2 GB", `{"type":"audio-chunk","payload_length":2147483647}` + "\n"},
		{"less than no data", `{"type":"transcript","data_length":-1}` + "\n"},
		{"an endless header", `{"type":"` + strings.Repeat("a", 100<<10)},
		{"deep JSON", `{"type":"transcript","data_length":60000}` + "\n" + strings.Repeat("[", 60000)},
		{"deep JSON in the header", strings.Repeat(`{"data":`, 8000) + "\n"},
	} {
		for range 4 {
			c := dial()
			io.WriteString(c, p.sends) // the daemon may close before all of it is sent
			refused(p.what, c)
		}
	}
	garbage := rand.NewChaCha8([32]byte{})
	for range 4 {
		b := make([]byte, 4096)
		garbage.Read(b)
		c := dial()
		c.Write(append(b, '\n'))
		refused("garbage", c)
	}
	for range 4 { // goes while its answer is made
		c := dial()
		io.WriteString(c, utterance("turn on the lamps, then turn off the lamps and what should I cook for dinner"))
		c.Close()
	}
	stuck := len(open)
	for range 4 { // never reads
		c := dial()
		c.(*net.TCPConn).SetReadBuffer(4096)
		peers.Go(func() {
			ask := []byte(strings.Repeat(`{"type":"describe"}`+"\n", 500))
			for err := error(nil); err == nil; { // until it is closed
				_, err = c.Write(ask)
			}
		})
	}
	// Events of other services are read past, and what is asked behind them is answered.
	audio := dial()
	pcm := strings.Repeat("\x00\x01", 8000)
	io.WriteString(audio, `{"type":"transcribe"}`+"\n"+`{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}`+"\n"+
		strings.Repeat(fmt.Sprintf(`{"type":"audio-chunk","payload_length":%d}`+"\n%s", len(pcm), pcm), 20)+`{"type":"audio-stop"}`+"\n"+utterance("turn off the desk lamp"))
	reply := make([]byte, 4096)
	if n, err := audio.Read(reply); err != nil || !bytes.Contains(reply[:n], []byte(`"type":"intent"`)) {
		t.Errorf("behind audio: %v, %q", err, reply[:n])
	}
	for range 200 { // and two hundred that only take places
		dial()
	}

	good(listen[0])
	good(listen[1])
	if w := d.served().Wyoming; w.Connections > maxVoices {
		t.Errorf("%d connections are open", w.Connections)
	}
	if now := heapNow(); now > heap+24<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", heap, now)
	}
	d.lives()

	for _, c := range open[stuck:] {
		c.Close()
	}
	peers.Wait() // the others are sent away by the daemon
	good(listen[0])
	eventually(t, "all places are back", func() bool { return d.served().Wyoming.Connections == 0 })
	d.client.CloseIdleConnections()
	eventually(t, "all goroutines are back", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	eventually(t, "all memory is back", func() bool { return heapNow() < heap+2<<20 })
}

// heapNow is what is live on the heap, in bytes.
func heapNow() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
