// Package atomicfile writes files that appear whole or not at all, however the writing ends.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Options of Create.
type Options struct {
	Force bool // replace an existing file
}

// File is a file that has no name yet, or a temporary one where the file system has no unnamed files.
type File struct {
	*os.File
	path  string
	force bool
	temp  string // the temporary name, "" for an unnamed file
	done  bool
}

// noUnnamed makes Create take the path for file systems without O_TMPFILE; tests set it.
var noUnnamed = false

// Create starts the file at path. Without Force an existing file is an error.
//
// On Linux's usual file systems the file is unnamed until Commit (O_TMPFILE), so that not even a killed process leaves anything behind.
func Create(path string, opt Options) (*File, error) {
	switch st, err := os.Lstat(path); {
	case err == nil && !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s exists and is no regular file (%s); name another file", path, st.Mode().Type())
	case err == nil && !opt.Force:
		return nil, exists(path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	dir := filepath.Dir(path)
	f := &File{path: path, force: opt.Force}
	if !noUnnamed {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		if err == nil {
			f.File = os.NewFile(uintptr(fd), path)
			return f, nil
		}
		if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL && err != unix.ENOSYS {
			return nil, &fs.PathError{Op: "create a file in", Path: dir, Err: err}
		}
	}
	f.temp = hidden(path)
	var err error
	f.File, err = os.OpenFile(f.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	return f, err
}

func exists(path string) error { return fmt.Errorf("%s exists; --force replaces it", path) }

// hidden is a free name beside path.
func hidden(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:12])
}

// Commit makes the content durable and gives the file its name. It closes the file.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return f.abandon(err)
	}
	if f.temp == "" {
		if err := f.link(); err != nil {
			return f.abandon(err)
		}
	}
	if f.temp != "" {
		if err := f.rename(); err != nil {
			return f.abandon(err)
		}
	}
	f.done = true
	err := f.File.Close()
	dir, err2 := os.Open(filepath.Dir(f.path))
	if err2 == nil { // the name itself has to reach the disk
		err2 = dir.Sync()
		dir.Close()
	}
	return errors.Join(err, err2)
}

// link names the unnamed file: at once where nothing may be replaced, else under a temporary name that rename then moves.
func (f *File) link() error {
	target := f.path
	if f.force {
		target = hidden(f.path)
	}
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, target, unix.AT_SYMLINK_FOLLOW)
	switch {
	case err == unix.EEXIST:
		return exists(f.path)
	case err != nil:
		return &fs.PathError{Op: "name", Path: f.path, Err: err}
	}
	if f.force {
		f.temp = target
	}
	return nil
}

func (f *File) rename() error {
	flags := uint(unix.RENAME_NOREPLACE)
	if f.force {
		flags = 0
	}
	err := unix.Renameat2(unix.AT_FDCWD, f.temp, unix.AT_FDCWD, f.path, flags)
	if err == unix.EEXIST {
		return exists(f.path)
	}
	if err == unix.EINVAL { // the file system cannot refuse to replace: look, then rename
		if _, serr := os.Lstat(f.path); serr == nil {
			return exists(f.path)
		}
		return os.Rename(f.temp, f.path)
	}
	if err != nil {
		return &fs.PathError{Op: "name", Path: f.path, Err: err}
	}
	return nil
}

// abandon removes what there is.
func (f *File) abandon(err error) error {
	f.Close()
	return err
}

// Close drops the file unless it was committed.
func (f *File) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.File.Close()
	if f.temp != "" {
		err = errors.Join(err, os.Remove(f.temp))
	}
	return err
}
