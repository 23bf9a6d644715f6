package memmap

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// FaultError reports that bytes were not there: the file was cut short, or its storage failed, after Open.
type FaultError struct {
	File   string
	Tensor string // "" where the offset lies in no tensor
	Offset uint64 // of the byte that was touched or the block that was read, from the start of the file
	Err    error  // why it could not be read; nil where mapped bytes were touched
}

func (e *FaultError) Unwrap() error { return e.Err }

func (e *FaultError) Error() string {
	where := "the manifest or padding"
	if e.Tensor != "" {
		where = fmt.Sprintf("tensor %q", e.Tensor)
	}
	if e.Err != nil {
		where += fmt.Sprintf(" (%v)", e.Err)
	}
	return fmt.Sprintf("%s: offset %d, in %s, can no longer be read: the file was cut short or its storage failed; put it back and open it again", e.File, e.Offset, where)
}

// Guard runs fn, which may touch mapped bytes of f on the calling goroutine, and turns a page fault on them
// into a *FaultError. Other panics pass. It costs nothing per byte.
func (f *File) Guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		r := recover()
		if r == nil {
			return
		}
		off, ok := f.faultOffset(r)
		if !ok {
			panic(r)
		}
		err = &FaultError{File: f.name, Tensor: f.tensorAt(off), Offset: off}
	}()
	return fn()
}

// faultOffset is the offset of the mapped byte whose touch made fn panic with r.
func (f *File) faultOffset(r any) (uint64, bool) {
	e, ok := r.(runtime.Error)
	if !ok {
		return 0, false
	}
	// The runtime's memory errors carry the address that was touched.
	if a, ok := e.(interface{ Addr() uintptr }); ok {
		return f.contains(a.Addr())
	}
	// Where the address was lost (QEMU's user emulation reports 0 for SIGBUS), it looks like a nil pointer;
	// a file that has become shorter than its mapping tells the two apart.
	if !strings.Contains(e.Error(), "invalid memory address") {
		return 0, false
	}
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil || st.Size >= int64(len(f.data)) {
		return 0, false
	}
	return uint64(st.Size), true
}

// tensorAt names the tensor that holds the byte at off.
func (f *File) tensorAt(off uint64) string {
	for i := range f.manifest.Sections {
		s := &f.manifest.Sections[i]
		if off < s.Offset || off-s.Offset >= s.Length {
			continue
		}
		for j := range s.Tensors {
			if t := &s.Tensors[j]; off >= t.Offset && off-t.Offset < t.Length {
				return t.Name
			}
		}
	}
	return ""
}
