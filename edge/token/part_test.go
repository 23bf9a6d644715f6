package token_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
)

func upstream(t testing.TB, name string) *token.Tokenizer {
	t.Helper()
	return load(t, filepath.Join(testmodel.Root(), "convert", "tokenizer", "testdata", "upstream", name))
}

// pieces is the text that ids add to another one.
func pieces(tok *token.Tokenizer, ids []uint32) string {
	var b []byte
	for _, id := range ids {
		b = tok.AppendPiece(b, id)
	}
	return string(b)
}

// TestEncodePart puts a space in front of parts where the tokenizer does in a whole text: at its beginning, behind a special token, or nowhere.
func TestEncodePart(t *testing.T) {
	for _, c := range []struct {
		file, special             string
		first, behind, afterwards string // of "the": as the first part, behind a special token, behind other text
	}{
		{"hf-bytes.json", "<|end|>", "the", "the", "the"},
		{"hf-bytes-prefix.json", "<|end|>", " the", " the", "the"},
		{"hf-chars.json", "<s>", " the", " the", "the"},
		{"hf-chars-normalized.json", "<s>", " the", " the", "the"},
		{"hf-metaspace-always.json", "<s>", " the", " the", "the"},
		{"hf-metaspace-first.json", "<s>", " the", "the", "the"},
		{"sp-fallback.model", "", " the", "the", "the"},
	} {
		tok := upstream(t, c.file)
		special := uint32(1) // <s> has no text in a SentencePiece model
		if c.special != "" {
			special, _ = tok.ID(c.special)
		}
		a := tok.Encode(nil, "a")
		for _, x := range []struct {
			dst   []uint32
			first bool
			want  string
		}{{nil, true, c.first}, {[]uint32{special}, true, c.first}, {[]uint32{special}, false, c.behind}, {a, false, c.afterwards}, {nil, false, c.afterwards}} {
			got := tok.EncodePart(slices.Clone(x.dst), "the", x.first, true)
			if text := pieces(tok, got[len(x.dst):]); !slices.Equal(got[:len(x.dst)], x.dst) || text != x.want {
				t.Errorf("%s behind %v (first %t): %q, not %q", c.file, x.dst, x.first, text, x.want)
			}
		}
		if got := tok.EncodePart(slices.Clone(a), "", false, true); !slices.Equal(got, a) {
			t.Errorf("%s: an empty part gave %v", c.file, got)
		}
		if c.special == "" {
			continue
		}
		// Cut behind special tokens, a text has the tokens that it has as a whole. Without its special tokens it has their text.
		for _, parts := range [][]string{
			{"the" + c.special, " on the"}, {c.special, c.special, "the"}, {"a " + c.special, "on", ""}, {"", c.special, "  the é" + c.special, "b"},
		} {
			whole := strings.Join(parts, "")
			var ids []uint32
			for i, p := range parts {
				ids = tok.EncodePart(ids, p, i == 0 || len(ids) == 0, true)
			}
			if want := tok.Encode(nil, whole); !slices.Equal(ids, want) {
				t.Errorf("%s: %q in parts is %v, not %v", c.file, parts, ids, want)
			}
			plain := tok.EncodePart(nil, whole, true, false)
			if slices.ContainsFunc(plain, tok.IsSpecial) || !slices.Equal(plain, tok.EncodePlain(nil, whole)) {
				t.Errorf("%s: %q as plain text is %v", c.file, whole, plain)
			}
		}
	}
}

// TestHasSpecial agrees with what Encode finds.
func TestHasSpecial(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testmodel.Root(), "convert", "tokenizer", "testdata", "upstream", "hf-*.json"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.json") {
			continue
		}
		c, err := tokenizer.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		tok := open(t, c)
		for _, text := range []string{
			"", "the", "<s>", "a<s>", "<s", "s>", "<|end|>", "the<|end|>the", "< |end|>", " [LR] ", "a[LR]", "[L R]", "[R]", "<PRE>", "\u2581<PRE>", "</s>\xff", "<unk>", "e\u0301<|end|>", "<<s>>",
		} {
			// An unknown character becomes a token of its own, which is special but has not been written.
			want := slices.ContainsFunc(tok.Encode(nil, text), func(id uint32) bool {
				piece := string(tok.AppendPiece(nil, id))
				return tok.IsSpecial(id) && (piece != "<unk>" || strings.Contains(text, piece))
			})
			if got := tok.HasSpecial(text); got != want {
				t.Errorf("%s: %q has special tokens is %t", filepath.Base(file), text, got)
			}
			if want {
				checked++
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d texts had special tokens", checked)
	}
}

// TestRest is what Flush gives, and changes nothing.
func TestRest(t *testing.T) {
	tok := upstream(t, "hf-bytes.json")
	ids := tok.Encode(nil, "a🙂b")
	if len(ids) < 4 {
		t.Fatalf("%v are too few to cut a character", ids)
	}
	s := tok.NewStream()
	var got string
	for i, id := range ids {
		got += s.Next(id)
		again := tok.NewStream()
		text := ""
		for _, id := range ids[:i+1] {
			text += again.Next(id)
		}
		if rest := s.Rest(); rest != s.Rest() || rest != again.Flush() || again.Rest() != "" || text != got {
			t.Errorf("behind %d tokens %q, then %q", i+1, got, rest)
		}
	}
	if got != "a🙂b" {
		t.Errorf("%q", got)
	}
}
