package memmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"bimamba/neon/layout"
)

// testManifest is a small model's manifest without offsets.
func testManifest() *Manifest {
	return &Manifest{
		Model: Model{
			Family: "bimamba", DModel: 64, NLayer: 2, DInner: 128, HeadDim: 16, NHeads: 8, DState: 16, NGroups: 1, DConv: 4, VocabSize: 32,
			NormEps: 1e-5, GatedNormGroups: 1, DtMax: float32(math.Inf(1)), TieEmbeddings: true,
		},
		Kind: KindBase, Prompt: Prompt{BOSID: -1, EOSIDs: []uint32{0}}, Generation: Generation{TopP: 1, RepetitionPenalty: 1, MaxTokens: 16},
		Sections: []Section{
			{Name: "io", Tensors: []Tensor{
				{Name: "embedding.weight", DType: I8, Quant: QuantRow, Shape: []uint64{32, 64}},
				{Name: "embedding.scale", DType: F32, Shape: []uint64{32}},
				{Name: "norm_f.weight", DType: F32, Shape: []uint64{64}},
			}},
			{Name: "layers.0", Tensors: []Tensor{
				{Name: "in_proj.weight", DType: B1, Layout: "bits-64x8-kb64", Quant: QuantColumn, Shape: []uint64{296, 64}, Zeros: 3},
				{Name: "D", DType: F32, Shape: []uint64{8}},
			}},
		},
		Provenance: Provenance{Converter: "test", Sources: []SourceFile{{Name: "a", Length: 1}}},
	}
}

// testManifestI4 is testManifest with a 4-bit embedding, whose rows end within a group.
func testManifestI4() *Manifest {
	m := testManifest()
	m.Model.DModel = 65
	m.Sections[0].Tensors[0] = Tensor{Name: "embedding.weight", DType: I4, Layout: I4Layout, Quant: QuantGroup, Shape: []uint64{32, 65}}
	m.Sections[0].Tensors[1] = Tensor{Name: "embedding.scale", DType: F16, Shape: []uint64{32, 3}}
	return m
}

// buffer is a file in memory.
type buffer struct{ b []byte }

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(b.b) {
		b.b = append(b.b, make([]byte, need-len(b.b))...)
	}
	return copy(b.b[off:], p), nil
}

// fill writes pseudo-random bytes to every tensor and finishes the blob.
func fill(t testing.TB, m *Manifest) []byte {
	t.Helper()
	var buf buffer
	w, err := NewWriter(&buf, m)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.Sections {
		s := &m.Sections[i]
		for j := range s.Tensors {
			tw, err := w.Tensor(s.Name, s.Tensors[j].Name)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, s.Tensors[j].Length)
			for k := range b {
				b[k] = byte(r.Uint32())
			}
			if _, err := tw.Write(b[:len(b)/2]); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write(b[len(b)/2:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if int64(len(buf.b)) != w.Size() {
		t.Fatalf("%d bytes were written, %d planned", len(buf.b), w.Size())
	}
	return buf.b
}

func tempFile(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := Open(tempFile(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRoundTrip(t *testing.T) {
	b := fill(t, testManifest())
	f := mustOpen(t, b)
	if err := f.Verify(context.Background(), nil); err != nil {
		t.Error(err)
	}
	s, ok := f.Section("layers.0")
	if !ok || s.Offset%SectionAlign != 0 {
		t.Fatalf("section %+v, %t", s, ok)
	}
	x, ok := s.Tensor("in_proj.weight")
	if !ok || x.Zeros != 3 || x.Length != 320*64/8 || x.Offset%TensorAlign != 0 {
		t.Fatalf("tensor %+v, %t", x, ok)
	}
	if !bytes.Equal(f.Data(x), b[x.Offset:x.Offset+x.Length]) {
		t.Error("Data is not the file's bytes")
	}
	for _, a := range []Advice{WillNeed, Sequential, DontNeed} {
		if err := f.Advise(s, a); err != nil {
			t.Error(err)
		}
	}
	if err := f.Lock(s); err != nil && !strings.Contains(err.Error(), "ulimit") {
		t.Error(err)
	}
}

// TestI4 writes rows of whole groups. Only a file that holds such a tensor has minor version 1, so that older readers read all others.
func TestI4(t *testing.T) {
	if _, minor := mustOpen(t, fill(t, testManifest())).Version(); minor != 0 {
		t.Errorf("a file without i4 has version 1.%d", minor)
	}
	f := mustOpen(t, fill(t, testManifestI4()))
	if major, minor := f.Version(); major != 1 || minor != 1 {
		t.Errorf("a file with i4 has version %d.%d", major, minor)
	}
	s, _ := f.Section("io")
	if x, ok := s.Tensor("embedding.weight"); !ok || x.Length != 32*48 || x.Layout != "i4-g32" || x.Quant != "group" {
		t.Errorf("tensor %+v, %t", x, ok)
	}
	if err := f.Verify(context.Background(), nil); err != nil {
		t.Error(err)
	}
	for cols, want := range map[uint64]uint64{1: 16, 31: 16, 32: 16, 33: 32, 64: 32, 65: 48, 1 << 40: 1 << 39} {
		x := Tensor{DType: I4, Layout: I4Layout, Shape: []uint64{3, cols}}
		if n, err := x.byteLength(); err != nil || n != 3*want {
			t.Errorf("3 rows of %d: %d bytes, %v", cols, n, err)
		}
	}
	x := Tensor{DType: I4, Layout: I4Layout, Shape: []uint64{math.MaxInt64 / 64, 1}} // the most elements that there may be, 31 of 32 of them padding
	if n, err := x.byteLength(); err != nil || n != math.MaxInt64/64*16 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestHostileI4 opens blobs whose 4-bit matrix is none.
func TestHostileI4(t *testing.T) {
	b := fill(t, testManifestI4())
	for _, c := range []struct {
		name, want string
		change     func(weight, scale *Tensor)
	}{
		{"no layout", `layout "" is not known for dtype i4`, func(w, _ *Tensor) { w.Layout = "" }},
		{"other layout", `layout "i4-g64" is not known for dtype i4`, func(w, _ *Tensor) { w.Layout = "i4-g64" }},
		{"bits layout", "is not known for dtype i4", func(w, _ *Tensor) { w.Layout = "bits-64x8-kb64" }},
		{"layout of others", `layout "i4-g32" is not known for dtype f16`, func(_, s *Tensor) { s.Layout = I4Layout }},
		{"1 dimension", "2 dimensions", func(w, _ *Tensor) { w.Shape = []uint64{32 * 65} }},
		{"3 dimensions", "2 dimensions", func(w, _ *Tensor) { w.Shape = []uint64{32, 5, 13} }},
		{"length", "length is 1536 bytes, but i4 of shape [32 64] takes 1024", func(w, _ *Tensor) { w.Shape[1] = 64 }},
		{"unpadded", "takes 1536", func(w, _ *Tensor) { w.Length = 32 * 65 / 2 }},
		{"overflow", "more elements", func(w, _ *Tensor) { w.Shape = []uint64{1 << 32, 1 << 31} }},
		{"no quant", "i4 and group go together", func(w, _ *Tensor) { w.Quant = QuantNone }},
		{"row", "i4 and group go together", func(w, _ *Tensor) { w.Quant = QuantRow }},
		{"group of others", "i4 and group go together", func(_, s *Tensor) { s.Quant = QuantGroup }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(tempFile(t, edit(t, b, func(m *Manifest) { c.change(&m.Sections[0].Tensors[0], &m.Sections[0].Tensors[1]) })))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "tensor \"embedding.") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v; it has to name the tensor and %q in one line", err, c.want)
			}
		})
	}
}

// TestDeterministic writes the same bytes for the same manifest.
func TestDeterministic(t *testing.T) {
	if !bytes.Equal(fill(t, testManifest()), fill(t, testManifest())) {
		t.Error("two writes differ")
	}
}

// edit changes the manifest of a blob through its MessagePack and mends the checksum, as a hostile writer would.
func edit(t testing.TB, b []byte, change func(m *Manifest)) []byte {
	t.Helper()
	n := binary.LittleEndian.Uint32(b[12:])
	var m Manifest
	if _, err := m.UnmarshalMsg(b[PreambleSize : PreambleSize+n]); err != nil {
		t.Fatal(err)
	}
	change(&m)
	enc, err := m.MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	return replaceManifest(b, enc)
}

func replaceManifest(b, enc []byte) []byte {
	out := bytes.Clone(b)
	clear(out[PreambleSize:SectionAlign])
	copy(out[PreambleSize:], enc)
	binary.LittleEndian.PutUint32(out[12:], uint32(len(enc)))
	sum := sha256.Sum256(enc)
	copy(out[32:], sum[:])
	return out
}

// TestHostile opens blobs whose manifest lies. Every error says what and where.
func TestHostile(t *testing.T) {
	b := fill(t, testManifest())
	for _, c := range []struct {
		name, want string
		change     func(m *Manifest)
	}{
		{"d_model 0", "d_model", func(m *Manifest) { m.Model.DModel = 0 }},
		{"layers", "n_layer", func(m *Manifest) { m.Model.NLayer = 1 << 30 }},
		{"d_inner", "d_inner", func(m *Manifest) { m.Model.DInner++ }},
		{"groups", "ngroups", func(m *Manifest) { m.Model.NGroups = 3 }},
		{"eps", "norm_eps", func(m *Manifest) { m.Model.NormEps = float32(math.NaN()) }},
		{"dt", "dt_m", func(m *Manifest) { m.Model.DtMin = 2; m.Model.DtMax = 1 }},
		{"dt NaN", "dt_m", func(m *Manifest) { m.Model.DtMax = float32(math.NaN()) }},
		{"gated groups", "gated_norm_groups", func(m *Manifest) { m.Model.GatedNormGroups = 5 }},
		{"kind", "kind", func(m *Manifest) { m.Kind = "oracle" }},
		{"bos", "bos_id", func(m *Manifest) { m.Prompt.BOSID = 32 }},
		{"bos unset", "add_bos", func(m *Manifest) { m.Prompt.AddBOS = true }},
		{"eos", "eos_ids", func(m *Manifest) { m.Prompt.EOSIDs = []uint32{99} }},
		{"top_p", "top_p", func(m *Manifest) { m.Generation.TopP = 7 }},
		{"tokenizer", "tokenizer.size", func(m *Manifest) { m.Tokenizer = &Tokenizer{Size: 33} }},
		{"task", "tasks[0]", func(m *Manifest) { m.Tasks = []Task{{}} }},
		{"section twice", "twice", func(m *Manifest) { m.Sections[1].Name = "io" }},
		{"section alignment", "multiple of 65536", func(m *Manifest) { m.Sections[1].Offset += 64 }},
		{"section overlap", "overlaps", func(m *Manifest) { m.Sections[1].Offset = m.Sections[0].Offset }},
		{"section on manifest", "overlaps", func(m *Manifest) { m.Sections[0].Offset = 0 }},
		{"section end", "exceed", func(m *Manifest) { m.Sections[1].Length = math.MaxUint64 }},
		{"section far", "exceed", func(m *Manifest) { m.Sections[1].Offset = math.MaxUint64 &^ (SectionAlign - 1) }},
		{"section short", "last section ends", func(m *Manifest) { m.Sections = m.Sections[:1] }},
		{"tensor twice", "twice", func(m *Manifest) { m.Sections[0].Tensors[1].Name = "embedding.weight" }},
		{"tensor name", "not a name", func(m *Manifest) { m.Sections[0].Tensors[1].Name = "a\nb" }},
		{"tensor alignment", "multiple of 64", func(m *Manifest) { m.Sections[0].Tensors[1].Offset++ }},
		{"tensor overlap", "overlaps", func(m *Manifest) { m.Sections[0].Tensors[1].Offset = m.Sections[0].Offset }},
		{"tensor before", "overlaps", func(m *Manifest) { m.Sections[1].Tensors[0].Offset = 64 }},
		{"tensor behind", "exceed", func(m *Manifest) { m.Sections[0].Tensors[2].Offset += 64 }},
		{"tensor far", "exceed", func(m *Manifest) { m.Sections[0].Tensors[2].Offset = math.MaxUint64 - 63 }},
		{"tensor length", "length is", func(m *Manifest) { m.Sections[0].Tensors[1].Length++ }},
		{"tensor dtype", "f80", func(m *Manifest) { m.Sections[0].Tensors[1].DType = "f80" }},
		{"tensor quant", "quant", func(m *Manifest) { m.Sections[0].Tensors[1].Quant = "magic" }},
		{"tensor layout", "layout", func(m *Manifest) { m.Sections[0].Tensors[1].Layout = "swirl" }},
		{"bits layout", "bits-64x8-kbN", func(m *Manifest) { m.Sections[1].Tensors[0].Layout = "bits-64x8-kb064" }},
		{"bits width", "multiple of 64", func(m *Manifest) { m.Sections[1].Tensors[0].Layout = "bits-64x8-kb65" }},
		{"bits dims", "2 dimensions", func(m *Manifest) { m.Sections[1].Tensors[0].Shape = []uint64{296, 8, 8} }},
		{"shape 0", "is 0", func(m *Manifest) { m.Sections[0].Tensors[1].Shape = []uint64{0, 32} }},
		{"shape none", "0 dimensions", func(m *Manifest) { m.Sections[0].Tensors[1].Shape = nil }},
		{"shape overflow", "more elements", func(m *Manifest) { m.Sections[0].Tensors[1].Shape = []uint64{1 << 32, 1 << 32, 32} }},
		{"shape dims", "limit", func(m *Manifest) { m.Sections[0].Tensors[1].Shape = make([]uint64, 9) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(tempFile(t, edit(t, b, c.change)))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "m.bimamba: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v; it has to name the file and %q in one line", err, c.want)
			}
		})
	}
}

// TestPreamble damages the preamble field by field.
func TestPreamble(t *testing.T) {
	b := fill(t, testManifest())
	for _, c := range []struct {
		name, want string
		change     func(b []byte) []byte
	}{
		{"empty", "0 bytes", func(b []byte) []byte { return nil }},
		{"short", "63 bytes", func(b []byte) []byte { return b[:63] }},
		{"magic", "offset 0", func(b []byte) []byte { b[1] = 'X'; return b }},
		{"text mode", "text mode", func(b []byte) []byte { return bytes.Replace(b, []byte("\r\n\x1a"), []byte("\n\x1a"), 1) }},
		{"major", "version 2.0", func(b []byte) []byte { b[8] = 2; return b }},
		{"manifest length", "offset 12", func(b []byte) []byte { b[15] = 0x7f; return b }},
		{"file length", "offset 16", func(b []byte) []byte { b[16]++; return b }},
		{"reserved", "offset 24", func(b []byte) []byte { b[24] = 1; return b }},
		{"checksum", "checksum", func(b []byte) []byte { b[40] ^= 1; return b }},
		{"manifest bit", "checksum", func(b []byte) []byte { b[100] ^= 1; return b }},
		{"cut", "cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"grown", "cut short or damaged", func(b []byte) []byte { return append(b, 0) }},
	} {
		_, err := Open(tempFile(t, c.change(bytes.Clone(b))))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v; it has to say %q", c.name, err, c.want)
		}
	}
	minor := bytes.Clone(b)
	minor[10] = 7
	if f := mustOpen(t, minor); f.minor != 7 {
		t.Error("a newer minor version is not read")
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder is opened")
	}
}

// TestUnknownFields adds keys at every level of the manifest.
func TestUnknownFields(t *testing.T) {
	b := fill(t, testManifest())
	n := binary.LittleEndian.Uint32(b[12:])
	v, _, err := msgp.ReadIntfBytes(b[PreambleSize : PreambleSize+n])
	if err != nil {
		t.Fatal(err)
	}
	var add func(v any) any
	add = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = add(v[k])
			}
			v["from_the_future"] = map[string]any{"a": []any{1.5, nil, "x", []byte{1}}}
		case []any:
			for i := range v {
				v[i] = add(v[i])
			}
		case float64: // ReadIntf keeps float32; nothing here is wider
			t.Fatal("float64")
		}
		return v
	}
	enc, err := msgp.AppendIntf(nil, add(v))
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, replaceManifest(b, enc))
	if f.Manifest().Model != testManifest().Model || len(f.Manifest().Sections) != 2 {
		t.Errorf("read %+v", f.Manifest())
	}
}

// TestVerify flips a bit of every tensor and of the padding.
func TestVerify(t *testing.T) {
	b := fill(t, testManifest())
	f := mustOpen(t, b)
	for _, s := range f.Manifest().Sections {
		for _, x := range s.Tensors {
			for _, at := range []uint64{x.Offset, x.Offset + x.Length - 1} {
				bad := bytes.Clone(b)
				bad[at] ^= 0x10
				err := mustOpen(t, bad).Verify(context.Background(), nil)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", x.Name)) {
					t.Errorf("a flipped bit of %s gave %v", x.Name, err)
				}
			}
		}
	}
	for _, at := range []uint64{SectionAlign - 1, f.Manifest().Sections[1].Offset - 1} {
		bad := bytes.Clone(b)
		bad[at] = 1
		err := mustOpen(t, bad).Verify(context.Background(), nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("offset %d: padding", at)) {
			t.Errorf("padding at %d gave %v", at, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Verify gave %v", err)
	}
}

// TestTruncatedWhileMapped cuts the file under the mapping: whoever touches it gets an error, and the process lives.
func TestTruncatedWhileMapped(t *testing.T) {
	m := testManifest()
	m.Sections[1].Tensors[1].Shape = []uint64{1 << 18} // 1 MiB: whole pages of any size behind the cut
	path := tempFile(t, fill(t, m))
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := &f.Manifest().Sections[1].Tensors[1]
	if err := os.Truncate(path, int64(x.Offset)); err != nil {
		t.Fatal(err)
	}
	var sum byte
	err = f.Guard(func() error {
		for _, b := range f.Data(x) {
			sum += b
		}
		return nil
	})
	var fault *FaultError
	if !errors.As(err, &fault) || fault.Tensor != "D" || fault.Offset < x.Offset || !strings.Contains(err.Error(), path) {
		t.Errorf("touching it gave %v", err)
	}
	if err := f.Verify(context.Background(), nil); !errors.As(err, &fault) {
		t.Errorf("Verify gave %v", err)
	}
	runtime.KeepAlive(sum)
}

// TestGuardPasses lets other panics and errors through.
func TestGuardPasses(t *testing.T) {
	f := mustOpen(t, fill(t, testManifest()))
	want := errors.New("x")
	if err := f.Guard(func() error { return want }); err != want {
		t.Errorf("Guard gave %v", err)
	}
	defer func() {
		if r := recover(); r != "other" {
			t.Errorf("recovered %v", r)
		}
	}()
	f.Guard(func() error { panic("other") })
}

// TestWriterRefuses incomplete and wrong writes.
func TestWriterRefuses(t *testing.T) {
	m := testManifest()
	var buf buffer
	w, err := NewWriter(&buf, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err == nil {
		t.Error("a blob without its tensors is finished")
	}
	tw, err := w.Tensor("layers.0", "D")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(make([]byte, 33)); err == nil {
		t.Error("a tensor takes too many bytes")
	}
	if _, err := w.Tensor("layers.0", "D"); err == nil {
		t.Error("a tensor is started twice")
	}
	if _, err := w.Tensor("layers.0", "E"); err == nil {
		t.Error("an unknown tensor is started")
	}
	m = testManifest()
	m.Model.DModel = 0
	if _, err := NewWriter(&buf, m); err == nil {
		t.Error("a bad model is planned")
	}
}

// TestOpenAllocation opens a manifest as long as that of 64 layers.
func TestOpenAllocation(t *testing.T) {
	m := testManifest()
	m.Model.NLayer = 64
	for i := 1; i < 64; i++ {
		s := Section{Name: fmt.Sprintf("layers.%d", i)}
		for j := range 11 {
			s.Tensors = append(s.Tensors, Tensor{Name: fmt.Sprintf("in_proj.weight%d", j), DType: B1, Layout: "bits-64x8-kb1280", Quant: QuantColumn, Shape: []uint64{64, 1280}})
		}
		m.Sections = append(m.Sections, s)
	}
	path := tempFile(t, fill(t, m))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Open(path)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := after.TotalAlloc - before.TotalAlloc; n > 192<<10 {
		t.Errorf("opening a model of 64 layers allocated %d bytes", n)
	} else {
		t.Logf("opening a model of 64 layers allocated %d bytes", n)
	}
}

// FuzzOpen opens whatever it is given, and reads all of what is accepted.
func FuzzOpen(f *testing.F) {
	b := fill(f, testManifest())
	f.Add(b)
	f.Add(b[:PreambleSize])
	f.Add(fill(f, testManifestI4()))
	f.Add(edit(f, b, func(m *Manifest) { m.Sections[1].Tensors[0].Offset = 64 }))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Mend the checksum, or nothing behind it is ever reached.
		if len(b) > PreambleSize {
			b = bytes.Clone(b)
			n := binary.LittleEndian.Uint32(b[12:])
			if uint64(n) <= uint64(len(b)-PreambleSize) {
				sum := sha256.Sum256(b[PreambleSize : PreambleSize+n])
				copy(b[32:], sum[:])
			}
			binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
		}
		fuzzOpen(t, b)
	})
}

// FuzzManifest changes only the manifest of a good file.
func FuzzManifest(f *testing.F) {
	b := fill(f, testManifest())
	n := binary.LittleEndian.Uint32(b[12:])
	f.Add(b[PreambleSize : PreambleSize+n])
	i4 := fill(f, testManifestI4())
	if len(i4) != len(b) {
		f.Fatalf("the seeds are files of %d and %d bytes: the second manifest fits the first no more", len(b), len(i4))
	}
	f.Add(i4[PreambleSize : PreambleSize+binary.LittleEndian.Uint32(i4[12:])])
	f.Fuzz(func(t *testing.T, enc []byte) {
		if len(enc) > SectionAlign-PreambleSize {
			return
		}
		fuzzOpen(t, replaceManifest(b, enc))
	})
}

func fuzzOpen(t *testing.T, b []byte) {
	f, err := Open(tempFile(t, b))
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Fatalf("an error of several lines: %v", err)
		}
		return
	}
	defer f.Close()
	var sum byte
	for i := range f.Manifest().Sections {
		s := &f.Manifest().Sections[i]
		for j := range s.Tensors {
			for _, x := range f.Data(&s.Tensors[j]) {
				sum += x
			}
			switch x := &s.Tensors[j]; x.DType {
			case B1:
				if _, err := x.Bits(); err != nil {
					t.Fatal(err)
				}
			case I4:
				if x.Length != x.Shape[0]*uint64(layout.I4RowBytes(int(x.Shape[1]))) || x.Quant != QuantGroup || x.Layout != I4Layout {
					t.Fatalf("%+v is accepted", x)
				}
			}
		}
	}
	runtime.KeepAlive(sum)
	f.Verify(context.Background(), nil)
}
