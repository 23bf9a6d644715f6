package daemon

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/boards/tuning"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/neon"
	"bimamba/neon/pool"
)

func TestTuning(t *testing.T) {
	kernels, err := neon.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(f tuning.File) string {
		t.Helper()
		f.Version, f.Read = 1, []tuning.ReadRate{{Threads: 1, Rate: 1e9, Low: 1e9, High: 1e9}}
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "tuning.json")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := func(path string) (*tuning.File, string, error) {
		t.Helper()
		c, err := config.Load([]string{"--tuning", path}, nil, os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		log := &logBuffer{}
		f, err := readTuning(c, "Example Board", slog.New(slog.NewTextHandler(log, nil)))
		return f, log.String(), err
	}
	own := tuning.File{Model: "Example Board", Kernels: kernels, Threads: 1000, Decode: 3}
	f, log, err := load(write(own))
	if err != nil || f == nil || f.Decode != 3 || log != "" {
		t.Fatalf("%+v, %q, %v", f, log, err)
	}

	// It decides where threads are left to the daemon and the model does not stay in caches.
	large := *testmodel.Default(t).Manifest()
	opt := model.Options{}
	for range 6 {
		large.Sections = append(large.Sections, large.Sections...)
	}
	footprint := model.NewFootprint(&large, opt)
	traffic := footprint.Traffic().Total()
	if traffic < quickTraffic {
		t.Fatalf("a token moves %d bytes", traffic)
	}
	chooseThreads(&opt, &large, f)
	if threads, decode := f.ThreadsFor(traffic); opt.Threads != threads || opt.Decode != decode || decode < 1 {
		t.Errorf("%+v, want %d and %d threads", opt, threads, decode)
	}
	small := model.Options{}
	chooseThreads(&small, testmodel.Default(t).Manifest(), f)
	if small.Threads != pool.AllCores() || small.Decode != 0 {
		t.Errorf("of a model in the cache: %+v", small)
	}
	given := model.Options{Threads: 1}
	chooseThreads(&given, &large, f)
	if given.Threads != 1 || given.Decode != 0 {
		t.Errorf("threads that were given: %+v", given)
	}

	// That of another board or other kernels is left alone, with a line in the log.
	for _, x := range []tuning.File{{Model: "Other Board", Kernels: kernels}, {Model: "Example Board", Kernels: "vax"}} {
		x.Threads, x.Decode = 1, 1
		f, log, err := load(write(x))
		if f != nil || err != nil || strings.Count(log, "\n") != 1 || !strings.Contains(log, "left alone") {
			t.Errorf("%+v: %+v, %q, %v", x, f, log, err)
		}
	}

	// A file that was named has to be one; a default that is none does not stop the daemon.
	if _, _, err := load(filepath.Join(dir, "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Error(err)
	}
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(bad); err == nil || !strings.Contains(err.Error(), "doctor --tune") {
		t.Error(err)
	}
	for _, path := range []string{filepath.Join(dir, "none.json"), bad} {
		buf := &logBuffer{}
		f, err := readTuning(&config.Config{Tuning: path}, "", slog.New(slog.NewTextHandler(buf, nil)))
		if f != nil || err != nil || (buf.String() != "") != (path == bad) {
			t.Errorf("%s by default: %+v, %q, %v", path, f, buf, err)
		}
	}
}
