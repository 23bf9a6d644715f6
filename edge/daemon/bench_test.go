package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bimamba/edge/chat"
	"bimamba/edge/daemon/config"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkStreamedToken streams answers of 256 tokens of a tiny model through the whole daemon over loopback, and, for comparison, without HTTP.
// The difference in processor time is what HTTP costs, the client's part and that of the request itself included.
func BenchmarkStreamedToken(b *testing.B) {
	const tokens = 256
	d := newTester(b)
	d.blob = filepath.Join(d.dir, "base.bimamba")
	writeBase(b, d.blob)
	d.configure()
	c, err := config.Load([]string{"--config", d.file()}, nil, os.ReadFile)
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, once func(seed int) (n int)) {
		once(0)
		b.ResetTimer()
		before, n := cpu(b), 0
		for i := range b.N {
			n += once(i)
		}
		b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(n), "cpu-us/token")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(n), "us/token")
		b.ReportMetric(float64(n)/float64(b.N), "tokens/op")
	}
	b.Run("engine", func(b *testing.B) {
		s, err := (&opener{}).open(c)
		if err != nil {
			b.Fatal(err)
		}
		defer s.close()
		run(b, func(i int) int {
			seed := uint64(i)
			r := &chat.Completion{Prompt: "a", Options: chat.Options{MaxTokens: tokens, Sampling: chat.Sampling{Seed: &seed}}}
			reply, err := s.local.Complete(context.Background(), r, func(chat.Event) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			return reply.Usage.Completion
		})
	})
	d.run(Options{})
	b.Run("http", func(b *testing.B) {
		events := 0
		run(b, func(seed int) int {
			body := fmt.Sprintf(`{"prompt":"a","stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"seed":%d}`, tokens, seed)
			res, err := d.client.Post(d.url+"/v1/completions", "application/json", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			_, usage, found := strings.Cut(string(text), `"completion_tokens":`)
			if err != nil || !found {
				b.Fatalf("%v %s", err, tail(text))
			}
			n, err := strconv.Atoi(usage[:strings.IndexAny(usage, ",}")])
			if err != nil {
				b.Fatal(err)
			}
			events += strings.Count(string(text), "data: {")
			return n
		})
		b.ReportMetric(float64(events)/float64(b.N+1), "events/op")
	})
}

// BenchmarkFirstByte is the time from sending a request, whose prompt is computed already but for its last token, to the first byte of its stream.
func BenchmarkFirstByte(b *testing.B) {
	d := start(b)
	for range b.N {
		res, err := d.client.Post(d.url+"/v1/completions", "application/json", strings.NewReader(`{"model":"default","prompt":"turn on","stream":true,"max_tokens":1}`))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		b.StartTimer()
	}
}

// resident is VmRSS and RssAnon of a process, and what of the former is the blob's, in kB.
func resident(b *testing.B, pid int, blob string) (rss, anon, mapped int) {
	number := func(line string) int {
		n, _ := strconv.Atoi(strings.Fields(line)[1])
		return n
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			rss = number(line)
		case strings.HasPrefix(line, "RssAnon:"):
			anon = number(line)
		}
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		b.Skip(err)
	}
	of := ""
	for line := range strings.Lines(string(maps)) {
		if fields := strings.Fields(line); !strings.HasSuffix(fields[0], ":") {
			of = fields[len(fields)-1]
		} else if fields[0] == "Rss:" && of == blob {
			mapped += number(line)
		}
	}
	return rss, anon, mapped
}

// BenchmarkMemory is the static program's memory beyond the map: at the start, after a request, and after all (-benchtime 10000x), of six kinds by turns.
func BenchmarkMemory(b *testing.B) {
	d := newTester(b)
	os.WriteFile(d.file(), []byte(fmt.Sprintf("model = %q\nlisten = [\"127.0.0.1:0\"]\n", d.blob)), 0o644)
	c := d.spawn()
	values := map[string]int{}
	look := func(when string) {
		rss, anon, mapped := resident(b, c.cmd.Process.Pid, d.blob)
		values["kB-beyond-map-"+when], values["kB-anon-"+when] = rss-mapped, anon
	}
	time.Sleep(time.Second)
	look("idle")
	c.lives()
	look("first")
	requests := []string{
		"/v1/chat/completions" + lights, "/api/chat" + lights, "/v1/completions" + `{"model":"default","prompt":"turn on","max_tokens":8,"stream":true}`,
		"/api/generate" + `{"model":"default","prompt":"x","raw":true,"format":{"type":"array","items":{"type":"boolean"},"minItems":3,"maxItems":3}}`,
		"/v1/chat/completions" + `{"messages":`, "/v1/completions" + `{"prompt":[1,2,3,4],"max_tokens":1,"echo":true,"logprobs":2}`,
	}
	for i := range b.N {
		path, body, _ := strings.Cut(requests[i%len(requests)], "{")
		res, err := c.client.Post(c.url+path, "application/json", strings.NewReader("{"+body))
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	look("end")
	for name, v := range values {
		b.ReportMetric(float64(v), name)
	}
}

// BenchmarkActivation is the time from the program's start by its socket, with a request waiting, to the end of the answer.
func BenchmarkActivation(b *testing.B) {
	d := newTester(b)
	os.WriteFile(d.file(), []byte(fmt.Sprintf("model = %q\n", d.blob)), 0o644)
	program(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		answered := make(chan error, 1)
		go func() {
			res, err := d.client.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(lights))
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			answered <- err
		}()
		c := d.spawn(f)
		if err := <-answered; err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c.kill()
		b.StartTimer()
	}
}

// BenchmarkIdle is what a daemon costs that nobody asks, with sensors of power and temperature and without: one iteration is a second.
func BenchmarkIdle(b *testing.B) {
	for _, bb := range []struct{ name, line string }{{"sensors", `sensor = "auto"`}, {"none", `sensor = "off"`}} {
		b.Run(bb.name, func(b *testing.B) {
			startOn(newBoard(b), bb.line)
			time.Sleep(2 * time.Second) // what a start leaves behind
			before, n := cpu(b), 0
			for b.Loop() {
				time.Sleep(time.Second)
				n++
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n), "cpu-us/s")
		})
	}
}
