package token

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/memmap"
)

// Encode appends the token ids of text to dst. Texts of added tokens, special ones too, become those tokens. No BOS is added.
// A byte-level tokenizer takes bytes that are not UTF-8 as they are; others take each as U+FFFD.
func (t *Tokenizer) Encode(dst []uint32, text string) []uint32 {
	return t.EncodePart(dst, text, true, true)
}

// EncodePlain is Encode for text that is not to be trusted: special tokens are not recognised in it.
func (t *Tokenizer) EncodePlain(dst []uint32, text string) []uint32 {
	return t.EncodePart(dst, text, true, false)
}

// EncodePart encodes a part of a text behind the tokens dst: whether it is the first part, which some tokenizers put a space in front of, and
// whether texts of special tokens become those tokens. Nothing is merged across parts.
func (t *Tokenizer) EncodePart(dst []uint32, text string, first, special bool) []uint32 {
	if text == "" {
		return dst
	}
	s := t.scratch.Get().(*scratch)
	defer t.scratch.Put(s)
	if !t.info.ByteLevel {
		text = eachByteValid(text)
	}
	if t.info.TrimSpaces {
		text = trimSpaces(text)
	}
	if t.info.Prefix == memmap.PrefixText && text != "" && first {
		text = t.prefixed(text)
	}
	// Tokens that are not normalized are looked for in the raw text, the others behind the normalizer.
	inner := !first && (len(dst) == 0 || !t.isAdded(dst[len(dst)-1])) // in a stretch that began in the part before: nothing is put in front of it
	t.cut(text, special, false, func(id uint32, part string) {
		if part == "" {
			dst, first, inner = append(dst, id), false, false
			return
		}
		if !t.info.ByteLevel {
			part = strings.ReplaceAll(part, "\u2581", " ")
		}
		if t.info.Normalizer == memmap.NormalizerNFC {
			part = nfc(part)
		}
		if t.info.Prefix == memmap.PrefixNormalized && !inner {
			part = t.prefixed(part)
		}
		t.cut(part, special, true, func(id uint32, part string) {
			if part == "" {
				dst, first, inner = append(dst, id), false, false
				return
			}
			if p := t.info.Prefix; !inner && (p == memmap.PrefixAlways || p == memmap.PrefixFirst && first) {
				part = t.prefixed(part)
			}
			dst = t.encodeWords(dst, s, part)
			first, inner = false, false
		})
	})
	return dst
}

// HasSpecial tells whether Encode would find special tokens in a text.
func (t *Tokenizer) HasSpecial(text string) (found bool) {
	t.cut(text, true, false, func(id uint32, part string) {
		if part == "" {
			found = found || t.IsSpecial(id)
			return
		}
		if !t.info.ByteLevel {
			part = strings.ReplaceAll(part, "\u2581", " ")
		}
		if t.info.Normalizer == memmap.NormalizerNFC {
			part = nfc(part)
		}
		t.cut(part, true, true, func(id uint32, part string) { found = found || part == "" && t.IsSpecial(id) })
	})
	return found
}

// isAdded tells whether id is a token that text is cut at.
func (t *Tokenizer) isAdded(id uint32) bool {
	for k := range t.added.len() / 2 {
		if t.added.at(2*k) == id {
			return true
		}
	}
	return int(id) < t.Size() && t.types[id] == memmap.SymbolControl
}

// eachByteValid puts U+FFFD for every byte of s that is not UTF-8.
func eachByteValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// trimSpaces drops outer spaces and makes one of several, as SentencePiece does: to it U+2581 is a space at the end of a text only.
func trimSpaces(s string) string {
	s = strings.TrimRight(strings.TrimLeft(s, " "), " \u2581")
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] != ' ' || s[i-1] != ' ' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// prefixed puts a space in front of a text that is not empty.
func (t *Tokenizer) prefixed(text string) string {
	if t.info.PrefixUnless && text[0] == ' ' {
		return text
	}
	return " " + text
}

// cut calls fn with the stretches of text between added tokens (part) and with those tokens (id, part empty), in order.
func (t *Tokenizer) cut(text string, special, normalized bool, fn func(id uint32, part string)) {
	begin := 0 // of the stretch
	for i := 0; i < len(text); {
		c := text[i]
		if t.firstAdded[c/64]>>(c%64)&1 == 0 {
			i++
			continue
		}
		id, flags, ok := t.match(text[i:], special, normalized)
		if !ok {
			i++
			continue
		}
		from, to := i, i+len(t.symbol(id))
		i = to // what no word may touch is passed over as a whole if one does
		if flags&memmap.AddedSingleWord != 0 && touchesWord(text[:from], text[to:]) {
			continue
		}
		if flags&memmap.AddedLStrip != 0 && begin < from {
			from = begin + len(strings.TrimRightFunc(text[begin:from], unicode.IsSpace))
		}
		if flags&memmap.AddedRStrip != 0 {
			to = len(text) - len(strings.TrimLeftFunc(text[to:], unicode.IsSpace))
		}
		if begin < from {
			fn(0, text[begin:from])
		}
		fn(id, "")
		begin, i = to, to
	}
	if begin < len(text) {
		fn(0, text[begin:])
	}
}

// match is the longest added token that text begins with.
func (t *Tokenizer) match(text string, special, normalized bool) (id, flags uint32, ok bool) {
	for k := range t.added.len() / 2 { // longest first
		id, flags := t.added.at(2*k), t.added.at(2*k+1)
		if (flags&memmap.AddedNormalized != 0) != normalized || !special && flags&memmap.AddedSpecial != 0 {
			continue
		}
		if piece := t.symbol(id); len(text) >= len(piece) && text[:len(piece)] == string(piece) {
			return id, flags, true
		}
	}
	return 0, 0, false
}

// touchesWord tells whether a word ends before or begins after a place.
func touchesWord(before, after string) bool {
	last, n := utf8.DecodeLastRuneInString(before)
	first, m := utf8.DecodeRuneInString(after)
	return n > 0 && isWord(last) || m > 0 && isWord(first)
}

// isWord tells whether r is of the class \w of Unicode's regular expressions (UTS #18, annex C).
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// encodeWords encodes a stretch without added tokens.
func (t *Tokenizer) encodeWords(dst []uint32, s *scratch, part string) []uint32 {
	for len(part) > 0 {
		n := len(part)
		switch t.info.Split {
		case memmap.SplitGPT2:
			n = gpt2Word(part)
		case memmap.SplitSpace:
			if i := strings.IndexByte(part[1:], ' '); i >= 0 {
				n = i + 1
			}
		}
		dst = t.encodeWord(dst, s, part[:n])
		part = part[n:]
	}
	return dst
}

// gpt2Word is the length of the first word of a text by GPT-2's expression,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// whose look-ahead leaves the last white space of several to the word behind it.
func gpt2Word(s string) int {
	if s[0] == '\'' {
		for _, c := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
			if strings.HasPrefix(s[1:], c) {
				return 1 + len(c)
			}
		}
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if class := classOf(r); class != classSpace {
			for i += n; i < len(s); i += n {
				if r, n = utf8.DecodeRuneInString(s[i:]); classOf(r) != class {
					break
				}
			}
			return i
		}
	}
	last := 0 // where the last white space begins
	for i = 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if classOf(r) != classSpace {
			if last == 0 {
				return i
			}
			return last
		}
		last = i
		i += n
	}
	return i
}

type class int

const (
	classOther class = iota
	classSpace
	classLetter
	classNumber
)

func classOf(r rune) class {
	if r < utf8.RuneSelf {
		switch {
		case r|0x20 >= 'a' && r|0x20 <= 'z':
			return classLetter
		case r >= '0' && r <= '9':
			return classNumber
		case r == ' ' || r >= '\t' && r <= '\r':
			return classSpace
		}
		return classOther
	}
	switch {
	case unicode.IsLetter(r):
		return classLetter
	case unicode.IsNumber(r):
		return classNumber
	case unicode.IsSpace(r):
		return classSpace
	}
	return classOther
}
