package flash

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// card is an image of n bytes with a partition table, blocks that all differ, and a hole that is longer than a chunk if there is room for one.
func card(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 4096; i < n; i += 4096 { // another block each, that packs well
		binary.LittleEndian.PutUint64(b[i:], r.Uint64()|1)
		for j := 8; j < 4096 && i+j < n; j *= 2 {
			copy(b[i+j:min(i+2*j, n)], b[i:])
		}
	}
	if n > 4*chunkSize {
		clear(b[chunkSize+4096 : 2*chunkSize+8192])
	}
	e := b[446:]
	e[4] = 0x0c
	binary.LittleEndian.PutUint32(e[8:], 8)
	binary.LittleEndian.PutUint32(e[12:], uint32(n/512-8))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// save puts a file into a directory of its own.
func save(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *Image {
	t.Helper()
	img, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func xzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// memory is a target in memory, with faults.
type memory struct {
	b      []byte
	writes int   // so far
	fail   int   // the write that fails, counted from 1
	err    error // how it fails
	kept   int   // bytes of that write that are there nevertheless
	reads  int   // so far
	failR  int
	short  bool // a write takes no more than some sectors
	dead   int  // byte that takes no value, 0 for none
}

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	if m.writes++; m.writes == m.fail {
		copy(m.b[off:], b[:min(m.kept, len(b))])
		return 0, m.err
	}
	if m.fail > 0 && m.writes > m.fail {
		return 0, m.err
	}
	if off+int64(len(b)) > int64(len(m.b)) {
		return 0, unix.ENOSPC
	}
	if m.short && len(b) > 3*Sector {
		b = b[:3*Sector+100]
	}
	n := copy(m.b[off:], b)
	if d := int64(m.dead); d > 0 && off <= d && d < off+int64(n) {
		m.b[d] ^= 0xff
	}
	return n, nil
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	if m.reads++; m.reads == m.failR {
		return 0, m.err
	}
	n := copy(b, m.b[min(off, int64(len(m.b))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) Sync() error { return nil }

// write is a run on a device in memory.
func write(ctx context.Context, m *memory, img *Image, progress Progress) (*Report, error) {
	j := &job{t: m, name: "/dev/sdz", capacity: int64(len(m.b)), compare: true, progress: progress}
	return j.run(ctx, img)
}

// used is a card with something else on it.
func used(n int) *memory {
	return &memory{b: card(n, 99)}
}

const (
	cardSize  = 5*chunkSize + 3*Sector
	faultSize = 3*chunkSize + 3*Sector // for what is done often
)

func TestWrite(t *testing.T) {
	want := card(cardSize, 1)
	for name, b := range map[string][]byte{"a.img": want, "a.img.gz": gz(t, want), "a.img.xz": xzip(t, want)} {
		img := open(t, save(t, name, b))
		m := used(cardSize + chunkSize)
		after := bytes.Clone(m.b[cardSize:])
		steps := map[string]int64{}
		rep, err := write(t.Context(), m, img, func(step string, done, total int64) {
			if done < steps[step] || done > total {
				t.Errorf("%s, %s: %d of %d after %d", name, step, done, total, steps[step])
			}
			steps[step] = done
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(m.b[:cardSize], want) || !bytes.Equal(m.b[cardSize:], after) {
			t.Errorf("%s: the card holds something else", name)
		}
		if rep.SHA256 != fmt.Sprintf("%x", sha256.Sum256(want)) || rep.Size != cardSize || rep.Mapped != cardSize || rep.Written != cardSize {
			t.Errorf("%s: %+v", name, rep)
		}
		if steps["writing"] == 0 || steps["verifying"] == 0 {
			t.Errorf("%s: %v", name, steps)
		}
		m.writes = 0
		if rep, err = write(t.Context(), m, img, nil); err != nil || m.writes != 0 || rep.Written != 0 || rep.Mapped != cardSize {
			t.Errorf("%s: a second time: %d writes, %+v, %v", name, m.writes, rep, err)
		}
		m.b[3] ^= 1 // in the first chunk alone
		if rep, err = write(t.Context(), m, img, nil); err != nil || rep.Written != chunkSize || !bytes.Equal(m.b[:cardSize], want) {
			t.Errorf("%s: another first chunk: %+v, %v", name, rep, err)
		}
	}
}

// TestSmall has an image of less than a chunk.
func TestSmall(t *testing.T) {
	want := card(20*Sector, 1)
	m := used(chunkSize)
	if rep, err := write(t.Context(), m, open(t, save(t, "a.img", want)), nil); err != nil || rep.Written != int64(len(want)) || !bytes.Equal(m.b[:len(want)], want) {
		t.Errorf("%+v, %v", rep, err)
	}
}

// noTable checks that nothing would start from what is on a card.
func noTable(t *testing.T, b []byte) {
	t.Helper()
	if firstNonZero(b[:chunkSize]) >= 0 {
		t.Error("the card's first chunk is not blank")
	}
}

// TestFaults has each write in turn fail, with some of its bytes there or not, and goes on afterwards.
func TestFaults(t *testing.T) {
	want := card(faultSize, 1)
	img := open(t, save(t, "a.img", want))
	clean := used(faultSize)
	if _, err := write(t.Context(), clean, img, nil); err != nil {
		t.Fatal(err)
	}
	for fail := 1; fail <= clean.writes; fail++ {
		for _, kept := range []int{5000, chunkSize} {
			m := used(faultSize)
			m.fail, m.err, m.kept = fail, unix.EIO, kept
			_, err := write(t.Context(), m, img, nil)
			var u *Unfinished
			if !errors.As(err, &u) || !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "the same command goes on from there") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("write %d: %v", fail, err)
			}
			if fail > 1 && fail < clean.writes {
				noTable(t, m.b)
			}
			m.fail, m.writes = 0, 0
			rep, err := write(t.Context(), m, img, nil)
			if err != nil || !bytes.Equal(m.b, want) {
				t.Fatalf("going on after write %d: %+v, %v", fail, rep, err)
			}
			// What was there is not written again: one chunk for each write between the blank and the first chunk.
			if there := min(int64(max(0, fail-2))*chunkSize, faultSize-chunkSize); rep.Written > rep.Mapped-there {
				t.Errorf("going on after write %d: %d bytes were written again", fail, rep.Written)
			}
		}
	}
}

// TestReadFaults has each read in turn fail, which are those that compare and those that verify.
func TestReadFaults(t *testing.T) {
	want := card(faultSize, 1)
	img := open(t, save(t, "a.img", want))
	clean := used(faultSize)
	if _, err := write(t.Context(), clean, img, nil); err != nil {
		t.Fatal(err)
	}
	for fail := 1; fail <= clean.reads; fail++ {
		m := used(faultSize)
		before := bytes.Clone(m.b)
		m.failR, m.err = fail, unix.ENODEV
		_, err := write(t.Context(), m, img, nil)
		if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "/dev/sdz went away at ") {
			t.Fatalf("read %d: %v", fail, err)
		}
		switch {
		case m.writes == 0:
			if !bytes.Equal(m.b, before) || !strings.Contains(err.Error(), "nothing was written") {
				t.Errorf("read %d: %v", fail, err)
			}
		case fail < clean.reads:
			noTable(t, m.b)
		}
		if _, err := write(t.Context(), m, img, nil); err != nil || !bytes.Equal(m.b, want) {
			t.Fatalf("going on after read %d: %v", fail, err)
		}
	}
}

func TestShortWrites(t *testing.T) {
	want := card(20*Sector, 1)
	m := used(chunkSize)
	m.short = true
	if _, err := write(t.Context(), m, open(t, save(t, "a.img", want)), nil); err != nil || !bytes.Equal(m.b[:len(want)], want) {
		t.Errorf("%v", err)
	}
}

// TestDead has a byte of the card take no value: that is found, and the card does not become one that starts.
func TestDead(t *testing.T) {
	img := open(t, save(t, "a.img", card(cardSize, 1)))
	m := used(cardSize)
	m.dead = 3*chunkSize + 5
	_, err := write(t.Context(), m, img, nil)
	if err == nil || !strings.Contains(err.Error(), "/dev/sdz: bytes 12582912 to 16777215 read back other than they were written: it is worn out, or has less room than it says; /dev/sdz has no partition table now: use another one") {
		t.Errorf("%v", err)
	}
	noTable(t, m.b)
}

// TestCancel stops at each step, and goes on.
func TestCancel(t *testing.T) {
	want := card(faultSize, 1)
	img := open(t, save(t, "a.img", want))
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		m, n := used(faultSize), 0
		_, err := write(ctx, m, img, func(string, int64, int64) {
			if n++; n == stop {
				cancel()
			}
		})
		cancel()
		if n < stop {
			if stop < 6 {
				t.Errorf("there were %d steps only", n)
			}
			break
		}
		if err == nil {
			if !bytes.Equal(m.b, want) || n > stop {
				t.Fatalf("stopped at step %d of %d, and all is said to be written", stop, n)
			}
			continue // the last step of all
		}
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "stopped at ") || !strings.Contains(err.Error(), "the same command goes on from there") {
			t.Fatalf("stopped at step %d: %v", stop, err)
		}
		noTable(t, m.b)
		if _, err := write(t.Context(), m, img, nil); err != nil || !bytes.Equal(m.b, want) {
			t.Fatalf("going on after step %d: %v", stop, err)
		}
	}
}

// TestTooLarge has an image whose size is not known before it is unpacked.
func TestTooLarge(t *testing.T) {
	img := open(t, save(t, "a.img.gz", gz(t, card(cardSize, 1))))
	if img.Size() != 0 {
		t.Fatalf("the size is %d", img.Size())
	}
	m := used(3 * chunkSize)
	if _, err := write(t.Context(), m, img, nil); !errors.Is(err, errLarge) || !strings.Contains(err.Error(), "nothing can start from it") {
		t.Errorf("%v", err)
	}
	noTable(t, m.b)
}

// TestDamaged has a packed image that is found to be damaged on the way.
func TestDamaged(t *testing.T) {
	b := xzip(t, card(cardSize, 1))
	b[len(b)/2] ^= 1
	m := used(cardSize)
	if _, err := write(t.Context(), m, open(t, save(t, "a.img.xz", b)), nil); err == nil || !strings.Contains(err.Error(), "damaged or not complete") {
		t.Errorf("%v", err)
	}
	noTable(t, m.b)
}

func TestOpen(t *testing.T) {
	good := card(cardSize, 1)
	noSig := bytes.Clone(good)
	noSig[511] = 0
	for _, test := range []struct {
		b    []byte
		want string
	}{
		{nil, "is empty"},
		{good[:cardSize-100], "is no whole number of sectors"},
		{good[:cardSize-512], "the image is cut short"},
		{noSig, "there is no partition table"},
		{gz(t, noSig), "there is no partition table"},
		{gz(t, nil), "is empty"},
		{[]byte("PK\x03\x04"), "zip archive"},
	} {
		img, err := Open(save(t, "a.img", test.b), "")
		if err == nil {
			img.Close()
			_, err = write(t.Context(), used(cardSize), img, nil)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, not %q", err, test.want)
		}
	}
}

// TestCutUnknown has an image of unknown size whose last partition is cut short: its table is never written.
func TestCutUnknown(t *testing.T) {
	good := card(cardSize, 1)
	m := used(cardSize)
	if _, err := write(t.Context(), m, open(t, save(t, "a.img.gz", gz(t, good[:cardSize-512]))), nil); err == nil || !strings.Contains(err.Error(), "the image is cut short") {
		t.Errorf("%v", err)
	}
	noTable(t, m.b)
}

// sparse is a card with much that is not used, and its block map.
func sparse() (b []byte, m string) {
	b = card(cardSize, 1)
	clear(b[8192 : chunkSize+4096*5])
	clear(b[2*chunkSize-4096 : 4*chunkSize+4096])
	clear(b[len(b)-512:])
	return b, mapOf(b)
}

func TestBmap(t *testing.T) {
	b, text := sparse()
	for _, name := range []string{"a.img", "a.img.gz"} {
		packed := b
		if strings.HasSuffix(name, ".gz") {
			packed = gz(t, b)
		}
		path := save(t, name, packed)
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "a.img.bmap"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		img := open(t, path)
		if img.Bmap == "" || img.Size() != cardSize {
			t.Fatalf("%q, %d bytes", img.Bmap, img.Size())
		}
		m := used(cardSize)
		want := bytes.Clone(m.b)
		clear(want[:chunkSize])
		for _, r := range img.bmap.Ranges {
			copy(want[r.Start:r.End], b[r.Start:r.End])
		}
		rep, err := write(t.Context(), m, img, nil)
		if err != nil || !bytes.Equal(m.b, want) {
			t.Fatalf("%s: the card holds something else; %v", name, err)
		}
		if rep.Mapped != img.bmap.Mapped() || rep.Written != rep.Mapped || rep.Mapped > cardSize/2 || rep.SHA256 != fmt.Sprintf("%x", sha256.Sum256(b)) {
			t.Errorf("%s: %+v", name, rep)
		}
		if rep, err = write(t.Context(), m, img, nil); err != nil || rep.Written != 0 {
			t.Errorf("%s: a second time: %+v, %v", name, rep, err)
		}
	}
}

// TestBmapOther has block maps of other images.
func TestBmapOther(t *testing.T) {
	b, text := sparse()
	try := func(b []byte, text string) error {
		path := save(t, "a.img", b)
		if err := os.WriteFile(path+".bmap", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		img, err := Open(path, "")
		if err != nil {
			return err
		}
		defer img.Close()
		m := used(cardSize)
		_, err = write(t.Context(), m, img, nil)
		if err != nil && m.writes > 0 {
			noTable(t, m.b)
		}
		return err
	}
	changed := bytes.Clone(b)
	changed[len(b)-4096] ^= 1
	if err := try(changed, text); err == nil || !strings.Contains(err.Error(), "are not those of the block map") {
		t.Errorf("other data: %v", err)
	}
	more := bytes.Clone(b)
	more[3*chunkSize+77] = 1
	if err := try(more, text); err == nil || !strings.Contains(err.Error(), "byte 12582989 of the image is used, and the block map leaves it out") {
		t.Errorf("data outside the map: %v", err)
	}
	if err := try(b[:chunkSize], text); err == nil || !strings.Contains(err.Error(), "is of an image of 20973056 bytes") {
		t.Errorf("another size: %v", err)
	}
	if err := try(b, strings.Replace(text, "2.0", "1.3", 1)); err == nil || !strings.Contains(err.Error(), "a.img.bmap: a block map of version") {
		t.Errorf("another version: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	want, _ := sparse()
	path := save(t, "a.img", want)
	img := open(t, path)
	out := filepath.Join(t.TempDir(), "out.img")
	rep, err := img.WriteFile(t.Context(), out, false, nil)
	if err != nil || rep.Size != cardSize || !rep.Reread {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d other bytes, %v", len(got), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(out, &st); err != nil || st.Blocks*512 > cardSize/2 {
		t.Errorf("the holes take room: %d bytes, %v", st.Blocks*512, err)
	}
	for _, test := range []struct {
		path  string
		force bool
		want  string
	}{
		{out, false, "--force replaces it"},
		{path, true, "is the image itself"},
		{"/dev/sdnone", false, "`bimamba flash` lists those that there are"},
		{filepath.Dir(out), true, "is no regular file"},
	} {
		if _, err := img.WriteFile(t.Context(), test.path, test.force, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = img.WriteFile(ctx, out, true, func(string, int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), "out.img was not written") {
		t.Errorf("stopped: %v", err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("stopping changed the file: %v", err)
	}
	if names, _ := os.ReadDir(filepath.Dir(out)); len(names) != 1 {
		t.Errorf("stopping left %v", names)
	}
}
