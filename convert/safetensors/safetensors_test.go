package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// file makes a file of a header and n bytes of tensors, which count up.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

func parseBytes(b []byte) ([]source.Tensor, error) {
	return parse(bytes.NewReader(b), int64(len(b)), "x.safetensors")
}

const good = `{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},` +
	`"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"e":{"dtype":"I64","shape":[0,5],"data_offsets":[6,6]},"s":{"dtype":"U8","shape":[],"data_offsets":[14,15]}}  `

func TestParse(t *testing.T) {
	tensors, err := parseBytes(file(good, 15))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range tensors {
		got = append(got, fmt.Sprint(x.Name, x.DType, x.Shape, x.Elems(), x.Bytes()))
		b := make([]byte, x.Bytes())
		if n, err := x.Data.ReadAt(b, 0); n < len(b) {
			t.Errorf("%s: %v", x.Name, err)
		}
		if n, _ := x.Data.ReadAt(make([]byte, 1), x.Bytes()); n != 0 {
			t.Errorf("%s: a byte behind its end", x.Name)
		}
		if x.Name == "b" && !bytes.Equal(b, []byte{6, 7, 8, 9, 10, 11, 12, 13}) {
			t.Errorf("b is %v", b)
		}
	}
	want := []string{"abf16[3]3 6", "bf32[2 1]2 8", "ei64[0 5]0 0", "su8[]1 1"}
	for i := range want {
		if strings.ReplaceAll(got[i], " ", "") != strings.ReplaceAll(want[i], " ", "") {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	one := func(entry string) string { return `{"a":` + entry + `}` }
	for _, c := range []struct {
		name, header string
		n            int
		want         string
	}{
		{"not an object", `[1]`, 0, "not a safetensors file"},
		{"cut JSON", `{"a":{"dtype":"F32"`, 0, "ends too early"},
		{"no shape", one(`{"dtype":"F32","data_offsets":[0,4]}`), 4, "a shape and two offsets"},
		{"null shape", one(`{"dtype":"F32","shape":null,"data_offsets":[0,4]}`), 4, "a shape and two offsets"},
		{"one offset", one(`{"dtype":"F32","shape":[1],"data_offsets":[4]}`), 4, "two offsets"},
		{"three offsets", one(`{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}`), 4, "two offsets"},
		{"negative offset", one(`{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}`), 4, "two offsets"},
		{"begin > end", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}}`, 2, "data_offsets 2 to 1"},
		{"fraction", one(`{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}`), 4, "1.5"},
		{"large number", one(`{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}`), 4, "99999999999999999999"},
		{"unknown type", one(`{"dtype":"F12","shape":[1],"data_offsets":[0,4]}`), 4, `"F12"`},
		{"wrong size", one(`{"dtype":"F32","shape":[2],"data_offsets":[0,4]}`), 4, "takes 8"},
		{"negative shape", one(`{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}`), 4, "negative"},
		{"overflow", one(`{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}`), 0, "more elements"},
		{"overflow behind 0", one(`{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}`), 0, "more elements"},
		{"nine dimensions", one(`{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}`), 1, "more than 8"},
		{"outside", one(`{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`), 4, "cut short"},
		{"gap in front", one(`{"dtype":"F32","shape":[1],"data_offsets":[4,8]}`), 8, "belong to no tensor"},
		{"gap behind", one(`{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`), 8, "last 4 bytes"},
		{"overlap", `{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, 4, "overlaps"},
		{"twice", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, "twice"},
		{"empty name", `{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "empty name"},
		{"long name", `{"` + strings.Repeat("n", 2000) + `":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "2000 bytes"},
		{"metadata of numbers", `{"__metadata__":{"a":1}}`, 0, "__metadata__"},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, "twice"},
		{"trailing", `{}{}`, 0, "follows"},
		{"long value", `{"a":{"x":"` + strings.Repeat("x", 2<<20) + `"}}`, 0, "too long"},
		{"long list", one(`{"dtype":"F32","shape":[` + strings.Repeat("1,", 100_000) + `1],"data_offsets":[0,4]}`), 4, "list of 100001 numbers"},
	} {
		_, err := parseBytes(file(c.header, c.n))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestParseBigMetadata(t *testing.T) {
	// After a large value, the decoder's buffer reads far ahead of the entry that is being decoded.
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"a":"` + strings.Repeat("x", 3<<20) + `"}`)
	for i := range 30_000 {
		fmt.Fprintf(&b, `,"t%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
	}
	b.WriteByte('}')
	tensors, err := parseBytes(file(b.String(), 30_000))
	if err != nil || len(tensors) != 30_000 {
		t.Fatalf("%d tensors, %v", len(tensors), err)
	}
}

func TestNotSafetensors(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"", "empty"},
		{"1234", "too few"},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"},
		{"\n<!DOCTYPE html><html><body>Not Found</body></html>", "web page"},
		{"PK\x03\x04 and more of it", ".bin or .pt"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff{}", "header of 18446744073709551615 bytes"},
		{"\x00\x01\x00\x00\x00\x00\x00\x00{}", "cut short"},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q: got %v, want an error with the path and %q", c.content, err, c.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

func TestTruncations(t *testing.T) {
	b := file(good, 15)
	for n := range len(b) {
		if _, err := parseBytes(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a whole file", n, len(b))
		}
	}
}

func TestWriter(t *testing.T) {
	in := []source.Tensor{
		{Name: "z", DType: memmap.F32, Shape: []int64{2, 3}}, {Name: "a.<&>", DType: memmap.F16, Shape: []int64{1}},
		{Name: "scalar", DType: source.I64}, {Name: "none", DType: source.Bool, Shape: []int64{0}},
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, in)
	if err != nil {
		t.Fatal(err)
	}
	if out.Len()%8 != 0 {
		t.Errorf("the tensors begin at %d, no multiple of 8", out.Len())
	}
	if err := w.Close(); err == nil {
		t.Error("Close takes a file without its tensors for whole")
	}
	data := make([]byte, 34)
	for i := range data {
		data[i] = byte(i + 1)
	}
	for i := 0; i < len(data); i += 10 {
		if _, err := w.Write(data[i:min(i+10, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("a byte too many is written")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	got, err := parseBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(in) {
		t.Fatalf("%d tensors come back of %d", len(got), len(in))
	}
	pos := int64(0)
	for _, want := range in {
		i := slices.IndexFunc(got, func(x source.Tensor) bool { return x.Name == want.Name })
		if i < 0 || got[i].DType != want.DType || !slices.Equal(got[i].Shape, want.Shape) {
			t.Fatalf("%s comes back as %v", want.Name, got)
		}
		b := make([]byte, want.Bytes())
		if n, err := got[i].Data.ReadAt(b, 0); n < len(b) {
			t.Fatal(err)
		}
		if !bytes.Equal(b, data[pos:pos+want.Bytes()]) {
			t.Errorf("%s: bytes %v", want.Name, b)
		}
		pos += want.Bytes()
	}
}

func TestWriterRefuses(t *testing.T) {
	u8 := func(name string, shape ...int64) source.Tensor {
		return source.Tensor{Name: name, DType: memmap.U8, Shape: shape}
	}
	for name, in := range map[string][]source.Tensor{
		"twice":    {u8("a"), u8("a")},
		"reserved": {u8("__metadata__")},
		"unnamed":  {u8("")},
		"type":     {{Name: "a", DType: memmap.B1}},
		"negative": {u8("a", -1)},
		"overflow": {u8("a", math.MaxInt64), u8("b", math.MaxInt64)},
	} {
		if _, err := NewWriter(&bytes.Buffer{}, in); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w, err := NewWriter(&failing{8}, []source.Tensor{u8("a")})
	if err == nil {
		t.Errorf("no error of the underlying writer: %v", w)
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return f.left, errors.New("full")
	}
	f.left -= len(p)
	return len(p), nil
}

// TestStreams reads a row of an 8 GB file that takes no space on disk.
func TestStreams(t *testing.T) {
	const rows, cols = 1 << 21, 1 << 10
	path := filepath.Join(t.TempDir(), "big.safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	big := source.Tensor{Name: "big", DType: memmap.F32, Shape: []int64{rows, cols}}
	if _, err := NewWriter(f, []source.Tensor{big}); err != nil {
		t.Fatal(err)
	}
	base, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(base + big.Bytes()); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	const row = rows - 7
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, math.Float32bits(42)), base+4*(row*cols+5)); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	dst := make([]float32, cols)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Tensors()[0].ReadFloats(dst, row*cols)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if dst[5] != 42 || dst[4] != 0 {
		t.Errorf("row %v...", dst[:8])
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
		t.Errorf("%d bytes allocated to read a row of 4096 bytes", n)
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(file(good, 15))
	f.Add(file(`{}`, 0))
	f.Add(file(`{"a":{"dtype":"F32","shape":[2,-1],"data_offsets":[0,4]}}`, 4))
	f.Add(file(`{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}`, 0))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parseBytes(b)
		if err != nil {
			return
		}
		var total int64
		for i := range tensors {
			x := &tensors[i]
			total += x.Bytes()
			if i > 0 && tensors[i-1].Name >= x.Name {
				t.Fatalf("%q does not come before %q", tensors[i-1].Name, x.Name)
			}
			if n, err := x.Data.ReadAt(make([]byte, x.Bytes()), 0); int64(n) < x.Bytes() {
				t.Fatalf("%s: %d of %d bytes: %v", x.Name, n, x.Bytes(), err)
			}
		}
		if want := int64(len(b)) - 8 - int64(binary.LittleEndian.Uint64(b)); total != want {
			t.Fatalf("the tensors have %d bytes, the file has %d", total, want)
		}
	})
}
