package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/edge/internal/durable"
	"bimamba/edge/internal/durable/durabletest"
)

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := durable.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("x", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
	for _, s := range []string{"one", "two", ""} {
		if err := d.Write("x", []byte(s)); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read("x", 3); err != nil || string(b) != s {
			t.Errorf("read %q, %v; want %q", b, err, s)
		}
	}
	if err := d.Write("y", []byte("four")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("y", 3); err == nil || err.Error() != "y has more than 3 bytes" {
		t.Errorf("a long file: %v", err)
	}
	if _, err := durable.Open(path); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("opened twice: %v", err)
	}
	if err := d.Rename("y", "z"); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("nothing"); err != nil {
		t.Error(err)
	}
	if names, err := d.Names(); err != nil || !slices.Equal(names, []string{"x", "z"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	// What a killed process left goes; what is no file is not read.
	if err := os.WriteFile(filepath.Join(path, ".writing-abc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if d, err = durable.Open(path); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := os.Lstat(filepath.Join(path, ".writing-abc")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover: %v", err)
	}
	if _, err := d.Read("link", 100); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a link: %v", err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Open(path); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that all may write to: %v", err)
	}
}

// TestPowerCut cuts the power in the midst of each operation of two writes and a removal: what Write said is there is there, and no file is anything between.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		for cut := 1; ; cut++ {
			disk := durabletest.New()
			d, err := durable.On(disk)
			if err != nil {
				t.Fatal(err)
			}
			disk.CutAt(cut)
			said := []string{""} // the contents that may be there: the last one, and the one that was tried
			done := true
			for _, s := range []string{"first", "second", ""} {
				if s == "" {
					err = d.Remove("x")
				} else {
					err = d.Write("x", []byte(s))
				}
				if err != nil {
					said, done = append(said, s), false
					break
				}
				said = []string{s}
			}
			disk.Reboot(rand.New(rand.NewPCG(seed, uint64(cut))))
			d, err = durable.On(disk)
			if err != nil {
				t.Fatal(err)
			}
			b, err := d.Read("x", 100)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if !slices.Contains(said, string(b)) {
				t.Fatalf("seed %d, cut at operation %d: %q is there, none of %q", seed, cut, b, said)
			}
			if names, _ := disk.Names(); len(names) > 1 {
				t.Fatalf("seed %d, cut at operation %d: leftovers %q", seed, cut, names)
			}
			if done {
				break
			}
		}
	}
}

func TestFailingDisk(t *testing.T) {
	for op := 1; op <= 4; op++ { // create, write, sync, rename
		disk := durabletest.New()
		d, err := durable.On(disk)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write("x", []byte("old")); err != nil {
			t.Fatal(err)
		}
		disk.Fail(func(n int) bool { return n == op })
		if err := d.Write("x", []byte("new")); !errors.Is(err, durabletest.ErrIO) {
			t.Fatalf("operation %d fails: %v", op, err)
		}
		if b, err := d.Read("x", 10); err != nil || string(b) != "old" {
			t.Errorf("operation %d failed: %q, %v", op, b, err)
		}
		if names, err := disk.Names(); err != nil || fmt.Sprint(names) != "[x]" {
			t.Errorf("operation %d failed: %q, %v", op, names, err)
		}
	}
}
