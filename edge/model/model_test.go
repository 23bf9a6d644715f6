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
	"time"

	"bimamba/convert"
	"bimamba/convert/synth"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
	"bimamba/neon"
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

// eachKernel runs a test with every set of kernels that this CPU has.
func eachKernel(t *testing.T, test func(t *testing.T)) {
	before, err := neon.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	defer neon.Use(before)
	for _, name := range neon.Kernels() {
		if err := neon.Use(name); err != nil {
			t.Fatal(err)
		}
		t.Run(name, test)
	}
}

// TestDeterminism hashes logits and states of every kind of matrix, in every precision and type of state. The hashes are the same with every set of kernels,
// on every CPU, with any number of threads, and whether the tokens come one by one or in batches.
func TestDeterminism(t *testing.T) {
	for _, c := range []struct {
		dir  string
		opt  convert.Options
		p    Precision
		s    State
		want string
	}{
		{"bimamba", convert.Options{}, LUT16, StateF32, "9fbdd1ca1385744f2d0ebff58a23a972edef28de39ae59ad2490fda732882eb3"},
		{"bimamba", convert.Options{}, LUT16, StateF16, "5d4aa87818c2b11919796b63dd601d82a3df58713ff66e2ce84e5185ee45dee5"},
		{"bimamba", convert.Options{Head: convert.HeadInt4}, Fast, StateF16, "f3dce554037de7722bae8d2fb5d49c78d1830290fbe0714b6a6a1d613390a99a"},
		{"bimamba", convert.Options{Head: convert.HeadKeep}, Exact, StateF32, "59d5741ed657131eae3e25d0c83c495eb5da9acfce0e09d67af3628b43dde142"},
		{"bimamba-row", convert.Options{Head: convert.HeadF16}, LUT16, StateF32, "86fae43eb74e2d41eaa4f812c6793ad2d763f84145a7bf952f4626497f6b0109"},
		{"bimamba-row", convert.Options{Head: convert.HeadInt4}, LUT16, StateF16, "797b407b790e2ed58529595f353f4d6e23eab8707054358ad01feb0f3d7a79ee"},
		{"bimamba-single", convert.Options{}, Exact, StateF32, "dcedf37cc3c6924b6b0ea6596f8b7044b2e883dbf9e7cc32c1f96caace8d66ef"},
		{"bimamba-single", convert.Options{Head: convert.HeadInt4}, Exact, StateF16, "436a6349ef13d9cb4688fb0aa4b1b05e628008d2b1b9e485f11b43dbec9308c8"},
		{"mamba2-hf-groups", convert.Options{Proj: convert.ProjInt8}, LUT16, StateF32, "4cae50827c522faef3913204e25e7b10901e8c37a3129578bad7f0e5268138f1"},
		{"mamba2-hf-sharded-bf16", convert.Options{Head: convert.HeadKeep}, Exact, StateF32, "bfff9594cec717b324a3fdcfc891b71ffb7042023b748064621c554ea89e4d61"},
		{"mamba2-statespaces", convert.Options{Proj: convert.Proj1Bit}, LUT16, StateF32, "59c3643c4817a23e8e395b8a714584a2e6c54f7b5265914c8a9c2965ff88280f"},
	} {
		blob := testmodel.Convert(t, goldenDir(c.dir), c.opt)
		t.Run(fmt.Sprintf("%s/%s/%s/%s/%s", c.dir, c.opt.Head, c.opt.Proj, c.p, c.s), func(t *testing.T) {
			eachKernel(t, func(t *testing.T) {
				for _, how := range []Options{{Threads: 1}, {Threads: 2}, {Threads: 3, Decode: 2, Batch: 5}, {Threads: 4, Batch: 16}} {
					how.Precision, how.State = c.p, c.s
					m := openModel(t, blob, how)
					s := m.Session(0)
					logits := runBatches(t, s, sequence(24, int(m.h.VocabSize)), max(1, how.Batch))
					h := sha256.New()
					for _, v := range [][]float32{logits, s.ssmFloats(), s.conv} {
						if i := slices.IndexFunc(v, func(x float32) bool { return x-x != 0 }); i >= 0 {
							t.Fatalf("element %d is %v", i, v[i])
						}
						binary.Write(h, binary.LittleEndian, v)
					}
					if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
						t.Errorf("%d threads, batches of %d: SHA-256 of logits and states is %s, not %s", how.Threads, how.Batch, got, c.want)
					}
				}
			})
		})
	}
}

// runBatches feeds ids, n at a time, and returns the logits behind each.
func runBatches(t testing.TB, s *Session, ids []uint32, n int) []float32 {
	t.Helper()
	vocab := int(s.m.h.VocabSize)
	all := make([]float32, len(ids)*vocab)
	for at := 0; at < len(ids); at += n {
		var rows []Row
		for i := at; i < min(at+n, len(ids)); i++ {
			rows = append(rows, Row{s, ids[i], all[i*vocab:][:vocab]})
		}
		if err := s.m.Batch(rows); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestPrefill gives the bits of step by step, wherever the tokens are cut.
func TestPrefill(t *testing.T) {
	m := openModel(t, testmodel.Convert(t, goldenDir("bimamba-row"), convert.Options{}), Options{Sessions: 2, Threads: 3, Decode: 2, Batch: 7})
	ids := sequence(17, int(m.h.VocabSize))
	a, b := m.Session(0), m.Session(1)
	steps := run(t, a, ids)
	logits := make([]float32, m.h.VocabSize)
	for cut := range ids {
		b.Reset()
		if err := b.Prefill(t.Context(), ids[:cut], nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Prefill(t.Context(), ids[cut:], logits); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(logits, steps[len(steps)-len(logits):]) || !bytes.Equal(a.ssm, b.ssm) || !slices.Equal(a.conv, b.conv) || b.Pos() != 17 {
			t.Errorf("prefill in parts of %d and %d differs from step by step", cut, len(ids)-cut)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Prefill(ctx, ids, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled prefill gave %v", err)
	}
}

// TestBatch mixes the tokens of several sessions, some of which want logits.
func TestBatch(t *testing.T) {
	m := openModel(t, testmodel.Convert(t, goldenDir("bimamba"), convert.Options{}), Options{Sessions: 6, Threads: 2, Batch: 8})
	vocab := int(m.h.VocabSize)
	ids := sequence(24, vocab)
	var want [3][]float32
	for i := range want {
		want[i] = run(t, m.Session(i), ids[i:i+8])
	}
	// The same three sequences in the sessions behind them: 1, 2 and 3 tokens of each a batch.
	var got [3][]float32
	for i := range got {
		got[i] = make([]float32, len(want[i]))
	}
	var fed [3]int
	for fed != [3]int{8, 8, 8} {
		var rows []Row
		for k := range 3 {
			for i := range want {
				if k <= i && fed[i] < 8 {
					rows = append(rows, Row{Session: m.Session(3 + i), ID: ids[i+fed[i]]})
					if part := got[i][fed[i]*vocab:][:vocab]; fed[i]%3 != 1 {
						rows[len(rows)-1].Logits = part
					} else {
						copy(part, want[i][fed[i]*vocab:]) // not asked for
					}
					fed[i]++
				}
			}
		}
		if err := m.Batch(rows); err != nil {
			t.Fatal(err)
		}
	}
	for i := range want {
		a, b := m.Session(i), m.Session(3+i)
		if !bytes.Equal(a.ssm, b.ssm) || !slices.Equal(a.conv, b.conv) || a.pos != b.pos {
			t.Errorf("session %d: the state differs from step by step", i)
		}
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("session %d: the logits differ from step by step", i)
		}
	}
	for _, bad := range [][]Row{{{Session: nil}}, make([]Row, 9), {{Session: m.Session(0), ID: 1}, {Session: m.Session(1), ID: m.h.VocabSize}}} {
		if err := m.Batch(bad); err == nil {
			t.Errorf("a bad batch of %d was taken", len(bad))
		}
	}
	if err := m.Batch(nil); err != nil {
		t.Errorf("an empty batch: %v", err)
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
	for _, s := range []string{"lut16", "exact", "fast"} {
		if p, err := ParsePrecision(s); err != nil || p.String() != s {
			t.Errorf("precision %q is %v, %v", s, p, err)
		}
	}
}

// TestNoAllocation decodes and prefills without touching the heap.
func TestNoAllocation(t *testing.T) {
	blob := testmodel.Convert(t, goldenDir("bimamba-row"), convert.Options{})
	eachKernel(t, func(t *testing.T) {
		for _, p := range []Precision{LUT16, Exact, Fast} {
			for _, threads := range []int{1, 2} {
				m := openModel(t, blob, Options{Precision: p, Threads: threads})
				logits := make([]float32, m.h.VocabSize)
				s, ids := m.Session(0), sequence(40, int(m.h.VocabSize))
				if n := testing.AllocsPerRun(20, func() { s.Step(3, logits) }); n != 0 {
					t.Errorf("%s, %d threads: %v allocations a token", p, threads, n)
				}
				if n := testing.AllocsPerRun(3, func() { s.Prefill(t.Context(), ids, logits) }); n > 1 { // the context's, if any
					t.Errorf("%s, %d threads: %v allocations a prefill of 40 tokens", p, threads, n)
				}
			}
		}
	})
}

// TestFootprint compares what Open reserves with what its parts take: nothing is missing, nothing is left.
func TestFootprint(t *testing.T) {
	for _, dir := range []string{"bimamba", "mamba2-hf-groups"} {
		blob := testmodel.Convert(t, goldenDir(dir), convert.Options{})
		for _, opt := range []Options{{Sessions: 3}, {Precision: Exact, State: StateF32}, {Precision: Fast, Batch: 1, Sessions: 2}, {Batch: 7, State: StateF32}, {Memory: 1, Batch: 8}} {
			if opt.Memory > 0 { // as many layers from storage as there can be
				f := NewFootprint(blob.Manifest(), opt)
				opt.Memory = f.Total()
			}
			m := openModel(t, blob, opt)
			f := m.Footprint()
			if int64(len(m.arena)) != f.Arena() {
				t.Errorf("%s, %+v: the arena has %d bytes, the footprint says %d", dir, opt, len(m.arena), f.Arena())
			}
			rest := carver{m.arena}
			rest.bytes(f.Buffers)
			for range m.layers {
				rest.floats(int(m.h.NHeads))
			}
			for range m.sessions {
				var s Session
				s.init(m, &rest)
			}
			var w forward
			w.init(m, &rest)
			if len(rest.rest) != 0 {
				t.Errorf("%s, %+v: %d bytes of the arena are for nothing", dir, opt, len(rest.rest))
			}
			if f.File != m.blob.Size() {
				t.Errorf("%s: the file has %d bytes, the footprint says %d", dir, m.blob.Size(), f.File)
			}
		}
	}
}

// TestTruncatedWhileDecoding cuts the file under a running model, between two tokens and in the middle of one, with every kernel and several threads: the request
// gets an error that names the tensor, no worker is left behind, and the process and its other models live.
func TestTruncatedWhileDecoding(t *testing.T) {
	other := openModel(t, testmodel.Convert(t, goldenDir("bimamba"), convert.Options{}), Options{Threads: 2})
	eachKernel(t, func(t *testing.T) {
		for _, threads := range []int{1, 2, 4} {
			for _, running := range []bool{false, true} {
				blob := testmodel.Convert(t, goldenDir("bimamba"), convert.Options{})
				m := openModel(t, blob, Options{Threads: threads})
				s := m.Session(0)
				logits := make([]float32, m.h.VocabSize)
				last, _ := blob.Section("layers.3")
				cut := func() {
					if err := os.Truncate(blob.Name(), int64(last.Offset)); err != nil {
						t.Error(err)
					}
				}
				if err := s.Step(1, logits); err != nil {
					t.Fatal(err)
				}
				if running {
					time.AfterFunc(5*time.Millisecond, cut)
				} else {
					cut()
				}
				err := error(nil)
				for start := time.Now(); err == nil && time.Since(start) < 10*time.Second; {
					err = s.Step(1, logits)
				}
				var fault *memmap.FaultError
				if !errors.As(err, &fault) || !strings.Contains(err.Error(), blob.Name()) {
					t.Fatalf("%d threads: Step gave %v", threads, err)
				}
				if fault.Offset < last.Offset {
					t.Errorf("%d threads: the fault is at offset %d, before the cut at %d", threads, fault.Offset, last.Offset)
				}
				if err := s.Step(1, logits); !errors.As(err, &fault) {
					t.Errorf("%d threads: the next Step gave %v", threads, err)
				}
				if err := other.Session(0).Step(1, logits); err != nil {
					t.Errorf("%d threads: another model gave %v", threads, err)
				}
			}
		}
	})
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
	b.SetBytes(f.Traffic().Total())
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
	if err := s.Prefill(t.Context(), sequence(500, int(m.h.VocabSize)), nil); err != nil {
		t.Fatal(err)
	}
	for _, v := range [][]float32{s.ssmFloats(), s.conv, m.forward.h[0]} {
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
