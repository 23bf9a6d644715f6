package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/memmap"
)

func TestReadFloats(t *testing.T) {
	const n = 3*chunk + 5 // several chunks of each type, and a rest
	for _, c := range []struct {
		dtype memmap.DType
		put   func(b []byte, i int) []byte // element i, whose value is i%128
	}{
		{memmap.F32, func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i%128)))
		}},
		{F64, func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(i%128)))
		}},
		{memmap.BF16, func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(float32(i%128))>>16))
		}},
		{memmap.F16, func(b []byte, i int) []byte { // a power of two, 2^(i%16), to have no second encoder here
			return binary.LittleEndian.AppendUint16(b, uint16(15+i%16)<<10)
		}},
	} {
		var b []byte
		want := make([]float32, n)
		for i := range n {
			b = c.put(b, i)
			if want[i] = float32(i % 128); c.dtype == memmap.F16 {
				want[i] = float32(int(1) << (i % 16))
			}
		}
		x := &Tensor{Name: "w", DType: c.dtype, Shape: []int64{1, n}, Data: bytes.NewReader(b), File: "m.bin"}
		if x.Elems() != n || x.Bytes() != int64(len(b)) {
			t.Errorf("%s: %d elements, %d bytes", c.dtype, x.Elems(), x.Bytes())
		}
		for _, r := range [][2]int64{{0, n}, {0, 0}, {n, 0}, {1, n - 1}, {n - 1, 1}, {17, chunk/2 + 1}} {
			got := make([]float32, r[1])
			if err := x.ReadFloats(got, r[0]); err != nil || !slices.Equal(got, want[r[0]:r[0]+r[1]]) {
				t.Errorf("%s: %d elements from %d on: %v", c.dtype, r[1], r[0], err)
			}
		}
		for _, r := range [][2]int64{{-1, 1}, {0, n + 1}, {n, 1}, {n + 1, 0}, {math.MaxInt64, 1}} {
			if err := x.ReadFloats(make([]float32, r[1]), r[0]); err == nil || !strings.Contains(err.Error(), "m.bin: tensor w: ") {
				t.Errorf("%s: %d elements from %d on: %v", c.dtype, r[1], r[0], err)
			}
		}
		x.Data = bytes.NewReader(b[:len(b)-1])
		err := x.ReadFloats(make([]float32, 10), n-10)
		if err == nil || !strings.Contains(err.Error(), "m.bin: tensor w, byte ") || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: a tensor without its last byte: %v", c.dtype, err)
		}
	}
	x := &Tensor{Name: "w", DType: I64, Shape: []int64{1}, Data: bytes.NewReader(make([]byte, 8)), File: "m.bin"}
	if err := x.ReadFloats(make([]float32, 1), 0); err == nil || !strings.Contains(err.Error(), "i64 are no floats") {
		t.Errorf("integers: %v", err)
	}
	boom := errors.New("boom")
	x = &Tensor{Name: "w", DType: memmap.F32, Shape: []int64{4}, Data: failing{boom}, File: "m.bin"}
	if err := x.ReadFloats(make([]float32, 1), 2); !errors.Is(err, boom) || !strings.Contains(err.Error(), "byte 8") {
		t.Errorf("a failing disk: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestReadFloatsAllocs(t *testing.T) {
	x := &Tensor{DType: memmap.F32, Shape: []int64{1 << 20}, Data: bytes.NewReader(make([]byte, 4<<20))}
	dst := make([]float32, 1<<20)
	if n := testing.AllocsPerRun(10, func() {
		if err := x.ReadFloats(dst, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations, want the one buffer", n)
	}
}

func TestCheckShape(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		size  int64
		want  int64 // -1: an error
	}{
		{nil, 4, 1}, {[]int64{0}, 4, 0}, {[]int64{2, 3, 4}, 4, 24}, {[]int64{5, 0, 7}, 4, 0}, {[]int64{math.MaxInt64}, 1, math.MaxInt64},
		{[]int64{-1}, 4, -1}, {[]int64{-1, -1}, 4, -1}, {[]int64{0, -1}, 4, -1}, {[]int64{math.MaxInt64}, 2, -1}, {[]int64{1 << 32, 1 << 32}, 1, -1},
		{[]int64{0, 1 << 32, 1 << 32}, 1, -1}, {[]int64{1 << 32, 1 << 32, 0}, 1, -1}, {make([]int64, MaxDims+1), 1, -1}, {[]int64{1 << 61}, 4, -1}, {[]int64{1<<61 - 1}, 4, 1<<61 - 1},
	} {
		got, err := CheckShape(c.shape, c.size)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("shape %v of %d bytes: %d, %v, want %d", c.shape, c.size, got, err, c.want)
		}
	}
}

func TestElemSize(t *testing.T) {
	for d, want := range map[memmap.DType]int64{
		memmap.F32: 4, memmap.F16: 2, memmap.BF16: 2, F64: 8, I64: 8, U64: 8, I32: 4, memmap.U32: 4, I16: 2, U16: 2, memmap.I8: 1, memmap.U8: 1, Bool: 1, F8E4M3: 1, F8E5M2: 1,
		memmap.B1: 0, "": 0, "c64": 0,
	} {
		if got := ElemSize(d); got != want {
			t.Errorf("%q: %d bytes, want %d", d, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "backbone.layers.0": true, "größe": true, "": false, "a\n": false, "\x1b[m": false, "\xff": false, strings.Repeat("a", MaxName): true, strings.Repeat("a", MaxName+1): false} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("1234"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, 4); err != nil || string(b) != "1234" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := ReadFile(path, 3); err == nil || !strings.Contains(err.Error(), path+": 4 bytes, more than 3") {
		t.Errorf("a file over the limit: %v", err)
	}
	if _, _, err := OpenFile(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, _, err := OpenFile(os.DevNull); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
}
