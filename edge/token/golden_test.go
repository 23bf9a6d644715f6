package token_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
)

// load compiles the tokenizer at path, which may be gzipped.
func load(t testing.TB, path string) *token.Tokenizer {
	t.Helper()
	if filepath.Ext(path) == ".gz" {
		path = gunzip(t, path)
	}
	c, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, c)
}

func open(t testing.TB, c *tokenizer.Compiled) *token.Tokenizer {
	t.Helper()
	n := 0
	for _, x := range c.Tables {
		n += len(x.Data)
	}
	t.Logf("%d tokens, tables of %d bytes", c.Info.Size, n)
	tok, err := token.New(&c.Info, c.Table)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func gunzip(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := os.WriteFile(out, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// row is a line of tokens-dev.json, made with the tokenizers' own implementations.
type row struct {
	Text         string   `json:"text"`
	Neox         []uint32 `json:"neox"`
	Llama        []uint32 `json:"llama"`
	NeoxDecoded  string   `json:"neox_decoded"`
	LlamaDecoded string   `json:"llama_decoded"`
}

func rows(t *testing.T) (rows []row) {
	t.Helper()
	b, err := os.ReadFile("../../testdata/tokens-dev.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func check(t *testing.T, tok *token.Tokenizer, text string, ids []uint32, decoded string) {
	t.Helper()
	if got := tok.Encode(nil, text); !slices.Equal(got, ids) {
		t.Errorf("%q: tokens %v, not %v", text, got, ids)
	}
	if got := tok.Decode(ids); got != decoded {
		t.Errorf("%v: text %q, not %q", ids, got, decoded)
	}
}

func TestTokensNeoX(t *testing.T) {
	tok := load(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	for _, r := range rows(t) {
		check(t, tok, r.Text, r.Neox, r.NeoxDecoded)
	}
}

func TestTokensLlama(t *testing.T) {
	tok := load(t, testmodel.Shared(t, "tokenizers", "llama.tokenizer.model"))
	for _, r := range rows(t) {
		check(t, tok, r.Text, r.Llama, r.LlamaDecoded)
	}
}

// TestTokensAssistant encodes the prompts of the assistant's golden outputs.
func TestTokensAssistant(t *testing.T) {
	tok := load(t, testmodel.Shared(t, "models", "assistant", "tokenizer.json"))
	for _, c := range testmodel.AssistantGolden(t).Cases {
		if got := tok.Encode(nil, "<|"+c.Task+"|>"+c.Prompt+"<|reply|>"); !slices.Equal(got, c.PromptIDs) {
			t.Errorf("%q: tokens %v, not %v", c.Prompt, got, c.PromptIDs)
		}
		if got := tok.Decode(c.GreedyIDs); got != c.Text {
			t.Errorf("%v: text %q, not %q", c.GreedyIDs, got, c.Text)
		}
	}
}
