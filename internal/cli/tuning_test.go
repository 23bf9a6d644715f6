package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/boards/detect"
	"bimamba/boards/tuning"
	"bimamba/neon"
)

// tuned is a tuning with made-up numbers, of this machine.
func tuned(t *testing.T) *tuning.File {
	t.Helper()
	kernels, err := neon.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	distance := 512
	return &tuning.File{
		Version: tuning.Version, Board: "pi-3", Model: detect.Model(os.DirFS("/")), Kernels: kernels, Time: time.Unix(1e9, 0).UTC(), Steady: true, Threads: 4, Decode: 2, Prefetch: &distance,
		Read: []tuning.ReadRate{{Threads: 1, Rate: 1e9, Low: 1e9, High: 1e9}, {Threads: 2, Rate: 1.9e9, Low: 1.9e9, High: 1.9e9}, {Threads: 4, Rate: 2e9, Low: 2e9, High: 2e9}},
		Prefetches: []tuning.PrefetchRate{
			{Bytes: 0, Threads: 1, Rate: 4.4e9, Low: 4e9, High: 5e9}, {Bytes: 512, Threads: 1, Rate: 5.5e9, Low: 4e9, High: 6e9}, {Bytes: 1024, Threads: 1, Rate: 5e9, Low: 4e9, High: 6e9},
		},
		Products: []tuning.ProductRate{
			{Precision: "lut16", Threads: 1, Cached: 10.24e9, Streamed: 5e9, Overlap: 0.5}, {Precision: "lut16", Threads: 2, Cached: 2e10, Streamed: 1e10, Overlap: 0.4},
			{Precision: "lut8", Threads: 1, Cached: 15.36e9, Streamed: 6e9, Overlap: 0.9},
		},
	}
}

func TestTuningWords(t *testing.T) {
	f := tuned(t)
	f.Kernels = "neon"
	a53 := &detect.Board{Cores: []detect.CoreType{{Name: "Cortex-A53", Count: 4, MaxMHz: 1400, LimitMHz: 1200}}}
	for _, tt := range []struct{ got, want string }{
		{bandwidthWords(f), "memory: with 2 threads 95 % of the bandwidth of 4"},
		{cycleWords(f, a53), "kernels: 1024 weights in the cache take 120 cycles in lut16, 80 in lut8, if the clock was 1200 MHz; the static model of this core says 116 and 78"},
		{cycleWords(f, &detect.Board{}), ""},
		{prefetchWords(f), "prefetch: 512 bytes ahead are faster than the default of 1024 beyond noise, with 1 thread by 10.0 %; without it, 80 % of that speed with 1 thread"},
		{overlapWords(f), "overlap: with 2 threads 40 % of the shorter of reading and computing hides behind the longer, nearer one after the other (b) than the roofline (a)"},
	} {
		if tt.got != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
	f.Decode, f.Board = 4, "x86"
	*f.Prefetch = neon.DefaultPrefetch
	f.Products[1].Threads, f.Products[1].Overlap = 4, 0.9
	for _, tt := range []struct{ got, want string }{
		{bandwidthWords(f), "memory: with 4 threads the most, 2.00 GB/s"},
		{cycleWords(f, a53), "kernels: 1024 weights in the cache take 120 cycles in lut16, 80 in lut8, if the clock was 1200 MHz"},
		{prefetchWords(f), "prefetch: 1024 bytes ahead, the default, as no other distance is faster beyond noise; without it, 88 % of that speed with 1 thread"},
		{overlapWords(f), "overlap: with 4 threads 90 % of the shorter of reading and computing hides behind the longer, nearer the roofline (a) than one after the other (b)"},
	} {
		if tt.got != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
	*f.Prefetch = 0
	f.Prefetches = append(f.Prefetches, tuning.PrefetchRate{Bytes: 0, Threads: 4, Rate: 7e9, Low: 7e9, High: 7e9}, tuning.PrefetchRate{Bytes: 1024, Threads: 4, Rate: 5e9, Low: 5e9, High: 5e9})
	if got, want := prefetchWords(f), "prefetch: 0 bytes ahead are faster than the default of 1024 beyond noise, with 4 threads by 40.0 %"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f.Prefetch, f.Products = nil, nil
	if got := prefetchWords(f) + overlapWords(f) + cycleWords(f, a53); got != "prefetch: fixed in the kernels neon" {
		t.Error(got)
	}
}

// TestTuned is which file commands take. That of the machine, which a test cannot write, comes after the user's.
func TestTuned(t *testing.T) {
	before, _ := neon.Prefetch()
	t.Cleanup(func() { neon.SetPrefetch(before) })
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	path, err := userTuning()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	good, other := tuned(t), tuned(t)
	other.Model = "another board"
	for _, tt := range []struct {
		file *tuning.File
		want string // on stderr
		line string // of doctor
	}{
		{good, "", path + ": 4 threads for prompts, 2 for decoding, prefetch 512 bytes ahead"},
		{other, `bimamba: what was tuned is left alone: ` + path + `: it is of the board "another board", and this is `, `no: ` + path + `: it is of the board "another board", `},
	} {
		if saved, err := saveTuning(tt.file, path); err != nil || saved != path {
			t.Fatalf("%s, %v", saved, err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 {
			t.Errorf("%v, %v: the daemon cannot read it", st.Mode(), err)
		}
		neon.SetPrefetch(before)
		var stderr bytes.Buffer
		got := applyTuning(&stderr)
		if (got != nil) != (tt.want == "") || !strings.HasPrefix(stderr.String(), tt.want) {
			t.Errorf("%+v, %s", got, &stderr)
		}
		if n, _ := neon.Prefetch(); (n == 512) != (tt.want == "") {
			t.Errorf("the distance is %d", n)
		}
		if line := fmt.Sprint(tunedHere()); !strings.HasPrefix(line, tt.line) {
			t.Error(line)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if got := applyTuning(&stderr); got != nil || !strings.Contains(stderr.String(), "left alone: "+path+": unexpected end of JSON input; run `bimamba doctor --tune` again\n") {
		t.Errorf("%+v, %s", got, &stderr)
	}
	if line := fmt.Sprint((*tunedReport)(nil)); !strings.HasPrefix(line, "no: bimamba doctor --tune") {
		t.Error(line)
	}
}
