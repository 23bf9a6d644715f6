package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
)

// Expect is what a snapshot has to be to be read: the state of one model as it is open now.
type Expect struct {
	Model     [sha256.Size]byte // memmap.File.ID
	ModelName string            // for messages; may be empty
	DType     string            // F16 or F32
	Precision string            // of the arithmetic; "": any
	SSM, Conv int               // bytes
	Vocab     int               // ids are below it, and there are so many logits, or none
	Tokens    int               // the longest sequence that is taken; 0: MaxTokens
}

// Check says, as an *Error, why h is not what e wants: ErrModel, or ErrTooMany for a sequence that is too long.
func (e *Expect) Check(h *Header) error {
	other := func(format string, a ...any) error {
		return &Error{Kind: ErrModel, What: fmt.Sprintf(format, a...)}
	}
	if h.Model != e.Model {
		return other("it was made with model %.64q (ID %x...), not with %.64q (ID %x...); open that model, or save it again with this one", h.ModelName, h.Model[:6], e.ModelName, e.Model[:6])
	}
	if h.DType != e.DType {
		return other("it was made with model %.64q and %s states, and they are %s now; open the model with %[2]s states, or save it again", h.ModelName, h.DType, e.DType)
	}
	if h.Precision != e.Precision && h.Precision != "" && e.Precision != "" {
		return other("it was computed with precision %.16q, and %s is used now, which would go on with other bits; open the model with that precision, or save it again",
			h.Precision, e.Precision)
	}
	for _, f := range []struct {
		name string
		has  uint64
		want int
	}{{"ssm_bytes", h.SSMBytes, e.SSM}, {"conv_bytes", h.ConvBytes, e.Conv}, {"vocab", h.Vocab, e.Vocab}} {
		if f.has != uint64(f.want) && !(f.name == "vocab" && f.has == 0) {
			return other("its %s is %d, and that of model %.64q is %d; save it again with this model", f.name, f.has, e.ModelName, f.want)
		}
	}
	longest := uint64(MaxTokens)
	if e.Tokens > 0 {
		longest = uint64(e.Tokens)
	}
	if h.Tokens > longest {
		return &Error{Kind: ErrTooMany, What: fmt.Sprintf("it holds a sequence of %d tokens, more than the %d that are taken", h.Tokens, longest)}
	}
	return nil
}

// ReadHeader reads the head of a snapshot, and no further. It checks the header against the header's checksum, not what follows.
func ReadHeader(r io.Reader) (*Header, error) {
	var h Header
	if _, err := newReader(r).header(&h); err != nil {
		return nil, err
	}
	return &h, nil
}

// Read reads a whole snapshot into dst and verifies its checksum; behind it r has to end.
//
// dst.SSM and dst.Conv are the caller's and have the lengths in want. IDs and logits are appended to dst.IDs[:0] and dst.Logits[:0], so
// that nothing is allocated for them where there is room. Another model, dtype or size is an error before dst changes. On a later error,
// dst and what its slices point to hold garbage: forget the session.
func Read(r io.Reader, want Expect, dst *Snapshot) error {
	if len(dst.SSM) != want.SSM || len(dst.Conv) != want.Conv {
		return fmt.Errorf("state: dst has room for %d and %d bytes of state, not for the %d and %d expected", len(dst.SSM), len(dst.Conv), want.SSM, want.Conv)
	}
	var h Header
	sr := newReader(r)
	p, err := sr.header(&h)
	if err != nil {
		return err
	}
	if err := want.Check(&h); err != nil {
		return err
	}
	dst.Header = h
	sr.pad()
	dst.IDs = readWords(sr, dst.IDs[:0], h.Tokens, func(v uint32) uint32 { return v })
	dst.Logits = readWords(sr, dst.Logits[:0], h.Vocab, math.Float32frombits)
	sr.section(dst.SSM)
	sr.section(dst.Conv)
	sum := sr.sum.Sum(nil)
	var stored [sha256.Size]byte
	sr.read(stored[:])
	if sr.err != nil {
		return sr.err
	}
	if !bytes.Equal(sum, stored[:]) {
		return damaged("offset %d: its bytes do not match their checksum; delete it and save it again", p.fileLen-sha256.Size)
	}
	switch _, err := io.ReadFull(r, stored[:1]); err {
	case io.EOF:
	case nil:
		return damaged("offset %d: bytes follow its end; delete it and save it again", p.fileLen)
	default:
		return failed(fmt.Sprintf("reading at offset %d", p.fileLen), err)
	}
	for i, id := range dst.IDs {
		if int64(id) >= int64(want.Vocab) {
			return damaged("offset %d: token %d has the id %d, and the model has %d; delete it and save it again", idsAt(p)+4*uint64(i), i, id, want.Vocab)
		}
	}
	return nil
}

// reader sums what it reads. Behind the first error it does nothing.
type reader struct {
	r   io.Reader
	sum hash.Hash
	n   uint64
	err error
}

func newReader(r io.Reader) *reader { return &reader{r: r, sum: sha256.New()} }

// read fills b.
func (r *reader) read(b []byte) {
	for len(b) > 0 && r.err == nil {
		part := b[:min(len(b), chunk)]
		n, err := io.ReadFull(r.r, part)
		r.sum.Write(part[:n])
		r.n += uint64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			r.err = damaged("offset %d: it ends here, cut short; delete it and save it again", r.n)
		default:
			r.err = failed(fmt.Sprintf("reading at offset %d", r.n), err)
		}
		b = b[n:]
	}
}

// pad reads the zeros up to the next section.
func (r *reader) pad() {
	var zeros [align]byte
	b := zeros[:alignUp(r.n)-r.n]
	at := r.n
	r.read(b)
	if r.err == nil && len(bytes.Trim(b, "\x00")) != 0 {
		r.err = damaged("offset %d: padding is not zero; delete it and save it again", at)
	}
}

func (r *reader) section(b []byte) {
	r.read(b)
	r.pad()
}

// header reads preamble and header.
func (r *reader) header(h *Header) (preamble, error) {
	var head [preambleSize]byte
	if r.read(head[:]); r.err != nil {
		return preamble{}, r.err
	}
	p, err := decodePreamble(head[:])
	if err != nil {
		return p, err
	}
	b := make([]byte, p.headerLen)
	if r.read(b); r.err != nil {
		return p, r.err
	}
	if sha256.Sum256(b) != p.headerSHA {
		return p, damaged("offset %d: the header does not match its checksum; delete it and save it again", preambleSize)
	}
	rest, err := h.UnmarshalMsg(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes follow it within its length", len(rest))
	}
	if err != nil {
		return p, damaged("offset %d: header: %v; delete it and save it again", preambleSize, err)
	}
	if e := h.validate(); e != nil {
		return p, damaged("offset %d: header: %s; delete it and save it again", preambleSize, e.What)
	}
	if n := h.fileLen(len(b)); p.fileLen != n {
		return p, damaged("offset 24: it says that it has %d bytes, and its header makes %d; delete it and save it again", p.fileLen, n)
	}
	return p, nil
}

// readWords appends a section of n 32-bit numbers to dst. What it allocates never runs far ahead of what r gave.
func readWords[T uint32 | float32](r *reader, dst []T, n uint64, value func(uint32) T) []T {
	buf := make([]byte, min(4*n, chunk))
	for n > 0 && r.err == nil {
		b := buf[:min(4*n, chunk)]
		r.read(b)
		if r.err != nil {
			return dst
		}
		for i := 0; i < len(b); i += 4 {
			dst = append(dst, value(binary.LittleEndian.Uint32(b[i:])))
		}
		n -= uint64(len(b) / 4)
	}
	r.pad()
	return dst
}
