package plan

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"bimamba/convert"
	"bimamba/convert/synth"
	"bimamba/edge/model"
	"bimamba/memmap"
)

// synthetic converts a random checkpoint of a size to a file.
func synthetic(t testing.TB, size string, head convert.Head) string {
	t.Helper()
	c, err := synth.New(size, 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "m.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := convert.Convert(context.Background(), f, c, convert.Options{Head: head}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestShape holds the manifests of sizes against converted models.
func TestShape(t *testing.T) {
	if got, want := Sizes(), synth.Sizes(); len(got) != len(want) {
		t.Errorf("sizes %v, and synth has %v", got, want)
	}
	for _, size := range synth.Sizes() {
		c, err := synth.New(size, 1)
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			DModel uint32 `json:"d_model"`
			NLayer uint32 `json:"n_layer"`
			Vocab  uint32 `json:"vocab_size"`
			SSM    struct {
				DState uint32 `json:"d_state"`
			} `json:"ssm_cfg"`
		}
		if err := json.Unmarshal(c.Config(), &config); err != nil {
			t.Fatal(err)
		}
		if h := mustShape(t, size, memmap.I8).Model; h.DModel != config.DModel || h.NLayer != config.NLayer || h.VocabSize != config.Vocab || h.DState != config.SSM.DState {
			t.Errorf("%s: %+v, and synth's is %+v", size, h, config)
		}
	}
	for head, d := range map[convert.Head]memmap.DType{convert.HeadInt8: memmap.I8, convert.HeadInt4: memmap.I4, convert.HeadF16: memmap.F16} {
		if testing.Short() && head != convert.HeadInt8 {
			continue
		}
		f, err := memmap.Open(synthetic(t, "assistant", head))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, want := mustShape(t, "assistant", d), f.Manifest()
		compare(t, got, want)
		other, err := withHead(mustShape(t, "assistant", memmap.F16), d)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, other, want)
	}
	if _, err := Shape("7B", memmap.I8); err == nil {
		t.Error("there is a size 7B")
	}
	if _, err := Shape("780M", memmap.F32); err == nil {
		t.Error("there is a head of f32")
	}
}

// compare checks that two models have the same tensors, and so the same memory. Files differ by the text of their manifests.
func compare(t *testing.T, got, want *memmap.Manifest) {
	t.Helper()
	for i := range want.Sections {
		a, b := &got.Sections[i], &want.Sections[i]
		same := slices.EqualFunc(a.Tensors, b.Tensors, func(x, y memmap.Tensor) bool {
			return x.Name == y.Name && x.DType == y.DType && x.Layout == y.Layout && x.Quant == y.Quant && x.Length == y.Length && slices.Equal(x.Shape, y.Shape)
		})
		if a.Name != b.Name || a.Length != b.Length || !same {
			t.Errorf("section %s differs from %s", a.Name, b.Name)
		}
	}
	a, b := model.NewFootprint(got, model.Options{}), model.NewFootprint(want, model.Options{})
	if d := a.File - b.File; d < -64<<10 || d > 64<<10 {
		t.Errorf("files of %d and %d bytes", a.File, b.File)
	}
	if a.File, b.File = 0, 0; a != b {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// TestWithHead keeps everything else of a model with a tokenizer and gives its bytes another place.
func TestWithHead(t *testing.T) {
	f, err := memmap.Open(filepath.Join("..", "..", "models", "default.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := model.NewFootprint(f.Manifest(), model.Options{})
	m, err := withHead(f.Manifest(), memmap.I4)
	if err != nil {
		t.Fatal(err)
	}
	after := model.NewFootprint(m, model.Options{})
	if after.Tokenizer != before.Tokenizer || after.Weights != before.Weights || after.Head >= before.Head || after.File >= before.File {
		t.Errorf("%+v\n%+v", before, after)
	}
	if again := model.NewFootprint(f.Manifest(), model.Options{}); again != before {
		t.Error("the manifest was changed")
	}
}
