package tokenizer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
)

// Types of pieces in a tokenizer.model.
const (
	normal = iota + 1
	unknown
	control
	userDefined
	unused
	byteType
)

type piece struct {
	text  string
	score float32
	kind  uint64
}

// spec is what a test's tokenizer.model says.
type spec struct {
	pieces                    []piece
	model                     uint64 // 2: bpe
	byteFallback, dummy, trim bool
	charsmap, suffix          bool
	denormalizes              bool
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), protowire.EncodeBool(v))
}

// marshal writes the ModelProto.
func (s spec) marshal() []byte {
	var out []byte
	for _, p := range s.pieces {
		m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), p.text)
		m = protowire.AppendFixed32(protowire.AppendTag(m, 2, protowire.Fixed32Type), math.Float32bits(p.score))
		m = protowire.AppendVarint(protowire.AppendTag(m, 3, protowire.VarintType), p.kind)
		out = protowire.AppendBytes(protowire.AppendTag(out, 1, protowire.BytesType), m)
	}
	trainer := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), s.model)
	trainer = appendBool(trainer, 24, s.suffix)
	trainer = appendBool(trainer, 35, s.byteFallback)
	out = protowire.AppendBytes(protowire.AppendTag(out, 2, protowire.BytesType), trainer)
	norm := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "identity")
	if s.charsmap {
		norm = protowire.AppendString(protowire.AppendTag(norm, 2, protowire.BytesType), "x")
	}
	norm = appendBool(appendBool(appendBool(norm, 3, s.dummy), 4, s.trim), 5, true)
	out = protowire.AppendBytes(protowire.AppendTag(out, 3, protowire.BytesType), norm)
	if s.denormalizes {
		out = protowire.AppendBytes(protowire.AppendTag(out, 5, protowire.BytesType), protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "x"))
	}
	return out
}

// llamaLike is a small model with everything that LLaMA's has, ties of scores and a character that is no piece of its own.
func llamaLike() spec {
	s := spec{model: 2, byteFallback: true, dummy: true}
	s.pieces = []piece{{"<unk>", 0, unknown}, {"<s>", 0, control}, {"</s>", 0, control}}
	for c := range 256 {
		s.pieces = append(s.pieces, piece{fmt.Sprintf("<0x%02X>", c), 0, byteType})
	}
	score := float32(0)
	for _, text := range []string{"ab", "bc", "▁a", "abc", "▁▁", "▁▁▁▁", "cd", "▁the", "th", "he", "▁th", "the", "ée", "é▁", "xq", "aa", "aaaa"} {
		s.pieces = append(s.pieces, piece{text, score, normal})
		if text != "bc" && text != "th" { // ties: abc with bc, the with th
			score--
		}
	}
	for _, c := range "▁abcdehtéx" { // q is no piece
		s.pieces = append(s.pieces, piece{string(c), score, normal})
		score--
	}
	s.pieces = append(s.pieces, piece{"<tool>", 0, userDefined}, piece{"▁<x>", 0, userDefined})
	return s
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, path string) (*tokenizer.Compiled, *token.Tokenizer) {
	t.Helper()
	c, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.New(&c.Info, c.Table)
	if err != nil {
		t.Fatal(err)
	}
	return c, tok
}

// encode is SentencePiece's BPE as its paper tells it: look at all adjacent pairs, join the one with the highest score, the leftmost of equals, again and again.
func (s spec) encode(text string) (ids []uint32) {
	if text == "" {
		return nil
	}
	index := make(map[string]int)
	for i, p := range s.pieces {
		index[p.text] = i
	}
	if s.trim {
		// A U+2581 of the text is no space yet, but at its end it is.
		text = strings.TrimRight(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }), " "), " ▁")
		if text == "" {
			return nil
		}
	}
	if s.dummy {
		text = " " + text
	}
	text = strings.ReplaceAll(text, " ", "▁")
	type part struct {
		text   string
		frozen bool
	}
	var parts []part
	for len(text) > 0 {
		longest := ""
		for _, p := range s.pieces {
			if p.kind == userDefined && strings.HasPrefix(text, p.text) && len(p.text) > len(longest) {
				longest = p.text
			}
		}
		if longest != "" {
			parts = append(parts, part{longest, true})
			text = text[len(longest):]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		parts = append(parts, part{string(r), false})
		text = text[n:]
	}
	for {
		best := -1
		for i := range len(parts) - 1 {
			k, ok := index[parts[i].text+parts[i+1].text]
			if parts[i].frozen || parts[i+1].frozen || !ok || s.pieces[k].kind != normal {
				continue
			}
			if best < 0 || s.pieces[k].score > s.pieces[index[parts[best].text+parts[best+1].text]].score {
				best = i
			}
		}
		if best < 0 {
			break
		}
		parts[best].text += parts[best+1].text
		parts = slices.Delete(parts, best+1, best+2)
	}
	last := false
	for _, p := range parts {
		if k, ok := index[p.text]; ok && (s.pieces[k].kind == normal || s.pieces[k].kind == userDefined) {
			ids, last = append(ids, uint32(k)), false
			continue
		}
		if s.byteFallback {
			for _, c := range []byte(p.text) {
				ids = append(ids, uint32(index[fmt.Sprintf("<0x%02X>", c)]))
			}
			continue
		}
		if !last {
			ids = append(ids, 0)
		}
		last = true
	}
	return ids
}

// randomText draws from an alphabet that exercises the model.
func randomText(r *rand.Rand) string {
	alphabet := []string{"a", "b", "c", "d", "t", "h", "e", " ", " ", "  ", "é", "x", "q", "xq", "<tool>", " <x>", "<s>", "日", "🙂", "\n", "▁"}
	var b strings.Builder
	for range r.IntN(24) {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

// TestSentencePiece compares with the plain algorithm on random texts.
func TestSentencePiece(t *testing.T) {
	for name, change := range map[string]func(*spec){
		"llama":         func(*spec) {},
		"no dummy":      func(s *spec) { s.dummy = false },
		"trim":          func(s *spec) { s.trim = true },
		"no fallback":   func(s *spec) { s.byteFallback = false },
		"trim no dummy": func(s *spec) { s.trim, s.dummy = true, false },
	} {
		t.Run(name, func(t *testing.T) {
			s := llamaLike()
			change(&s)
			c, tok := load(t, write(t, "tokenizer.model", s.marshal()))
			if !c.AddBOS || c.BOSID != 1 || !slices.Equal(c.EOSIDs, []uint32{2}) || int(c.Info.Size) != len(s.pieces) || c.Info.Symbols == c.Info.Size {
				t.Errorf("BOS %t %d, EOS %v, %d tokens of %d symbols", c.AddBOS, c.BOSID, c.EOSIDs, c.Info.Size, c.Info.Symbols)
			}
			r := rand.New(rand.NewPCG(3, 4))
			for range 3000 {
				text := randomText(r)
				if got, want := tok.Encode(nil, text), s.encode(text); !slices.Equal(got, want) {
					t.Fatalf("%q: tokens %v, not %v", text, got, want)
				}
				if s.byteFallback && !s.trim {
					want := strings.ReplaceAll(text, "▁", " ")
					if !s.dummy { // the first space is taken for a dummy only where there is one
						continue
					}
					if got := tok.Decode(tok.Encode(nil, text)); got != want {
						t.Fatalf("%q came back as %q", text, got)
					}
				}
			}
		})
	}
}

// TestSentencePieceControl keeps control pieces out of text and text out of them.
func TestSentencePieceControl(t *testing.T) {
	_, tok := load(t, write(t, "tokenizer.model", llamaLike().marshal()))
	if ids := tok.Encode(nil, "<s>"); slices.Contains(ids, 1) {
		t.Errorf("the text <s> became the control token: %v", ids)
	}
	if text := tok.Decode([]uint32{1, 2}); text != "" {
		t.Errorf("control tokens became %q", text)
	}
	if !tok.IsSpecial(1) || tok.IsSpecial(0x100) || tok.IsSpecial(1<<30) {
		t.Error("IsSpecial is wrong")
	}
}

// TestSentencePieceSpaces never makes a piece that is written with a space: text has none, once they are written as U+2581.
func TestSentencePieceSpaces(t *testing.T) {
	s := llamaLike()
	want := func(text string) []uint32 { return s.encode(text) }("a  the")
	s.pieces = append(s.pieces, piece{" ", 1, normal}, piece{" a", 1, normal}, piece{"a ", 0, userDefined})
	_, tok := load(t, write(t, "tokenizer.model", s.marshal()))
	if got := tok.Encode(nil, "a  the"); !slices.Equal(got, want) {
		t.Errorf("tokens %v, not %v", got, want)
	}
	if got := tok.Decode([]uint32{uint32(len(s.pieces) - 1), uint32(len(s.pieces) - 2)}); got != "a  a" {
		t.Errorf("they decode to %q", got)
	}
}

// TestSentencePieceRefused names what is not supported.
func TestSentencePieceRefused(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*spec)
	}{
		{"unigram", func(s *spec) { s.model = 1 }},
		{"character maps", func(s *spec) { s.charsmap = true }},
		{"denormalizer", func(s *spec) { s.denormalizes = true }},
		{"has a space", func(s *spec) { s.trim, s.pieces = true, append(s.pieces, piece{"a b", 0, userDefined}) }},
		{"treat_whitespace_as_suffix", func(s *spec) { s.suffix = true }},
		{"unused", func(s *spec) { s.pieces[270].kind = unused }},
		{"stands twice", func(s *spec) { s.pieces[261] = s.pieces[260] }},
		{"NaN", func(s *spec) { s.pieces[260].score = float32(math.NaN()) }},
		{"<0x41>", func(s *spec) { s.pieces = slices.Delete(s.pieces, 3+0x41, 3+0x42) }},
		{"empty", func(s *spec) { s.pieces[260].text = "" }},
		{"type 9", func(s *spec) { s.pieces[260].kind = 9 }},
		{"UTF-8", func(s *spec) { s.pieces[260].text = "\xff" }},
		{"no pieces", func(s *spec) { s.pieces = nil }},
	} {
		s := llamaLike()
		c.change(&s)
		b := s.marshal()
		if s.pieces == nil {
			b = []byte("\n\x00")[:0]
			b = append(b, '\n')
			b = append(b, 0x80) // a message that ends too early
			c.want = "SentencePiece"
		}
		_, err := tokenizer.Load(write(t, "tokenizer.model", b))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v; it has to say %q", err, c.want)
		}
	}
}

// TestLongText is one word of a megabyte: no step may be quadratic.
func TestLongText(t *testing.T) {
	_, tok := load(t, write(t, "tokenizer.model", llamaLike().marshal()))
	n := len(tok.Encode(nil, strings.Repeat("aaaab the", 120_000)))
	if n == 0 {
		t.Error("no tokens")
	}
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(llamaLike().marshal(), "abc the")
	s := llamaLike()
	s.byteFallback, s.trim = false, true
	f.Add(s.marshal(), "  q q ")
	f.Add([]byte("\n\x05\n\x03abc"), "x")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		fuzz(t, "tokenizer.model", append([]byte("\n"), b...), text)
		fuzz(t, "tokenizer.model", b, text)
	})
}

// fuzz loads a tokenizer and, if it is accepted, uses it.
func fuzz(t *testing.T, name string, b []byte, text string) {
	c, err := tokenizer.Load(write(t, name, b))
	if err != nil {
		return
	}
	tok, err := token.New(&c.Info, c.Table)
	if err != nil {
		t.Fatalf("what was compiled is refused: %v", err)
	}
	ids := tok.Encode(nil, text)
	for _, id := range ids {
		if int(id) >= tok.Size() {
			t.Fatalf("token %d of %d", id, tok.Size())
		}
	}
	if s := tok.Decode(ids); !utf8.ValidString(s) {
		t.Fatalf("text %q is not UTF-8", s)
	}
	tok.EncodePlain(nil, text)
}
