package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"bimamba/convert"
	"bimamba/convert/synth"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

func goldenDir(name string) string { return filepath.Join("../../testdata/golden", name) }

// run feeds ids and returns the logits behind each.
func run(t testing.TB, s *Session, ids []uint32) []float32 {
	t.Helper()
	logits := make([]float32, s.m.h.VocabSize)
	var all []float32
	for _, id := range ids {
		if err := s.Step(id, logits); err != nil {
			t.Fatal(err)
		}
		all = append(all, logits...)
	}
	return all
}

func sequence(n, vocab int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32((i*i*7 + i*13 + 5) % vocab)
	}
	return ids
}

func openModel(t testing.TB, blob *memmap.File, opt Options) *Model {
	t.Helper()
	m, err := Open(blob, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestSameOnEveryCPU hashes logits and states of every kind of matrix in both precisions. The hashes are the same on amd64 and arm64.
func TestSameOnEveryCPU(t *testing.T) {
	for _, c := range []struct {
		dir  string
		opt  convert.Options
		p    Precision
		want string
	}{
		{"bimamba", convert.Options{}, LUT16, "9fbdd1ca1385744f2d0ebff58a23a972edef28de39ae59ad2490fda732882eb3"},
		{"bimamba", convert.Options{Head: convert.HeadKeep}, Exact, "59d5741ed657131eae3e25d0c83c495eb5da9acfce0e09d67af3628b43dde142"},
		{"bimamba-row", convert.Options{Head: convert.HeadF16}, LUT16, "86fae43eb74e2d41eaa4f812c6793ad2d763f84145a7bf952f4626497f6b0109"},
		{"bimamba-single", convert.Options{}, Exact, "dcedf37cc3c6924b6b0ea6596f8b7044b2e883dbf9e7cc32c1f96caace8d66ef"},
		{"mamba2-hf-groups", convert.Options{Proj: convert.ProjInt8}, LUT16, "4cae50827c522faef3913204e25e7b10901e8c37a3129578bad7f0e5268138f1"},
		{"mamba2-hf-sharded-bf16", convert.Options{Head: convert.HeadKeep}, Exact, "bfff9594cec717b324a3fdcfc891b71ffb7042023b748064621c554ea89e4d61"},
		{"mamba2-statespaces", convert.Options{Proj: convert.Proj1Bit}, LUT16, "59c3643c4817a23e8e395b8a714584a2e6c54f7b5265914c8a9c2965ff88280f"},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s", c.dir, c.opt.Proj, c.p), func(t *testing.T) {
			m := openModel(t, testmodel.Convert(t, goldenDir(c.dir), c.opt), Options{Precision: c.p})
			s := m.Session(0)
			h := sha256.New()
			for _, v := range [][]float32{run(t, s, sequence(24, int(m.h.VocabSize))), s.ssm, s.conv} {
				if i := slices.IndexFunc(v, func(x float32) bool { return x-x != 0 }); i >= 0 {
					t.Fatalf("element %d is %v", i, v[i])
				}
				binary.Write(h, binary.LittleEndian, v)
			}
			if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
				t.Errorf("SHA-256 of logits and states is %s, not %s", got, c.want)
			}
		})
	}
}

// TestPrefill gives the bits of step by step.
func TestPrefill(t *testing.T) {
	m := openModel(t, testmodel.Convert(t, goldenDir("bimamba-row"), convert.Options{}), Options{Sessions: 2})
	ids := sequence(17, int(m.h.VocabSize))
	a, b := m.Session(0), m.Session(1)
	steps := run(t, a, ids)
	logits := make([]float32, m.h.VocabSize)
	if err := b.Prefill(ids[:9], nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Prefill(ids[9:], logits); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(logits, steps[len(steps)-len(logits):]) || !slices.Equal(a.ssm, b.ssm) || !slices.Equal(a.conv, b.conv) || b.Pos() != 17 {
		t.Error("prefill differs from step by step")
	}
	b.Reset()
	if err := b.Prefill(ids, logits); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(logits, steps[len(steps)-len(logits):]) {
		t.Error("a reset session remembers something")
	}
}

func TestBadCalls(t *testing.T) {
	m := openModel(t, testmodel.Convert(t, goldenDir("bimamba-single"), convert.Options{}), Options{})
	if err := m.Session(0).Step(m.h.VocabSize, nil); err == nil || !strings.Contains(err.Error(), "not a row") {
		t.Errorf("a token beyond the embedding gave %v", err)
	}
	if err := m.Session(0).Step(0, make([]float32, 3)); err == nil {
		t.Error("logits without room are accepted")
	}
	for _, s := range []string{"lut16", "exact"} {
		if p, err := ParsePrecision(s); err != nil || p.String() != s {
			t.Errorf("precision %q is %v, %v", s, p, err)
		}
	}
}

// TestNoAllocation decodes without touching the heap.
func TestNoAllocation(t *testing.T) {
	for _, p := range []Precision{LUT16, Exact} {
		m := openModel(t, testmodel.Convert(t, goldenDir("bimamba-row"), convert.Options{}), Options{Precision: p})
		logits := make([]float32, m.h.VocabSize)
		s := m.Session(0)
		if n := testing.AllocsPerRun(20, func() { s.Step(3, logits) }); n != 0 {
			t.Errorf("%s: %v allocations a token", p, n)
		}
	}
}

// TestFootprint compares what Open reserves with what its parts take: nothing is missing, nothing is left.
func TestFootprint(t *testing.T) {
	for _, dir := range []string{"bimamba", "mamba2-hf-groups"} {
		m := openModel(t, testmodel.Convert(t, goldenDir(dir), convert.Options{}), Options{Sessions: 3})
		f := m.Footprint()
		if int64(len(m.arena)) != f.Arena() {
			t.Errorf("%s: the arena has %d bytes, the footprint says %d", dir, len(m.arena), f.Arena())
		}
		rest := carver{m.arena}
		for range m.layers {
			rest.floats(int(m.h.NHeads))
		}
		for range 3 {
			var s Session
			s.init(m, &rest)
		}
		if len(rest.rest) != 0 {
			t.Errorf("%s: %d bytes of the arena are for nothing", dir, len(rest.rest))
		}
		if f.File != m.blob.Size() {
			t.Errorf("%s: the file has %d bytes, the footprint says %d", dir, m.blob.Size(), f.File)
		}
	}
}

// TestTruncatedWhileDecoding cuts the file under a running model: the request gets an error that names the tensor, and the process lives.
func TestTruncatedWhileDecoding(t *testing.T) {
	blob := testmodel.Convert(t, goldenDir("bimamba"), convert.Options{})
	m := openModel(t, blob, Options{})
	s := m.Session(0)
	logits := make([]float32, m.h.VocabSize)
	if err := s.Step(1, logits); err != nil {
		t.Fatal(err)
	}
	last, _ := blob.Section("layers.3")
	if err := os.Truncate(blob.Name(), int64(last.Offset)); err != nil {
		t.Fatal(err)
	}
	var fault *memmap.FaultError
	if err := s.Step(1, logits); !errors.As(err, &fault) || !strings.Contains(err.Error(), blob.Name()) {
		t.Errorf("Step gave %v", err)
	}
}

// sparse is a file of which only what is not zero is written.
type sparse struct{ *os.File }

func (s sparse) WriteAt(p []byte, off int64) (int, error) {
	if len(bytes.Trim(p, "\x00")) == 0 {
		return len(p), nil
	}
	return s.File.WriteAt(p, off)
}

// zeroModel writes a blob of the 2.7B shape whose weights are zeros.
func zeroModel(t *testing.T) string {
	const dModel, nLayer, dState, headdim = 2560, 64, 128, 64
	h := memmap.Model{
		Family: "bimamba", DModel: dModel, NLayer: nLayer, DInner: 2 * dModel, HeadDim: headdim, NHeads: 2 * dModel / headdim, DState: dState, NGroups: 1,
		DConv: 4, VocabSize: 32000, NormEps: 1e-5, GatedNormGroups: 1, DtMax: float32(math.Inf(1)), TieEmbeddings: true,
	}
	m := &memmap.Manifest{Model: h, Kind: memmap.KindBase, Prompt: memmap.Prompt{BOSID: -1}, Generation: memmap.Generation{TopP: 1, RepetitionPenalty: 1}}
	f32 := func(name string, shape ...uint32) memmap.Tensor {
		x := memmap.Tensor{Name: name, DType: memmap.F32}
		for _, d := range shape {
			x.Shape = append(x.Shape, uint64(d))
		}
		return x
	}
	proj := func(name string, rows, cols uint32) []memmap.Tensor {
		w := f32(name+".weight", rows, cols)
		w.DType, w.Quant, w.Layout = memmap.B1, memmap.QuantColumn, layout.Bits{Kb: layout.BlockWidth(int(cols))}.Name()
		return []memmap.Tensor{f32(name+".scale", cols), f32(name+".bias", cols), w}
	}
	head := f32("embedding.weight", h.VocabSize, dModel)
	head.DType, head.Quant = memmap.I8, memmap.QuantRow
	m.Sections = []memmap.Section{{Name: "io", Tensors: []memmap.Tensor{head, f32("embedding.scale", h.VocabSize), f32("norm_f.weight", dModel)}}}
	for i := range nLayer {
		s := memmap.Section{Name: fmt.Sprintf("layers.%d", i), Tensors: proj("in_proj", h.DInProj(), dModel)}
		s.Tensors = append(s.Tensors, f32("conv.weight", 4, h.Channels()), f32("conv.bias", h.Channels()), f32("dt_bias", h.NHeads), f32("A_log", h.NHeads), f32("D", h.NHeads))
		s.Tensors = append(s.Tensors, proj("out_proj", dModel, h.DInner)...)
		m.Sections = append(m.Sections, s)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "2.7b.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := memmap.NewWriter(sparse{f}, m)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for i := range m.Sections {
		for j := range m.Sections[i].Tensors {
			tw, err := w.Tensor(m.Sections[i].Name, m.Sections[i].Tensors[j].Name)
			if err != nil {
				t.Fatal(err)
			}
			for n := m.Sections[i].Tensors[j].Length; n > 0; n -= min(n, uint64(len(zeros))) {
				if _, err := tw.Write(zeros[:min(n, uint64(len(zeros)))]); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
		}
	}
	if err := f.Truncate(w.Size()); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestOpenAllocation opens a model of the 2.7B shape on less than 256 KiB of heap, which is what the arena and the mapping are for.
func TestOpenAllocation(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: hashes 400 MB of zeros; runs without -short")
	}
	path := zeroModel(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	blob, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	m, err := Open(blob, Options{})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := after.TotalAlloc - before.TotalAlloc
	if n >= 256<<10 {
		t.Errorf("opening a 2.7B model allocated %d bytes", n)
	}
	t.Logf("opening a 2.7B model allocated %d bytes; its arena has %d", n, len(m.arena))
}

func BenchmarkDecode(b *testing.B) {
	m := openModel(b, testmodel.Default(b), Options{})
	s := m.Session(0)
	logits := make([]float32, m.h.VocabSize)
	f := m.Footprint()
	b.SetBytes(f.Traffic())
	for b.Loop() {
		if err := s.Step(5, logits); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// TestSynth runs a random model for a while: its states stay normal numbers of ordinary size.
func TestSynth(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: 20 million random weights; runs without -short")
	}
	ck, err := synth.New("assistant", 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "synth.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := convert.Convert(context.Background(), f, ck, convert.Options{}); err != nil {
		t.Fatal(err)
	}
	m := openModel(t, testmodel.OpenFile(t, f), Options{})
	s := m.Session(0)
	if err := s.Prefill(sequence(500, int(m.h.VocabSize)), nil); err != nil {
		t.Fatal(err)
	}
	for _, v := range [][]float32{s.ssm, s.conv, s.h} {
		var sum float64
		for i, x := range v {
			if x-x != 0 || x != 0 && math.Abs(float64(x)) < 0x1p-126 {
				t.Fatalf("element %d is %v", i, x)
			}
			sum += float64(x) * float64(x)
		}
		if rms := math.Sqrt(sum / float64(len(v))); rms < 1e-3 || rms > 1e3 {
			t.Errorf("root mean square %v", rms)
		} else {
			t.Logf("root mean square %.3g", rms)
		}
	}
}
