package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

//go:generate go tool -modfile=../../tools/go.mod msgp -o=header_gen.go -tests=false -io=false -file=header.go

//msgp:limit arrays:64 maps:64
//msgp:tag msg
//msgp:ignore Snapshot preamble layout

// Version of the format. A reader refuses every other.
const Version = 1

// Types of the recurrent state, as FORMAT.md names them.
const (
	F16 = "f16"
	F32 = "f32"
)

// Limits of FORMAT.md.
const (
	MaxHeader = 1 << 20 // bytes of the header: names and the system text have to fit
	MaxTokens = 1 << 24 // ids of one snapshot, 64 MiB
	MaxVocab  = 1 << 22 // logits
	MaxState  = 1 << 40 // bytes of SSM and of Conv
)

const (
	preambleSize = 64
	align        = 64 // of every section: a cache line, as in a blob
)

// magic starts every snapshot. CR LF and the DOS end of file show a transfer in text mode.
var magic = [16]byte([]byte("BIMAMBA-STATE\r\n\x1a"))

// Header describes a snapshot.
type Header struct {
	Model     [sha256.Size]byte `msg:"model"`      // the blob that the state was made with: SHA-256 of its manifest
	ModelName string            `msg:"model_name"` // of that blob, for messages; may be empty
	DType     string            `msg:"dtype"`      // of SSM: F16 or F32
	Precision string            `msg:"precision"`  // of the arithmetic that computed it: exact, lut16 or fast; "": not known
	Tokens    uint64            `msg:"tokens"`     // len(IDs)
	Vocab     uint64            `msg:"vocab"`      // len(Logits); 0: the snapshot has none
	SSMBytes  uint64            `msg:"ssm_bytes"`  // len(SSM)
	ConvBytes uint64            `msg:"conv_bytes"` // len(Conv)
	Persona   string            `msg:"persona"`    // name of the persona, as CheckName wants it; "": the snapshot is none
	System    string            `msg:"system"`     // the persona's system prompt as it was given; "" without one
	Created   int64             `msg:"created"`    // Unix time, seconds; 0: not known
}

// Snapshot is a header and the state that it describes. Its slices may alias the memory of a session, which then must not run meanwhile.
type Snapshot struct {
	Header
	IDs    []uint32  // (Tokens) the sequence
	Logits []float32 // (Vocab) behind the last token, or empty
	SSM    []byte    // recurrent states, (n_layer, nheads, headdim, d_state) of DType, little-endian
	Conv   []byte    // inputs of the convolutions, (n_layer, d_conv, channels) of float32, little-endian; a ring: token t lies in row t mod d_conv
}

// validate checks what every reader relies on. What it returns has Kind ErrTooMany for a limit, ErrName for a persona's name, else none.
func (h *Header) validate() *Error {
	size := uint64(4)
	switch h.DType {
	case F32:
	case F16:
		size = 2
	default:
		return &Error{What: fmt.Sprintf("dtype %.16q is not %s or %s", h.DType, F16, F32)}
	}
	for _, f := range []struct {
		name         string
		v, max, unit uint64
	}{
		{"tokens", h.Tokens, MaxTokens, 1},
		{"vocab", h.Vocab, MaxVocab, 1},
		{"ssm_bytes", h.SSMBytes, MaxState, size},
		{"conv_bytes", h.ConvBytes, MaxState, 4},
	} {
		if f.v > f.max {
			return &Error{Kind: ErrTooMany, What: fmt.Sprintf("%s is %d, more than %d", f.name, f.v, f.max)}
		}
		if f.v%f.unit != 0 {
			return &Error{What: fmt.Sprintf("%s is %d, not a multiple of the %d bytes of an element", f.name, f.v, f.unit)}
		}
	}
	if h.Persona != "" && CheckName(h.Persona) != nil {
		return &Error{Kind: ErrName, What: fmt.Sprintf("persona %.64q is not a name: %s", h.Persona, nameRule)}
	}
	return nil
}

// fileLen is the length of the file of a valid header that takes headerLen bytes.
func (h *Header) fileLen(headerLen int) uint64 {
	return idsAt(preamble{headerLen: uint32(headerLen)}) + alignUp(4*h.Tokens) + alignUp(4*h.Vocab) + alignUp(h.SSMBytes) + alignUp(h.ConvBytes) + sha256.Size
}

// idsAt is the offset of the section behind the header.
func idsAt(p preamble) uint64 { return preambleSize + alignUp(uint64(p.headerLen)) }

func alignUp(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// preamble is the decoded fixed head of a file.
type preamble struct {
	headerLen uint32
	fileLen   uint64
	headerSHA [sha256.Size]byte
}

func (p *preamble) encode() []byte {
	b := make([]byte, preambleSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint32(b[16:], Version)
	binary.LittleEndian.PutUint32(b[20:], p.headerLen)
	binary.LittleEndian.PutUint64(b[24:], p.fileLen)
	copy(b[32:], p.headerSHA[:])
	return b
}

// decodePreamble takes preambleSize bytes.
func decodePreamble(b []byte) (p preamble, err error) {
	if !bytes.Equal(b[:16], magic[:]) {
		return p, damaged("offset 0: not a snapshot (magic is %q); give a file that bimamba bake or /v1/state wrote", b[:16])
	}
	if v := binary.LittleEndian.Uint32(b[16:]); v != Version {
		return p, &Error{Kind: ErrVersion, What: fmt.Sprintf("offset 16: format version %d, and this program reads version %d: save it again with this program", v, Version)}
	}
	p.headerLen = binary.LittleEndian.Uint32(b[20:])
	p.fileLen = binary.LittleEndian.Uint64(b[24:])
	copy(p.headerSHA[:], b[32:])
	if p.headerLen > MaxHeader {
		return p, damaged("offset 20: a header of %d bytes, more than %d", p.headerLen, MaxHeader)
	}
	return p, nil
}
