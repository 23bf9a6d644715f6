package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".writing-"

// Files is what a Dir needs of a folder. Names have no slash.
type Files interface {
	Create(name string) (File, error) // fails if there is one
	Read(name string, limit int) ([]byte, error)
	Rename(from, to string) error
	Remove(name string) error
	Names() ([]string, error)
	Sync() error // makes names durable
	Close() error
}

// File is one that is being written.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// Dir is a folder of small files. It is used by one goroutine at a time.
type Dir struct{ files Files }

// Open opens the folder at path, which it makes (mode 0700, parents too) if it is missing. It belongs to one process at a time; what a killed one left half written is removed.
func Open(path string) (*Dir, error) {
	files, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	return On(files)
}

// On is a Dir of files that are already open.
func On(files Files) (*Dir, error) {
	d := &Dir{files}
	names, err := files.Names()
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			if err := files.Remove(name); err != nil {
				return nil, errors.Join(err, files.Close())
			}
		}
	}
	return d, nil
}

// Write makes data the content of the file called name. When it returns nil, that is on the disk. After an error, the old file is still there,
// but where only the folder could not be synced: then it is one or the other.
func (d *Dir) Write(name string, data []byte) (err error) {
	temp := tempPrefix + rand.Text()[:12]
	f, err := d.files.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.files.Rename(temp, name)
	}
	if err != nil {
		d.files.Remove(temp)
		return err
	}
	return d.files.Sync()
}

// Read is the content of the file called name. One of more than limit bytes is an error; one that is missing is fs.ErrNotExist.
func (d *Dir) Read(name string, limit int) ([]byte, error) { return d.files.Read(name, limit) }

// Remove removes the file called name for good. That it is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := d.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.files.Sync()
}

// Rename gives a file another name.
func (d *Dir) Rename(from, to string) error {
	if err := d.files.Rename(from, to); err != nil {
		return err
	}
	return d.files.Sync()
}

// Names is the names of all files, sorted.
func (d *Dir) Names() ([]string, error) {
	names, err := d.files.Names()
	names = slices.DeleteFunc(names, func(s string) bool { return strings.HasPrefix(s, tempPrefix) })
	slices.Sort(names)
	return names, err
}

// Close gives the folder back.
func (d *Dir) Close() error { return d.files.Close() }

// folder is Files on a disk.
type folder struct {
	root *os.Root
	self *os.File // the folder itself: it is synced, and locked
}

func openFolder(path string) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root}
	fail := func(err error) (*folder, error) { return nil, errors.Join(err, f.Close()) }
	if f.self, err = root.Open("."); err != nil {
		return fail(err)
	}
	st, err := f.self.Stat()
	if err != nil {
		return fail(err)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fail(fmt.Errorf("%s: others may write to it (mode %v); chmod 700 it", filepath.Clean(path), st.Mode().Perm()))
	}
	err = syscall.Flock(int(f.self.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fail(fmt.Errorf("%s: another process uses it; end that, or name another folder", filepath.Clean(path)))
	}
	return f, nil // a file system without locks is used by one process
}

func (f *folder) Create(name string) (File, error) {
	return f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (f *folder) Read(name string, limit int) ([]byte, error) {
	st, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (%s)", name, st.Mode().Type())
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err == nil && len(b) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

func (f *folder) Rename(from, to string) error { return f.root.Rename(from, to) }
func (f *folder) Remove(name string) error     { return f.root.Remove(name) }
func (f *folder) Sync() error                  { return f.self.Sync() }

func (f *folder) Names() ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

func (f *folder) Close() error {
	err := f.root.Close()
	if f.self != nil {
		err = errors.Join(err, f.self.Close())
	}
	return err
}
