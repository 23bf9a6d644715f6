package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bimamba/convert"
	"bimamba/convert/tokenizer"
	"bimamba/edge/model"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// reader runs the independent reader of the format, which somebody wrote in Python who had seen nothing but FORMAT.md 1.0; what 1.1 added followed later.
func reader(t *testing.T, command, file, stdin string) []byte {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not here")
	}
	cmd := exec.Command(python, filepath.Join(testmodel.Root(), "memmap", "testdata", "reader", "read_bimamba.py"), command, file)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", command, file, err, stderr.String())
	}
	return out
}

// TestIndependentReader has the reader that was written from FORMAT.md alone come to the same tokens, texts and logits.
func TestIndependentReader(t *testing.T) {
	slow(t)
	t.Run("check", func(t *testing.T) {
		if out := reader(t, "check", testmodel.Default(t).Name(), ""); !bytes.HasPrefix(out, []byte("ok 143 tensors")) {
			t.Errorf("it says %q", out)
		}
	})
	t.Run("tokens", func(t *testing.T) { testReaderTokens(t, testmodel.Default(t)) })
	for _, c := range []struct {
		dir  string
		head convert.Head
	}{
		{"golden/bimamba-row", convert.HeadInt8}, {"golden/bimamba-single", convert.HeadInt4}, {"golden/mamba2-hf-groups", convert.HeadInt8}, {"golden/mamba2-hf-sharded-bf16", convert.HeadInt8},
		{"golden-own/bimamba-odd", convert.HeadInt4}, {"golden-own/statespaces-groups", convert.HeadInt8}, {"golden-own/hf-odd", convert.HeadInt8}, {"golden-own/bimamba-wide", convert.HeadInt8},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.dir, c.head), func(t *testing.T) {
			blob := testmodel.Convert(t, filepath.Join(testmodel.Root(), "testdata", c.dir), convert.Options{Head: c.head})
			m, err := model.Open(blob, model.Options{Precision: model.Exact, State: model.StateF32})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ids := []uint32{1, 5, 2, 60, 7}
			logits := make([]float32, m.Hyper().VocabSize)
			if err := m.Session(0).Prefill(t.Context(), ids, logits); err != nil {
				t.Fatal(err)
			}
			line, err := json.Marshal(ids)
			if err != nil {
				t.Fatal(err)
			}
			var want []float64
			if err := json.Unmarshal(reader(t, "logits", blob.Name(), string(line)+"\n"), &want); err != nil {
				t.Fatal(err)
			}
			if len(want) != len(logits) {
				t.Fatalf("%d logits, not %d", len(want), len(logits))
			}
			var d, n float64
			for i, w := range want {
				d += (float64(logits[i]) - w) * (float64(logits[i]) - w)
				n += w * w
			}
			if e := math.Sqrt(d / n); !(e < 1e-5) {
				t.Errorf("relative L2 %.3g", e)
			}
		})
	}
}

// testReaderTokens encodes and decodes the texts of tokens-dev.json with both.
func testReaderTokens(t *testing.T, blob *memmap.File) {
	b, err := os.ReadFile(filepath.Join(testmodel.Root(), "testdata", "tokens-dev.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Text string }
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatal(err)
	}
	tok, err := token.Open(blob)
	if err != nil {
		t.Fatal(err)
	}
	var texts, decoded []string
	var ids [][]uint32
	for _, r := range rows {
		texts = append(texts, r.Text)
		ids = append(ids, tok.Encode([]uint32{}, r.Text))
		decoded = append(decoded, tok.Decode(ids[len(ids)-1]))
	}
	readerSays(t, blob, "tokens", texts, ids)
	readerSays(t, blob, "decode", ids, decoded)
}

// readerSays has the reader turn each of in into one of want.
func readerSays[In, Out any](t *testing.T, blob *memmap.File, command string, in []In, want []Out) {
	t.Helper()
	var stdin bytes.Buffer
	for _, x := range in {
		if err := json.NewEncoder(&stdin).Encode(x); err != nil {
			t.Fatal(err)
		}
	}
	sc := bufio.NewScanner(bytes.NewReader(reader(t, command, blob.Name(), stdin.String())))
	sc.Buffer(nil, 1<<24)
	i := 0
	for ; sc.Scan(); i++ {
		var got Out
		if err := json.Unmarshal(sc.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%s %#v: it gives %#v, not %#v (%v)", command, in[i], got, want[i], err)
		}
	}
	if i != len(in) {
		t.Errorf("%s: %d lines for %d", command, i, len(in))
	}
}

// TestIndependentReaderUpstream has it come to what the tokenizers' own implementations recorded, in every corner of the format.
func TestIndependentReaderUpstream(t *testing.T) {
	slow(t)
	const suffix = ".golden.json"
	files, err := filepath.Glob(filepath.Join(testmodel.Root(), "convert", "tokenizer", "testdata", "upstream", "*"+suffix))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), suffix), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var golden struct {
				Rows []struct {
					Text    *string
					IDs     []uint32
					Decoded *string
				}
			}
			if err := json.Unmarshal(b, &golden); err != nil {
				t.Fatal(err)
			}
			source := strings.TrimSuffix(file, suffix) + ".json"
			if _, err := os.Stat(source); err != nil {
				source = strings.TrimSuffix(file, suffix) + ".model"
			}
			tok, err := tokenizer.Load(source)
			if err != nil {
				t.Fatal(err)
			}
			var texts, decoded []string
			var ids, encoded [][]uint32
			for _, r := range golden.Rows {
				if r.IDs == nil {
					r.IDs = []uint32{}
				}
				if r.Text != nil {
					texts, encoded = append(texts, *r.Text), append(encoded, r.IDs)
				}
				if r.Decoded != nil {
					decoded, ids = append(decoded, *r.Decoded), append(ids, r.IDs)
				}
			}
			blob := convertWide(t, tok)
			readerSays(t, blob, "tokens", texts, encoded)
			readerSays(t, blob, "decode", ids, decoded)
		})
	}
}

// TestIndependentReaderSentencePiece does the same for a tokenizer over characters with byte fallback.
func TestIndependentReaderSentencePiece(t *testing.T) {
	slow(t)
	tok, err := tokenizer.Load(testmodel.Shared(t, "tokenizers", "llama.tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	// Any model with rows enough carries it.
	blob := convertWide(t, tok)
	testReaderTokens(t, blob)
}

// convertWide makes a blob of a tiny model with a vocabulary as large as the tokenizer's.
func convertWide(t *testing.T, tok *tokenizer.Compiled) *memmap.File {
	t.Helper()
	m := &memmap.Manifest{
		Model: memmap.Model{Family: "mamba2", DModel: 1, NLayer: 1, DInner: 1, HeadDim: 1, NHeads: 1, DState: 1, NGroups: 1, DConv: 1, VocabSize: tok.Info.Size, NormEps: 1e-5, GatedNormGroups: 1, DtMax: 1, TieEmbeddings: true},
		Kind:  memmap.KindBase, Prompt: memmap.Prompt{BOSID: -1}, Generation: memmap.Generation{TopP: 1, RepetitionPenalty: 1}, Tokenizer: &tok.Info,
		Sections: []memmap.Section{{Name: memmap.TokenizerTable}},
	}
	for _, x := range tok.Tables {
		m.Sections[0].Tensors = append(m.Sections[0].Tensors, memmap.Tensor{Name: x.Name, DType: x.DType, Shape: x.Shape})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "t.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := memmap.NewWriter(f, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tok.Tables {
		tw, err := w.Tensor(memmap.TokenizerTable, x.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(x.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return testmodel.OpenFile(t, f)
}
