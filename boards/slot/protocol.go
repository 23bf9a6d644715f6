package slot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Protocol is the version of what Send and Receive speak. The board begins with a line that names it, so that the deployer tells it from whatever else a
// login prints. Frames follow in both directions: a byte for the kind, four for the length of what comes, the most significant first, and that many bytes.
//
//	deployer              board
//	                      "bimamba slot 1\n"
//	offer: JSON
//	                      progress: JSON, any number of times, here and below
//	                      need: JSON
//	data: piece after piece
//	                      done: JSON, when all files have their checksums
//	ping, every 10 s      until the deployer ends its stream: it holds the lock
//
// The board may send fail, a line of text, at any time and ends then.
const Protocol = 1

const greeting = "bimamba slot 1\n"

// Kinds of frames.
const (
	kindOffer    = 'O'
	kindNeed     = 'N'
	kindData     = 'D'
	kindProgress = 'P'
	kindDone     = 'K'
	kindFail     = 'X'
	kindPing     = 'I'
)

const (
	dataHead  = 5                       // of a data frame: the file's number in a byte, the piece's in four
	maxOffer  = maxManifest + maxText   // JSON of a manifest and of who
	maxAnswer = 4 << 20                 // of the board's frames
	maxFrame  = maxManifest + (1 << 20) // of any
)

// offer begins a deployment.
type offer struct {
	Who      string          `json:"who"`
	Manifest json.RawMessage `json:"manifest"`
}

// need is which pieces the board lacks.
type need struct {
	Runs  [][3]int `json:"runs"`  // file, first piece, number of pieces: in order
	Bytes int64    `json:"bytes"` // of these pieces
	Whole int64    `json:"whole"` // of all files
}

// Progress is what the board does meanwhile.
type Progress struct {
	What  string `json:"what"` // "looking for what is there", "checking"
	Done  int64  `json:"done"` // bytes
	Total int64  `json:"total"`
}

// done ends what there is to send.
type done struct {
	ID string `json:"id"`
}

func writeFrame(w io.Writer, kind byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxFrame {
		return fmt.Errorf("a frame %q of %d bytes is too long", kind, n)
	}
	b := make([]byte, 5, 5+n)
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	for _, p := range parts {
		b = append(b, p...)
	}
	_, err := w.Write(b)
	return err
}

func writeJSON(w io.Writer, kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, b)
}

// readFrame reads a frame of at most limit bytes. io.EOF is the end of the stream between two frames. More memory than a piece is taken only as it comes.
func readFrame(r io.Reader, limit int) (kind byte, b []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[1:]))
	if n > int64(limit) {
		return 0, nil, fmt.Errorf("a frame %q of %d bytes; at most %d are expected here: the other side speaks another protocol", head[0], n, limit)
	}
	if n <= dataHead+MaxPiece {
		b = make([]byte, n)
		_, err = io.ReadFull(r, b)
	} else {
		b, err = io.ReadAll(io.LimitReader(r, n))
	}
	if err == io.EOF || err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return head[0], b, err
}

// readOffer reads the deployer's first frame.
func readOffer(r io.Reader) (*offer, *Manifest, error) {
	kind, b, err := readFrame(r, maxOffer)
	if err != nil {
		return nil, nil, err
	}
	if kind != kindOffer {
		return nil, nil, fmt.Errorf("the first frame is %q and not an offer", kind)
	}
	o := new(offer)
	if err := json.Unmarshal(b, o); err != nil {
		return nil, nil, fmt.Errorf("the offer: %w", err)
	}
	if len(o.Who) > maxText {
		return nil, nil, fmt.Errorf("the offer: who: more than %d bytes", maxText)
	}
	m, err := ParseManifest(o.Manifest)
	return o, m, err
}

// data is a piece on its way.
type data struct {
	file, piece int
	bytes       []byte
}

// readData reads a piece of the manifest, which has its size; nil for a ping.
func readData(r io.Reader, m *Manifest) (*data, error) {
	kind, b, err := readFrame(r, dataHead+MaxPiece)
	switch {
	case err != nil:
		return nil, err
	case kind == kindPing:
		return nil, nil
	case kind != kindData:
		return nil, fmt.Errorf("a frame %q where pieces are expected", kind)
	case len(b) < dataHead:
		return nil, errors.New("a piece without its number")
	}
	d := &data{int(b[0]), int(binary.BigEndian.Uint32(b[1:])), b[dataHead:]}
	if d.file >= len(m.Files) || d.piece >= len(m.Files[d.file].Pieces) {
		return nil, fmt.Errorf("piece %d of file %d is none of the offer's", d.piece, d.file)
	}
	if want := m.Files[d.file].Pieces[d.piece].Size; int64(len(d.bytes)) != want {
		return nil, fmt.Errorf("piece %d of %s has %d bytes, and %d were offered", d.piece, m.Files[d.file].Name, len(d.bytes), want)
	}
	return d, nil
}
