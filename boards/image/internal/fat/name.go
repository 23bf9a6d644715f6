package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// checkName says why a name cannot be made.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is no UTF-8", name)
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name", name)
	case len(utf16.Encode([]rune(name))) > 255:
		return fmt.Errorf("the name %.20q... has more than 255 characters", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("the name %q ends in a dot or space, or starts with one", name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("the name %q has %q in it, which FAT cannot have", name, r)
		}
	}
	return nil
}

// shorten makes the short name of a new entry of d, and says whether a long one has to stand beside it.
func (d *dir) shorten(name string) (short [11]byte, long bool) {
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		base, ext = name[:i], name[i+1:]
	}
	b, lossy := shortChars(base)
	x, lossyExt := shortChars(ext)
	lossy = lossy || lossyExt || len(b) > 8 || len(x) > 3
	x = x[:min(len(x), 3)]
	taken := make(map[[11]byte]bool, len(d.entries))
	for _, e := range d.entries {
		taken[e.short] = true
	}
	if !lossy {
		if short = pack(b, x); !taken[short] {
			full := b
			if x != "" {
				full += "." + x
			}
			return short, full != name
		}
	}
	if b == "" {
		b = "_"
	}
	for n := 1; ; n++ { // a directory has fewer entries than there are numbers
		tail := fmt.Sprintf("~%d", n)
		if short = pack(b[:min(len(b), 8-len(tail))]+tail, x); !taken[short] {
			return short, true
		}
	}
}

func pack(base, ext string) [11]byte {
	s := [11]byte(bytes.Repeat([]byte{' '}, 11))
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// shortChars are the characters of a name in those of short names.
func shortChars(s string) (short string, lossy bool) {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z':
			b.WriteRune(r - 'a' + 'A')
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x7f && strings.ContainsRune("!#$%&'()-@^_`{}~", r):
			b.WriteRune(r)
		case r == ' ' || r == '.':
			lossy = true
		default:
			b.WriteByte('_')
			lossy = true
		}
	}
	return b.String(), lossy
}

// longSlots are the slots of a long name, in the order of the disk.
func longSlots(name string, short [11]byte) []byte {
	units := utf16.Encode([]rune(name))
	n := (len(units) + 12) / 13
	if len(units) < 13*n {
		units = append(units, 0)
	}
	for len(units) < 13*n {
		units = append(units, 0xffff)
	}
	b := make([]byte, n*slotSize)
	for part := range n {
		s := b[(n-1-part)*slotSize:][:slotSize]
		s[0] = byte(part + 1)
		if part == n-1 {
			s[0] |= 0x40
		}
		s[11], s[13] = attrLong, checksum(short)
		u := units[part*13:]
		for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
			for i := r[0]; i < r[1]; i += 2 {
				binary.LittleEndian.PutUint16(s[i:], u[0])
				u = u[1:]
			}
		}
	}
	return b
}
