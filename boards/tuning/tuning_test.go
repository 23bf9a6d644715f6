package tuning

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/neon"
	"bimamba/neon/pool"
)

// good is a file; its numbers are made up.
const good = `{"version":1,"board":"pi-zero-2w","model":"Raspberry Pi Zero 2 W Rev 1.0","kernels":"neon","time":"2025-11-25T23:00:00Z","steady":true,"threads":4,"decode_threads":2,"prefetch_bytes":512,
"read":[{"threads":1,"bytes_per_s":1.5e9,"low":1.4e9,"high":1.6e9},{"threads":2,"bytes_per_s":2e9,"low":1.9e9,"high":2e9}],
"prefetches":[{"bytes":0,"threads":1,"weights_per_s":5e9,"low":4e9,"high":6e9}],
"products":[{"precision":"lut16","threads":1,"cached_weights_per_s":8e9,"streamed_weights_per_s":6e9,"overlap":0.75}]}`

func TestParse(t *testing.T) {
	f, err := Parse(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	if f.Threads != 4 || f.Decode != 2 || f.Prefetch == nil || *f.Prefetch != 512 || f.Best() != f.Read[1] || f.Time.Year() != 2025 {
		t.Errorf("%+v", f)
	}
	for _, x := range []struct{ old, new, want string }{
		{good, ``, "unexpected end"},
		{good, `[]`, "cannot unmarshal"},
		{good, `null`, "version is 0, not 1"},
		{good, good + "{}", "after top-level value"},
		{`"version":1`, `"version":2`, "version is 2, not 1"},
		{`"steady":true`, `"steady":true,"thread":3`, `unknown field "thread"`},
		{`"low":1.4e9`, `"slow":1.4e9`, `unknown field "slow"`},
		{`pi-zero-2w`, `pi\u0000`, "board is"},
		{`Raspberry Pi Zero 2 W Rev 1.0`, strings.Repeat("W", 257), "model is"},
		{`"neon"`, `""`, "kernels is empty"},
		{`2025-11-25T23:00:00Z`, `yesterday`, "yesterday"},
		{`"threads":4`, `"threads":0`, "threads is 0, not 1 to 1024"},
		{`"threads":4`, `"threads":1025`, "threads is 1025"},
		{`"threads":4`, `"threads":1.5`, "1.5"},
		{`"decode_threads":2`, `"decode_threads":5`, "decode_threads is 5, not 1 to 4"},
		{`"decode_threads":2,`, ``, "decode_threads is 0"},
		{`"prefetch_bytes":512`, `"prefetch_bytes":-64`, "prefetch_bytes is -64, not 0 to 16384"},
		{`"prefetch_bytes":512`, `"prefetch_bytes":16385`, "prefetch_bytes is 16385"},
		{`"read":[{"threads":1,"bytes_per_s":1.5e9,"low":1.4e9,"high":1.6e9},{"threads":2,"bytes_per_s":2e9,"low":1.9e9,"high":2e9}]`, `"read":[]`, "read has no measurement"},
		{`"read":[{"threads":1,`, `"read":[{"threads":0,`, "read[0].threads is 0"},
		{`{"threads":2,"bytes`, `{"threads":1,"bytes`, "read[1].threads is 1, after 1"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":0`, "read[1].bytes_per_s is 0"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":-1e9`, "read[1].bytes_per_s is -1e+09"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":1e300`, "bytes_per_s is 1e+300"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":1e999`, "1e999"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":NaN`, "invalid character"},
		{`"bytes_per_s":2e9`, `"bytes_per_s":3e9`, "read[1].bytes_per_s is 3e+09, not from low 1.9e+09 to high 2e+09"},
		{`{"bytes":0,`, `{"bytes":-1,`, "prefetches[0].bytes is -1"},
		{`"bytes":0,"threads":1`, `"bytes":0,"threads":0`, "prefetches[0].threads is 0"},
		{`"weights_per_s":5e9`, `"weights_per_s":7e9`, "prefetches[0].weights_per_s is 7e+09"},
		{`"lut16"`, `"lut4"`, `products[0].precision is "lut4"`},
		{`"precision":"lut16","threads":1`, `"precision":"lut16","threads":-1`, "products[0].threads is -1"},
		{`"cached_weights_per_s":8e9`, `"cached_weights_per_s":1`, "products[0].cached_weights_per_s is 1,"},
		{`"streamed_weights_per_s":6e9`, `"streamed_weights_per_s":1`, "products[0].streamed_weights_per_s is 1,"},
		{`"overlap":0.75`, `"overlap":1.5`, "products[0].overlap is 1.5, not 0 to 1"},
		{good, strings.Repeat(" ", maxBytes) + good, "more than 65536 bytes"},
	} {
		if !strings.Contains(good, x.old) {
			t.Fatalf("the file has no %s", x.old)
		}
		if _, err := Parse(strings.NewReader(strings.Replace(good, x.old, x.new, 1))); err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "doctor --tune") {
			t.Errorf("%.80s: %v, not %q", x.new, err, x.want)
		}
	}
	f, err = Parse(strings.NewReader(strings.NewReplacer(`"prefetch_bytes":512`, `"prefetch_bytes":null`).Replace(good)))
	if err != nil || f.Prefetch != nil {
		t.Errorf("kernels with a distance of their own: %+v, %v", f, err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tuning.json")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Read(dir); err == nil || strings.Count(err.Error(), dir) != 1 {
		t.Errorf("a folder: %v", err)
	}
	for text, want := range map[string]string{good: "", "{}": path + ": version is 0"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

func TestThreadsFor(t *testing.T) {
	cores := pool.AllCores()
	for _, tt := range []struct {
		file            File
		bytes           int64
		threads, decode int
	}{
		{File{Threads: 1024, Decode: 1}, 1 << 50, cores, 1},
		{File{Threads: 1024, Decode: 1024}, 1 << 50, cores, cores}, // of more cores than this process has
		{File{Threads: 1024, Decode: 1}, 1, cores, cores},          // what fits the cache
		{File{Threads: 1, Decode: 1}, 1, 1, 1},
	} {
		if threads, decode := tt.file.ThreadsFor(tt.bytes); threads != tt.threads || decode != tt.decode {
			t.Errorf("%+v: %d and %d threads, want %d and %d", tt, threads, decode, tt.threads, tt.decode)
		}
	}
}

func TestUse(t *testing.T) {
	before, _ := neon.Prefetch()
	defer neon.SetPrefetch(before)
	n := 320
	(&File{Prefetch: &n}).Use()
	if got, _ := neon.Prefetch(); got != n {
		t.Errorf("%d bytes", got)
	}
	(&File{}).Use()
	if got, _ := neon.Prefetch(); got != n {
		t.Errorf("a file without a distance sets %d bytes", got)
	}
}

func TestMatches(t *testing.T) {
	f := &File{Model: "Raspberry Pi 5 Model B Rev 1.0", Kernels: "neon"}
	if err := f.Matches("neon", f.Model); err != nil {
		t.Error(err)
	}
	if err := f.Matches("portable", f.Model); err == nil || !strings.Contains(err.Error(), "it is of the kernels neon, and portable are in use") {
		t.Error(err)
	}
	if err := f.Matches("neon", "Raspberry Pi 4 Model B"); err == nil || !strings.Contains(err.Error(), `it is of the board "Raspberry Pi 5 Model B Rev 1.0", and this is "Raspberry Pi 4 Model B"`) {
		t.Error(err)
	}
}

// FuzzParse: what is read can be written and read again, and is within the limits.
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(strings.Replace(good, "512", "null", 1))
	f.Add(`{"version":1,"board":"","kernels":"k","threads":1024,"decode_threads":1,"read":[{"threads":1024,"bytes_per_s":1e7,"low":1e7,"high":1e7}]}`)
	f.Add(`{"version":1,"read":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		if b := u.Best(); u.Decode < 1 || u.Decode > u.Threads || u.Threads > maxThreads || u.Prefetch != nil && *u.Prefetch < 0 || !(b.Rate >= minRate && b.Rate <= maxRate) {
			t.Errorf("%+v", u)
		}
		b, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(strings.NewReader(string(b))); err != nil && len(b) <= maxBytes {
			t.Errorf("%v: %s", err, b)
		}
	})
}
