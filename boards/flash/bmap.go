package flash

import (
	"bytes"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"

	"bimamba/boards/internal/bmap"
)

// findBmap looks for the block map that belongs to an image: its name, or its name without .xz, .gz or .img, with .bmap behind. "" means none.
func findBmap(image string) string {
	for base := image; ; {
		if st, err := os.Stat(base + bmap.Ext); err == nil && st.Mode().IsRegular() {
			return base + bmap.Ext
		}
		switch ext := filepath.Ext(base); ext {
		case ".xz", ".gz", ".img":
			base = strings.TrimSuffix(base, ext)
		default:
			return ""
		}
	}
}

// bmapCheck checks an image against its block map while it is read.
type bmapCheck struct {
	left []bmap.Range // those that do not end before what was read
	h    hash.Hash
}

// next takes the bytes of the image at off, which follow those before, and says which of them are to be written.
func (c *bmapCheck) next(b []byte, off int64) ([]part, error) {
	var parts []part
	at, end := off, off+int64(len(b))
	for at < end {
		if len(c.left) == 0 || c.left[0].Start >= end {
			return parts, c.unmapped(b[at-off:], at)
		}
		r := c.left[0]
		if r.Start > at {
			if err := c.unmapped(b[at-off:r.Start-off], at); err != nil {
				return nil, err
			}
			at = r.Start
		}
		stop := min(r.End, end)
		c.h.Write(b[at-off : stop-off])
		parts = append(parts, part{int(at - off), int(stop - off)})
		at = stop
		if at == r.End {
			if !bytes.Equal(c.h.Sum(nil), r.Sum[:]) {
				return nil, fmt.Errorf("bytes %d to %d of the image are not those of the block map: the image is damaged, or was changed and the map is to be removed", r.Start, r.End-1)
			}
			c.h.Reset()
			c.left = c.left[1:]
		}
	}
	return parts, nil
}

// unmapped refuses data that the map would leave out: the map is of the image before it was changed.
func (c *bmapCheck) unmapped(b []byte, off int64) error {
	if i := firstNonZero(b); i >= 0 {
		return fmt.Errorf("byte %d of the image is used, and the block map leaves it out: the map is of another image", off+int64(i))
	}
	return nil
}

var zeros [4096]byte

// firstNonZero is the place of the first byte that is not 0; -1 if there is none.
func firstNonZero(b []byte) int {
	for i := 0; i < len(b); i += len(zeros) {
		p := b[i:min(i+len(zeros), len(b))]
		if bytes.Equal(p, zeros[:len(p)]) {
			continue
		}
		for j, c := range p {
			if c != 0 {
				return i + j
			}
		}
	}
	return -1
}
