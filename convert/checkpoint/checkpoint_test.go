package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/convert/safetensors"
	"bimamba/convert/source"
	"bimamba/memmap"
)

const golden = "../../testdata/golden"

func open(t *testing.T, path string) *Checkpoint {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// floats is a whole tensor.
func floats(t *testing.T, c *Checkpoint, name string) []float32 {
	t.Helper()
	x, ok := c.Tensor(name)
	if !ok {
		t.Fatalf("there is no tensor %s", name)
	}
	v := make([]float32, x.Elems())
	if err := x.ReadFloats(v, 0); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGolden compares names, types and shapes with what the families call for.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		dir                                             string
		dtype                                           memmap.DType
		layers, dModel, vocab, dInner, nheads, channels int64
		perLayer                                        []string // beside those of every family
		embedding, head                                 string
		files                                           []string
		tied                                            bool
	}{
		{"bimamba", memmap.F16, 4, 128, 2000, 256, 4, 512, []string{"mixer.conv1d.bias", "mixer.in_proj.wscale", "mixer.in_proj.wbias", "mixer.out_proj.wscale", "mixer.out_proj.wbias"},
			"backbone.embedding.weight", "lm_head.weight", []string{"config.json", "pytorch_model.bin"}, true},
		{"bimamba-row", memmap.F16, 2, 128, 512, 256, 4, 512, []string{"mixer.conv1d.bias", "mixer.in_proj.wscale", "mixer.in_proj.wbias", "mixer.out_proj.wscale", "mixer.out_proj.wbias"},
			"backbone.embedding.weight", "lm_head.weight", []string{"config.json", "pytorch_model.bin"}, true},
		{"bimamba-single", memmap.F32, 2, 128, 512, 256, 4, 512, []string{"mixer.conv1d.bias", "mixer.in_proj.wscale", "mixer.in_proj.wbias", "mixer.out_proj.wscale", "mixer.out_proj.wbias"},
			"backbone.embedding.weight", "", []string{"config.json", "model.safetensors"}, true},
		{"mamba2-statespaces", memmap.F16, 2, 128, 1008, 256, 4, 512, []string{"mixer.conv1d.bias"},
			"backbone.embedding.weight", "lm_head.weight", []string{"config.json", "pytorch_model.bin"}, true},
		{"mamba2-hf", memmap.F32, 3, 64, 384, 128, 8, 160, []string{"mixer.conv1d.bias"},
			"backbone.embeddings.weight", "", []string{"config.json", "model.safetensors"}, true},
		{"mamba2-hf-groups", memmap.F32, 2, 64, 300, 128, 8, 256, nil,
			"backbone.embeddings.weight", "", []string{"config.json", "model.safetensors"}, true},
		{"mamba2-hf-sharded-bf16", memmap.BF16, 2, 96, 320, 192, 6, 256, []string{"mixer.conv1d.bias", "mixer.in_proj.bias", "mixer.out_proj.bias"},
			"backbone.embeddings.weight", "lm_head.weight", []string{"config.json", "model.safetensors.index.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}, false},
	} {
		t.Run(c.dir, func(t *testing.T) {
			k := open(t, filepath.Join(golden, c.dir))
			var files []string
			for _, f := range k.Files() {
				files = append(files, filepath.Base(f))
			}
			if !slices.Equal(files, c.files) {
				t.Errorf("files %v, want %v", files, c.files)
			}
			if !bytes.Contains(k.Config(), []byte(`"vocab_size"`)) {
				t.Errorf("config.json is %.40q", k.Config())
			}
			want := map[string][]int64{c.embedding: {c.vocab, c.dModel}, "backbone.norm_f.weight": {c.dModel}}
			if c.head != "" {
				want[c.head] = []int64{c.vocab, c.dModel}
			}
			rows := 2*c.dInner + c.channels - c.dInner + c.nheads
			for l := range c.layers {
				p := fmt.Sprintf("backbone.layers.%d.", l)
				for name, shape := range map[string][]int64{
					"norm.weight": {c.dModel}, "mixer.A_log": {c.nheads}, "mixer.D": {c.nheads}, "mixer.dt_bias": {c.nheads}, "mixer.norm.weight": {c.dInner},
					"mixer.conv1d.weight": {c.channels, 1, 4}, "mixer.in_proj.weight": {rows, c.dModel}, "mixer.out_proj.weight": {c.dModel, c.dInner},
				} {
					want[p+name] = shape
				}
				all := map[string][]int64{
					"mixer.conv1d.bias": {c.channels}, "mixer.in_proj.bias": {rows}, "mixer.out_proj.bias": {c.dModel},
					"mixer.in_proj.wscale": {1, c.dModel}, "mixer.in_proj.wbias": {1, c.dModel}, "mixer.out_proj.wscale": {1, c.dInner}, "mixer.out_proj.wbias": {1, c.dInner},
				}
				for _, name := range c.perLayer {
					shape := all[name]
					if w := strings.HasSuffix(name, "wscale") || strings.HasSuffix(name, "wbias"); w && c.dir == "bimamba-single" {
						shape = []int64{1}
					} else if w && c.dir == "bimamba-row" {
						shape = []int64{all[strings.TrimSuffix(strings.TrimSuffix(name, "wscale"), "wbias")+"bias"][0], 1}
					}
					want[p+name] = shape
				}
			}
			if !slices.IsSorted(k.Names()) {
				t.Error("the names are not sorted")
			}
			for _, name := range k.Names() {
				x, ok := k.Tensor(name)
				shape, known := want[name]
				if !ok || !known || x.DType != c.dtype || !slices.Equal(x.Shape, shape) || x.Name != name || !slices.Contains(c.files, x.File) {
					t.Errorf("%s: %s %v in %s, want %s %v", name, x.DType, x.Shape, x.File, c.dtype, shape)
				}
				for i, v := range floats(t, k, name) {
					if v-v != 0 {
						t.Fatalf("%s: element %d is %v", name, i, v)
					}
				}
				delete(want, name)
			}
			if len(want) > 0 {
				t.Errorf("missing: %v", want)
			}
			if c.head != "" {
				if same := slices.Equal(floats(t, k, c.embedding), floats(t, k, c.head)); same != c.tied {
					t.Errorf("the head is the embedding: %v, want %v", same, c.tied)
				}
			}
			if _, ok := k.Tensor("backbone"); ok {
				t.Error("a tensor that is not there is found")
			}
		})
	}
}

// TestGoldenValues compares single elements with what Python's zipfile, pickle and struct read from the same files.
func TestGoldenValues(t *testing.T) {
	for _, c := range []struct {
		dir, name string
		elem      int64
		want      float32
	}{
		{"bimamba", "backbone.layers.1.mixer.in_proj.weight", 12345, -0.0007963180541992188},
		{"bimamba", "backbone.layers.1.mixer.out_proj.wscale", 77, 0.062469482421875},
		{"bimamba", "backbone.layers.0.mixer.dt_bias", 3, -6.07421875},
		{"bimamba-row", "backbone.layers.1.mixer.out_proj.wscale", 77, 0.044921875},
		{"bimamba-row", "backbone.layers.1.mixer.conv1d.weight", 2047, 0.434326171875},
		{"mamba2-statespaces", "backbone.layers.1.mixer.in_proj.weight", 12345, 0.0836181640625},
		{"bimamba-single", "backbone.layers.1.mixer.out_proj.wscale", 0, 0.05413818359375},
		{"mamba2-hf", "backbone.layers.1.mixer.in_proj.weight", 12345, -0.21662670373916626},
		{"mamba2-hf-groups", "backbone.layers.0.mixer.dt_bias", 3, -4.352669715881348},
		{"mamba2-hf-sharded-bf16", "backbone.layers.1.mixer.in_proj.weight", 12345, 0.0257568359375},
		{"mamba2-hf-sharded-bf16", "lm_head.weight", 30000, 0.3984375},
		{"mamba2-hf-sharded-bf16", "backbone.layers.0.mixer.dt_bias", 3, -6.0625},
	} {
		x, ok := open(t, filepath.Join(golden, c.dir)).Tensor(c.name)
		var got [1]float32
		if err := x.ReadFloats(got[:], c.elem); !ok || err != nil || got[0] != c.want {
			t.Errorf("%s: element %d of %s is %v, %v, want %v", c.dir, c.elem, c.name, got[0], err, c.want)
		}
	}
}

// writeSafetensors writes a file of tensors of two bytes.
func writeSafetensors(t *testing.T, path string, names ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []source.Tensor
	for _, n := range names {
		tensors = append(tensors, source.Tensor{Name: n, DType: memmap.U8, Shape: []int64{2}})
	}
	w, err := safetensors.NewWriter(f, tensors)
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		if _, err := w.Write([]byte{byte(i), byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// index is the text of an index; pairs is tensor, file, tensor, file...
func index(pairs ...string) string {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	b, _ := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 4}, "weight_map": m})
	return string(b)
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

func TestChoice(t *testing.T) {
	bin := filepath.Join(golden, "mamba2-statespaces", "pytorch_model.bin")
	for _, c := range []struct {
		name  string
		files []string // .bin and .pt are a real one, .safetensors has one tensor
		open  string   // in the folder
		want  string   // the weights that were opened, or what the error says
	}{
		{"safetensors before bin", []string{"pytorch_model.bin", "model.safetensors", "golden.safetensors"}, "", "model.safetensors"},
		{"bin", []string{"pytorch_model.bin", "training_args.bin"}, "", "pytorch_model.bin"},
		{"one other safetensors", []string{"m.safetensors", "pytorch_model.pt"}, "", "m.safetensors"},
		{"one pt", []string{"m.pt"}, "", "m.pt"},
		{"a file", []string{"m.pt", "n.pth", "model.safetensors"}, "n.pth", "n.pth"},
		{"two", []string{"a.pt", "b.bin"}, "", `several files of weights and no index: ["a.pt" "b.bin"]`},
		{"two shards", []string{"a.safetensors", "b.safetensors"}, "", "several files of weights"},
		{"none", []string{"README.md", "a.gguf"}, "", `looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json, or one file *.safetensors, *.bin or *.pt; found ["README.md" "a.gguf" "config.json"]`},
		{"many", strings.Split("0 1 2 3 4 5 6 7 8 9 a b", " "), "", `"6" "7"] and 5 more`},
		{"another kind of file", []string{"m.gguf"}, "m.gguf", "whose name ends in"},
		{"not there", nil, "m.bin", "a folder or a file on this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "config.json"), "{}")
			for _, f := range c.files {
				switch filepath.Ext(f) {
				case ".bin", ".pt", ".pth":
					copyFile(t, filepath.Join(dir, f), bin)
				case ".safetensors":
					writeSafetensors(t, filepath.Join(dir, f), "a")
				default:
					write(t, filepath.Join(dir, f), "")
				}
			}
			k, err := Open(filepath.Join(dir, c.open))
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want one line with %q", err, c.want)
				}
				return
			}
			defer k.Close()
			if got := k.Files(); len(got) != 2 || got[1] != filepath.Join(dir, c.want) {
				t.Errorf("opened %v, want %s", got, c.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	writeSafetensors(t, filepath.Join(dir, "model.safetensors"), "a")
	config := filepath.Join(dir, "config.json")
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), config+" is missing") {
		t.Errorf("without config.json: %v", err)
	}
	write(t, config, strings.Repeat(" ", maxConfig+1))
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), config+": 1048577 bytes, more than") {
		t.Errorf("with a large config.json: %v", err)
	}
	write(t, config, `{"a": Infinity}`)
	if got := open(t, dir).Config(); string(got) != `{"a": Infinity}` {
		t.Errorf("config.json is %q", got)
	}
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), "{}")
	writeSafetensors(t, filepath.Join(dir, "1.safetensors"), "a", "b")
	writeSafetensors(t, filepath.Join(dir, "2.safetensors"), "c")
	writeSafetensors(t, filepath.Join(dir, "3.safetensors"), "a", "d")
	write(t, filepath.Join(dir, "cut.safetensors"), "1234")
	path := filepath.Join(dir, "model.safetensors.index.json")
	for _, c := range []struct{ name, index, want string }{
		{"whole", index("a", "1.safetensors", "b", "1.safetensors", "c", "2.safetensors"), ""},
		{"not in the shard", index("a", "1.safetensors", "b", "1.safetensors", "x", "2.safetensors", "c", "2.safetensors"), "tensor x is not in 2.safetensors"},
		{"not in the index", index("a", "1.safetensors", "c", "2.safetensors"), "tensor b is not in the index"},
		{"in another shard", index("a", "1.safetensors", "b", "2.safetensors", "c", "2.safetensors"), "tensor b is in 1.safetensors, but the index says 2.safetensors"},
		{"in two shards", index("a", "1.safetensors", "b", "1.safetensors", "d", "3.safetensors"), "tensor a is in 3.safetensors, but the index says 1.safetensors"},
		{"missing shard", index("a", "9.safetensors"), "names the shard 9.safetensors, which is missing"},
		{"cut shard", index("a", "cut.safetensors"), "cut.safetensors: 4 bytes are too few"},
		{"another format", index("a", "config.json"), "config.json: weights are read from files"},
		{"up", index("a", "../1.safetensors"), `"../1.safetensors" is not the name of a file in the folder`},
		{"absolute", index("a", "/etc/passwd"), "is not the name"},
		{"backslash", index("a", `..\1.safetensors`), "is not the name"},
		{"dots", index("a", ".."), "is not the name"},
		{"empty", index("a", ""), "is not the name"},
		{"NUL", index("a", "1.safetensors\x00"), "is not the name"},
		{"empty tensor", index("", "1.safetensors"), "empty name"},
		{"twice", `{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}`, "tensor a stands twice"},
		{"two maps", `{"weight_map":{"a":"1.safetensors"},"weight_map":{}}`, "weight_map stands twice"},
		{"no map", `{"metadata":{}}`, "no weight_map"},
		{"empty map", `{"weight_map":{}}`, "no weight_map"},
		{"a list", `{"weight_map":["a"]}`, "weight_map is not an object"},
		{"numbers", `{"weight_map":{"a":1}}`, "is not a string"},
		{"no JSON", `[]`, "not a JSON object"},
		{"empty file", ``, "empty"},
		{"LFS", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
		{"trailing", index("a", "1.safetensors") + "x", "something follows"},
	} {
		write(t, path, c.index)
		k, err := Open(dir)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if !slices.Equal(k.Names(), []string{"a", "b", "c"}) || len(k.Files()) != 4 {
				t.Errorf("%s: %v of %v", c.name, k.Names(), k.Files())
			}
			if x, _ := k.Tensor("b"); x.File != "1.safetensors" {
				t.Errorf("%s: b is in %s", c.name, x.File)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with the path and %q", c.name, err, c.want)
		}
	}
	whole := index("a", "1.safetensors", "b", "1.safetensors")
	for n := range len(whole) {
		write(t, path, whole[:n])
		if _, err := Open(path); err == nil {
			t.Errorf("the first %d bytes of an index are taken for a whole one", n)
		}
	}
	// A link that leads nowhere is not passed over in silence.
	if err := os.Symlink("gone", filepath.Join(dir, "model.safetensors")); err != nil {
		t.Skip(err)
	}
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a dead link: %v", err)
	}
}

// TestShardedBin reads shards of PyTorch's format by their index.
func TestShardedBin(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), "{}")
	copyFile(t, filepath.Join(dir, "pytorch_model-00001-of-00001.bin"), filepath.Join(golden, "mamba2-statespaces", "pytorch_model.bin"))
	whole := open(t, filepath.Join(golden, "mamba2-statespaces"))
	var pairs []string
	for _, n := range whole.Names() {
		pairs = append(pairs, n, "pytorch_model-00001-of-00001.bin")
	}
	write(t, filepath.Join(dir, "pytorch_model.bin.index.json"), index(pairs...))
	k := open(t, dir)
	if !slices.Equal(k.Names(), whole.Names()) {
		t.Errorf("names %v, want %v", k.Names(), whole.Names())
	}
	if !slices.Equal(floats(t, k, "backbone.layers.1.mixer.A_log"), floats(t, whole, "backbone.layers.1.mixer.A_log")) {
		t.Error("A_log differs")
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(index("a", "1.safetensors", "b", "2.safetensors")))
	f.Add([]byte(index("a", "../x")))
	f.Add([]byte(`{"weight_map":{"a":"b","a":"b"}}`))
	f.Add([]byte(`{"metadata":[[[{}]]],"weight_map":{"a":"b"}} `))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseIndex(b)
		if err != nil {
			return
		}
		if len(m) == 0 || !json.Valid(b) {
			t.Fatalf("%d tensors of %q", len(m), b)
		}
		for tensor, file := range m {
			if tensor == "" || filepath.Base(file) != file || file == ".." || file == "." {
				t.Fatalf("tensor %q lies in %q", tensor, file)
			}
		}
	})
}
