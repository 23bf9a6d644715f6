package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// both runs a test with unnamed files and with temporary names.
func both(t *testing.T, fn func(t *testing.T)) {
	for _, named := range []bool{false, true} {
		name := "unnamed"
		if named {
			name = "named"
		}
		t.Run(name, func(t *testing.T) {
			noUnnamed = named
			defer func() { noUnnamed = false }()
			fn(t)
		})
	}
}

func write(t *testing.T, path, text string, opt Options) error {
	t.Helper()
	f, err := Create(path, opt)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	return f.Commit()
}

func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestCommit(t *testing.T) {
	both(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if err := write(t, path, "one", Options{}); err != nil {
			t.Fatal(err)
		}
		if err := write(t, path, "two", Options{}); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Fatalf("an existing file gave %v", err)
		}
		if err := write(t, path, "three", Options{Force: true}); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != "three" || files(t, dir) != "f" {
			t.Errorf("the file holds %q; the folder holds %s", b, files(t, dir))
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T) {
		dir := t.TempDir()
		f, err := Create(filepath.Join(dir, "f"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, "half")
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir); got != "" {
			t.Errorf("the folder holds %s", got)
		}
	})
}

// TestRace has somebody else make the file between Create and Commit: it is not replaced.
func TestRace(t *testing.T) {
	both(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		f, err := Create(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := os.WriteFile(path, []byte("theirs"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("Commit gave %v", err)
		}
		if b, _ := os.ReadFile(path); string(b) != "theirs" || files(t, dir) != "f" {
			t.Errorf("the file holds %q; the folder holds %s", b, files(t, dir))
		}
	})
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir, Options{Force: true}); err == nil {
		t.Error("a folder is accepted")
	}
	if _, err := Create("/dev/null", Options{Force: true}); err == nil {
		t.Error("a device is accepted")
	}
	if _, err := Create(filepath.Join(dir, "no", "f"), Options{}); err == nil {
		t.Error("a missing folder is accepted")
	}
}

// TestKilled kills a child in the middle of its writing.
func TestKilled(t *testing.T) {
	if path := os.Getenv("ATOMICFILE_CHILD"); path != "" {
		f, err := Create(path, Options{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		f.Write(make([]byte, 1<<20))
		os.Stdout.WriteString("written\n")
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_CHILD="+filepath.Join(dir, "f"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("the test binary cannot run itself here: %v", err)
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(out, b); err != nil || !bytes.HasPrefix(b, []byte("written")) {
		t.Fatalf("the child said %q, %v", b, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if got := files(t, dir); got != "" {
		t.Errorf("the killed process left %s", got)
	}
}

// TestDiskFull has a child write beyond its limit on file sizes, which fails as a full disk does.
func TestDiskFull(t *testing.T) {
	if path := os.Getenv("ATOMICFILE_FULL"); path != "" {
		var lim syscall.Rlimit
		lim.Cur, lim.Max = 1<<16, 1<<16
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lim); err != nil {
			t.Fatal(err)
		}
		f, err := Create(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = f.Write(make([]byte, 1<<20))
		if !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("writing gave %v", err)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_FULL="+filepath.Join(dir, "f"))
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.ENOEXEC) {
		t.Skip("emulated, on a kernel that does not start such programs: the child cannot run (the other architecture's test shows it)")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := files(t, dir); got != "" {
		t.Errorf("the folder holds %s", got)
	}
}
