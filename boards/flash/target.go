package flash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bimamba/boards/internal/packed"
	"bimamba/internal/atomicfile"
)

// WriteDevice writes the image to d, which Devices or Find gave. root is the root of the file system: os.DirFS("/"). What makes Device.Refuse an error is one here, too.
//
// A disk that holds the beginning of the image already is compared, and written from the first difference on. When it ends early the error is an Unfinished.
func (img *Image) WriteDevice(ctx context.Context, root fs.FS, d *Device, progress Progress) (*Report, error) {
	if err := d.Refuse(img.size); err != nil {
		return nil, err
	}
	t, err := openDevice(root, d)
	if err != nil {
		return nil, err
	}
	defer t.f.Close()
	j := &job{t: t, name: d.Path(), capacity: d.Size, compare: true, progress: progress}
	rep, err := j.run(ctx, img)
	if err != nil {
		return nil, err
	}
	// A device without partitions (EINVAL) has none to find.
	err = unix.IoctlSetInt(int(t.f.Fd()), unix.BLKRRPART, 0)
	rep.Reread = err == nil || err == unix.EINVAL
	return rep, nil
}

// device is a disk that nobody else has open, past the page cache.
type device struct{ f *os.File }

// openDevice opens d and has it be the disk that it was when somebody agreed to its being written.
func openDevice(root fs.FS, d *Device) (*device, error) {
	path := d.Path()
	// O_EXCL without O_CREAT is refused while the disk or a partition is mounted, swap, or part of something else (open(2)).
	f, err := os.OpenFile(d.file, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%s is in use by something that keeps it to itself: unmount it, or eject it in the file manager and put it in again", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be written by this user: run the command with sudo", path)
	case errors.Is(err, unix.EROFS):
		return nil, fmt.Errorf("%s is write-protected: move the switch at the side of the card", path)
	case errors.Is(err, unix.ENOMEDIUM):
		return nil, fmt.Errorf("%s has no card in it", path)
	case err != nil:
		return nil, err
	}
	t := &device{f}
	if err := t.check(root, d); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func (t *device) check(root fs.FS, d *Device) error {
	now, err := Find(root, fmt.Sprintf("/proc/self/fd/%d", t.f.Fd())) // what is open, whatever its name has come to mean
	if err != nil {
		return err
	}
	if !now.same(d) {
		return errors.New("this is another disk than a moment ago, or it is used otherwise: call the command again")
	}
	return nil
}

func (t *device) ReadAt(b []byte, off int64) (int, error)  { return t.f.ReadAt(b, off) }
func (t *device) WriteAt(b []byte, off int64) (int, error) { return t.f.WriteAt(b, off) }
func (t *device) Sync() error                              { return t.f.Sync() }

// WriteFile writes the image to a file, which appears whole or not at all, with holes where the image is zero. force replaces one that exists.
func (img *Image) WriteFile(ctx context.Context, path string, force bool, progress Progress) (*Report, error) {
	if img.Is(path) {
		return nil, fmt.Errorf("%s is the image itself: name another file to write", path)
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		if dir, err = filepath.Abs(dir); err == nil && (dir == "/dev" || strings.HasPrefix(dir, "/dev/") && !strings.HasPrefix(dir+"/", "/dev/shm/")) {
			return nil, fmt.Errorf("%s is no disk: `bimamba flash` lists those that there are", path)
		}
	}
	out, err := atomicfile.Create(path, atomicfile.Options{Force: force})
	if err != nil {
		return nil, err
	}
	defer out.Close()
	j := &job{t: &file{out.File}, name: path, progress: progress}
	rep, err := j.run(ctx, img)
	var u *Unfinished
	if errors.As(err, &u) {
		u.file = true
	}
	if err != nil {
		return nil, err
	}
	rep.Reread = true
	if err := out.Truncate(rep.Size); err != nil {
		return nil, err
	}
	return rep, out.Commit()
}

// file is a new file, with holes.
type file struct{ f *os.File }

func (t *file) WriteAt(b []byte, off int64) (int, error) {
	if err := packed.WriteSparse(t.f, b, off); err != nil {
		return 0, err
	}
	st, err := t.f.Stat()
	if end := off + int64(len(b)); err == nil && st.Size() < end { // a hole at the end is part of it, too
		err = t.f.Truncate(end)
	}
	return len(b), err
}

func (t *file) ReadAt(b []byte, off int64) (int, error) { return t.f.ReadAt(b, off) }

// Sync has later reads come from the disk: pages that are on it are dropped.
func (t *file) Sync() error {
	if err := t.f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(t.f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
