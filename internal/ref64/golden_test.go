package ref64

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

const goldenDir = "../../testdata/golden"

// golden is the contents of a golden.safetensors.
type golden struct {
	ids, greedy []int
	tensors     map[string]Tensor
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	tensors, err := ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{tensors: tensors}
	for _, list := range []struct {
		name string
		to   *[]int
	}{{"input_ids", &g.ids}, {"greedy", &g.greedy}} {
		for _, v := range tensors[list.name].Data {
			*list.to = append(*list.to, int(v))
		}
		if len(*list.to) == 0 {
			t.Fatalf("%s: no %s", path, list.name)
		}
	}
	return g
}

// goldenTensors names and shapes a trace as golden.safetensors does.
func goldenTensors(p Params, trace *Trace) map[string]Tensor {
	tokens := len(trace.Logits)
	out := map[string]Tensor{"logits": {[]int{tokens, p.VocabSize}, slices.Concat(trace.Logits...)}}
	for i := range p.NLayer {
		prefix := fmt.Sprintf("layer.%d.", i)
		out[prefix+"output"] = Tensor{[]int{tokens, p.DModel}, slices.Concat(trace.LayerOut[i]...)}
		out[prefix+"ssm_state"] = Tensor{[]int{1, p.NHeads, p.HeadDim, p.DState}, trace.SSM[i]}
		out[prefix+"conv_state"] = Tensor{[]int{1, p.Channels(), p.DConv}, trace.Conv[i]}
	}
	return out
}

// compare reports the worst relative error of a run of m against g, and what is wrong.
func compare(t *testing.T, m *Model, g golden, tolerance float64) (worst float64) {
	t.Helper()
	trace, err := m.Run(g.ids)
	if err != nil {
		t.Fatal(err)
	}
	got := goldenTensors(m.Params, trace)
	if want := len(got) + 2; len(g.tensors) != want {
		t.Errorf("%d tensors in the golden file, want %d", len(g.tensors), want)
	}
	for name, tensor := range got {
		want := g.tensors[name]
		if !slices.Equal(tensor.Shape, want.Shape) {
			t.Errorf("%s: shape %v, golden %v", name, tensor.Shape, want.Shape)
			continue
		}
		e := RelL2(tensor.Data, want.Data)
		worst = max(worst, e)
		if !(e <= tolerance) {
			t.Errorf("%s: relative error %.3g, want at most %.3g", name, e, tolerance)
		}
	}
	greedy, err := m.Greedy(g.ids, len(g.greedy))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(greedy, g.greedy) {
		t.Errorf("greedy %v, golden %v", greedy, g.greedy)
	}
	return worst
}

// TestGolden holds the reference to what transformers computed in float32.
func TestGolden(t *testing.T) {
	families := map[string]string{
		"bimamba": BiMamba, "bimamba-row": BiMamba, "bimamba-single": BiMamba,
		"mamba2-hf": HuggingFace, "mamba2-hf-groups": HuggingFace, "mamba2-hf-sharded-bf16": HuggingFace,
		"mamba2-statespaces": StateSpaces,
	}
	configs, err := filepath.Glob(filepath.Join(goldenDir, "*", "config.json"))
	if err != nil || len(configs) != len(families) {
		t.Errorf("%d cases in %s (%v), want %d", len(configs), goldenDir, err, len(families))
	}
	for name, family := range families {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(goldenDir, name)
			m, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if m.Params.Family != family {
				t.Errorf("family %s, want %s", m.Params.Family, family)
			}
			t.Logf("worst relative error %.2g", compare(t, m, readGolden(t, filepath.Join(dir, "golden.safetensors")), 1e-5))
		})
	}
}
