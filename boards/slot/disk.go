package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// disk changes files in steps, each of which is one system call that changes what a power cut would leave behind. Paths are relative to dir.
//
// It is not package atomicfile: names of temporary files are fixed, so that whatever is left of a cut is replaced by the next try, and there are
// symbolic links and tests that stop at each step.
type disk struct {
	dir  string
	step func(op, path string) error // tests: called before each step; its error is the step's
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *disk) do(op, name string, fn func(path string) error) error {
	if d.step != nil {
		if err := d.step(op, name); err != nil {
			return err
		}
	}
	if err := fn(d.path(name)); err != nil {
		var pe *fs.PathError
		var le *os.LinkError
		if errors.As(err, &pe) || errors.As(err, &le) {
			return err
		}
		return &fs.PathError{Op: op, Path: d.path(name), Err: err}
	}
	return nil
}

// mkdir makes a folder and those above it, down from dir.
func (d *disk) mkdir(name string) error {
	if _, err := os.Stat(d.path(name)); err == nil {
		return nil
	}
	if name == "." {
		return d.do("mkdir", name, func(p string) error {
			if err := os.MkdirAll(p, 0o755); err != nil {
				return err
			}
			return os.Chmod(p, 0o755) // as below
		})
	}
	if err := d.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	err := d.do("mkdir", name, func(p string) error {
		if err := os.Mkdir(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Chmod(p, 0o755) // whatever the umask is: the daemon's user has to read it
	})
	return errors.Join(err, d.sync(filepath.Dir(name)))
}

// sync makes the names in a folder durable, or a file's content.
func (d *disk) sync(name string) error {
	return d.do("sync", name, func(p string) error {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// rename gives a durable file or a link another name, durably. Both are in one folder.
func (d *disk) rename(from, to string) error {
	if err := d.do("rename", to, func(p string) error { return os.Rename(d.path(from), p) }); err != nil {
		return err
	}
	return d.sync(filepath.Dir(to))
}

// remove removes a name durably; it may be missing.
func (d *disk) remove(name string) error {
	if _, err := os.Lstat(d.path(name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.do("remove", name, os.Remove); err != nil {
		return err
	}
	return d.sync(filepath.Dir(name))
}

// write makes a file that is durable under its name, for a rename.
func (d *disk) write(name string, b []byte, mode fs.FileMode) error {
	err := d.do("write", name, func(p string) error {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return errors.Join(err, f.Chmod(mode), f.Close())
	})
	if err != nil {
		return err
	}
	return d.sync(name)
}

// replace makes a file appear whole or not at all.
func (d *disk) replace(name string, b []byte, mode fs.FileMode) error {
	temp := name + ".new"
	if err := d.write(temp, b, mode); err != nil {
		return err
	}
	return d.rename(temp, name)
}

// symlink makes a symbolic link, in the place of one that is left over.
func (d *disk) symlink(target, name string) error {
	if err := d.remove(name); err != nil {
		return err
	}
	if err := d.do("symlink", name, func(p string) error { return os.Symlink(target, p) }); err != nil {
		return err
	}
	return d.sync(filepath.Dir(name))
}

// link gives a file a second name, in the place of one that is left over.
func (d *disk) link(from, to string) error {
	if err := d.remove(to); err != nil {
		return err
	}
	return d.do("link", to, func(p string) error { return os.Link(d.path(from), p) })
}

// removeAll removes a folder with what is in it.
func (d *disk) removeAll(name string) error { return d.do("removeAll", name, os.RemoveAll) }

// free is how many bytes can still be written, those that the file system keeps for root left out.
func (d *disk) free() (int64, error) {
	var st unix.Statfs_t
	dir := d.dir
	err := unix.Statfs(dir, &st)
	for err == unix.ENOENT && filepath.Dir(dir) != dir { // there is no store yet
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// flock locks a file, which is made if it is missing and holds text afterwards. With wait it waits; else a file that is locked is errLocked.
func (d *disk) flock(name, text string, wait bool) (unlock func(), err error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EWOULDBLOCK {
		err = errLocked
	}
	if err == nil && text != "" {
		err = errors.Join(f.Truncate(0), writeAt(f, []byte(text)))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func writeAt(f *os.File, b []byte) error { _, err := f.WriteAt(b, 0); return err }

var errLocked = errors.New("locked")

// full adds to an error of a full disk what to do.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: what came is kept; make room on the board (`bimamba slot prune --keep 1`), and deploy again", err)
	}
	return err
}
