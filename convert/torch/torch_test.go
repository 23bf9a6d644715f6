package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"bimamba/convert/source"
	"bimamba/memmap"
)

func parseBytes(b []byte) ([]source.Tensor, error) {
	return parse(bytes.NewReader(b), int64(len(b)), "x.bin")
}

// content is all bytes of a tensor.
func content(t testing.TB, x *source.Tensor) []byte {
	t.Helper()
	b := make([]byte, x.Bytes())
	if n, err := x.Data.ReadAt(b, 0); n < len(b) {
		t.Fatalf("%s: %d of %d bytes: %v", x.Name, n, len(b), err)
	}
	if n, err := x.Data.ReadAt(make([]byte, 1), x.Bytes()); n != 0 || err == nil {
		t.Fatalf("%s: a byte behind its end", x.Name)
	}
	return b
}

func TestProtocols(t *testing.T) {
	f32 := make([]byte, 0, 24)
	for _, v := range []float32{1, -2, 3.5, 4, 5, 6} {
		f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(v))
	}
	for proto := byte(2); proto <= 5; proto++ {
		pickle := stateDict(proto,
			fixture{name: "w", class: "FloatStorage", key: "0", elems: 6, shape: []int64{2, 3}, stride: []int64{3, 1}},
			fixture{name: "tied", class: "FloatStorage", key: "0", elems: 6, shape: []int64{2, 3}, stride: []int64{3, 1}, parameter: true},
			fixture{name: "row", class: "FloatStorage", key: "0", elems: 6, offset: 3, shape: []int64{1, 3}, stride: []int64{99, 1}},
			fixture{name: "bf", class: "BFloat16Storage", key: "1", elems: 4, offset: 1, shape: []int64{3}, stride: []int64{1}},
			fixture{name: "scalar", class: "LongStorage", key: "2", elems: 1},
			fixture{name: "u16", class: "UntypedStorage", key: "1", elems: 8, offset: 2, shape: []int64{2}, stride: []int64{1}, dtype: "uint16"},
			fixture{name: "four", class: "BoolStorage", key: "1", elems: 8, shape: []int64{1, 2, 2, 2}, stride: []int64{8, 4, 2, 1}},
			fixture{name: "none", class: "HalfStorage", key: "3", shape: []int64{0, 7}, stride: []int64{7, 1}},
		)
		bf := []byte{0, 0, 0x80, 0x3f, 0, 0xc0, 0x40, 0x40}
		tensors, err := parseBytes(checkpointOf(t, pickle, f32, bf, []byte{7, 0, 0, 0, 0, 0, 0, 0}, nil))
		if err != nil {
			t.Fatalf("protocol %d: %v", proto, err)
		}
		want := []struct {
			name  string
			dtype memmap.DType
			shape []int64
			data  []byte
		}{
			{"bf", memmap.BF16, []int64{3}, bf[2:]}, {"four", source.Bool, []int64{1, 2, 2, 2}, bf}, {"none", memmap.F16, []int64{0, 7}, nil},
			{"row", memmap.F32, []int64{1, 3}, f32[12:]}, {"scalar", source.I64, nil, []byte{7, 0, 0, 0, 0, 0, 0, 0}},
			{"tied", memmap.F32, []int64{2, 3}, f32}, {"u16", source.U16, []int64{2}, bf[4:]}, {"w", memmap.F32, []int64{2, 3}, f32},
		}
		if len(tensors) != len(want) {
			t.Fatalf("protocol %d: %d tensors", proto, len(tensors))
		}
		for i, w := range want {
			x := &tensors[i]
			if x.Name != w.name || x.DType != w.dtype || !slices.Equal(x.Shape, w.shape) || x.File != "x.bin" {
				t.Errorf("protocol %d: got %s %s %v, want %s %s %v", proto, x.Name, x.DType, x.Shape, w.name, w.dtype, w.shape)
			}
			if b := content(t, x); !bytes.Equal(b, w.data) {
				t.Errorf("protocol %d: %s holds %v, want %v", proto, x.Name, b, w.data)
			}
		}
		floats := make([]float32, 2)
		if err := tensors[0].ReadFloats(floats, 1); err != nil || floats[0] != -2 || floats[1] != 3 {
			t.Errorf("protocol %d: bf holds %v, %v", proto, floats, err)
		}
	}
}

func TestNested(t *testing.T) {
	f := fixture{name: "w", class: "HalfStorage", key: "0", elems: 3, shape: []int64{3}, stride: []int64{1}}
	for _, key := range []string{"state_dict", "model", "weights"} {
		p := newPickler(2)
		p.WriteString("}(")
		p.str("epoch")
		p.int(7)
		p.str("loss")
		p.WriteByte('G')
		p.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(0.5)))
		p.str("rng")
		p.Write([]byte{0x8a, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
		p.str(key)
		p.orderedDict()
		p.items([]fixture{f})
		p.WriteString("u.")
		tensors, err := parseBytes(checkpointOf(t, p.Bytes(), halves(3)))
		if key == "weights" {
			if err == nil || !strings.Contains(err.Error(), "no tensors") {
				t.Errorf("%s: %v", key, err)
			}
		} else if err != nil || len(tensors) != 1 || tensors[0].Name != "w" {
			t.Errorf("%s: %v, %v", key, tensors, err)
		}
	}
}

// TestStrides compares views of random strides with plain indexing.
func TestStrides(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const elems = 5000
	storage := halves(elems)
	views := []fixture{
		{shape: []int64{70, 60}, stride: []int64{1, 70}},            // transposed
		{shape: []int64{60, 30}, stride: []int64{70, 2}, offset: 3}, // every other column
		{shape: []int64{9, 5}, stride: []int64{100, 1}},             // part of the rows
		{shape: []int64{4, 3, 5}, stride: []int64{0, 1, 3}},         // repeated
		{shape: []int64{2, 1, 3, 4}, stride: []int64{4, 77, 8, 1}},
		{shape: []int64{2, 2}, stride: []int64{4000, 999}},
		{shape: []int64{4999}, stride: []int64{1}, offset: 1},
	}
	for range 40 {
		var f fixture
		last := int64(0)
		for range 1 + rng.IntN(4) {
			n, s := 1+rng.Int64N(6), rng.Int64N(60)
			f.shape, f.stride = append(f.shape, n), append(f.stride, s)
			last += (n - 1) * s
		}
		f.offset = rng.Int64N(elems - last)
		views = append(views, f)
	}
	for i := range views {
		views[i].name, views[i].class, views[i].key, views[i].elems = fmt.Sprintf("v%03d", i), "HalfStorage", "0", elems
	}
	tensors, err := parseBytes(checkpointOf(t, stateDict(2, views...), storage))
	if err != nil {
		t.Fatal(err)
	}
	want := make([][]byte, len(views))
	for i, f := range views {
		n := tensors[i].Elems()
		for e := range n {
			at, rest := f.offset, e
			for k := len(f.shape) - 1; k >= 0; k-- {
				at += rest % f.shape[k] * f.stride[k]
				rest /= f.shape[k]
			}
			want[i] = binary.LittleEndian.AppendUint16(want[i], uint16(at))
		}
		if got := content(t, &tensors[i]); !bytes.Equal(got, want[i]) {
			t.Errorf("shape %v, stride %v, offset %d: got %v..., want %v...", f.shape, f.stride, f.offset, got[:min(20, len(got))], want[i][:min(20, len(want[i]))])
		}
	}
	// In parallel, and at any offset.
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 0))
			for range 300 {
				i := rng.IntN(len(views))
				lo := rng.IntN(len(want[i]))
				b := make([]byte, 1+rng.IntN(len(want[i])-lo))
				if n, err := tensors[i].Data.ReadAt(b, int64(lo)); n < len(b) || !bytes.Equal(b, want[i][lo:][:n]) {
					t.Errorf("%s: %d bytes at %d: got %d, %v", tensors[i].Name, len(b), lo, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestLargeTransposed goes through many tiles, and through runs in pieces.
func TestLargeTransposed(t *testing.T) {
	const rows, cols = 1500, 1800 // 10.8 MB
	b := make([]byte, 4*rows*cols)
	for i := range rows * cols {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(i)))
	}
	for _, f := range []fixture{
		{shape: []int64{cols, rows}, stride: []int64{1, cols}},
		{shape: []int64{rows / 2, cols / 2}, stride: []int64{2 * cols, 2}},
		{shape: []int64{3, rows * cols / 3}, stride: []int64{1, 3}},
		{shape: []int64{2, 2, rows * cols / 4}, stride: []int64{1, 2, 4}},
	} {
		f.name, f.class, f.key, f.elems = "w", "FloatStorage", "0", rows*cols
		tensors, err := parseBytes(checkpointOf(t, stateDict(2, f), b))
		if err != nil {
			t.Fatal(err)
		}
		x := &tensors[0]
		got := make([]float32, x.Elems())
		if err := x.ReadFloats(got, 0); err != nil {
			t.Fatal(err)
		}
		for e, v := range got {
			at, rest := int64(0), int64(e)
			for k := len(f.shape) - 1; k >= 0; k-- {
				at += rest % f.shape[k] * f.stride[k]
				rest /= f.shape[k]
			}
			if v != float32(at) {
				t.Fatalf("shape %v, stride %v: element %d is %v, want %v", f.shape, f.stride, e, v, at)
			}
		}
	}
}

func TestRefusesViews(t *testing.T) {
	for _, c := range []struct {
		name string
		f    fixture
		want string
	}{
		{"too large", fixture{elems: 10, shape: []int64{11}, stride: []int64{1}}, "leaves storage"},
		{"offset too large", fixture{elems: 10, offset: 1, shape: []int64{10}, stride: []int64{1}}, "leaves storage"},
		{"offset far outside", fixture{elems: 10, offset: math.MaxInt64, shape: []int64{1}, stride: []int64{1}}, "storage offset"},
		{"offset at the end", fixture{elems: 10, offset: 10}, "leaves storage"},
		{"negative offset", fixture{elems: 10, offset: -1, shape: []int64{1}, stride: []int64{1}}, "storage offset"},
		{"negative stride", fixture{elems: 10, offset: 9, shape: []int64{5}, stride: []int64{-1}}, "negative"},
		{"negative shape", fixture{elems: 10, shape: []int64{-5}, stride: []int64{1}}, "negative"},
		{"strides overflow", fixture{elems: 10, shape: []int64{3, 3}, stride: []int64{math.MaxInt64 / 2, math.MaxInt64 / 2}}, "leaves storage"},
		{"shape overflows", fixture{elems: 10, shape: []int64{1 << 32, 1 << 32}, stride: []int64{0, 0}}, "more elements"},
		{"expanded", fixture{elems: 10, shape: []int64{1 << 40}, stride: []int64{0}}, "expanded"},
		{"storage cut", fixture{elems: 11, shape: []int64{3}, stride: []int64{1}}, "cut short or damaged"},
		{"no storage", fixture{key: "7", elems: 10, shape: []int64{3}, stride: []int64{1}}, "is not in the archive"},
		{"way out", fixture{key: "../version", elems: 1, shape: []int64{3}, stride: []int64{1}}, "data/../version is not in the archive"},
		{"long key", fixture{key: strings.Repeat("0", 100), elems: 1}, "torch.save numbers them"},
		{"negative storage", fixture{elems: -1, shape: []int64{3}, stride: []int64{1}}, "damaged"},
		{"stride missing", fixture{elems: 10, shape: []int64{3}}, "in place of storage, offset, size and stride"},
		{"nine dimensions", fixture{elems: 10, shape: make([]int64, 9), stride: make([]int64, 9)}, "in place of storage"},
		{"untyped without type", fixture{class: "UntypedStorage", elems: 10, shape: []int64{3}, stride: []int64{1}}, "untyped storage"},
		{"no class", fixture{class: "float32", elems: 10, shape: []int64{3}, stride: []int64{1}}, "torch.float32, which is none"},
		{"not known", fixture{class: "ComplexFloatStorage", elems: 10, shape: []int64{3}, stride: []int64{1}}, "refused: the file asks to call torch.ComplexFloatStorage"},
	} {
		c.f.name = "w"
		if c.f.class == "" {
			c.f.class = "HalfStorage"
		}
		if c.f.key == "" {
			c.f.key = "0"
		}
		_, err := parseBytes(checkpointOf(t, stateDict(2, c.f), halves(10)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestRefusesArchives(t *testing.T) {
	good := stateDict(2, fixture{name: "w", class: "HalfStorage", key: "0", elems: 10, shape: []int64{10}, stride: []int64{1}})
	twice := stateDict(2, fixture{name: "w", class: "HalfStorage", key: "0", elems: 10}, fixture{name: "w", class: "HalfStorage", key: "0", elems: 10})
	escape := stateDict(2, fixture{name: "\x1b[2J", class: "HalfStorage", key: "0", elems: 10})
	pkl, data := entry{name: "data.pkl", data: good}, entry{name: "data/0", data: halves(10)}
	for _, c := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"good", []entry{pkl, data}, ""},
		{"no pickle", []entry{data}, "without data.pkl"},
		{"two pickles", []entry{pkl, data, {name: "y/data.pkl", data: good}}, "two data.pkl"},
		{"entry twice", []entry{pkl, data, data}, "twice"},
		{"TorchScript", []entry{pkl, data, {name: "constants.pkl"}, {name: "code/x.py"}}, "TorchScript"},
		{"compressed pickle", []entry{{"data.pkl", good, zip.Deflate}, data}, "data.pkl is compressed"},
		{"compressed storage", []entry{pkl, {"data/0", halves(10), zip.Deflate}}, "data/0 is compressed"},
		{"big-endian", []entry{pkl, data, {name: "byteorder", data: []byte("big")}}, `byte order "big"`},
		{"long byteorder", []entry{pkl, data, {name: "byteorder", data: make([]byte, 100)}}, "more than 16"},
		{"name twice", []entry{{name: "data.pkl", data: twice}, data}, "tensor w stands twice"},
		{"control characters", []entry{{name: "data.pkl", data: escape}, data}, `no text: "\x1b[2J"`},
		{"a list", []entry{{name: "data.pkl", data: []byte("\x80\x02].")}}, "data.pkl holds a list"},
		{"nothing", []entry{{name: "data.pkl", data: []byte("\x80\x02}.")}}, "no tensors"},
		{"empty pickle", []entry{{name: "data.pkl"}}, "cut short"},
	} {
		_, err := parseBytes(archiveOf(t, c.entries...))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// TestHugeDirectory must not keep a directory of any length in memory.
func TestHugeDirectory(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 90_000 {
		if _, err := w.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("x/%0200d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := parseBytes(b.Bytes()); err == nil || !strings.Contains(err.Error(), "directory of more than") {
		t.Errorf("got %v", err)
	}
}

func TestNotPyTorch(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"", "empty"},
		{"x", `begins with "x"`},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"},
		{"  <html lang=en>", "web page"},
		{"\xef\xbb\xbf<!doctype html>", "web page"},
		{"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before 1.6"},
		{"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}.", "bare pickle"},
		{"\x40\x00\x00\x00\x00\x00\x00\x00" + `{"a":{}}`, ".safetensors"},
		{"GGUF\x03\x00\x00\x00", "GGUF"},
		{"\x1f\x8b\x08", "gzip"},
		{strings.Repeat("\x00", 257) + "ustar", "tar archive"},
		{"PK\x03\x04", "cut short or damaged"},
	} {
		path := filepath.Join(t.TempDir(), "pytorch_model.bin")
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: got %v, want one line with the path and %q", c.content, err, c.want)
		}
	}
}

// truncatable is a small checkpoint with all that is special.
func truncatable(t testing.TB) []byte {
	return checkpointOf(t, stateDict(2,
		fixture{name: "a", class: "HalfStorage", key: "0", elems: 60, offset: 10, shape: []int64{5, 10}, stride: []int64{10, 1}},
		fixture{name: "b", class: "HalfStorage", key: "0", elems: 60, shape: []int64{10, 5}, stride: []int64{1, 10}},
	), halves(60))
}

func TestTruncations(t *testing.T) {
	b := truncatable(t)
	if _, err := parseBytes(b); err != nil {
		t.Fatal(err)
	}
	for n := range len(b) {
		if _, err := parseBytes(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a whole file", n, len(b))
		}
	}
	// A file whose end is whole and whose middle is gone.
	for cut := 1; cut < len(b)-200; cut++ {
		if _, err := parseBytes(append(slices.Clone(b[:100]), b[100+cut:]...)); err == nil {
			t.Errorf("%d bytes cut from the middle are not noticed", cut)
		}
	}
}

// writeSparse writes a checkpoint whose only storage, of n bytes, takes no space on disk. It returns where the storage begins.
func writeSparse(t *testing.T, path string, pickle []byte, n int64) (base int64) {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range []struct {
		name string
		data []byte
		size int64
	}{{"x/data.pkl", pickle, int64(len(pickle))}, {"x/data/0", nil, n}} {
		f, err := w.CreateRaw(&zip.FileHeader{Name: e.name, CompressedSize64: uint64(e.size), UncompressedSize64: uint64(e.size)})
		if err == nil {
			_, err = f.Write(e.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The end record, 22 bytes, says where the directory begins: behind the storage, which is not in b.
	end := b.Bytes()[b.Len()-22:]
	base = int64(binary.LittleEndian.Uint32(end[16:]))
	binary.LittleEndian.PutUint32(end[16:], uint32(base+n))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b.Bytes()[:base]); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b.Bytes()[base:], base+n); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	return base
}

// TestStreams reads a row of a matrix of 512 MB, and a column.
func TestStreams(t *testing.T) {
	const rows, cols = 1 << 18, 1 << 10
	path := filepath.Join(t.TempDir(), "big.bin")
	base := writeSparse(t, path, stateDict(2,
		fixture{name: "rows", class: "UntypedStorage", key: "0", elems: 3 * rows * cols, shape: []int64{rows, cols}, stride: []int64{cols, 1}, dtype: "bfloat16"},
		fixture{name: "transposed", class: "UntypedStorage", key: "0", elems: 3 * rows * cols, shape: []int64{cols, rows}, stride: []int64{1, cols}, dtype: "bfloat16"},
	), 3*rows*cols)
	const row = rows - 7
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0x28, 0x42}, base+2*(row*cols+5)); err != nil { // 42
		t.Fatal(err)
	}
	dst := make([]float32, cols)
	for i, limit := range []uint64{256 << 10, tileBytes + runBytes + 256<<10} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		x, at := s.Tensors()[i], int64(row*cols)
		if x.Name == "transposed" {
			at = 5*rows + row - 5 // dst[5] is element (5, row)
			dst = dst[:10]
		}
		err = x.ReadFloats(dst, at)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if dst[5] != 42 || dst[4] != 0 {
			t.Errorf("%s: %v...", x.Name, dst[:8])
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > limit {
			t.Errorf("%s: %d bytes allocated to read %d elements", x.Name, n, len(dst))
		}
	}
}
