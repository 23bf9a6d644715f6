package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// mend makes a file's checksums right, as a hostile writer would, if it is long enough to have them.
func mend(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < preambleSize+sha256.Size {
		return b
	}
	if n := binary.LittleEndian.Uint32(b[20:]); uint64(n) <= uint64(len(b)-preambleSize) {
		sum := sha256.Sum256(b[preambleSize : preambleSize+n])
		copy(b[32:], sum[:])
	}
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	copy(b[len(b)-sha256.Size:], sum[:])
	return b
}

// withHeader is the file of s with another header, whose lengths the preamble follows.
func withHeader(t testing.TB, s *Snapshot, change func(h *Header)) []byte {
	t.Helper()
	b := encode(t, s)
	n := binary.LittleEndian.Uint32(b[20:])
	var h Header
	if _, err := h.UnmarshalMsg(b[preambleSize:][:n]); err != nil {
		t.Fatal(err)
	}
	change(&h)
	enc, err := h.MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	return replaceHeader(b, enc, h.fileLen(len(enc)))
}

func replaceHeader(b, enc []byte, fileLen uint64) []byte {
	rest := b[preambleSize+alignUp(uint64(binary.LittleEndian.Uint32(b[20:]))):]
	p := preamble{headerLen: uint32(len(enc)), fileLen: fileLen}
	out := append(p.encode(), enc...)
	out = append(out, make([]byte, alignUp(uint64(len(out)))-uint64(len(out)))...)
	return mend(append(out, rest...))
}

// TestHostile reads files whose checksums are right and whose header lies.
func TestHostile(t *testing.T) {
	for _, c := range []struct {
		name, say string
		change    func(h *Header)
	}{
		{"dtype", `dtype "f80"`, func(h *Header) { h.DType = "f80" }},
		{"dtype none", `dtype ""`, func(h *Header) { h.DType = "" }},
		{"dtype long", `dtype "fffffffffffffff\n" is`, func(h *Header) { h.DType = strings.Repeat("f", 15) + "\n" + strings.Repeat("f", 1000) }},
		{"tokens", "tokens is 18446744073709551615, more than 16777216", func(h *Header) { h.Tokens = math.MaxUint64 }},
		{"vocab", "vocab is 4194305", func(h *Header) { h.Vocab = MaxVocab + 1 }},
		{"ssm", "ssm_bytes is 18446744073709551614, more", func(h *Header) { h.SSMBytes = math.MaxUint64 - 1 }},
		{"ssm odd", "ssm_bytes is 97, not a multiple of the 2", func(h *Header) { h.SSMBytes++ }},
		{"conv", "conv_bytes is 42, not a multiple of the 4", func(h *Header) { h.ConvBytes += 2 }},
		{"persona", `persona "../butler" is not a name`, func(h *Header) { h.Persona = "../butler" }},
		{"tokens beyond the file", "cut short", func(h *Header) { h.Tokens = MaxTokens }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := testExpect()
			b := withHeader(t, testSnapshot(), c.change)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Read(bytes.NewReader(b), e, room(e))
			runtime.ReadMemStats(&after)
			oneLine(t, err, ErrDamaged, c.say)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes were allocated for a file of %d", n, len(b))
			}
		})
	}
	t.Run("id", func(t *testing.T) {
		s := testSnapshot()
		s.IDs[2] = testVocab
		b := encode(t, s)
		at := preambleSize + alignUp(uint64(binary.LittleEndian.Uint32(b[20:]))) + 8
		oneLine(t, Read(bytes.NewReader(b), testExpect(), room(testExpect())), ErrDamaged, "token 2 has the id 12, and the model has 12")
		if binary.LittleEndian.Uint32(b[at:]) != testVocab {
			t.Errorf("the id is not at offset %d", at)
		}
	})
	t.Run("file length", func(t *testing.T) {
		b := encode(t, testSnapshot())
		b[24]++
		oneLine(t, Read(bytes.NewReader(mend(b)), testExpect(), room(testExpect())), ErrDamaged, "offset 24")
	})
	t.Run("header length", func(t *testing.T) {
		b := encode(t, testSnapshot())
		binary.LittleEndian.PutUint32(b[20:], MaxHeader+1)
		oneLine(t, Read(bytes.NewReader(b), testExpect(), room(testExpect())), ErrDamaged, "offset 20")
	})
	t.Run("padding", func(t *testing.T) {
		b := encode(t, testSnapshot())
		b[preambleSize+binary.LittleEndian.Uint32(b[20:])] = 1
		oneLine(t, Read(bytes.NewReader(mend(b)), testExpect(), room(testExpect())), ErrDamaged, "padding")
	})
	t.Run("header not a map", func(t *testing.T) {
		b := encode(t, testSnapshot())
		oneLine(t, Read(bytes.NewReader(replaceHeader(b, []byte{0x93, 1, 2, 3}, uint64(len(b)))), testExpect(), room(testExpect())), ErrDamaged, "header: ")
	})
	t.Run("bytes behind the header", func(t *testing.T) {
		b := encode(t, testSnapshot())
		enc := append(bytes.Clone(b[preambleSize:][:binary.LittleEndian.Uint32(b[20:])]), 0xc0)
		oneLine(t, Read(bytes.NewReader(replaceHeader(b, enc, uint64(len(b)))), testExpect(), room(testExpect())), ErrDamaged, "1 bytes follow it")
	})
}

// TestUnknownKeys reads what a later writer may add.
func TestUnknownKeys(t *testing.T) {
	s, e := testSnapshot(), testExpect()
	b := encode(t, s)
	v, _, err := msgp.ReadIntfBytes(b[preambleSize:][:binary.LittleEndian.Uint32(b[20:])])
	if err != nil {
		t.Fatal(err)
	}
	v.(map[string]any)["from_the_future"] = map[string]any{"a": []any{1.5, nil, "x", []byte{1}}}
	enc, err := msgp.AppendIntf(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	h := Header{Tokens: 6, Vocab: 12, SSMBytes: 96, ConvBytes: 40}
	dst := room(e)
	if err := Read(bytes.NewReader(replaceHeader(b, enc, h.fileLen(len(enc)))), e, dst); err != nil || !same(dst, s) || dst.System != s.System {
		t.Errorf("read %+v, %v", dst.Header, err)
	}
}

// FuzzRead reads arbitrary bytes, as they are and with checksums that match. What is accepted is written and read again the same.
func FuzzRead(f *testing.F) {
	s := testSnapshot()
	b := encode(f, s)
	f.Add(b)
	f.Add(b[:len(b)-1])
	s.Logits, s.IDs, s.Persona, s.System = nil, nil, "", ""
	f.Add(encode(f, s))
	f.Add(withHeader(f, testSnapshot(), func(h *Header) { h.Tokens = MaxTokens }))
	f.Add(withHeader(f, testSnapshot(), func(h *Header) { h.Model[0] ^= 1 }))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, mend(b)} {
			e := testExpect()
			h, err := ReadHeader(bytes.NewReader(b))
			if err == nil {
				e.Model = h.Model // so that what follows the header is reached
			} else if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("more than a line: %q", err)
			}
			got := room(e)
			if err := Read(bytes.NewReader(b), e, got); err != nil {
				if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoSpace) || strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("the error is %q", err)
				}
				continue
			}
			if h == nil || *h != got.Header {
				t.Fatalf("ReadHeader gave %+v, Read %+v", h, got.Header)
			}
			again := room(e)
			if err := Read(bytes.NewReader(encode(t, got)), e, again); err != nil || again.Header != got.Header || !same(again, got) {
				t.Errorf("read %+v, and again %+v, %v", got.Header, again.Header, err)
			}
		}
	})
}
