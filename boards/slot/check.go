package slot

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"bimamba/memmap/sign"
)

// checkAll reads every file back and checks its sum, and has the kernel check the model's pages from then on.
func (t *transfer) checkAll(ctx context.Context) error {
	total, at := t.m.Size(), int64(0)
	for i := range t.m.Files {
		f := &t.m.Files[i]
		var digest []byte
		into := &digest
		if !t.protectable(i) {
			into = nil
		}
		if t.whole == nil || !t.whole[i] || into != nil {
			sum, err := t.sum(ctx, t.store.disk.path(t.path(i)), into, func(n int64) { t.progress("checking", at+n, total) })
			if err != nil {
				return err
			}
			if sum != f.SHA256 {
				return fmt.Errorf("%s does not have its checksum on the board's storage", f.Name)
			}
		}
		if into != nil {
			if err := t.protect(i, digest); err != nil {
				return err
			}
		}
		at += f.Size
	}
	return nil
}

// sum reads a file from the storage itself: what is in the kernel's cache is dropped before, so that a card that lost it is found out, and after, so that
// the daemon's memory is what the daemon itself reads. Its fs-verity digest goes to digest if that is not nil.
func (t *transfer) sum(ctx context.Context, path string, digest *[]byte, progress func(int64)) (sum Sum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	drop(path)
	defer drop(path)
	h := sha256.New()
	r := &checked{ctx: ctx, r: f, progress: progress}
	if digest == nil {
		_, err = io.CopyBuffer(h, r, make([]byte, 1<<20))
	} else {
		var st os.FileInfo
		if st, err = f.Stat(); err == nil {
			*digest, err = sign.Digest(io.TeeReader(bufio.NewReaderSize(r, 1<<20), h), st.Size())
		}
	}
	h.Sum(sum[:0])
	return sum, err
}

// drop drops a file's pages from the kernel's cache. It is advice: a file system may not take it.
func drop(path string) {
	if f, err := os.Open(path); err == nil {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
}

// checked reads until ctx ends, and tells how far it is.
type checked struct {
	ctx      context.Context
	r        io.Reader
	n        int64
	progress func(int64)
}

func (c *checked) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(b)
	if c.n += int64(n); c.progress != nil {
		c.progress(c.n)
	}
	return n, err
}
