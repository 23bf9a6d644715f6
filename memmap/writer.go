package memmap

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
)

// Writer writes one blob. The zero bytes between tensors are not written: the target has to be empty.
type Writer struct {
	w        io.WriterAt
	m        *Manifest
	reserved uint64 // bytes kept for the manifest
	fileLen  uint64
	open     map[*Tensor]*TensorWriter
}

// NewWriter plans a blob of m, whose tensors have name, dtype, layout, quant and shape, and sets their lengths and
// offsets in m. Every tensor has to be written before Finish. Tensor.Zeros may still be set until then.
func NewWriter(w io.WriterAt, m *Manifest) (*Writer, error) {
	bw := &Writer{w: w, m: m, open: make(map[*Tensor]*TensorWriter)}
	// How long the manifest gets depends on numbers that are known only at the end: plan with the longest.
	zeros := make(map[*Tensor]uint64)
	for i := range m.Sections {
		s := &m.Sections[i]
		s.Offset, s.Length = math.MaxUint64, math.MaxUint64
		for j := range s.Tensors {
			t := &s.Tensors[j]
			zeros[t] = t.Zeros
			t.Zeros, t.Offset, t.Length = math.MaxUint64, math.MaxUint64, math.MaxUint64
		}
	}
	b, err := m.MarshalMsg(nil)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("manifest: %d bytes, more than %d", len(b), MaxManifest)
	}
	bw.reserved = uint64(len(b))
	pos := uint64(PreambleSize + len(b))
	for i := range m.Sections {
		s := &m.Sections[i]
		pos = alignUp(pos, SectionAlign)
		s.Offset = pos
		for j := range s.Tensors {
			t := &s.Tensors[j]
			t.Zeros = zeros[t]
			if t.Length, err = t.byteLength(); err != nil {
				return nil, fmt.Errorf("section %q: tensor %q: %w", s.Name, t.Name, err)
			}
			pos = alignUp(pos, TensorAlign)
			t.Offset = pos
			pos += t.Length
		}
		s.Length = pos - s.Offset
	}
	bw.fileLen = pos
	if err := m.validate(PreambleSize+bw.reserved, bw.fileLen); err != nil {
		return nil, err
	}
	return bw, nil
}

// Size is the length of the file in bytes.
func (w *Writer) Size() int64 { return int64(w.fileLen) }

// Tensor starts the one tensor of that name in that section. Its bytes are then written in order, all of them.
func (w *Writer) Tensor(section, name string) (*TensorWriter, error) {
	for i := range w.m.Sections {
		s := &w.m.Sections[i]
		if s.Name != section {
			continue
		}
		t, ok := s.Tensor(name)
		if !ok {
			break
		}
		if w.open[t] != nil {
			return nil, fmt.Errorf("section %q: tensor %q is written twice", section, name)
		}
		tw := &TensorWriter{w: w.w, t: t, sum: sha256.New()}
		w.open[t] = tw
		return tw, nil
	}
	return nil, fmt.Errorf("section %q: no tensor %q is planned", section, name)
}

// Finish writes the manifest and, last, the preamble that makes the file a blob.
func (w *Writer) Finish() error {
	for i := range w.m.Sections {
		s := &w.m.Sections[i]
		for j := range s.Tensors {
			t := &s.Tensors[j]
			tw := w.open[t]
			if tw == nil || tw.n != t.Length {
				return fmt.Errorf("section %q: tensor %q is not written in full", s.Name, t.Name)
			}
			tw.sum.Sum(t.SHA256[:0])
		}
	}
	b, err := w.m.MarshalMsg(nil)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if uint64(len(b)) > w.reserved {
		return fmt.Errorf("manifest: grew from %d to %d bytes after it was planned", w.reserved, len(b))
	}
	if _, err := w.w.WriteAt(b, PreambleSize); err != nil {
		return err
	}
	p := preamble{major: Major, minor: w.m.minor(), manifestLen: uint32(len(b)), fileLen: w.fileLen, manifestSHA: sha256.Sum256(b)}
	_, err = w.w.WriteAt(p.encode(), 0)
	return err
}

// TensorWriter takes the bytes of one tensor.
type TensorWriter struct {
	w   io.WriterAt
	t   *Tensor
	n   uint64
	sum hash.Hash
}

// Write appends p to the tensor.
func (w *TensorWriter) Write(p []byte) (int, error) {
	if uint64(len(p)) > w.t.Length-w.n {
		return 0, fmt.Errorf("tensor %q: more bytes than the %d of shape %v", w.t.Name, w.t.Length, w.t.Shape)
	}
	n, err := w.w.WriteAt(p, int64(w.t.Offset+w.n))
	w.sum.Write(p[:n])
	w.n += uint64(n)
	return n, err
}
