package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/boards/internal/regular"
)

// attr is a file of sysfs that stays open: reading it again is one system call and takes no memory,
// and goes on when the process has since lost the right to open it.
type attr struct {
	root fs.FS
	path string
	f    fs.File
	at   io.ReaderAt // nil for a file system without it: the file is opened anew
	buf  [128]byte
}

func openAttr(root fs.FS, name string) (*attr, error) {
	f, err := regular.Open(root, name)
	if err != nil {
		return nil, reason(err)
	}
	at, _ := f.(io.ReaderAt)
	return &attr{root: root, path: name, f: f, at: at}, nil
}

// line returns the file's only line without its newline. Without a newline it was cut off.
func (a *attr) line() ([]byte, error) {
	var n int
	var err error
	if a.at != nil {
		n, err = a.at.ReadAt(a.buf[:], 0)
	} else {
		var f fs.File
		if f, err = regular.Open(a.root, a.path); err == nil {
			n, err = io.ReadFull(f, a.buf[:])
			f.Close()
		}
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, reason(err)
	}
	b, ok := bytes.CutSuffix(a.buf[:n], []byte{'\n'})
	switch {
	case n == 0:
		return nil, fmt.Errorf("/%s is empty", a.path)
	case !ok:
		return nil, fmt.Errorf("/%s: %s does not end with a newline: it is cut off", a.path, quoted(a.buf[:n]))
	case bytes.IndexByte(b, '\n') >= 0:
		return nil, fmt.Errorf("/%s has more than one line", a.path)
	}
	return b, nil
}

// int reads an integer within low and high.
func (a *attr) int(low, high int64) (int64, error) {
	b, err := a.line()
	if err != nil {
		return 0, err
	}
	v, ok := integer(b)
	if !ok {
		return 0, fmt.Errorf("/%s: %s is no integer", a.path, quoted(b))
	}
	if v < low || v > high {
		return 0, fmt.Errorf("/%s: %d is not within %d and %d", a.path, v, low, high)
	}
	return v, nil
}

func (a *attr) Close() error { return a.f.Close() }

// attrs are closed together.
type attrs []*attr

func (as *attrs) open(root fs.FS, name string) (*attr, error) {
	a, err := openAttr(root, name)
	if err == nil {
		*as = append(*as, a)
	}
	return a, err
}

func (as attrs) Close() error {
	var errs []error
	for _, a := range as {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// text reads a name or a label once.
func text(root fs.FS, name string) (string, error) {
	a, err := openAttr(root, name)
	if err != nil {
		return "", err
	}
	defer a.Close()
	b, err := a.line()
	if err == nil && bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return "", fmt.Errorf("/%s: %s is no name", name, quoted(b))
	}
	return string(b), err
}

// reason says where and why a file cannot be read, as an absolute path.
func reason(err error) error {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	if path.IsAbs(p.Path) {
		return err
	}
	return &fs.PathError{Op: p.Op, Path: "/" + p.Path, Err: p.Err}
}

// entries lists the names in dir that begin with prefix, in rising order, at most 256.
func entries(root fs.FS, dir, prefix string) []string {
	var names []string
	list, _ := fs.ReadDir(root, dir) // what it could read; a missing folder has nothing
	for _, e := range list {
		if strings.HasPrefix(e.Name(), prefix) && len(names) < 256 {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names
}

func exists(root fs.FS, name string) bool {
	_, err := fs.Stat(root, name)
	return err == nil
}
