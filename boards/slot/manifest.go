package slot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Names of a version's files that have a meaning here; others may be there.
const (
	Daemon = "bimambad"
	CLI    = "bimamba"
	Model  = "model.bimamba"
	Config = "bimambad.toml" // optional; with it, and not with that of /etc/bimamba, the daemon runs
)

// Limits of a manifest.
const (
	MaxPiece    = 1 << 20 // bytes: what is sent again if it was on the way when the connection ended
	maxFiles    = 32
	maxPieces   = 1 << 16 // of all files
	maxSize     = 1 << 36 // bytes of a file
	maxText     = 1 << 10 // bytes of a label
	maxPrompt   = 1 << 12 // tokens
	maxManifest = 16 << 20
)

// Sum is a SHA-256, in JSON in hexadecimal.
type Sum [sha256.Size]byte

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText is String.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Sum) UnmarshalText(b []byte) error {
	if n, err := hex.Decode(s[:], b[:min(len(b), 2*len(s))]); err != nil || n != len(s) || len(b) != 2*len(s) {
		return fmt.Errorf("%.70q is no SHA-256: 64 hexadecimal digits", b)
	}
	return nil
}

// Manifest is what a version consists of.
type Manifest struct {
	Version int     `json:"version"` // 1
	Label   string  `json:"label"`   // for people: what is in it
	Files   []File  `json:"files"`   // in the order of their names
	Golden  *Golden `json:"golden"`  // what the daemon has to answer; null: the model has no text
}

// File is a file of a version.
type File struct {
	Name   string  `json:"name"` // a-z, 0-9, dot, underscore and hyphen, not first a dot
	Exec   bool    `json:"exec"` // a program
	Size   int64   `json:"size"` // bytes
	SHA256 Sum     `json:"sha256"`
	Pieces []Piece `json:"pieces"` // in order, without overlap; bytes outside of them are zero
}

// Piece is a run of a file's bytes that is sent, kept and found again as a whole: at most MaxPiece.
type Piece struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
	SHA256 Sum   `json:"sha256"`
}

// Golden is a question with the one answer that a right daemon gives, on every CPU: what greedy decoding continues a prompt with, and the logarithms of the
// tokens' probabilities, into which every logit goes, to the last bit.
type Golden struct {
	Prompt   []uint32  `json:"prompt"` // token ids
	Text     string    `json:"text"`
	LogProbs []float64 `json:"logprobs"`
}

// ID names the version: 16 hexadecimal digits.
func (m *Manifest) ID() string {
	sum := sha256.Sum256(m.encode())
	return hex.EncodeToString(sum[:8])
}

// Size is the bytes of all files.
func (m *Manifest) Size() (n int64) {
	for i := range m.Files {
		n += m.Files[i].Size
	}
	return n
}

// File finds a file by name, nil if there is none.
func (m *Manifest) File(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

func (m *Manifest) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("slot: a manifest that Validate accepts has a JSON form: " + err.Error())
	}
	return b
}

// ParseManifest reads a manifest and checks it.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("a manifest of %d bytes; there are at most %d", len(b), maxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // the ID is made of all fields
	m := new(Manifest)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("a manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("a manifest: something is behind its end, at byte %d", d.InputOffset())
	}
	return m, m.Validate()
}

// Validate checks every limit. Its error names the field.
func (m *Manifest) Validate() error {
	switch {
	case m.Version != 1:
		return fmt.Errorf("a manifest of version %d; this program knows 1: bring the older of the two programs up to date", m.Version)
	case len(m.Label) > maxText || strings.ContainsFunc(m.Label, func(r rune) bool { return r < ' ' }):
		return fmt.Errorf("label: more than %d bytes, or control characters", maxText)
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return fmt.Errorf("files: %d of them; there are 1 to %d", len(m.Files), maxFiles)
	}
	pieces := 0
	for i := range m.Files {
		f := &m.Files[i]
		if err := f.validate(); err != nil {
			return fmt.Errorf("files[%d], %.80q: %w", i, f.Name, err)
		}
		if i > 0 && f.Name <= m.Files[i-1].Name {
			return fmt.Errorf("files[%d]: %q does not come behind %q", i, f.Name, m.Files[i-1].Name)
		}
		pieces += len(f.Pieces)
	}
	if pieces > maxPieces {
		return fmt.Errorf("files: %d pieces; there are at most %d", pieces, maxPieces)
	}
	if g := m.Golden; g != nil && slices.ContainsFunc(g.LogProbs, func(p float64) bool { return math.IsNaN(p) || math.IsInf(p, 0) }) {
		return errors.New("golden: a probability is not a number")
	}
	if g := m.Golden; g != nil && (len(g.Prompt) == 0 || len(g.Prompt) > maxPrompt || len(g.LogProbs) == 0 || len(g.LogProbs) > maxPrompt) {
		return fmt.Errorf("golden: %d tokens of prompt and %d of answer; there are 1 to %d of each", len(g.Prompt), len(g.LogProbs), maxPrompt)
	}
	return nil
}

// ours is the names that the store itself uses in a version's folder.
var ours = []string{manifestFile, offerFile, manifestFile + ".new", offerFile + ".new"}

func (f *File) validate() error {
	switch {
	case f.Name == "" || len(f.Name) > 64 || f.Name[0] == '.' || strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "":
		return errors.New("a name is 1 to 64 of a-z, 0-9, dot, underscore and hyphen, and does not begin with a dot")
	case slices.Contains(ours, f.Name):
		return errors.New("the name is taken")
	case f.Size < 0 || f.Size > maxSize:
		return fmt.Errorf("size %d is not within 0 and %d", f.Size, int64(maxSize))
	}
	end := int64(0)
	for i, p := range f.Pieces {
		if p.Offset < end || p.Size < 1 || p.Size > MaxPiece || p.Offset > f.Size-p.Size {
			return fmt.Errorf("pieces[%d], at %d of %d bytes: not 1 to %d bytes behind the one before and within the file", i, p.Offset, p.Size, MaxPiece)
		}
		end = p.Offset + p.Size
	}
	return nil
}

// validID tells an ID from another name.
func validID(id string) bool {
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}

// NewFile describes the content of r, of size bytes, that is called name. cuts are offsets, ascending, at which pieces begin although MaxPiece does not ask
// for it: where what another version may have, too, begins and ends. Pieces of zeros alone are left out.
func NewFile(name string, exec bool, r io.ReaderAt, size int64, cuts []int64) (*File, error) {
	f := &File{Name: name, Exec: exec, Size: size}
	whole := sha256.New()
	buf := make([]byte, MaxPiece)
	for at := int64(0); at < size; {
		end := min(at+MaxPiece, size)
		for len(cuts) > 0 && cuts[0] <= at {
			cuts = cuts[1:]
		}
		if len(cuts) > 0 {
			end = min(end, cuts[0])
		}
		b := buf[:end-at]
		if _, err := io.ReadFull(io.NewSectionReader(r, at, int64(len(b))), b); err != nil {
			return nil, fmt.Errorf("%s, at %d: %w", name, at, err)
		}
		whole.Write(b)
		if len(bytes.Trim(b, "\x00")) > 0 {
			f.Pieces = append(f.Pieces, Piece{at, int64(len(b)), sha256.Sum256(b)})
		}
		at = end
	}
	whole.Sum(f.SHA256[:0])
	return f, f.validate()
}
