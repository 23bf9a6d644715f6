// Package testmodel opens models for tests. Only tests import it.
package testmodel

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"bimamba/convert"
	"bimamba/convert/checkpoint"
	"bimamba/convert/tokenizer"
	"bimamba/memmap"
)

// Root is the folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	if root := filepath.Dir(filepath.Dir(filepath.Dir(file))); filepath.IsAbs(root) {
		return root
	}
	return "../.." // built with -trimpath: tests run in their package's folder, two below the root
}

// Shared is a path in the folder beside the repository that holds larger test data; the test is skipped where it is not.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{Root(), "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("../shared/%s is not here", filepath.Join(elem...))
	}
	return path
}

// Convert converts the checkpoint in dir, with its tokenizer if it has one, to a blob in the test's folder.
func Convert(t testing.TB, dir string, opt convert.Options) *memmap.File {
	t.Helper()
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if opt.Tokenizer, err = tokenizer.Load(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "m.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := convert.Convert(context.Background(), f, c, opt); err != nil {
		t.Fatal(err)
	}
	return OpenFile(t, f)
}

// OpenFile maps the blob that f holds until the test ends.
func OpenFile(t testing.TB, f *os.File) *memmap.File {
	t.Helper()
	blob, err := memmap.OpenFile(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blob.Close() })
	return blob
}

// Default opens the default model.
func Default(t testing.TB) *memmap.File {
	t.Helper()
	blob, err := memmap.Open(filepath.Join(Root(), "models", "default.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blob.Close() })
	return blob
}

// Golden is what a checkpoint of the assistant does in float32, by PyTorch (train/golden.py).
type Golden struct {
	Cases []struct {
		Task, Prompt, Text string
		PromptIDs          []uint32 `json:"prompt_ids"`
		GreedyIDs          []uint32 `json:"greedy_ids"`
		SmallestMargin     float64  `json:"smallest_margin"` // between the first and the second choice
	}
	NLL []struct {
		IDs []uint32 `json:"ids"`
		NLL float64  `json:"nll"`
	}
	Perplexity float64
}

// AssistantGolden reads the default model's golden outputs.
func AssistantGolden(t testing.TB) *Golden {
	t.Helper()
	return ReadGolden(t, filepath.Join(Root(), "testdata", "assistant", "golden.json"))
}

// ReadGolden reads golden outputs of 20 prompts and 200 sequences.
func ReadGolden(t testing.TB, path string) *Golden {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := new(Golden)
	if err := json.Unmarshal(b, g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cases) != 20 || len(g.NLL) != 200 {
		t.Fatalf("%d cases and %d sequences, not 20 and 200", len(g.Cases), len(g.NLL))
	}
	return g
}
