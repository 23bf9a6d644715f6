package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Limits of what is read.
const (
	maxDir   = 16 << 20 // bytes of a directory
	maxLinks = 40       // symbolic links on the way to a file, as in the kernel
	maxPath  = 4096     // bytes of a path or a link's target
	maxWalk  = 64 << 20 // bytes of directories on the way to a file
)

// Info is about a file or directory.
type Info struct {
	Size int64
	Dir  bool
}

// entry is a name in a directory.
type entry struct {
	name  string
	inode uint32
}

// list reads a directory. One with a hash tree is a list, too: its inner nodes look like empty entries.
func (f *FS) list(i *inode) ([]entry, error) {
	b, err := f.content(i, maxDir)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for start := int64(0); start < int64(len(b)); start += f.block {
		block := b[start:min(start+f.block, int64(len(b)))]
		for at := 0; at+8 <= len(block); {
			n, name := int(le.Uint16(block[at+4:])), int(block[at+6])
			if f.block == 64<<10 && (n == 0 || n == 0xffff) {
				n = 64 << 10
			}
			if n < 8+name || n%4 != 0 || at+n > len(block) {
				return nil, fmt.Errorf("the directory has an entry of %d bytes at byte %d", n, start+int64(at))
			}
			if inode := le.Uint32(block[at:]); inode != 0 && name > 0 {
				entries = append(entries, entry{string(block[at+8:][:name]), inode})
			}
			at += n
		}
	}
	return entries, nil
}

// walk follows a path from the root, links included.
func (f *FS) walk(path string) (*inode, error) {
	todo := split(path)
	var stack []*inode // the directories that lead to where we are
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	at, links, work := root, 0, int64(0)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch {
		case at.mode&typeMask != typeDir:
			return nil, fs.ErrNotExist
		case name == ".":
			continue
		case name == "..":
			if n := len(stack); n > 0 {
				at, stack = stack[n-1], stack[:n-1]
			}
			continue
		}
		if work += at.size; work > maxWalk {
			return nil, errors.New("the directories on the way are too long")
		}
		entries, err := f.list(at)
		if err != nil {
			return nil, err
		}
		found := uint32(0)
		for _, e := range entries {
			if e.name == name {
				found = e.inode
				break
			}
		}
		if found == 0 {
			return nil, fs.ErrNotExist
		}
		next, err := f.inode(found)
		if err != nil {
			return nil, err
		}
		if next.mode&typeMask != typeLink {
			stack, at = append(stack, at), next
			continue
		}
		if links++; links > maxLinks {
			return nil, errors.New("too many symbolic links")
		}
		target, err := f.target(next)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			at, stack = root, nil
		}
		if todo = append(split(target), todo...); len(todo) > maxPath {
			return nil, errors.New("the path is too long")
		}
	}
	return at, nil
}

// target is what a link leads to. A short one lies in the inode.
func (f *FS) target(i *inode) (string, error) {
	if i.size < int64(len(i.where)) && i.flags&flagExtents == 0 {
		return string(i.where[:i.size]), nil
	}
	b, err := f.content(i, maxPath)
	return string(b), err
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// Stat tells about a file or directory, links followed. The error wraps [fs.ErrNotExist] where there is none.
func (f *FS) Stat(path string) (Info, error) {
	i, err := f.walk(path)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	return Info{i.size, i.mode&typeMask == typeDir}, nil
}

// ReadFile reads a file of at most limit bytes, links followed.
func (f *FS) ReadFile(path string, limit int64) ([]byte, error) { return f.read(path, limit, false) }

// ReadHead reads the first n bytes of a file, or all if there are fewer, links followed.
func (f *FS) ReadHead(path string, n int64) ([]byte, error) { return f.read(path, n, true) }

func (f *FS) read(path string, limit int64, head bool) ([]byte, error) {
	i, err := f.walk(path)
	if err == nil && i.mode&typeMask != typeFile {
		err = errors.New("it is no regular file")
	}
	var b []byte
	if err == nil {
		if head {
			i.size = min(i.size, limit)
		}
		b, err = f.content(i, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// ReadDir is the names in a directory, without "." and "..", in no order.
func (f *FS) ReadDir(path string) ([]string, error) {
	i, err := f.walk(path)
	if err == nil && i.mode&typeMask != typeDir {
		err = errors.New("it is no directory")
	}
	var entries []entry
	if err == nil {
		entries, err = f.list(i)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.name != "." && e.name != ".." {
			names = append(names, e.name)
		}
	}
	return names, nil
}
