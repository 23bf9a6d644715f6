package memmap

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// DirectAlign is what the memory that [Direct.Read] fills is aligned to, and a multiple of: the largest block of any storage that O_DIRECT has to ask for whole.
const DirectAlign = 4096

// Direct reads sections of a blob around the page cache (O_DIRECT of open(2)): what was read once is not kept, and is not charged to the process's control
// group, which pages of a mapping are until they are dropped. Where a file system has no such reads, it reads as usual and drops the pages right away.
// Its methods may be called from several goroutines; Close must be the last.
type Direct struct {
	file     *File
	fd       int
	buffered atomic.Bool
}

// Direct opens the file of f once more. It fails if another file has its name by now.
func (f *File) Direct() (*Direct, error) {
	fail := func(err error) (*Direct, error) {
		return nil, fmt.Errorf("%s: opening it to read layers: %w", f.name, err)
	}
	d := &Direct{file: f}
	var err error
	d.fd, err = unix.Open(f.name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		d.buffered.Store(true)
		d.fd, err = unix.Open(f.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fail(err)
	}
	var here, there unix.Stat_t
	if err := errors.Join(unix.Fstat(f.fd, &here), unix.Fstat(d.fd, &there)); err != nil {
		d.Close()
		return fail(err)
	}
	if here.Dev != there.Dev || here.Ino != there.Ino {
		d.Close()
		return fail(errors.New("another file has its name now; open that one"))
	}
	if verified(d.fd) {
		d.buffered.Store(true)
	}
	return d, nil
}

// verified tells whether the kernel checks the file's pages (fs-verity). It then reads through the page cache, whatever the flags say (Linux:
// Documentation/filesystems/fsverity.rst).
func verified(fd int) bool {
	var st unix.Statx_t
	return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st) == nil && st.Attributes&unix.STATX_ATTR_VERITY != 0
}

// Close must not be called while a Read is under way.
func (d *Direct) Close() error { return unix.Close(d.fd) }

// Buffered tells whether reads go through the page cache, because the file system has no others.
func (d *Direct) Buffered() bool { return d.buffered.Load() }

// DirectSize is the size of the memory that Read fills with a section of length n.
func DirectSize(n uint64) int64 { return int64(alignUp(n, DirectAlign)) }

// Read fills buf, of DirectSize(s.Length) bytes aligned to DirectAlign, with section s and what follows it. A section that cannot be read is a *FaultError.
func (d *Direct) Read(s *Section, buf []byte) error {
	for done := uint64(0); done < s.Length; {
		// Behind an interrupted read, which ends anywhere, this one starts at a whole block again.
		done &^= DirectAlign - 1
		n, err := unix.Pread(d.fd, buf[done:], int64(s.Offset+done))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EINVAL) && !d.buffered.Load():
			if err := d.fallBack(); err != nil {
				return fmt.Errorf("%s: %w", d.file.name, err)
			}
			continue
		case err == nil && n < DirectAlign && done+uint64(n) < s.Length:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			at := s.Offset + done
			return &FaultError{File: d.file.name, Tensor: d.file.tensorAt(at), Offset: at, Err: err}
		}
		done += uint64(n)
	}
	if d.buffered.Load() {
		unix.Fadvise(d.fd, int64(s.Offset), DirectSize(s.Length), unix.FADV_DONTNEED) // advice: what the kernel keeps costs memory, not truth
	}
	return nil
}

// fallBack goes on without O_DIRECT, which some file systems take at open and refuse at the first read.
func (d *Direct) fallBack() error {
	flags, err := unix.FcntlInt(uintptr(d.fd), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(d.fd), unix.F_SETFL, flags&^unix.O_DIRECT)
	}
	if err != nil {
		return fmt.Errorf("reading through the page cache: %w", err)
	}
	d.buffered.Store(true)
	return nil
}
