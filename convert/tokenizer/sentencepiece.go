package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"bimamba/memmap"
)

// maxPiece bounds the bytes of a piece; SentencePiece's own limit is 16 characters unless it is told otherwise.
const maxPiece = 1024

// Types of pieces (sentencepiece_model.proto).
const (
	pieceNormal = iota + 1
	pieceUnknown
	pieceControl
	pieceUserDefined
	pieceUnused
	pieceByte
)

type piece struct {
	text  string
	score float32
	kind  uint64
}

// spModel is what is read of a ModelProto.
type spModel struct {
	pieces                          []piece
	modelType                       uint64
	byteFallback, suffix            bool
	unk, bos, eos                   int64
	charsmap, denormalizes          bool
	dummyPrefix, trimSpaces, escape bool
}

// fields calls fn with every field of a message: v of a varint or fixed32, b of bytes.
func fields(msg []byte, fn func(num protowire.Number, v uint64, b []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.Fixed32Type:
			var x uint32
			x, n = protowire.ConsumeFixed32(msg)
			v = uint64(x)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		msg = msg[n:]
		if err := fn(num, v, b); err != nil {
			return err
		}
	}
	return nil
}

// parseSentencePiece reads a ModelProto.
func parseSentencePiece(raw []byte) (*spModel, error) {
	m := &spModel{modelType: 1, unk: 0, bos: 1, eos: 2, dummyPrefix: true, trimSpaces: true, escape: true}
	id := func(v uint64) int64 { return int64(int32(uint32(v))) }
	err := fields(raw, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1: // pieces
			p := piece{kind: pieceNormal}
			err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
				switch num {
				case 1:
					p.text = string(b)
				case 2:
					p.score = math.Float32frombits(uint32(v))
				case 3:
					p.kind = v
				}
				return nil
			})
			if m.pieces = append(m.pieces, p); len(m.pieces) > maxTokens {
				return fmt.Errorf("more than %d pieces", maxTokens)
			}
			return err
		case 2: // trainer_spec
			return fields(b, func(num protowire.Number, v uint64, _ []byte) error {
				switch num {
				case 3:
					m.modelType = v
				case 24:
					m.suffix = v != 0
				case 35:
					m.byteFallback = v != 0
				case 40:
					m.unk = id(v)
				case 41:
					m.bos = id(v)
				case 42:
					m.eos = id(v)
				}
				return nil
			})
		case 3: // normalizer_spec
			return fields(b, func(num protowire.Number, v uint64, b []byte) error {
				switch num {
				case 2:
					m.charsmap = len(b) > 0
				case 3:
					m.dummyPrefix = v != 0
				case 4:
					m.trimSpaces = v != 0
				case 5:
					m.escape = v != 0
				}
				return nil
			})
		case 5: // denormalizer_spec
			return fields(b, func(num protowire.Number, _ uint64, b []byte) error {
				if num == 2 {
					m.denormalizes = len(b) > 0
				}
				return nil
			})
		}
		return nil
	})
	return m, err
}

// compileSentencePiece compiles a tokenizer.model.
func compileSentencePiece(raw []byte) (*Compiled, error) {
	m, err := parseSentencePiece(raw)
	if err != nil {
		return nil, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	switch {
	case len(m.pieces) == 0:
		return nil, errors.New("not a SentencePiece model: there are no pieces")
	case m.modelType != 2:
		kinds := []string{"?", "unigram", "bpe", "word", "char"}
		return nil, fmt.Errorf("model_type %s: only bpe is supported", kinds[min(m.modelType, 4)%5])
	case m.suffix:
		return nil, errors.New("treat_whitespace_as_suffix is not supported")
	case m.charsmap:
		return nil, errors.New("a normalizer with character maps (nmt_nfkc and the like) is not supported; only identity is")
	case m.denormalizes:
		return nil, errors.New("a denormalizer with character maps is not supported")
	case !m.escape:
		return nil, errors.New("escape_whitespaces = false is not supported")
	}
	b := newBuilder()
	b.info.ByteFallback, b.info.TrimSpaces, b.info.FuseUnknown = m.byteFallback, m.trimSpaces, true
	b.info.StripPrefix = m.dummyPrefix || m.trimSpaces
	if m.dummyPrefix {
		b.info.Prefix = memmap.PrefixText
	}
	normal := make(map[string]uint32)
	for i, p := range m.pieces {
		if err := b.piece(uint32(i), p, normal); err != nil {
			return nil, fmt.Errorf("piece %d: %w", i, err)
		}
	}
	for c := range 256 {
		if m.byteFallback && b.bytes[c] == memmap.NoSymbol {
			return nil, fmt.Errorf("byte_fallback is set, but there is no piece <0x%02X>", c)
		}
	}
	size := len(b.symbols)
	if err := b.splits(m.pieces, normal); err != nil {
		return nil, err
	}
	c, err := b.compile(size)
	if err != nil {
		return nil, err
	}
	if m.bos >= 0 && m.bos < int64(size) {
		c.AddBOS, c.BOSID = true, int32(m.bos)
	}
	if m.eos >= 0 && m.eos < int64(size) {
		c.EOSIDs = []uint32{uint32(m.eos)}
	}
	return c, nil
}

// piece adds piece id.
func (b *builder) piece(id uint32, p piece, normal map[string]uint32) error {
	switch {
	case p.text == "":
		return errors.New("it is empty")
	case len(p.text) > maxPiece:
		return fmt.Errorf("%d bytes, more than %d", len(p.text), maxPiece)
	case p.score != p.score:
		return errors.New("its score is NaN")
	}
	if err := validText(p.text); err != nil {
		return err
	}
	if _, ok := b.ids[p.text]; ok {
		return fmt.Errorf("%q stands twice", p.text)
	}
	s := symbol{bytes: []byte(strings.ReplaceAll(p.text, space, " "))}
	reachable := !strings.Contains(p.text, " ") // no text has a space, once they are written as U+2581
	switch p.kind {
	case pieceNormal:
		if s.indexed = reachable; reachable {
			normal[p.text] = id
		}
	case pieceUnknown:
		s.kind = memmap.SymbolUnknown
		s.bytes = []byte(" \u2047 ") // what SentencePiece decodes it to
		b.info.UnknownID = int32(id)
	case pieceControl:
		s = symbol{kind: memmap.SymbolControl}
	case pieceUserDefined:
		switch {
		case reachable:
			s.kind = memmap.SymbolAdded
			b.added = append(b.added, added{id, memmap.AddedNormalized})
		case b.info.TrimSpaces:
			return fmt.Errorf("%q is user-defined and has a space, which is not supported together with remove_extra_whitespaces", p.text)
		}
	case pieceByte:
		if !isByteToken(p.text) {
			return fmt.Errorf("%q is of type byte, but not of the form <0xAB>", p.text)
		}
		c := hexByte(p.text)
		s = symbol{bytes: []byte{c}, kind: memmap.SymbolByte}
		b.bytes[c] = id
	case pieceUnused:
		return fmt.Errorf("%q is of type unused, which is not supported", p.text)
	default:
		return fmt.Errorf("%q is of type %d, which is not known", p.text, p.kind)
	}
	return b.token(id, p.text, s)
}

// splits adds a merge for every way to make a piece of two symbols, ranked by the piece's score: SentencePiece merges the
// adjacent symbols whose joint piece has the highest score, the leftmost of equals.
func (b *builder) splits(pieces []piece, normal map[string]uint32) error {
	scores := make([]float32, 0, len(normal))
	for _, id := range normal {
		scores = append(scores, pieces[id].score)
	}
	slices.SortFunc(scores, func(x, y float32) int { return cmp.Compare(y, x) })
	scores = slices.Compact(scores)
	internal := make(map[string]uint32)
	// symbolOf is the symbol that stands for text during merging: a piece, or a single character that is none.
	symbolOf := func(text string) (uint32, bool) {
		if id, ok := normal[text]; ok {
			return id, true
		}
		if _, n := utf8.DecodeRuneInString(text); n != len(text) {
			return 0, false
		}
		id, ok := internal[text]
		if !ok {
			id = uint32(len(b.symbols))
			internal[text] = id
			b.symbols = append(b.symbols, symbol{bytes: []byte(strings.ReplaceAll(text, space, " ")), kind: memmap.SymbolInternal, indexed: true})
		}
		return id, true
	}
	for id, p := range pieces {
		if normal[p.text] != uint32(id) || p.kind != pieceNormal {
			continue
		}
		rank, _ := slices.BinarySearchFunc(scores, p.score, func(x, y float32) int { return cmp.Compare(y, x) })
		for i := range p.text {
			if i == 0 {
				continue
			}
			left, ok := symbolOf(p.text[:i])
			if !ok {
				continue
			}
			if right, ok := symbolOf(p.text[i:]); ok {
				b.merges = append(b.merges, merge{left, right, uint32(rank), uint32(id)})
			}
		}
		if len(b.merges) > maxMerges {
			return fmt.Errorf("the pieces make more than %d merges", maxMerges)
		}
	}
	return nil
}
