package testmodel

import (
	"os"
	"path/filepath"
	"testing"

	"bimamba/convert"
	"bimamba/memmap"
)

// instructCard is the card of Tiny's instruct model.
const instructCard = `kind = "instruct"
name = "Tiny Instruct"
[prompt]
bos = "<|end|>"
add_bos = true
eos = ["<|end|>"]
generation_prefix = "<|answer|>"
[prompt.turns]
system = {prefix = "", suffix = "\n"}
user = {prefix = "<|user|>", suffix = ""}
assistant = {prefix = "", suffix = "<|end|>\n"}
tool = {prefix = "<|user|>tool: ", suffix = ""}
`

// Tiny converts a small model of random weights with a tokenizer of bytes and a few merges, as a base or as an instruct model.
func Tiny(t testing.TB, kind memmap.Kind) *memmap.File {
	t.Helper()
	dir := t.TempDir()
	for _, elem := range [][]string{{"golden", "bimamba", "config.json"}, {"golden", "bimamba", "pytorch_model.bin"}, {"tokenizer-tiny", "tokenizer.json"}} {
		path, err := filepath.Abs(filepath.Join(append([]string{Root(), "testdata"}, elem...)...))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, elem[len(elem)-1])); err != nil {
			t.Fatal(err)
		}
	}
	var opt convert.Options
	if kind == memmap.KindInstruct {
		path := filepath.Join(dir, "card.toml")
		if err := os.WriteFile(path, []byte(instructCard), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if opt.Card, err = convert.ReadCard(path); err != nil {
			t.Fatal(err)
		}
	}
	return Convert(t, dir, opt)
}
