package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Progress is told how far a step is, in bytes. It may be nil.
type Progress func(step string, done, total int64)

// Report is what came of writing.
type Report struct {
	Size    int64         // bytes of the image
	SHA256  string        // of the image, unpacked, in hexadecimal
	Mapped  int64         // bytes that are to be on the target: all, or those of the block map
	Written int64         // bytes that were written; the others of Mapped were there
	Write   time.Duration // for comparing and writing
	Verify  time.Duration // for reading back
	Reread  bool          // the kernel knows the new partitions; always true for files
}

// target is what is written to. Offsets and lengths are multiples of Sector.
type target interface {
	io.ReaderAt // past the page cache after Sync
	io.WriterAt
	Sync() error // makes what was written durable
}

// stage is how far writing came, for what is said when it ends early.
type stage int

const (
	untouched stage = iota // the target is as it was
	blank                  // the first chunk is blank
	complete               // all was verified but the first chunk
)

// job writes one image to one target.
type job struct {
	t        target
	name     string // of the target
	capacity int64  // bytes, 0 for no limit
	compare  bool   // there may be something on it to go on from
	progress Progress
	bufs     [][]byte // three for the source, the first chunk, one to read back

	stage stage
	at    int64 // byte that was worked on last
	rep   Report
}

// bufCount is how many buffers of chunkSize bytes a job has.
const bufCount = 5

// newBufs gives buffers that direct I/O takes: whole pages.
func newBufs() (bufs [][]byte, free func(), err error) {
	b, err := unix.Mmap(-1, 0, bufCount*chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, fmt.Errorf("allocating %s: %w", mega(bufCount*chunkSize), err)
	}
	for i := range bufCount {
		bufs = append(bufs, b[i*chunkSize:(i+1)*chunkSize:(i+1)*chunkSize])
	}
	return bufs, func() { unix.Munmap(b) }, nil
}

// run does it: all but the first chunk, verified, then that.
func (j *job) run(ctx context.Context, img *Image) (*Report, error) {
	if j.progress == nil {
		j.progress = func(string, int64, int64) {}
	}
	bufs, free, err := newBufs()
	if err != nil {
		return nil, err
	}
	defer free()
	j.bufs = bufs
	if err := j.write(ctx, img); err != nil {
		return nil, &Unfinished{Target: j.name, At: j.at, Err: err, stage: j.stage}
	}
	return &j.rep, nil
}

func (j *job) write(ctx context.Context, img *Image) error {
	start := time.Now()
	src := &source{img: img}
	firstBuf, back := j.bufs[3], j.bufs[4]
	var first chunk
	var firstThere bool    // the target's first chunk is the image's
	var written []chunk    // without their bytes
	comparing := j.compare // until the first difference
	for c, err := range src.chunks(ctx, j.bufs[:3]) {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		j.at = c.off
		if j.capacity > 0 && c.off+int64(len(c.b)) > j.capacity {
			return fmt.Errorf("%w: it has more than %s", errLarge, mega(j.capacity))
		}
		j.rep.Mapped += c.bytes()
		if c.off == 0 {
			copy(firstBuf, c.b)
			first, first.b = c, firstBuf[:len(c.b)]
			if comparing {
				if firstThere, err = j.holds(&c, back); err != nil {
					return err
				}
			}
			continue
		}
		if comparing {
			same, err := j.holds(&c, back)
			if err != nil {
				return err
			}
			if same {
				j.progress("comparing", c.done, c.total)
				continue
			}
			comparing = false
		}
		if j.stage == untouched {
			if err := j.blank(len(first.b), back); err != nil {
				return err
			}
		}
		for _, p := range c.parts {
			j.at = c.off + int64(p.from)
			if err := writeFull(j.t, c.b[p.from:p.to], j.at); err != nil {
				return err
			}
		}
		c.b = nil
		written = append(written, c)
		j.progress("writing", c.done, c.total)
	}
	j.rep.Size, j.rep.SHA256 = src.n, src.sum()
	if err := img.check(first.b, src.n); err != nil { // what was not known at the start: its size
		return err
	}
	if err := j.t.Sync(); err != nil {
		return err
	}
	j.rep.Write = time.Since(start)
	if err := j.verify(ctx, written, back); err != nil {
		return err
	}
	if firstThere && j.stage == untouched {
		return nil
	}
	if j.stage == blank {
		j.stage = complete
	}
	return j.writeFirst(ctx, first, back)
}

// writeFirst makes the target whole.
func (j *job) writeFirst(ctx context.Context, first chunk, back []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if j.stage == untouched { // nothing else differs: what an unlucky end leaves is to be blank, too
		if err := j.blank(len(first.b), back); err != nil {
			return err
		}
		j.stage = complete
	}
	for _, p := range first.parts {
		j.at = int64(p.from)
		if err := writeFull(j.t, first.b[p.from:p.to], j.at); err != nil {
			return err
		}
	}
	if err := j.t.Sync(); err != nil {
		return err
	}
	start := time.Now()
	if err := j.readBack(&first, back); err != nil {
		return err
	}
	j.rep.Written += first.bytes()
	j.rep.Verify += time.Since(start)
	return nil
}

// holds tells whether the target has the chunk.
func (j *job) holds(c *chunk, back []byte) (bool, error) {
	for _, p := range c.parts {
		j.at = c.off + int64(p.from)
		if err := readFull(j.t, back[p.from:p.to], j.at); err != nil {
			return false, err
		}
		if !bytes.Equal(back[p.from:p.to], c.b[p.from:p.to]) {
			return false, nil
		}
	}
	return true, nil
}

// blank clears the place of the first chunk, before anything else is changed.
func (j *job) blank(n int, back []byte) error {
	j.at = 0
	clear(back[:n])
	j.stage = blank
	if err := writeFull(j.t, back[:n], 0); err != nil {
		return err
	}
	return j.t.Sync()
}

// verify reads chunks back.
func (j *job) verify(ctx context.Context, list []chunk, back []byte) error {
	start := time.Now()
	var done, total int64
	for i := range list {
		total += list[i].bytes()
	}
	for i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := j.readBack(&list[i], back); err != nil {
			return err
		}
		done += list[i].bytes()
		j.progress("verifying", done, total)
	}
	j.rep.Written += total
	j.rep.Verify += time.Since(start)
	return nil
}

// readBack compares one chunk.
func (j *job) readBack(c *chunk, back []byte) error {
	for _, p := range c.parts {
		j.at = c.off + int64(p.from)
		if err := readFull(j.t, back[p.from:p.to], j.at); err != nil {
			return err
		}
	}
	if c.hash(back) != c.sum {
		return &mismatch{c.off, c.off + chunkSize - 1}
	}
	return nil
}

// mismatch is what was read back other than written.
type mismatch struct{ from, to int64 }

func (m *mismatch) Error() string {
	return fmt.Sprintf("bytes %d to %d read back other than they were written", m.from, m.to)
}

// writeFull goes on after a write that was cut short.
func writeFull(w io.WriterAt, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := w.WriteAt(b, off)
		if n == len(b) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrShortWrite) {
			return err
		}
		if n -= n % Sector; n == 0 { // what direct I/O goes on from are whole sectors
			return io.ErrShortWrite
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Unfinished is the error of writing that ended early. It says what the target holds now, and what to do.
type Unfinished struct {
	Target string
	At     int64 // byte of the image that was worked on
	Err    error

	stage stage
	file  bool // the target is a file, of which nothing is left
}

func (u *Unfinished) Unwrap() error { return u.Err }

func (u *Unfinished) Error() string {
	at := "at " + mega(u.At)
	var what string
	var m *mismatch
	again := "the same command goes on from there"
	switch {
	case errors.Is(u.Err, context.Canceled):
		what = "stopped " + at
	case errors.Is(u.Err, unix.ENODEV), errors.Is(u.Err, unix.ENXIO), errors.Is(u.Err, unix.ENOMEDIUM):
		what, again = fmt.Sprintf("%s went away %s: it was pulled out, or the reader lost power", u.Target, at), "put it in again, and the same command goes on from there"
	case errors.Is(u.Err, unix.EIO):
		what, again = fmt.Sprintf("%s gave an input/output error %s: it was pulled out, has a bad contact, or is worn out", u.Target, at), "put it in again, and the same command goes on from there"
	case errors.As(u.Err, &m):
		what, again = fmt.Sprintf("%s: %v: it is worn out, or has less room than it says", u.Target, m), "use another one"
	case errors.Is(u.Err, unix.ENOSPC):
		what, again = fmt.Sprintf("%s has no room %s", u.Target, at), "use a larger one"
	default:
		what, again = u.Err.Error(), "nothing can start from it until an image is written whole"
	}
	switch {
	case u.file:
		return what + "; " + u.Target + " was not written"
	case u.stage == untouched:
		return what + "; nothing was written"
	case u.stage == blank:
		return fmt.Sprintf("%s; %s has no partition table now: %s", what, u.Target, again)
	}
	return fmt.Sprintf("%s; %s is whole but for its partition table: %s", what, u.Target, again)
}

func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
