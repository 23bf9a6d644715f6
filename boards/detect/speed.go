package detect

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Speed is how fast something was read.
type Speed struct {
	BytesPerSecond float64       `json:"bytes_per_s"`
	Bytes          int64         `json:"bytes"` // that were read
	Took           time.Duration `json:"took_ns"`
}

const (
	speedBlock = 1 << 20        // bytes of a read: more than any device needs to be at its full speed
	speedLeast = 4 * speedBlock // less says more about the clock than about the storage
)

// ReadSpeed measures how fast the storage below a file delivers it: it reads from the front past the page cache (O_DIRECT), as long as budget at most or up to
// limit bytes. It fails where that is not possible, and for files of less than 4 MiB.
func ReadSpeed(name string, limit int64, budget time.Duration) (*Speed, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("%s: its file system has no reading past the cache", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, speedBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned, as direct reading asks for
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(buf)
	s := &Speed{}
	start := time.Now()
	for s.Bytes < limit && s.Took < budget {
		n, err := unix.Pread(fd, buf, s.Bytes)
		s.Took = time.Since(start)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: offset %d: %w", name, s.Bytes, err)
		}
		s.Bytes += int64(n)
		if n < len(buf) {
			break
		}
	}
	if s.Bytes < speedLeast || s.Took <= 0 {
		return nil, fmt.Errorf("%s: %d bytes are too few to time", name, s.Bytes)
	}
	s.BytesPerSecond = float64(s.Bytes) / s.Took.Seconds()
	return s, nil
}
