package cli

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"bimamba/edge/token"
	"bimamba/internal/atomicfile"
)

// The form of a token shard, little-endian. train/bimamba_train/shards.py reads it.
//
//	0   8 bytes  "BMTOKENS"
//	8   uint32   version, 1
//	12  uint32   bytes a token: 2, or 4 if the vocabulary asks for it
//	16  uint64   rows
//	24  uint64   tokens of all rows
//	32  tokens; then rows uint32, the lengths; then rows uint32, how many of each row's tokens are its prompt
const (
	shardMagic   = "BMTOKENS"
	shardVersion = 1
)

// shardWriter gathers rows and writes them to PREFIX-00000.tok and so on.
type shardWriter struct {
	prefix           string
	force            bool
	limit            int // tokens, behind which a file is full
	width            int // bytes a token
	files            int
	tokens           []byte
	lengths, prompts []uint32

	Rows, Tokens uint64 // of all files
}

// add appends a row. The file it belongs to may be written later.
func (w *shardWriter) add(ids []uint32, prompt int) error {
	for _, id := range ids {
		if w.width == 2 {
			w.tokens = binary.LittleEndian.AppendUint16(w.tokens, uint16(id))
		} else {
			w.tokens = binary.LittleEndian.AppendUint32(w.tokens, id)
		}
	}
	w.lengths = append(w.lengths, uint32(len(ids)))
	w.prompts = append(w.prompts, uint32(prompt))
	w.Rows++
	w.Tokens += uint64(len(ids))
	if len(w.tokens)/w.width >= w.limit {
		return w.flush()
	}
	return nil
}

// flush writes the rows gathered so far to a file.
func (w *shardWriter) flush() error {
	if len(w.lengths) == 0 {
		return nil
	}
	f, err := atomicfile.Create(fmt.Sprintf("%s-%05d.tok", w.prefix, w.files), atomicfile.Options{Force: w.force})
	if err != nil {
		return err
	}
	defer f.Close()
	bw := bufio.NewWriterSize(f, 1<<20)
	head := binary.LittleEndian.AppendUint32([]byte(shardMagic), shardVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(w.width))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(w.lengths)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(w.tokens)/w.width))
	_, e1 := bw.Write(head)
	_, e2 := bw.Write(w.tokens)
	e3 := binary.Write(bw, binary.LittleEndian, w.lengths)
	e4 := binary.Write(bw, binary.LittleEndian, w.prompts)
	if err := errors.Join(e1, e2, e3, e4, bw.Flush()); err != nil {
		return err
	}
	w.files++
	w.tokens, w.lengths, w.prompts = w.tokens[:0], w.lengths[:0], w.prompts[:0]
	return f.Commit()
}

// tokenizeShards reads lines {"text":...} or {"prompt":...,"completion":...} and writes token shards.
func tokenizeShards(t *token.Tokenizer, r io.Reader, stdout io.Writer, prefix string, limit int, force bool) error {
	w := &shardWriter{prefix: prefix, force: force, limit: limit, width: 2}
	if t.Size() > math.MaxUint16+1 {
		w.width = 4
	}
	var ids []uint32
	err := eachLine(r, "standard input", func(line []byte) error {
		var row struct {
			Text       *string `json:"text"`
			Prompt     *string `json:"prompt"`
			Completion *string `json:"completion"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		prompt := 0
		switch {
		case row.Text != nil && row.Prompt == nil && row.Completion == nil:
			ids = t.Encode(ids[:0], *row.Text)
		case row.Text == nil && row.Prompt != nil && row.Completion != nil:
			ids = t.Encode(ids[:0], *row.Prompt)
			prompt = len(ids)
			ids = t.Encode(ids, *row.Completion)
		default:
			return errors.New(`it has neither "text" alone nor "prompt" with "completion"`)
		}
		if len(ids) == 0 {
			return errors.New("it has no tokens")
		}
		return w.add(ids, prompt)
	})
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return err
	}
	if w.Rows == 0 {
		return errors.New("standard input has no rows")
	}
	return writeJSON(stdout, map[string]uint64{"files": uint64(w.files), "rows": w.Rows, "tokens": w.Tokens})
}
