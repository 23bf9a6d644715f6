package sign

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is the size of fs-verity's blocks, of the file and of the tree: the default of every kernel, and the only one of kernels before 6.3.
const block = 4096

// Digest is the fs-verity digest of size bytes of r (Documentation/filesystems/fsverity.rst in Linux): SHA-256 over a descriptor with the root of a Merkle tree over
// blocks of 4,096 bytes, without a salt. It does not depend on the file system.
func Digest(r io.Reader, size int64) ([]byte, error) {
	// levels[0] is the hashes of the file's blocks that have not filled a block yet, levels[1] the hashes of those blocks, and so on.
	var levels [][]byte
	var add func(level int, hash []byte)
	add = func(level int, hash []byte) {
		if level == len(levels) {
			levels = append(levels, nil)
		}
		levels[level] = append(levels[level], hash...)
		if len(levels[level]) == block {
			sum := sha256.Sum256(levels[level])
			levels[level] = levels[level][:0]
			add(level+1, sum[:])
		}
	}
	buf := make([]byte, block)
	blocks := int64(0)
	for left := size; left > 0; left -= block {
		n := min(left, block)
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return nil, err
		}
		clear(buf[n:])
		sum := sha256.Sum256(buf)
		add(0, sum[:])
		blocks++
	}
	root := make([]byte, sha256.Size)
	for level := 0; level < len(levels); level++ {
		top := level == len(levels)-1
		if top && len(levels[level]) == sha256.Size { // one hash: the root
			copy(root, levels[level])
			break
		}
		if len(levels[level]) == 0 {
			continue
		}
		clear(buf[copy(buf, levels[level]):])
		sum := sha256.Sum256(buf)
		levels[level] = levels[level][:0]
		add(level+1, sum[:])
	}
	var d [256]byte // struct fsverity_descriptor
	d[0], d[1], d[2] = 1, 1, 12
	binary.LittleEndian.PutUint64(d[8:], uint64(size))
	copy(d[16:], root)
	sum := sha256.Sum256(d[:])
	return sum[:], nil
}

// ErrNoVerity is returned where the file system, the kernel or the file has no fs-verity.
var ErrNoVerity = errors.New("no fs-verity")

const (
	ioEnable  = 0x40806685 // FS_IOC_ENABLE_VERITY
	ioMeasure = 0xc0046686 // FS_IOC_MEASURE_VERITY
	sha256ID  = 1          // FS_VERITY_HASH_ALG_SHA256
)

// Enable makes the kernel check every page of a file from now on, and refuse every write to it. Nobody may have it open for writing.
func Enable(name string) error {
	arg := struct {
		version, hash, block, saltSize uint32
		salt                           uint64
		sigSize, _                     uint32
		sig                            uint64
		_                              [11]uint64
	}{version: 1, hash: sha256ID, block: block}
	return verityCall(name, ioEnable, unsafe.Pointer(&arg))
}

// Measured is the digest that the kernel holds a file to.
func Measured(name string) ([]byte, error) {
	arg := struct {
		algorithm, size uint16
		digest          [64]byte
	}{size: 64}
	if err := verityCall(name, ioMeasure, unsafe.Pointer(&arg)); err != nil {
		return nil, err
	}
	if arg.algorithm != sha256ID || arg.size != sha256.Size {
		return nil, fmt.Errorf("%s: its fs-verity digest is not SHA-256 (algorithm %d)", name, arg.algorithm)
	}
	return arg.digest[:arg.size], nil
}

func verityCall(name string, request uintptr, arg unsafe.Pointer) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	switch e {
	case 0:
		return nil
	case unix.ENODATA, unix.ENOTTY, unix.EOPNOTSUPP, unix.ENOSYS:
		return fmt.Errorf("%s: %w: %w", name, ErrNoVerity, e)
	}
	return fmt.Errorf("%s: fs-verity: %w", name, e)
}
