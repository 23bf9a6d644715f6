package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
)

// Write writes s to w in one pass. Tokens, Vocab, SSMBytes and ConvBytes are taken from the slices; s is not changed and its big parts are not copied.
// What w returns is wrapped in an *Error, a full disk as ErrNoSpace. A file that Write did not finish is refused by Read.
func Write(w io.Writer, s *Snapshot) error {
	p, header, err := s.plan()
	if err != nil {
		return err
	}
	sw := &writer{w: w, sum: sha256.New()}
	sw.write(p.encode())
	sw.section(header)
	writeWords(sw, s.IDs, func(id uint32) uint32 { return id })
	writeWords(sw, s.Logits, math.Float32bits)
	sw.section(s.SSM)
	sw.section(s.Conv)
	sw.write(sw.sum.Sum(nil))
	return sw.err
}

// plan encodes the header of s and with it the whole file's layout.
func (s *Snapshot) plan() (preamble, []byte, error) {
	h := s.Header
	h.Tokens, h.Vocab, h.SSMBytes, h.ConvBytes = uint64(len(s.IDs)), uint64(len(s.Logits)), uint64(len(s.SSM)), uint64(len(s.Conv))
	if e := h.validate(); e != nil {
		e.What += "; it cannot be written"
		return preamble{}, nil, e
	}
	header, err := h.MarshalMsg(nil)
	if err != nil {
		return preamble{}, nil, &Error{What: fmt.Sprintf("header: %v", err), Err: err}
	}
	if len(header) > MaxHeader {
		return preamble{}, nil, &Error{Kind: ErrTooMany, What: fmt.Sprintf("names and system text take %d bytes, more than %d: shorten the system text", len(header), MaxHeader)}
	}
	return preamble{headerLen: uint32(len(header)), fileLen: h.fileLen(len(header)), headerSHA: sha256.Sum256(header)}, header, nil
}

// chunk is how much is hashed at a time: what was just read or written is then still in a small core's cache.
const chunk = 64 << 10

// writer sums what it writes. Behind the first error it does nothing.
type writer struct {
	w   io.Writer
	sum hash.Hash
	n   uint64
	err error
}

func (w *writer) write(b []byte) {
	for len(b) > 0 && w.err == nil {
		part := b[:min(len(b), chunk)]
		n, err := w.w.Write(part)
		if err == nil && n < len(part) {
			err = io.ErrShortWrite
		}
		if err != nil {
			w.err = failed(fmt.Sprintf("writing at offset %d", w.n), err)
			return
		}
		w.sum.Write(part)
		w.n += uint64(n)
		b = b[n:]
	}
}

func (w *writer) pad() {
	var zeros [align]byte
	w.write(zeros[:alignUp(w.n)-w.n])
}

func (w *writer) section(b []byte) {
	w.write(b)
	w.pad()
}

// writeWords writes a section of 32-bit numbers.
func writeWords[T uint32 | float32](w *writer, v []T, bits func(T) uint32) {
	buf := make([]byte, 0, min(4*len(v), chunk))
	for len(v) > 0 {
		n := min(len(v), chunk/4)
		buf = buf[:0]
		for _, x := range v[:n] {
			buf = binary.LittleEndian.AppendUint32(buf, bits(x))
		}
		w.write(buf)
		v = v[n:]
	}
	w.pad()
}
