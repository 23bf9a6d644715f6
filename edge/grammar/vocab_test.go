package grammar

import (
	"testing"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
)

// byteVocab has a token for each byte, and the end, 256.
func byteVocab() *Vocab { return wordVocab() }

// wordVocab has a token for each byte, the end, 256, and words.
func wordVocab(words ...string) *Vocab {
	return newVocab(257+len(words), []uint32{256}, func(dst []byte, id uint32) []byte {
		if id < 256 {
			return append(dst, byte(id))
		}
		return append(dst, words[id-257]...)
	})
}

// words are tokens that reach over the borders of rules.
var words = []string{`{"`, `":`, `": `, `",`, `", "`, `"}`, `"]`, `}}`, `]]`, `},{`, `[[`, `[{"`, `{}`, `[]`, `,"`, `, `, `: `, `1,`, `12`, `0.`, `.5`, `e1`, `-1`, `"a`, `a"`, `a":`,
	`true`, `false`, `null`, `ab`, `abc`, `name`, `"name"`, `argument`, `\"`, `\\`, `\u`, `\ud83d`, `é`, "\xc3", "\xa9", "\xf0\x9f", "\x98\x80", "日本", ` {`, `  `, "\n", ` a`, `x1`, `2020`, `-0`, `:[`}

// defaultVocab is the tokens of the default model.
func defaultVocab(t testing.TB) (*token.Tokenizer, *Vocab) {
	t.Helper()
	f := testmodel.Default(t)
	tok, err := token.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	var end []uint32
	for _, id := range f.Manifest().Prompt.EOSIDs {
		end = append(end, uint32(id))
	}
	return tok, NewVocab(tok, end)
}

// sharedVocab is the tokens of a tokenizer beside the repository.
func sharedVocab(t testing.TB, name string) *Vocab {
	t.Helper()
	c, err := tokenizer.Load(testmodel.Shared(t, "tokenizers", name))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.New(&c.Info, c.Table)
	if err != nil {
		t.Fatal(err)
	}
	end, ok := tok.ID("</s>")
	if !ok {
		end, _ = tok.ID("<|endoftext|>")
	}
	return NewVocab(tok, []uint32{end})
}

// TestVocab finds every token in the trie, and no special one.
func TestVocab(t *testing.T) {
	tok, v := defaultVocab(t)
	found := 0
	var walk func(node uint32, text string)
	walk = func(node uint32, text string) {
		for _, id := range v.tokens(node) {
			found++
			if piece := string(tok.AppendPiece(nil, id)); piece != text {
				t.Fatalf("token %d, %q, is at %q", id, piece, text)
			}
		}
		for i := node + 1; i < v.nodes[node].skip; i = v.nodes[i].skip {
			if v.child(node, v.nodes[i].b) != i {
				t.Fatalf("%q has no child %q", text, v.nodes[i].b)
			}
			walk(i, text+string([]byte{v.nodes[i].b}))
		}
	}
	walk(0, "")
	want := 0
	for id := range uint32(tok.Size()) {
		if n := len(tok.AppendPiece(nil, id)); n > 0 && n <= maxPiece && !tok.IsSpecial(id) && !has(v.isEnd, id) {
			want++
		}
	}
	if found != want {
		t.Errorf("%d tokens in the trie, not %d", found, want)
	}
	if v.child(0, 0) != 0 && len(v.piece(uint32(v.end[0]))) != 0 {
		t.Error("an end is text")
	}
}
