package state

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
	"sync"
	"syscall"
	"time"
)

const (
	suffix     = ".state"
	tempPrefix = ".saving-" // no name begins with a dot
	nameRule   = "1 to 64 of a-z, 0-9, dot, underscore and hyphen, the first not a dot"
)

// CheckName says, as an *Error that wraps ErrName, why name cannot be a snapshot's.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 64 && name[0] != '.'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return &Error{Kind: ErrName, Name: name, What: "not a name: " + nameRule}
	}
	return nil
}

// Limits of a Dir; 0 is none.
type Limits struct {
	Files int   // snapshots
	Bytes int64 // of all snapshots together; while one is replaced, the new file comes on top until the old one goes
}

// Dir is a folder of snapshots, NAME.state each. Its methods may be called from several goroutines; Close must be the last.
type Dir struct {
	root   *os.Root
	limits Limits
	saving sync.Mutex                  // one Save at a time: limits hold, and a slow disk writes one file after the other
	wrap   func(w io.Writer) io.Writer // tests put a failing disk here
}

// OpenDir opens the folder at path, which it makes (mode 0700) if it is missing, and removes what killed processes left half saved.
func OpenDir(path string, limits Limits) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("folder of snapshots: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("folder of snapshots: %w", err)
	}
	d := &Dir{root: root, limits: limits, wrap: func(w io.Writer) io.Writer { return w }}
	if err := d.prepare(); err != nil {
		root.Close()
		return nil, fmt.Errorf("folder of snapshots %s: %w", filepath.Clean(path), err)
	}
	return d, nil
}

// prepare refuses a folder that others may write to and removes leftovers.
func (d *Dir) prepare() error {
	st, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %v); chmod 700 it", st.Mode().Perm())
	}
	entries, err := d.entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		f, err := d.root.Open(e.Name())
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			f.Close()
		}
		if errors.Is(err, syscall.EWOULDBLOCK) { // another process is at it
			continue
		}
		if err := d.root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// entries is all that lies in the folder, by name.
func (d *Dir) entries() ([]fs.DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// Close closes the folder.
func (d *Dir) Close() error { return d.root.Close() }

// Save writes s under name and replaces what was there. When it returns nil, the file is whole and on the disk; after an error, what was
// there is still there (but where only the folder could not be synced, which the error says): ErrName, ErrTooMany, ErrNoSpace or a failing disk. The memory that s aliases must not change meanwhile.
func (d *Dir) Save(name string, s *Snapshot) error {
	if err := CheckName(name); err != nil {
		return err
	}
	p, _, err := s.plan()
	if err != nil {
		return named(name, err)
	}
	d.saving.Lock()
	defer d.saving.Unlock()
	if err := d.room(name, int64(p.fileLen)); err != nil {
		return named(name, err)
	}
	return named(name, d.replace(name, s))
}

// room checks the limits for a file of size bytes.
func (d *Dir) room(name string, size int64) error {
	files, err := d.files()
	if err != nil {
		return failed("listing the folder", err)
	}
	n, total := 1, size
	for _, f := range files {
		if f.Name() != name+suffix {
			n++
			total += f.Size()
		}
	}
	switch {
	case d.limits.Files > 0 && n > d.limits.Files:
		return &Error{Kind: ErrTooMany, What: fmt.Sprintf("it would be the %dth snapshot of %d; delete one", n, d.limits.Files)}
	case d.limits.Bytes > 0 && total > d.limits.Bytes:
		return &Error{Kind: ErrTooMany, What: fmt.Sprintf("its %d bytes would make all snapshots %d bytes, more than %d; delete one", size, total, d.limits.Bytes)}
	}
	return nil
}

func (d *Dir) replace(name string, s *Snapshot) (err error) {
	temp := tempPrefix + rand.Text()
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed("making its file", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			d.root.Remove(temp)
		}
	}()
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX) // keeps another OpenDir away; a file system without locks is used by one process
	if err := Write(d.wrap(f), s); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return failed("syncing its file", err)
	}
	if err := d.root.Rename(temp, name+suffix); err != nil {
		return failed("naming its file", err)
	}
	return d.sync()
}

// sync makes names durable.
func (d *Dir) sync() error {
	f, err := d.root.Open(".")
	if err == nil {
		err = f.Sync()
		f.Close()
	}
	if err != nil {
		return failed("syncing the folder", err)
	}
	return nil
}

// Load reads the snapshot called name as Read does: ErrName, ErrNotFound, ErrModel, ErrVersion, ErrDamaged, ErrTooMany or a failing disk.
func (d *Dir) Load(name string, want Expect, dst *Snapshot) error {
	if err := CheckName(name); err != nil {
		return err
	}
	f, err := d.open(name)
	if err != nil {
		return named(name, err)
	}
	defer f.Close()
	return named(name, Read(f, want, dst))
}

// open opens a regular file, and nothing else that may lie there under its name.
func (d *Dir) open(name string) (*os.File, error) {
	st, err := d.root.Lstat(name + suffix)
	if err != nil {
		return nil, missing("opening it", err)
	}
	if !st.Mode().IsRegular() {
		return nil, damaged("no regular file (%s); remove it from the folder", st.Mode().Type())
	}
	f, err := d.root.Open(name + suffix)
	if err != nil {
		return nil, missing("opening it", err)
	}
	return f, nil
}

// Delete removes the snapshot called name for good: ErrName, ErrNotFound or a failing disk.
func (d *Dir) Delete(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := d.root.Remove(name + suffix); err != nil {
		return named(name, missing("removing it", err))
	}
	return named(name, d.sync())
}

// Info is one line of a list.
type Info struct {
	Name     string
	Bytes    int64 // length of the file
	Modified time.Time
	Header   Header // zero where the header cannot be read
	Err      error  // why Load would refuse the snapshot, as far as its header tells; nil: it is of this model
}

// List is all snapshots by their names, with what their headers say.
func (d *Dir) List(want Expect) ([]Info, error) {
	files, err := d.files()
	if err != nil {
		return nil, failed("listing the folder", err)
	}
	var list []Info
	for _, st := range files {
		in := Info{Name: strings.TrimSuffix(st.Name(), suffix), Bytes: st.Size(), Modified: st.ModTime()}
		in.Err = named(in.Name, d.head(&in, want))
		if !errors.Is(in.Err, ErrNotFound) { // deleted just now
			list = append(list, in)
		}
	}
	return list, nil
}

func (d *Dir) head(in *Info, want Expect) error {
	f, err := d.open(in.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := newReader(f).header(&in.Header)
	if err != nil {
		in.Header = Header{} // half of one may be there
		return err
	}
	if int64(p.fileLen) != in.Bytes {
		return damaged("offset 24: it says that it has %d bytes and has %d; delete it and save it again", p.fileLen, in.Bytes)
	}
	return want.Check(&in.Header)
}

// files is the regular files of the folder that have a snapshot's name, sorted.
func (d *Dir) files() ([]fs.FileInfo, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !e.Type().IsRegular() || CheckName(name) != nil {
			continue
		}
		st, err := d.root.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, st)
	}
	return files, nil
}
