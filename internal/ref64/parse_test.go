package ref64

import (
	"archive/zip"
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLimits(t *testing.T) {
	for config, want := range map[string][2]float64{
		`{"hidden_size": 4, "num_hidden_layers": 1, "vocab_size": 5, "num_heads": 2, "head_dim": 4, "state_size": 3, "n_groups": 1,
			"time_step_limit": [0.0, Infinity]}`: {0, math.Inf(1)},
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2", "dt_limit": [0.25,0.5]}}`:     {0.25, 0.5},
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2", "dt_limit": [0.5,Infinity]}}`: {0.5, math.Inf(1)},
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2"}}`:                             {0, math.Inf(1)},
	} {
		p, err := parseParams([]byte(config), false)
		if err != nil || p.DtMin != want[0] || p.DtMax != want[1] {
			t.Errorf("%s: dt in [%g, %g] (%v), want %v", config, p.DtMin, p.DtMax, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba1"}}`:                                   "ssm_cfg",
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2", "norm_before_gate": true}}`:         "ssm_cfg",
		`{"d_model": 60, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2"}}`:                                   "do not divide",
		`{"d_model": 64, "n_layer": 0, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2"}}`:                                   "n_layer",
		`{"d_model": 64, "n_layer": 1, "vocab_size": 5, "ssm_cfg": {"layer": "Mamba2", "dt_limit": [Infinity, Infinity]}}`: "time step limit",
	} {
		if _, err := parseParams([]byte(config), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", config, err, want)
		}
	}
	p, err := parseParams([]byte(fixtures[0].config), true)
	if err != nil {
		t.Fatal(err)
	}
	for want, damage := range map[string]func(map[string]Tensor){
		"norm_f.weight is missing": func(m map[string]Tensor) { delete(m, "backbone.norm_f.weight") },
		"has shape [3]":            func(m map[string]Tensor) { m[mixer(1)+"D"] = Tensor{[]int{3}, make([]float64, 3)} },
		"extra":                    func(m map[string]Tensor) { m["extra"] = Tensor{} },
		"differs from the embedding": func(m map[string]Tensor) {
			e := m["backbone.embedding.weight"]
			m["lm_head.weight"] = Tensor{e.Shape, make([]float64, len(e.Data))}
		},
	} {
		tensors, err := ReadSafetensors(filepath.Join(fixtureDir, fixtures[0].name, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		damage(tensors)
		if _, err := build(p, tensors); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}

func FuzzParseSafetensors(f *testing.F) {
	b, err := writeSafetensors(map[string]Tensor{"a": {[]int{2, 1}, []float64{1, -2}}, "b": {nil, []float64{3}}},
		func(name string) string { return map[string]string{"a": "F16", "b": "I32"}[name] })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append([]byte{62, 0, 0, 0, 0, 0, 0, 0}, `{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}      12345678`...))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parseSafetensors(b)
		if err == nil {
			checkTensors(t, tensors, len(b))
		}
	})
}

// statePickle is a state dict of one tensor, w: elements 1 and 2 of storage 0.
const statePickle = "\x80\x02}q\x00(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nHalfStorage\n" +
	"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQK\x01K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRu."

// torchFile is a pickle beside one storage of three F16 numbers: 1, -2, 0.5.
func torchFile(t *testing.T, pickle []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, data := range map[string][]byte{"m/data.pkl": pickle, "m/data/0": {0, 0x3c, 0, 0xc0, 0, 0x38}} {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpickle(t *testing.T) {
	tensors, err := parseTorch(torchFile(t, []byte(statePickle)))
	if err != nil {
		t.Fatal(err)
	}
	if w := tensors["w"]; len(tensors) != 1 || !slices.Equal(w.Shape, []int{2}) || !slices.Equal(w.Data, []float64{-2, 0.5}) {
		t.Errorf("got %v", tensors)
	}
	for want, change := range map[string][2]string{
		"contiguous":    {"K\x01\x85\x89", "K\x02\x85\x89"},
		"of 3 elements": {"tQK\x01", "tQK\x02"},
		"not in the":    {"\x01\x00\x00\x000", "\x01\x00\x00\x001"},
		"call of":       {"collections\nOrderedDict", "os\nsystem"},
		"protocol 4":    {"\x80\x02", "\x80\x04"},
		"EOF":           {"u.", "u"},
		"not known":     {"HalfStorage", "CharStorage"},
	} {
		pickle := strings.Replace(statePickle, change[0], change[1], 1)
		if _, err := parseTorch(torchFile(t, []byte(pickle))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}

func FuzzUnpickle(f *testing.F) {
	f.Add([]byte(statePickle))
	f.Add([]byte("\x80\x02}q\x01h\x01r\x02\x00\x00\x00M\x01\x00J\xff\xff\xff\xff\x86."))
	f.Fuzz(func(t *testing.T, pickle []byte) {
		b := torchFile(t, pickle)
		if tensors, err := parseTorch(b); err == nil {
			checkTensors(t, tensors, 4*len(b))
		}
	})
}

// checkTensors asks that data fills its shape and that there is not more of it than limit.
func checkTensors(t *testing.T, tensors map[string]Tensor, limit int) {
	total := 0
	for name, tensor := range tensors {
		n, ok := product(tensor.Shape, len(tensor.Data))
		if !ok || n != len(tensor.Data) {
			t.Errorf("%s: shape %v, %d elements", name, tensor.Shape, n)
		}
		total += n
	}
	if total > limit {
		t.Errorf("%d elements, want at most %d", total, limit)
	}
}

func TestRelL2(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{3, 4}, []float64{3, 4}, 0},
		{[]float64{3, 5}, []float64{3, 4}, 0.2},
		{[]float64{0, 0}, []float64{0, 0}, 0},
		{[]float64{1}, []float64{0}, math.Inf(1)},
		{[]float64{1}, []float64{1, 1}, math.Inf(1)},
	} {
		if got := RelL2(c.a, c.b); got != c.want {
			t.Errorf("RelL2(%v, %v) = %g, want %g", c.a, c.b, got, c.want)
		}
	}
	if got := RelL2([]float64{math.NaN()}, []float64{1}); !math.IsNaN(got) {
		t.Errorf("RelL2 of a NaN is %g", got)
	}
}

func TestNoCheckpoint(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !os.IsNotExist(err) {
		t.Errorf("error %v, want that config.json does not exist", err)
	}
}
