package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bimamba/boards/internal/packed"
)

// unpack writes the image to out, with holes where it is zero, and returns its size.
func unpack(ctx context.Context, in *packed.Image, out *os.File, progress func(done, total int64)) (int64, error) {
	full, known := in.Size()
	if !known {
		_, full = in.Progress() // at least
	}
	if err := checkSpace(out, full); err != nil {
		return 0, err
	}
	r, err := in.Reader()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, packed.Step)
	at := int64(0)
	for err == nil {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var n int
		n, err = packed.Fill(r, buf)
		if err := packed.WriteSparse(out, buf[:n], at); err != nil {
			return 0, err
		}
		at += int64(n)
		progress(in.Progress())
	}
	if err != io.EOF {
		return 0, err
	}
	return at, out.Truncate(at)
}

// checkSpace has the file system of f have room for n bytes.
func checkSpace(f *os.File, n int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil // then writing says it
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < n {
		return fmt.Errorf("the image takes %s, and %s has %s left", mega(n), filepath.Dir(f.Name()), mega(free))
	}
	return nil
}

func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
