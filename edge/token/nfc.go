package token

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining characters in a row package norm composes for certain: it breaks runs of more than 30
// with U+034F (Unicode's Stream-Safe Text Format, which is not NFC), and one of them is up to 3 when it is decomposed.
const maxMarks = 8

// nfc is the normalization form C of s. Bytes that are not UTF-8 stay.
func nfc(s string) string {
	run := 0
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			run = 0
			i++
			continue
		}
		p := norm.NFD.PropertiesString(s[i:])
		if run++; p.CCC() == 0 {
			run = 0
		}
		if run > maxMarks {
			return composeLong(s)
		}
		i += max(1, p.Size())
	}
	return norm.NFC.String(s)
}

// char is a character with its canonical combining class. A byte b that is not UTF-8 is the character -1-b.
type char struct {
	r   rune
	ccc uint8
}

// composeLong is NFC as the standard defines it (Unicode, 3.11), for runs of any length.
func composeLong(s string) string {
	var chars []char
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			chars = append(chars, char{r: -1 - rune(s[i])})
		} else {
			for _, d := range norm.NFD.String(s[i : i+n]) {
				chars = append(chars, char{d, norm.NFD.PropertiesString(string(d)).CCC()})
			}
		}
		i += n
	}
	for i := 0; i < len(chars); i++ {
		begin := i
		for i < len(chars) && chars[i].ccc != 0 {
			i++
		}
		slices.SortStableFunc(chars[begin:i], func(x, y char) int { return int(x.ccc) - int(y.ccc) })
	}

	out := chars[:0] // never longer than what has been read
	starter := -1
	for _, c := range chars {
		if last := len(out) - 1; starter >= 0 && (last == starter || out[last].ccc < c.ccc) {
			if r, ok := compose(out[starter].r, c.r); ok {
				out[starter].r = r
				continue
			}
		}
		if c.ccc == 0 {
			starter = len(out)
		}
		out = append(out, c)
	}
	var b []byte
	for _, c := range out {
		if c.r < 0 {
			b = append(b, byte(-1-c.r))
		} else {
			b = utf8.AppendRune(b, c.r)
		}
	}
	return string(b)
}

// compose is the character that two make together.
func compose(a, b rune) (rune, bool) {
	if a < 0 || b < 0 {
		return 0, false
	}
	s := norm.NFC.String(string([]rune{a, b}))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}
