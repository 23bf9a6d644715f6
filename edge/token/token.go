// Package token turns text into token ids and back, over tables that lie in a mapped model file.
//
// A [Tokenizer] holds slices of the tables and nothing else: opening one parses no text and allocates a few hundred bytes.
// The tables are those of package memmap; package convert/tokenizer makes them of the usual source formats.
package token

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"unicode/utf8"

	"bimamba/memmap"
)

// words is a table of u32.
type words []byte

func (w words) len() int { return len(w) / 4 }

func (w words) at(i int) uint32 { return binary.LittleEndian.Uint32(w[4*i:]) }

// Tokenizer is safe for concurrent use.
type Tokenizer struct {
	info       *memmap.Tokenizer
	arena      []byte
	offsets    words // (symbols+1)
	types      []byte
	bytes      words // (256)
	sorted     words
	mergeStart words     // (symbols+1)
	merges     words     // (n, 3)
	added      words     // (n, 2)
	firstAdded [4]uint64 // bitset of the bytes that added tokens begin with
	scratch    *sync.Pool
}

// Open is the tokenizer of a blob, nil if it has none. Its methods touch the mapped file: run them inside of File.Guard.
func Open(f *memmap.File) (*Tokenizer, error) {
	info := f.Manifest().Tokenizer
	if info == nil {
		return nil, nil
	}
	s, ok := f.Section(memmap.TokenizerTable)
	if !ok {
		return nil, fmt.Errorf("%s: section %q is missing; convert the checkpoint again", f.Name(), memmap.TokenizerTable)
	}
	t, err := New(info, func(name string) ([]byte, error) {
		x, ok := s.Tensor(name)
		if !ok {
			return nil, nil
		}
		return f.Data(x), nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: section %q: %w; convert the checkpoint again", f.Name(), memmap.TokenizerTable, err)
	}
	return t, nil
}

// New makes a tokenizer of its tables. table gives the bytes of a table, nil for one that is not there.
// Every index in the tables is checked here, once.
func New(info *memmap.Tokenizer, table func(name string) ([]byte, error)) (*Tokenizer, error) {
	t := &Tokenizer{info: info, scratch: &sync.Pool{New: func() any { return new(scratch) }}}
	for _, x := range []struct {
		name string
		u8   *[]byte
		u32  *words
	}{
		{memmap.TableArena, &t.arena, nil}, {memmap.TableOffsets, nil, &t.offsets}, {memmap.TableTypes, &t.types, nil}, {memmap.TableBytes, nil, &t.bytes},
		{memmap.TableSorted, nil, &t.sorted}, {memmap.TableMergeStart, nil, &t.mergeStart}, {memmap.TableMerges, nil, &t.merges}, {memmap.TableAdded, nil, &t.added},
	} {
		b, err := table(x.name)
		if err != nil {
			return nil, err
		}
		if x.u8 != nil {
			*x.u8 = b
			continue
		}
		if len(b)%4 != 0 {
			return nil, fmt.Errorf("table %s: %d bytes are no u32", x.name, len(b))
		}
		*x.u32 = b
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	for i := range t.added.len() / 2 {
		c := t.symbol(t.added.at(2 * i))[0]
		t.firstAdded[c/64] |= 1 << (c % 64)
	}
	return t, nil
}

func (t *Tokenizer) validate() error {
	i := t.info
	switch i.Split {
	case "", memmap.SplitGPT2, memmap.SplitSpace:
	default:
		return fmt.Errorf("tokenizer.split %q is not known to this program", i.Split)
	}
	switch i.Prefix {
	case "", memmap.PrefixText, memmap.PrefixNormalized, memmap.PrefixFirst, memmap.PrefixAlways:
	default:
		return fmt.Errorf("tokenizer.prefix %q is not known to this program", i.Prefix)
	}
	if i.Normalizer != "" && i.Normalizer != memmap.NormalizerNFC {
		return fmt.Errorf("tokenizer.normalizer %q is not known to this program", i.Normalizer)
	}
	n := i.Symbols
	switch {
	case i.Size == 0 || i.Size > n || n > 1<<24:
		return fmt.Errorf("tokenizer.size %d and symbols %d do not fit", i.Size, n)
	case i.UnknownID < -1 || i.UnknownID >= int32(i.Size):
		return fmt.Errorf("tokenizer.unknown_id %d is not within %d tokens", i.UnknownID, i.Size)
	case t.offsets.len() != int(n)+1 || t.mergeStart.len() != int(n)+1 || len(t.types) != int(n) || t.bytes.len() != 256 || t.merges.len()%3 != 0 || t.added.len()%2 != 0:
		return fmt.Errorf("tables of offsets (%d), merge_start (%d), types (%d), bytes (%d), merges (%d), added (%d) do not fit %d symbols",
			t.offsets.len(), t.mergeStart.len(), len(t.types), t.bytes.len(), t.merges.len(), t.added.len(), n)
	}
	if err := ascending(t.offsets, len(t.arena)); err != nil {
		return fmt.Errorf("table offsets: %w", err)
	}
	if err := ascending(t.mergeStart, t.merges.len()/3); err != nil {
		return fmt.Errorf("table merge_start: %w", err)
	}
	for k, c := range t.types {
		if c >= memmap.NumSymbolTypes {
			return fmt.Errorf("table types: symbol %d is of type %d", k, c)
		}
		if (c == memmap.SymbolInternal) != (k >= int(i.Size)) {
			return fmt.Errorf("table types: symbol %d of %d tokens is of type %d", k, i.Size, c)
		}
	}
	for k := range t.sorted.len() {
		if t.sorted.at(k) >= n {
			return fmt.Errorf("table sorted: entry %d is %d, not a symbol", k, t.sorted.at(k))
		}
	}
	for k := range 256 {
		if s := t.bytes.at(k); s >= i.Size && s != memmap.NoSymbol {
			return fmt.Errorf("table bytes: entry %d is %d, not a token", k, s)
		}
	}
	for k := range t.merges.len() / 3 {
		if t.merges.at(3*k) >= n || t.merges.at(3*k+2) >= n {
			return fmt.Errorf("table merges: row %d names no symbol", k)
		}
	}
	for k := range t.added.len() / 2 {
		if id := t.added.at(2 * k); id >= i.Size || len(t.symbol(id)) == 0 {
			return fmt.Errorf("table added: row %d, %d, is no token with a text", k, id)
		}
	}
	return nil
}

// ascending checks that w begins with 0, never falls and ends with end.
func ascending(w words, end int) error {
	last := uint32(0)
	for i := range w.len() {
		v := w.at(i)
		if v < last || i == 0 && v != 0 {
			return fmt.Errorf("entry %d is %d behind %d", i, v, last)
		}
		last = v
	}
	if int(last) != end {
		return fmt.Errorf("it ends with %d, not %d", last, end)
	}
	return nil
}

// symbol is the bytes of a symbol.
func (t *Tokenizer) symbol(id uint32) []byte {
	return t.arena[t.offsets.at(int(id)):t.offsets.at(int(id)+1)]
}

// Size is the number of token ids.
func (t *Tokenizer) Size() int { return int(t.info.Size) }

// find is the symbol of the vocabulary with these bytes.
func (t *Tokenizer) find(b []byte) (uint32, bool) {
	lo, hi := 0, t.sorted.len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch bytes.Compare(t.symbol(t.sorted.at(mid)), b) {
		case 0:
			return t.sorted.at(mid), true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// ID finds a token by its text: an added token, or one of the vocabulary. Control tokens have no text.
func (t *Tokenizer) ID(text string) (uint32, bool) {
	for k := range t.added.len() / 2 {
		if id := t.added.at(2 * k); string(t.symbol(id)) == text {
			return id, true
		}
	}
	id, ok := t.find([]byte(text))
	return id, ok && id < t.info.Size
}

// IsSpecial tells whether id is a control token, or an added one that does not stand for text.
func (t *Tokenizer) IsSpecial(id uint32) bool {
	if int(id) >= t.Size() {
		return false
	}
	if t.types[id] == memmap.SymbolControl {
		return true
	}
	for k := range t.added.len() / 2 {
		if t.added.at(2*k) == id {
			return t.added.at(2*k+1)&memmap.AddedSpecial != 0
		}
	}
	return false
}

// AppendPiece appends the bytes of a token, none for an id that is no token. A token may hold a part of a character.
func (t *Tokenizer) AppendPiece(dst []byte, id uint32) []byte {
	if int(id) >= t.Size() {
		return dst
	}
	return append(dst, t.symbol(id)...)
}

// appendFirst is AppendPiece at the beginning of a whole text, where the space is dropped that Encode put in front.
// It tells whether the token behind is at the beginning still.
func (t *Tokenizer) appendFirst(dst []byte, id uint32) ([]byte, bool) {
	if int(id) >= t.Size() {
		return dst, true
	}
	piece := t.symbol(id)
	switch {
	case len(piece) == 0:
		return dst, true
	case piece[0] != ' ' || t.types[id] == memmap.SymbolByte || t.types[id] == memmap.SymbolUnknown:
		return append(dst, piece...), false
	}
	return append(dst, piece[1:]...), len(piece) == 1 && t.info.TrimSpaces
}

// Decode is the text of ids as a whole: the space that Encode puts in front is dropped, and what is not UTF-8 becomes U+FFFD.
func (t *Tokenizer) Decode(ids []uint32) string {
	var b []byte
	first := t.info.StripPrefix
	for _, id := range ids {
		if first {
			b, first = t.appendFirst(b, id)
		} else {
			b = t.AppendPiece(b, id)
		}
	}
	return string(t.appendValid(nil, b))
}

// appendValid appends b with U+FFFD for what is not UTF-8: one for every byte where bytes are tokens (as SentencePiece does), else one
// for every longest beginning of a character (as Unicode recommends).
func (t *Tokenizer) appendValid(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if !t.info.ByteFallback {
				n = truncated(b)
			}
			dst = utf8.AppendRune(dst, utf8.RuneError)
		} else {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// truncated is the length of the longest beginning of a character at the start of b, at least 1.
func truncated(b []byte) int {
	for n := min(len(b), 3); n > 1; n-- {
		if !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}

// Stream turns tokens into text, whole characters only.
type Stream struct {
	t     *Tokenizer
	first bool   // at the beginning of a whole text
	held  []byte // the beginning of a character
}

// NewStream starts a continuation: no space is dropped in front.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t} }

// NewTextStream starts a whole text: the stream gives what Decode does.
func (t *Tokenizer) NewTextStream() *Stream { return &Stream{t: t, first: t.info.StripPrefix} }

// Next adds a token and returns the text that is complete.
func (s *Stream) Next(id uint32) string {
	if s.first {
		s.held, s.first = s.t.appendFirst(s.held, id)
	} else {
		s.held = s.t.AppendPiece(s.held, id)
	}
	n := len(s.held)
	for k := 1; k <= min(3, n); k++ { // a character that has begun within the last 3 bytes may go on
		if c := s.held[n-k]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(s.held[n-k:]) {
				n -= k
			}
			break
		}
	}
	out := string(s.t.appendValid(nil, s.held[:n]))
	s.held = append(s.held[:0], s.held[n:]...)
	return out
}

// Rest is what Flush would return.
func (s *Stream) Rest() string { return string(s.t.appendValid(nil, s.held)) }

// Flush returns what is left: the beginning of a character, as U+FFFD.
func (s *Stream) Flush() string {
	out := s.Rest()
	s.held = s.held[:0]
	return out
}
