package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func openDir(t testing.TB, path string, limits Limits) *Dir {
	t.Helper()
	d, err := OpenDir(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// tempDir is a folder that OpenDir has yet to make.
func tempDir(t testing.TB) string { return filepath.Join(t.TempDir(), "var", "states") }

// holds is what lies in a folder, whatever it is.
func holds(t testing.TB, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// made is testSnapshot with a mark that tells one save from another.
func made(mark byte) *Snapshot {
	s := testSnapshot()
	for i := range s.SSM {
		s.SSM[i] = mark
	}
	return s
}

func mustLoad(t testing.TB, d *Dir, name string, mark byte) {
	t.Helper()
	dst := room(testExpect())
	if err := d.Load(name, testExpect(), dst); err != nil {
		t.Error(err)
	} else if !same(dst, made(mark)) {
		t.Errorf("%s is not what was saved as %d", name, mark)
	}
}

func TestDir(t *testing.T) {
	path := tempDir(t)
	d := openDir(t, path, Limits{})
	if list, err := d.List(testExpect()); err != nil || len(list) != 0 {
		t.Errorf("an empty folder lists %v, %v", list, err)
	}
	for i, name := range []string{"b", "a-1_x.y", "b"} {
		if err := d.Save(name, made(byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	mustLoad(t, d, "b", 2)
	mustLoad(t, d, "a-1_x.y", 1)
	if got := holds(t, path); got != "a-1_x.y.state b.state" {
		t.Errorf("the folder holds %s", got)
	}
	if err := d.Save("other", &Snapshot{Header: Header{ModelName: "other", DType: F32}, IDs: []uint32{7}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "junk.state"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(path, "b.state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "cut.state"), whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"no-snapshot", "Upper.state", ".hidden.state"} { // not listed, not counted
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.List(testExpect())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range list {
		kind := "fits"
		for _, k := range []error{ErrModel, ErrDamaged} {
			if errors.Is(in.Err, k) {
				kind = k.Error()
			}
		}
		if in.Modified.IsZero() {
			t.Errorf("%s has no time", in.Name)
		}
		got = append(got, fmt.Sprintf("%s %d %d %q %s", in.Name, in.Bytes, in.Header.Tokens, in.Header.ModelName, kind))
	}
	want := []string{`a-1_x.y 608 6 "tiny" fits`, `b 608 6 "tiny" fits`, `cut 607 6 "tiny" damaged snapshot`, `junk 1 0 "" damaged snapshot`, `other 352 1 "other" snapshot of another model`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %s\n  want %s", got, want)
	}
	oneLine(t, d.Load("other", testExpect(), room(testExpect())), ErrModel, `snapshot "other": it was made with model "other"`)
	oneLine(t, d.Load("cut", testExpect(), room(testExpect())), ErrDamaged, `snapshot "cut": offset 607`)
	if err := d.Delete("b"); err != nil {
		t.Error(err)
	}
	oneLine(t, d.Delete("b"), ErrNotFound, `snapshot "b"`)
	oneLine(t, d.Load("b", testExpect(), room(testExpect())), ErrNotFound, `snapshot "b"`)
	for name, mode := range map[string]fs.FileMode{path: 0o700 | fs.ModeDir, filepath.Join(path, "other.state"): 0o600} {
		if st, err := os.Stat(name); err != nil || st.Mode() != mode {
			t.Errorf("%s has mode %v, %v", name, st.Mode(), err)
		}
	}
}

func TestNames(t *testing.T) {
	d := openDir(t, tempDir(t), Limits{})
	for _, name := range []string{"", ".", "..", ".a", "../a", "a/b", "/etc/passwd", "a\\b", "A", "aB", "a\x00", "a\x00.state", "a b", "a\n", "ä", "a:b", "~", "*", "%2e", strings.Repeat("a", 65)} {
		oneLine(t, CheckName(name), ErrName, "not a name")
		oneLine(t, d.Save(name, made(1)), ErrName, "not a name")
		oneLine(t, d.Load(name, testExpect(), room(testExpect())), ErrName, "not a name")
		oneLine(t, d.Delete(name), ErrName, "not a name")
	}
	for _, name := range []string{"a", "0", "-", "_", "a.", "a..b", "a.state", "--help", strings.Repeat("z", 64)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
		if err := d.Save(name, made(1)); err != nil {
			t.Error(err)
		}
		mustLoad(t, d, name, 1)
		if err := d.Delete(name); err != nil {
			t.Error(err)
		}
	}
}

// TestNoFile has other things than files where snapshots are expected.
func TestNoFile(t *testing.T) {
	path := tempDir(t)
	d := openDir(t, path, Limits{})
	outside := filepath.Join(t.TempDir(), "outside")
	whole := encode(t, made(1))
	if err := os.WriteFile(outside, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Save("real", made(2)); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"outside": func(path string) error { return os.Symlink(outside, path) },
		"up":      func(path string) error { return os.Symlink("../../outside", path) },
		"inside":  func(path string) error { return os.Symlink("real.state", path) },
		"folder":  func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"fifo":    func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		if err := put(filepath.Join(path, name+".state")); err != nil {
			t.Fatal(err)
		}
		oneLine(t, d.Load(name, testExpect(), room(testExpect())), ErrDamaged, "no regular file")
	}
	if list, err := d.List(testExpect()); err != nil || len(list) != 1 || list[0].Name != "real" {
		t.Errorf("listed %v, %v", list, err)
	}
	// A link is replaced or removed itself; what it points to stays.
	if err := d.Save("outside", made(3)); err != nil {
		t.Error(err)
	}
	mustLoad(t, d, "outside", 3)
	if err := d.Delete("up"); err != nil {
		t.Error(err)
	}
	if err := d.Delete("inside"); err != nil {
		t.Error(err)
	}
	mustLoad(t, d, "real", 2)
	if b, err := os.ReadFile(outside); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("the file outside changed: %v", err)
	}
	if err := d.Save("folder", made(4)); err == nil || strings.Contains(holds(t, path), tempPrefix) {
		t.Errorf("saving onto a folder gave %v and left %s", err, holds(t, path))
	}
}

// TestFailingDisk fails at every byte of a save.
func TestFailingDisk(t *testing.T) {
	path := tempDir(t)
	d := openDir(t, path, Limits{})
	if err := d.Save("a", made(1)); err != nil {
		t.Fatal(err)
	}
	for n := range len(encode(t, made(2))) {
		d.wrap = func(w io.Writer) io.Writer { return &failAt{w, n, syscall.ENOSPC} }
		oneLine(t, d.Save("a", made(2)), ErrNoSpace, `snapshot "a": writing at offset`)
		if got := holds(t, path); got != "a.state" {
			t.Fatalf("at byte %d: the folder holds %s", n, got)
		}
	}
	mustLoad(t, d, "a", 1)
	d.wrap = func(w io.Writer) io.Writer { return w }
	if err := d.Save("a", made(2)); err != nil {
		t.Error(err)
	}
	mustLoad(t, d, "a", 2)
}

func TestLimits(t *testing.T) {
	d := openDir(t, tempDir(t), Limits{Files: 2})
	for _, name := range []string{"a", "b", "a"} {
		if err := d.Save(name, made(1)); err != nil {
			t.Fatal(err)
		}
	}
	oneLine(t, d.Save("c", made(1)), ErrTooMany, "delete one")
	if err := d.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if err := d.Save("c", made(1)); err != nil {
		t.Error(err)
	}
	size := int64(len(encode(t, made(1))))
	d = openDir(t, tempDir(t), Limits{Bytes: 2*size + 1})
	for _, name := range []string{"a", "b", "a"} {
		if err := d.Save(name, made(1)); err != nil {
			t.Fatal(err)
		}
	}
	oneLine(t, d.Save("c", made(1)), ErrTooMany, fmt.Sprintf("its %d bytes would make all snapshots %d bytes, more than %d", size, 3*size, 2*size+1))
	bigger := made(1)
	bigger.System = strings.Repeat("x", 100)
	oneLine(t, d.Save("a", bigger), ErrTooMany, "delete one")
	mustLoad(t, d, "a", 1)
}

// TestLeftovers opens a folder in which others stopped, or are at it.
func TestLeftovers(t *testing.T) {
	path := tempDir(t)
	d := openDir(t, path, Limits{})
	if err := d.Save("a", made(1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tempPrefix + "DEAD", tempPrefix + "ALIVE", ".other"} {
		if err := os.WriteFile(filepath.Join(path, name), encode(t, made(2))[:100], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(filepath.Join(path, tempPrefix+"ALIVE"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Skipf("no locks here: %v", err)
	}
	mustLoad(t, openDir(t, path, Limits{}), "a", 1)
	if got := holds(t, path); got != ".other .saving-ALIVE a.state" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestOpenDir(t *testing.T) {
	path := tempDir(t)
	openDir(t, path, Limits{})
	if err := os.Chmod(path, 0o720); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path, Limits{}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others may write to gave %v", err)
	}
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(file, Limits{}); err == nil {
		t.Error("a file is opened as a folder")
	}
	d := openDir(t, tempDir(t), Limits{})
	d.Close()
	if err := d.Save("a", made(1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed folder gave %v", err)
	}
}

// TestKilled kills a process in the middle of a save that replaces a snapshot.
func TestKilled(t *testing.T) {
	if path := os.Getenv("STATE_CHILD"); path != "" {
		d := openDir(t, path, Limits{})
		d.wrap = func(w io.Writer) io.Writer { return &hang{w, 200} }
		d.Save("a", made(2))
		return
	}
	path := tempDir(t)
	d := openDir(t, path, Limits{})
	if err := d.Save("a", made(1)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "STATE_CHILD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("the test binary cannot run itself here: %v", err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(out, b); errors.Is(err, io.EOF) {
		cmd.Wait()
		t.Skip("the test binary cannot run itself here, emulated")
	} else if string(b) != "half\n" {
		t.Fatalf("the child said %q, %v", b, err)
	}
	if got := holds(t, path); !strings.Contains(got, tempPrefix) {
		t.Errorf("the child is in the middle of a save, and the folder holds %s", got)
	}
	mustLoad(t, openDir(t, path, Limits{}), "a", 1) // another process at the same folder leaves the child's file alone
	if got := holds(t, path); !strings.Contains(got, tempPrefix) {
		t.Errorf("the file of a living process is gone: the folder holds %s", got)
	}
	cmd.Process.Kill()
	cmd.Wait()
	mustLoad(t, openDir(t, path, Limits{}), "a", 1)
	if got := holds(t, path); got != "a.state" {
		t.Errorf("the folder holds %s", got)
	}
}

// hang takes n bytes, says so and never returns.
type hang struct {
	w io.Writer
	n int
}

func (h *hang) Write(p []byte) (int, error) {
	if h.n -= len(p); h.n < 0 {
		h.w.Write(p[:len(p)/2])
		os.Stdout.WriteString("half\n")
		time.Sleep(time.Hour)
	}
	return h.w.Write(p)
}

// TestConcurrent saves, loads, lists and deletes at once. Whatever is loaded is one whole save.
func TestConcurrent(t *testing.T) {
	path := tempDir(t)
	d := openDir(t, path, Limits{Files: 3})
	names := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 12 {
				if err := d.Save(names[(g+i)%3], made(byte(16*g+i))); err != nil {
					t.Error(err)
				}
				if i%4 == 3 {
					if err := d.Delete(names[g%3]); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			dst := room(testExpect())
			for i := range 50 {
				err := d.Load(names[i%3], testExpect(), dst)
				if err == nil && bytes.Count(dst.SSM, dst.SSM[:1]) != len(dst.SSM) {
					t.Error("two saves are mixed")
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				list, err := d.List(testExpect())
				if err != nil || len(list) > 3 {
					t.Errorf("listed %v, %v", list, err)
				}
				for _, in := range list {
					if in.Err != nil {
						t.Error(in.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := holds(t, path); strings.Contains(got, tempPrefix) {
		t.Errorf("the folder holds %s", got)
	}
}
