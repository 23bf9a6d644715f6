package slot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errFull = syscall.ENOSPC

// wire is one direction of a connection that ends after some bytes, if cut is not negative; then the other one ends, too.
type wire struct {
	*io.PipeReader
	w     *io.PipeWriter
	mu    sync.Mutex
	cut   int64
	n     int64
	other *wire
}

func newWires(up, down int64) (a, b *wire) {
	mk := func(cut int64) *wire { r, w := io.Pipe(); return &wire{PipeReader: r, w: w, cut: cut} }
	a, b = mk(up), mk(down)
	a.other, b.other = b, a
	return a, b
}

func (x *wire) end() {
	x.w.CloseWithError(io.ErrUnexpectedEOF)
	x.PipeReader.CloseWithError(io.ErrClosedPipe)
}

func (x *wire) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cut < 0 || x.n+int64(len(p)) <= x.cut {
		x.n += int64(len(p))
		return x.w.Write(p)
	}
	k, _ := x.w.Write(p[:x.cut-x.n])
	x.n += int64(k)
	x.end()
	x.other.end()
	return k, errors.New("cut")
}

func (x *wire) Close() error { return x.w.Close() }

// deliver sends a version to a store and ends the session. It returns the bytes of pieces sent and of both directions.
func deliver(s *Store, c content, m *Manifest, upCut, downCut int64) (sent, up, down int64, err error) {
	u, d := newWires(upCut, downCut)
	received := make(chan error, 1)
	go func() {
		err := s.Receive(context.Background(), u, d)
		d.Close()
		u.PipeReader.Close()
		received <- err
	}()
	session, err := Send(context.Background(), d, u, m, SendOptions{Who: "test", Open: c.open})
	if err == nil {
		sent = session.Sent
		session.Close()
	}
	d.PipeReader.Close()
	if rerr := <-received; err == nil && rerr != nil && upCut < 0 && downCut < 0 {
		err = fmt.Errorf("received: %w", rerr)
	}
	return sent, u.n, d.n, err
}

func (c content) open(name string) (io.ReaderAt, error) {
	b, ok := c[name]
	if !ok {
		return nil, errors.New("no " + name)
	}
	return bytes.NewReader(b), nil
}

// equal checks a version on the board byte by byte.
func equal(t *testing.T, s *Store, id string, c content) {
	t.Helper()
	if _, err := s.manifest(id); err != nil {
		t.Fatal(err)
	}
	for name, want := range c {
		path := s.disk.path(filepath.Join("versions", id, name))
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %d bytes, %v", name, len(got), err)
		}
		if st, err := os.Stat(path); err == nil && (st.Mode().Perm()&0o111 != 0) != (name == CLI || name == Daemon) {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
	}
}

func TestReceive(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := version(1)
	a["empty.toml"], a["zeros"] = nil, make([]byte, 3<<20)
	m := a.manifest(t, "a")
	sent, _, _, err := deliver(s, a, m, -1, -1)
	must(t, err)
	if want := int64(3000 + 2000 + 2<<20); sent != want {
		t.Errorf("%d bytes were sent, want %d: zeros need not", sent, want)
	}
	equal(t, s, m.ID(), a)

	// Again: nothing is sent. Another version: what differs.
	sent, _, _, err = deliver(s, a, m, -1, -1)
	if err != nil || sent != 0 {
		t.Errorf("the same again: %d bytes, %v", sent, err)
	}
	b := content{CLI: a[CLI], Daemon: a[Daemon], Model: append(bytes.Clone(a[Model][:1<<20]), pattern(50, 1<<20)...)}
	mb := b.manifest(t, "b")
	sent, _, _, err = deliver(s, b, mb, -1, -1)
	if err != nil || sent != 1<<20 {
		t.Errorf("a half of the model is new: %d bytes, %v", sent, err)
	}
	equal(t, s, mb.ID(), b)
	one, _ := os.Stat(s.disk.path(filepath.Join("versions", m.ID(), Daemon)))
	two, _ := os.Stat(s.disk.path(filepath.Join("versions", mb.ID(), Daemon)))
	if !os.SameFile(one, two) {
		t.Error("a file that is the same takes space twice")
	}

	// A damaged neighbour is not copied from.
	must(t, os.WriteFile(s.disk.path(filepath.Join("versions", m.ID(), CLI)), pattern(3, 3000), 0o755))
	must(t, os.RemoveAll(s.disk.path(filepath.Join("versions", mb.ID()))))
	if sent, _, _, err = deliver(s, b, mb, -1, -1); err != nil || sent != 1<<20+3000 {
		t.Errorf("beside a damaged version: %d bytes, %v", sent, err)
	}
	equal(t, s, mb.ID(), b)

	// A damaged version is made whole, here by what another has; one that is in use is not touched.
	if sent, _, _, err = deliver(s, a, m, -1, -1); err != nil || sent != 0 {
		t.Errorf("a damaged version of the same ID: %d bytes, %v", sent, err)
	}
	equal(t, s, m.ID(), a)
	equal(t, s, mb.ID(), b)
	must(t, s.Activate(m.ID(), time.Minute, "test"))
	for _, what := range []string{"on trial", "current"} {
		must(t, os.WriteFile(s.Path(Daemon), pattern(3, 2000), 0o755))
		if _, _, _, err = deliver(s, a, m, -1, -1); err == nil || !strings.Contains(err.Error(), "is in use here, and damaged: "+Daemon+" does not have its checksum") {
			t.Errorf("a damaged version that is %s gave %v", what, err)
		}
		if what == "on trial" {
			must(t, s.Confirm(m.ID()))
		}
	}
}

// TestPackaged: what a package installed is not sent.
func TestPackaged(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := version(1)
	for name, path := range packagedFiles {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(s.root, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(s.root, path), a[name], 0o755))
	}
	m := a.manifest(t, "a")
	sent, _, _, err := deliver(s, a, m, -1, -1)
	if err != nil || sent != 0 {
		t.Errorf("%d bytes, %v", sent, err)
	}
	equal(t, s, m.ID(), a)

	// Nor is it if the deployer cuts the model where its tensors begin, which a package's file does not tell.
	must(t, s.drop(m.ID()))
	i := slices.IndexFunc(m.Files, func(f File) bool { return f.Name == Model })
	cut, err := NewFile(Model, false, bytes.NewReader(a[Model]), int64(len(a[Model])), []int64{100, 5000})
	must(t, err)
	m.Files[i] = *cut
	if sent, _, _, err = deliver(s, a, m, -1, -1); err != nil || sent != 0 {
		t.Errorf("cut otherwise: %d bytes, %v", sent, err)
	}
	equal(t, s, m.ID(), a)
}

// TestReadOnly: a root that is not written to serves, and says why it takes no version.
func TestReadOnly(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, _, _ := newStore(t, dir)
	id := settled(t, s, version(1), "a")
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	must(t, s.BootCheck())
	st, err := s.Status("test")
	if err != nil || st.Current != id || st.Busy != "" {
		t.Errorf("%+v, %v", st, err)
	}
	b := version(2)
	if _, _, _, err := deliver(s, b, b.manifest(t, "b"), -1, -1); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("a version for it: %v", err)
	}
}

// TestProgram: the program that a deployer put on a bare board is not sent again.
func TestProgram(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := version(1)
	must(t, os.MkdirAll(filepath.Dir(s.disk.path(program)), 0o755))
	must(t, os.WriteFile(s.disk.path(program), a[CLI], 0o755))
	m := a.manifest(t, "a")
	if sent, _, _, err := deliver(s, a, m, -1, -1); err != nil || sent != int64(len(a[Daemon])+len(a[Model])) {
		t.Errorf("%d bytes, %v", sent, err)
	}
	equal(t, s, m.ID(), a)
}

// TestCut ends the connection at random bytes of both directions. The old version stays current, the new one is never taken for whole, and the next try goes on.
func TestCut(t *testing.T) {
	root := t.TempDir()
	s, _, _ := newStore(t, root)
	a := settled(t, s, content{CLI: pattern(1, 100), Daemon: pattern(2, 100), Model: pattern(7, 1<<20)}, "a")
	b := content{CLI: pattern(3, 3000), Daemon: pattern(4, 2000), Model: append(pattern(7, 1<<20), pattern(5, 2<<20)...)}
	m := b.manifest(t, "b")
	// How much goes over the connection at all.
	other, _, _ := newStore(t, t.TempDir())
	place(t, other, content{CLI: pattern(1, 100), Daemon: pattern(2, 100), Model: pattern(7, 1<<20)}, "a")
	_, up, down, err := deliver(other, b, m, -1, -1)
	must(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	whole := func() bool { _, err := s.manifest(m.ID()); return err == nil }
	for i := range 100 {
		must(t, s.drop(m.ID()))
		upCut, downCut := int64(-1), int64(-1)
		if i%3 == 0 {
			downCut = r.Int64N(down)
		} else {
			upCut = r.Int64N(up)
		}
		_, _, _, err := deliver(s, b, m, upCut, downCut)
		if s.current() != a || trial(t, s) != nil {
			t.Fatalf("cut at %d up, %d down: %s is current", upCut, downCut, s.current())
		}
		var remote RemoteError
		if errors.As(err, &remote) && downCut < 0 {
			t.Errorf("cut at %d up: taken for the board's wish: %v", upCut, err)
		}
		if whole() {
			if err == nil {
				t.Errorf("cut at %d up, %d down: no error", upCut, downCut)
			}
			equal(t, s, m.ID(), b) // the cut came behind all that matters
			continue
		}
		sent, _, _, err := deliver(s, b, m, -1, -1)
		if err != nil {
			t.Fatalf("after a cut at %d up, %d down: %v", upCut, downCut, err)
		}
		if most := int64(len(b[CLI]) + len(b[Daemon]) + 2<<20); sent > most || upCut > most-1000 && sent > 1<<20 {
			t.Errorf("after a cut at %d up, %d down: %d bytes were sent again", upCut, downCut, sent)
		}
		equal(t, s, m.ID(), b)
	}
}

// TestCutAndChanged: what came of a model is kept although the daemon is another one by now.
func TestCutAndChanged(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := content{Daemon: pattern(1, 1000), Model: pattern(2, 4<<20)}
	if _, _, _, err := deliver(s, a, a.manifest(t, "a"), 3<<20, -1); err == nil {
		t.Fatal("a cut gave no error")
	}
	b := content{Daemon: pattern(3, 1000), Model: a[Model]}
	m := b.manifest(t, "b")
	sent, _, _, err := deliver(s, b, m, -1, -1)
	if err != nil || sent > 2<<20+1000 {
		t.Errorf("%d bytes were sent, %v", sent, err)
	}
	equal(t, s, m.ID(), b)
	if got := s.versions(); len(got) != 1 {
		t.Errorf("%v are left", got)
	}
}

// TestReceivePowerCut ends a transfer after each of its steps.
func TestReceivePowerCut(t *testing.T) {
	b := content{CLI: pattern(3, 300), Daemon: pattern(1, 100), Model: append(pattern(7, 1<<20), pattern(5, 1<<20)...)}
	m := b.manifest(t, "b")
	for cut := 0; ; cut++ {
		s, _, clock := newStore(t, t.TempDir())
		a := settled(t, s, content{CLI: pattern(1, 100), Daemon: pattern(1, 100), Model: pattern(7, 1<<20)}, "a")
		n := 0
		s.disk.step = func(op, path string) error {
			if n++; n > cut {
				return errCut
			}
			return nil
		}
		_, _, _, err := deliver(s, b, m, -1, -1)
		s.disk.step = nil
		clock.boot = "boot-2"
		must(t, s.BootCheck())
		if s.current() != a {
			t.Fatalf("cut before step %d: %s is current", cut, s.current())
		}
		if _, _, _, err := deliver(s, b, m, -1, -1); err != nil {
			t.Fatalf("after a cut before step %d: %v", cut, err)
		}
		equal(t, s, m.ID(), b)
		if n <= cut {
			must(t, err)
			t.Logf("%d steps", n)
			return
		}
		if err == nil {
			t.Errorf("cut before step %d: no error", cut)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := version(1)
	u, d := newWires(-1, -1)
	go s.Receive(context.Background(), u, d)
	session, err := Send(context.Background(), d, u, a.manifest(t, "a"), SendOptions{Who: "anna@laptop", Open: a.open})
	must(t, err)
	b := version(2)
	_, _, _, err = deliver(s, b, b.manifest(t, "b"), -1, -1)
	var remote RemoteError
	if !errors.As(err, &remote) || err.Error() != "anna@laptop is deploying to this board: wait for its end" {
		t.Errorf("the second one got %v", err)
	}
	session.Close()
	for range 100 { // the board sees the end of the stream in its own time
		if _, _, _, err = deliver(s, b, b.manifest(t, "b"), -1, -1); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("after the first one's end: %v", err)
}

// TestFaults are deployers and boards that do not keep to the protocol.
func TestFaults(t *testing.T) {
	a := version(1)
	m := a.manifest(t, "a")
	changed := content{CLI: a[CLI], Daemon: pattern(77, 2000), Model: a[Model]}
	s, _, _ := newStore(t, t.TempDir())
	if _, _, _, err := deliver(s, changed, m, -1, -1); err == nil || !strings.Contains(err.Error(), "bimambad, at 0: what came does not have its checksum") {
		t.Errorf("a file that changed gave %v", err)
	}
	if _, _, _, err := deliver(s, content{}, m, -1, -1); err == nil || !strings.HasPrefix(err.Error(), "no bimamba") {
		t.Errorf("a file that cannot be read gave %v", err)
	}
	send := func(answer string) error {
		_, err := Send(context.Background(), strings.NewReader(answer), nopCloser{io.Discard}, m, SendOptions{Open: a.open})
		return err
	}
	frame := func(kind byte, text string) string {
		return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
	}
	for answer, want := range map[string]string{
		"":                             "said nothing",
		"Welcome!\n":                   "must print nothing",
		greeting:                       "the connection ended",
		greeting + frame('X', "no"):    "no",
		greeting + frame('?', ""):      "not expected here",
		greeting + "N\xff\xff\xff\xff": "at most",
		greeting + frame('N', `{"runs":[[0,0,2]]}`):                       "not offered",
		greeting + frame('N', `{"runs":[[2,0,2],[1,0,1]]}`):               "not offered",
		greeting + frame('N', `{"runs":[[-1,0,1]]}`):                      "not offered",
		greeting + frame('N', `{}`) + frame('K', `{"id":"x"}`):            "calls the version",
		greeting + frame('N', `{"runs":[]}`) + frame('X', "disk is full"): "disk is full",
	} {
		if err := send(answer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a board that says %.60q gave %v", answer, err)
		}
	}
	receive := func(sent string) error { return s.Receive(context.Background(), strings.NewReader(sent), io.Discard) }
	text := string(m.encode())
	for sent, want := range map[string]string{
		"":                        "EOF",
		frame('D', ""):            "not an offer",
		frame('O', "{"):           "the offer",
		frame('O', `{"who":"x"}`): "a manifest",
		frame('O', `{"manifest":`+strings.Replace(text, `"bimamba"`, `"../bimamba"`, 1)+`}`):    "does not begin with a dot",
		frame('O', `{"manifest":`+strings.Replace(text, `"bimamba"`, `"manifest.json"`, 1)+`}`): "taken",
		frame('O', `{"manifest":`+text+`}`) + frame('D', "\xff\x00\x00\x00\x00"):                "none of the offer's",
		frame('O', `{"manifest":`+text+`}`) + frame('D', "\x00\x00\x00\x00\x00x"):               "were offered",
		frame('O', `{"manifest":`+text+`}`) + "D\x00\xff\xff\xff":                               "at most",
	} {
		if err := receive(sent); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a deployer that sends %.80q gave %v", sent, err)
		}
	}
	if _, err := s.manifest(m.ID()); err == nil {
		t.Error("a version is whole that never came")
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// TestNoSpace: an error of a full disk in the middle keeps what came.
func TestNoSpace(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := content{Model: pattern(1, 4<<20)}
	m := a.manifest(t, "a")
	n := 0
	s.disk.step = func(op, path string) error {
		if op == "piece" {
			if n++; n > 2 {
				return &fs.PathError{Op: "write", Path: path, Err: errFull}
			}
		}
		return nil
	}
	_, _, _, err := deliver(s, a, m, -1, -1)
	var remote RemoteError
	if !errors.As(err, &remote) || !strings.Contains(err.Error(), "no space left on device: what came is kept; make room") {
		t.Errorf("a full disk gave %v", err)
	}
	s.disk.step = nil
	sent, _, _, err := deliver(s, a, m, -1, -1)
	if err != nil || sent != 2<<20 {
		t.Errorf("then %d bytes, %v", sent, err)
	}
}

// TestSmallDisk is a disk of 40 MB for real.
func TestSmallDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=40m"); err != nil {
		t.Skipf("no tmpfs can be mounted here (%v): TestNoSpace has an injected fault", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	s, service, _ := newStore(t, root)
	deploy := func(seed uint64) (string, error) {
		c := content{Daemon: pattern(seed, 100), Model: pattern(seed, 9<<20)}
		m := c.manifest(t, fmt.Sprint(seed))
		_, _, _, err := deliver(s, c, m, -1, -1)
		if err == nil {
			must(t, s.Activate(m.ID(), time.Minute, "test"))
			must(t, s.Confirm(m.ID()))
		}
		return m.ID(), err
	}
	a, err := deploy(1)
	must(t, err)
	b, err := deploy(2)
	must(t, err)
	// 22 MB are free, of which 16 stay so; the two that are there are needed.
	if _, err = deploy(3); err == nil || !strings.Contains(err.Error(), "MB are free there") || !strings.Contains(err.Error(), "make room") {
		t.Errorf("a third one gave %v", err)
	}
	if s.current() != b || service.serves != b {
		t.Errorf("%s is current", s.current())
	}
	// One that is not needed goes.
	st, err := s.load()
	must(t, err)
	st.Confirmed = []string{b}
	must(t, os.WriteFile(s.disk.path(stateFile), st.encode(), 0o644))
	c, err := deploy(3)
	must(t, err)
	if _, err := s.manifest(a); err == nil || s.current() != c {
		t.Errorf("%s is current, %v", s.current(), s.versions())
	}
}

func FuzzReceive(f *testing.F) {
	a := content{Model: pattern(1, 300), "x": {1}}
	m := a.manifest(f, "a")
	var offered, all bytes.Buffer
	must(f, writeJSON(&offered, kindOffer, offer{"me", m.encode()}))
	all.Write(offered.Bytes())
	must(f, writeFrame(&all, kindData, []byte{0, 0, 0, 0, 0}, a[Model]))
	must(f, writeFrame(&all, kindPing))
	must(f, writeFrame(&all, kindData, []byte{1, 0, 0, 0, 0}, a["x"]))
	f.Add(offered.Bytes())
	f.Add(all.Bytes())
	f.Add([]byte("O\x00\x00\x00\x02{}"))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, _ := newStore(t, root)
		for _, id := range s.versions() {
			must(t, s.drop(id))
		}
		s.Receive(context.Background(), bytes.NewReader(b), io.Discard)
		for _, id := range s.versions() {
			m, err := s.manifest(id)
			if err != nil {
				continue // not whole
			}
			if m.ID() != id {
				t.Fatalf("%s is %s", id, m.ID())
			}
			for _, x := range m.Files {
				h, err := os.Open(s.disk.path(filepath.Join("versions", id, x.Name)))
				must(t, err)
				got, err := NewFile(x.Name, x.Exec, h, x.Size, nil)
				h.Close()
				if err != nil || got.SHA256 != x.SHA256 {
					t.Fatalf("%s of a whole version has another checksum: %v", x.Name, err)
				}
			}
		}
	})
}

func FuzzSend(f *testing.F) {
	a := content{Model: pattern(1, 300), "x": {1}}
	m := a.manifest(f, "a")
	var b bytes.Buffer
	b.WriteString(greeting)
	must(f, writeJSON(&b, kindNeed, need{Runs: [][3]int{{0, 0, 1}, {1, 0, 1}}}))
	must(f, writeJSON(&b, kindProgress, Progress{"checking", 1, 2}))
	must(f, writeJSON(&b, kindDone, done{m.ID()}))
	f.Add(b.Bytes())
	f.Add([]byte(greeting + "X\x00\x00\x00\x02no"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Send(context.Background(), bytes.NewReader(b), nopCloser{io.Discard}, m, SendOptions{Open: a.open})
		if err != nil {
			return
		}
		defer s.Close()
		if s.ID != m.ID() || !bytes.HasPrefix(b, []byte(greeting)) {
			t.Fatalf("accepted as %s", s.ID)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := version(1).manifest(f, "a")
	m.Golden = &Golden{[]uint32{1}, "x", []float64{-0.5}}
	f.Add(m.encode())
	f.Add([]byte(`{"version":1,"files":[{"name":"a","size":2,"pieces":[{"offset":1,"size":1}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		again, err := ParseManifest(m.encode())
		if err != nil || again.ID() != m.ID() || !validID(m.ID()) {
			t.Fatalf("%v: %s", err, m.ID())
		}
	})
}
