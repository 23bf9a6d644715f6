package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bimamba/convert/tokenizer"
	"bimamba/memmap"
)

// build builds the daemon, without what a test's own build may have added.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}
	path := filepath.Join(t.TempDir(), "bimambad")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/bimambad")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// writeZeros writes a model of a size with a small tokenizer, all of whose weights are 0: it takes the memory and the time of any other.
func writeZeros(t *testing.T, path, size string) {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join("..", "..", "testdata", "tokenizer-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	tables := memmap.Section{Name: "tokenizer"}
	data := map[string][]byte{}
	for _, x := range tok.Tables {
		tables.Tensors = append(tables.Tensors, memmap.Tensor{Name: x.Name, DType: x.DType, Shape: x.Shape})
		data[x.Name] = x.Data
	}
	m := mustShape(t, size, memmap.I8)
	m.Sections, m.Tokenizer = append([]memmap.Section{tables}, m.Sections...), &tok.Info
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := memmap.NewWriter(f, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Sections {
		s := &m.Sections[i]
		for _, x := range s.Tensors {
			b := data[x.Name]
			if i > 0 {
				b = make([]byte, x.Length)
			}
			tw, err := w.Tensor(s.Name, x.Name)
			if err == nil {
				_, err = tw.Write(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
}

// TestPeak holds plans to what the daemon really takes: the proportional set size of the program itself (proc_pid_smaps(5)), at the most, once
// every state has been used. It is the median of five runs.
func TestPeak(t *testing.T) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip(err)
	}
	daemon := build(t)
	for _, size := range []string{"default", "780M", "2.7B"} {
		t.Run(size, func(t *testing.T) {
			blob := writeModel(t, size)
			f, err := memmap.Open(blob)
			if err != nil {
				t.Fatal(err)
			}
			m := *f.Manifest()
			f.Close()
			p, err := New(Boards()[0], &m, Options{Model: serving})
			if err != nil {
				t.Fatal(err)
			}
			var peaks []int64
			for range 5 {
				peaks = append(peaks, peak(t, daemon, blob, size == "default", p.Sessions+p.Checkpoints))
			}
			slices.Sort(peaks)
			median := peaks[2]
			off := p.Resident - median
			t.Logf("planned %d, measured %d (%d to %d): %+d bytes, %+.1f %%", p.Resident, median, peaks[0], peaks[4], off, 100*float64(off)/float64(median))
			if max(off, -off) > max(3*mib, median*3/100) {
				t.Errorf("the plan is %+d bytes off, more than 3 %% and more than 3 MiB; parts %+v", off, p.Parts)
			}
		})
	}
}

// writeModel writes a model of a size to a file of this process alone: nobody else shares its pages.
func writeModel(t *testing.T, size string) string {
	t.Helper()
	blob := filepath.Join(t.TempDir(), "m.bimamba")
	switch {
	case size == "default":
		b, err := os.ReadFile(filepath.Join("..", "..", "models", "default.bimamba"))
		if err == nil {
			err = os.WriteFile(blob, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	case os.Getenv("BIMAMBA_PEAK") == "":
		t.Skip("a minute or more: make peak")
	default:
		writeZeros(t, blob, size)
	}
	return blob
}

// TestMemory holds the daemon to its option memory: what it takes at the most is less, with layers that are read from storage.
func TestMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip(err)
	}
	daemon := build(t)
	for _, tt := range []struct {
		size   string
		memory int64
	}{{"default", 31e6}, {"780M", 128 * mib}, {"2.7B", 256 * mib}} {
		t.Run(tt.size, func(t *testing.T) {
			blob := writeModel(t, tt.size)
			got := peak(t, daemon, blob, tt.size == "default", 1, "--sessions", "1", "--checkpoints", "0", "--memory", strconv.FormatInt(tt.memory, 10))
			t.Logf("it may take %d, and took %d", tt.memory, got)
			if got > tt.memory {
				t.Errorf("%d bytes are more than the %d that it may take", got, tt.memory)
			}
			if got < tt.memory/2 {
				t.Errorf("%d bytes are less than half of the %d that it may take: what it streams would fit", got, tt.memory)
			}
		})
	}
}

// peak serves requests until all states hold a sequence, and is the most bytes that were resident meanwhile.
func peak(t *testing.T, daemon, blob string, text bool, states int, args ...string) int64 {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(daemon, append([]string{"--model", blob, "--listen", "unix:" + socket}, args...)...)
	cmd.Env = []string{} // nobody has set limits of the heap
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if n, err := pss(cmd.Process.Pid); err == nil {
				most.Store(max(most.Load(), n))
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if res, err := client.Get("http://daemon/health"); err == nil {
			res.Body.Close()
			break
		} else if time.Since(start) > 30*time.Second {
			t.Fatalf("it does not start: %v\n%s", err, &log)
		}
	}
	ask := func(path, body string) {
		res, err := client.Post("http://daemon"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s, %v, %s", path, body, res.Status, err, b)
		}
	}
	if text {
		for i := range 8 {
			ask("/v1/chat/completions", fmt.Sprintf(`{"messages":[{"role":"user","content":"turn on lamp %d in the kitchen"}]}`, i))
			ask("/api/chat", fmt.Sprintf(`{"model":"default","stream":true,"messages":[{"role":"user","content":"set a timer for %d minutes"}]}`, i))
		}
	}
	const schema = `{"type":"object","required":["mood","n"],"additionalProperties":false,"properties":{"mood":{"enum":["good","bad"]},"n":{"type":"integer"}}}`
	for i := range 3 {
		ask("/api/generate", fmt.Sprintf(`{"model":"default","prompt":"day %d","raw":true,"stream":false,"options":{"num_predict":24},"format":%s}`, i, schema))
	}
	for i := 0; inUse(t, client) < states; i++ {
		if i == 8*states {
			t.Fatalf("%d of %d states are in use after %d requests", inUse(t, client), states, i)
		}
		n := 4
		if i == 0 {
			n = 64 // more than a batch
		}
		ids := make([]string, n)
		for j := range ids {
			ids[j] = strconv.Itoa((i*797 + j*13 + 5) % 250)
		}
		ask("/v1/completions", fmt.Sprintf(`{"prompt":[%s],"max_tokens":2}`, strings.Join(ids, ",")))
	}
	last, err := pss(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return max(last, most.Load())
}

// inUse is how many of the daemon's states hold a sequence.
func inUse(t *testing.T, client *http.Client) int {
	t.Helper()
	res, err := client.Get("http://daemon/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var s struct {
		Sessions struct {
			InUse int `json:"in_use"`
		} `json:"sessions"`
	}
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s.Sessions.InUse
}

// pss is a process's proportional set size in bytes.
func pss(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "\nPss:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no Pss in %q", b)
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}
