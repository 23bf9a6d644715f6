package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/tinylib/msgp/msgp"
)

// testVocab is the vocabulary of testSnapshot's model.
const testVocab = 12

// testSnapshot is small: every byte of its file can be damaged in turn.
func testSnapshot() *Snapshot {
	s := &Snapshot{
		Header: Header{Model: sha256.Sum256([]byte("model")), ModelName: "tiny", DType: F16, Precision: "lut16", Persona: "butler", System: "You are a butler.", Created: 1_700_000_000},
		IDs:    []uint32{3, 1, 4, 1, 5, 11},
		Logits: make([]float32, testVocab),
		SSM:    make([]byte, 96),
		Conv:   make([]byte, 40),
	}
	for i := range s.Logits {
		s.Logits[i] = float32(i)/3 - 1
	}
	s.Logits[0], s.Logits[1] = float32(math.Inf(-1)), float32(math.Copysign(0, -1))
	for i := range s.SSM {
		s.SSM[i] = byte(i * 7)
	}
	for i := range s.Conv {
		s.Conv[i] = byte(200 - i)
	}
	return s
}

// testExpect is the model of testSnapshot.
func testExpect() Expect {
	return Expect{Model: sha256.Sum256([]byte("model")), ModelName: "tiny", DType: F16, SSM: 96, Conv: 40, Vocab: testVocab}
}

func room(e Expect) *Snapshot { return &Snapshot{SSM: make([]byte, e.SSM), Conv: make([]byte, e.Conv)} }

func encode(t testing.TB, s *Snapshot) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, s); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// same compares contents, floats by their bits.
func same(a, b *Snapshot) bool {
	return slices.Equal(a.IDs, b.IDs) && bytes.Equal(a.SSM, b.SSM) && bytes.Equal(a.Conv, b.Conv) &&
		slices.EqualFunc(a.Logits, b.Logits, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// oneLine checks that err is an *Error of kind in one line.
func oneLine(t *testing.T, err, kind error, say string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || !strings.Contains(err.Error(), say) || strings.ContainsAny(err.Error(), "\r\n\x00") {
		t.Errorf("the error is %v; it has to be %q and say %q in one line", err, kind, say)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Snapshot, e *Expect)
	}{
		{"persona", func(*Snapshot, *Expect) {}},
		{"session", func(s *Snapshot, _ *Expect) { s.Persona, s.System, s.Created = "", "", 0 }},
		{"no logits", func(s *Snapshot, _ *Expect) { s.Logits = nil }},
		{"no tokens", func(s *Snapshot, _ *Expect) { s.IDs, s.Logits = nil, nil }},
		{"f32", func(s *Snapshot, e *Expect) { s.DType, e.DType = F32, F32 }},
		{"empty states", func(s *Snapshot, e *Expect) { s.SSM, s.Conv, e.SSM, e.Conv = nil, nil, 0, 0 }},
		{"text", func(s *Snapshot, _ *Expect) { s.System = strings.Repeat("Ünïcode\n", 4000) }},
		{"chunks", func(s *Snapshot, e *Expect) {
			s.IDs = slices.Repeat(s.IDs, chunk/16)
			s.SSM = bytes.Repeat([]byte{1, 2, 3, 4, 5}, chunk/2)
			e.SSM = len(s.SSM)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := testSnapshot(), testExpect()
			c.change(s, &e)
			b := encode(t, s)
			for name, r := range map[string]io.Reader{"whole": bytes.NewReader(b), "bytes": iotest.OneByteReader(bytes.NewReader(b)), "EOF with data": iotest.DataErrReader(bytes.NewReader(b))} {
				got := room(e)
				ssm := got.SSM
				if err := Read(r, e, got); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				want := s.Header
				want.Tokens, want.Vocab, want.SSMBytes, want.ConvBytes = uint64(len(s.IDs)), uint64(len(s.Logits)), uint64(len(s.SSM)), uint64(len(s.Conv))
				if got.Header != want || !same(got, s) || !bytes.Equal(ssm, s.SSM) {
					t.Errorf("%s: read %+v, wrote %+v", name, got.Header, want)
				}
				if h, err := ReadHeader(bytes.NewReader(b)); err != nil || *h != want {
					t.Errorf("ReadHeader gave %+v, %v", h, err)
				}
			}
			if !bytes.Equal(b, encode(t, s)) {
				t.Error("two writes differ")
			}
		})
	}
}

// TestInPlace reads into slices that have room.
func TestInPlace(t *testing.T) {
	e, s := testExpect(), testSnapshot()
	dst := room(e)
	dst.IDs, dst.Logits = make([]uint32, 3, 100), make([]float32, testVocab)
	ids, logits := dst.IDs[:6], dst.Logits
	if err := Read(bytes.NewReader(encode(t, s)), e, dst); err != nil {
		t.Fatal(err)
	}
	if &dst.IDs[0] != &ids[0] || &dst.Logits[0] != &logits[0] || !same(dst, s) {
		t.Error("IDs or logits moved though there was room")
	}
	dst.SSM = dst.SSM[1:]
	if err := Read(bytes.NewReader(encode(t, s)), e, dst); err == nil || !strings.Contains(err.Error(), "room for 95 and 40") {
		t.Errorf("too little room gave %v", err)
	}
}

// TestFormat reads a file by nothing but FORMAT.md.
func TestFormat(t *testing.T) {
	s := testSnapshot()
	b := encode(t, s)
	if string(b[:16]) != "BIMAMBA-STATE\r\n\x1a" || binary.LittleEndian.Uint32(b[16:]) != 1 || binary.LittleEndian.Uint64(b[24:]) != uint64(len(b)) {
		t.Fatalf("preamble %q", b[:64])
	}
	pos := 64
	part := func(n int) []byte {
		for pos%64 != 0 {
			if b[pos] != 0 {
				t.Errorf("padding at %d", pos)
			}
			pos++
		}
		pos += n
		return b[pos-n : pos]
	}
	head := part(int(binary.LittleEndian.Uint32(b[20:])))
	if sha256.Sum256(head) != [32]byte(b[32:64]) {
		t.Error("checksum of the header")
	}
	v, rest, err := msgp.ReadIntfBytes(head)
	if err != nil || len(rest) != 0 {
		t.Fatal(err, rest)
	}
	m := v.(map[string]any)
	for k, want := range map[string]any{"model": s.Model[:], "model_name": "tiny", "dtype": "f16", "precision": "lut16", "tokens": 6, "vocab": 12, "ssm_bytes": 96, "conv_bytes": 40,
		"persona": "butler", "system": "You are a butler.", "created": 1_700_000_000} {
		if n, ok := want.(int); ok && !slices.Contains([]any{int64(n), uint64(n)}, m[k]) || !ok && !reflect.DeepEqual(m[k], want) {
			t.Errorf("%s is %v, want %v", k, m[k], want)
		}
		delete(m, k)
	}
	if len(m) != 0 {
		t.Errorf("keys that FORMAT.md does not have: %v", m)
	}
	for i, p := 0, part(4*6); i < 6; i++ {
		if binary.LittleEndian.Uint32(p[4*i:]) != s.IDs[i] {
			t.Errorf("id %d", i)
		}
	}
	for i, p := 0, part(4*12); i < 12; i++ {
		if binary.LittleEndian.Uint32(p[4*i:]) != math.Float32bits(s.Logits[i]) {
			t.Errorf("logit %d", i)
		}
	}
	if !bytes.Equal(part(96), s.SSM) || !bytes.Equal(part(40), s.Conv) {
		t.Error("states")
	}
	end := part(0)
	if sum := sha256.Sum256(b[:pos]); !bytes.Equal(part(32), sum[:]) || pos != len(b) || len(end) != 0 {
		t.Error("checksum of the file")
	}
}

// TestDamaged cuts a file at every length and flips every bit of it.
func TestDamaged(t *testing.T) {
	e := testExpect()
	b := encode(t, testSnapshot())
	dst := room(e)
	for n := range b {
		oneLine(t, Read(bytes.NewReader(b[:n]), e, dst), ErrDamaged, "cut short")
	}
	oneLine(t, Read(bytes.NewReader(append(bytes.Clone(b), 0)), e, dst), ErrDamaged, "bytes follow")
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			kind := ErrDamaged
			if i >= 16 && i < 20 {
				kind = ErrVersion
			}
			oneLine(t, Read(bytes.NewReader(bad), e, dst), kind, "offset")
		}
	}
	if t.Failed() {
		return
	}
	if err := Read(bytes.NewReader(b), e, dst); err != nil {
		t.Errorf("the undamaged file: %v", err)
	}
}

// TestBrokenReader gives the storage's own error, which is no damage.
func TestBrokenReader(t *testing.T) {
	e := testExpect()
	b := encode(t, testSnapshot())
	for _, n := range []int{0, 10, 64, 100, 300, len(b) - 1, len(b)} {
		err := Read(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(syscall.EIO)), e, room(e))
		if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrDamaged) {
			t.Errorf("an error at %d gave %v", n, err)
		}
	}
}

func TestOtherModel(t *testing.T) {
	b := encode(t, testSnapshot())
	for _, c := range []struct {
		name, say string
		kind      error
		change    func(e *Expect)
	}{
		{"model", `made with model "tiny" (ID 9372c470eead...), not with "big"`, ErrModel, func(e *Expect) { e.Model[0] ^= 1; e.ModelName = "big" }},
		{"dtype", "f16 states, and they are f32 now; open the model with f16 states", ErrModel, func(e *Expect) { e.DType = F32 }},
		{"precision", `computed with precision "lut16", and exact is used now`, ErrModel, func(e *Expect) { e.Precision = "exact" }},
		{"ssm", "ssm_bytes is 96, and that of model \"tiny\" is 98", ErrModel, func(e *Expect) { e.SSM += 2 }},
		{"conv", "conv_bytes is 40", ErrModel, func(e *Expect) { e.Conv = 0 }},
		{"vocab", "vocab is 12", ErrModel, func(e *Expect) { e.Vocab = 13 }},
		{"tokens", "6 tokens, more than the 5", ErrTooMany, func(e *Expect) { e.Tokens = 5 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := testExpect()
			c.change(&e)
			dst := room(e)
			oneLine(t, Read(bytes.NewReader(b), e, dst), c.kind, c.say)
			if !reflect.DeepEqual(dst, room(e)) {
				t.Error("dst changed")
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		name, say string
		kind      error
		change    func(s *Snapshot)
	}{
		{"dtype", `dtype "bf16"`, nil, func(s *Snapshot) { s.DType = "bf16" }},
		{"odd", "ssm_bytes", nil, func(s *Snapshot) { s.SSM = s.SSM[1:] }},
		{"tokens", "tokens is 16777217", ErrTooMany, func(s *Snapshot) { s.IDs = make([]uint32, MaxTokens+1) }},
		{"persona", "persona", ErrName, func(s *Snapshot) { s.Persona = "The Butler" }},
		{"system", "shorten the system text", ErrTooMany, func(s *Snapshot) { s.System = strings.Repeat("x", MaxHeader) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSnapshot()
			c.change(s)
			var buf bytes.Buffer
			err := Write(&buf, s)
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.What, c.say) || buf.Len() != 0 {
				t.Errorf("Write gave %v after %d bytes", err, buf.Len())
			}
		})
	}
}

// failAt is a disk that takes n bytes and then fails with err.
type failAt struct {
	w   io.Writer
	n   int
	err error
}

func (f *failAt) Write(p []byte) (int, error) {
	if len(p) <= f.n {
		f.n -= len(p)
		return f.w.Write(p)
	}
	n, _ := f.w.Write(p[:f.n])
	f.n = 0
	return n, f.err
}

func TestWriteFails(t *testing.T) {
	size := len(encode(t, testSnapshot()))
	for _, c := range []struct {
		name string
		err  error
		kind error
	}{
		{"full", syscall.ENOSPC, ErrNoSpace},
		{"quota", &os.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, ErrNoSpace},
		{"limit on files", syscall.EFBIG, ErrNoSpace},
		{"broken", syscall.EIO, nil},
		{"short", nil, nil},
	} {
		for n := range size {
			err := Write(&failAt{io.Discard, n, c.err}, testSnapshot())
			cause := c.err
			if cause == nil {
				cause = io.ErrShortWrite
			}
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || !errors.Is(err, cause) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%s at byte %d gave %v", c.name, n, err)
			}
		}
	}
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer f.Close()
	oneLine(t, Write(f, testSnapshot()), ErrNoSpace, "make room on the disk")
}

// BenchmarkWrite and BenchmarkRead take a state of the 780M shape in f16 (48 layers, d_inner 3072, d_state 128): what a save costs beside the disk.
func BenchmarkWrite(b *testing.B) {
	s := bigSnapshot()
	b.SetBytes(int64(len(s.SSM) + len(s.Conv)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := bigSnapshot()
	file := encode(b, s)
	e := Expect{DType: F16, SSM: len(s.SSM), Conv: len(s.Conv), Vocab: len(s.Logits)}
	dst := room(e)
	b.SetBytes(int64(len(s.SSM) + len(s.Conv)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Read(bytes.NewReader(file), e, dst); err != nil {
			b.Fatal(err)
		}
	}
}

func bigSnapshot() *Snapshot {
	return &Snapshot{Header: Header{DType: F16}, IDs: make([]uint32, 2000), Logits: make([]float32, 50288), SSM: make([]byte, 48*3072*128*2), Conv: make([]byte, 48*4*(3072+256)*4)}
}
