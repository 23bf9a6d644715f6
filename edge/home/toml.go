package home

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// MaxFile is the largest home.toml in bytes; 10,000 entities with two names each have a third of it.
const MaxFile = 4 << 20

// Parse reads a home.toml: the keys language and confirm, and tables [[floor]], [[area]] and [[entity]] with the keys of [Floor], [Area] and [Entity].
// The home keeps to Validate. An error names line and column, or the line of the table that is wrong.
func Parse(data []byte) (*Home, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("there are more than %d bytes; a home.toml has at most that many", MaxFile)
	}
	h := &Home{Language: "en"}
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return nil, where(err)
	}
	if f := h.validate(); f != nil {
		if line := f.line(data); line > 0 {
			return nil, fmt.Errorf("line %d: %w", line, f.err)
		}
		return nil, f
	}
	return h, nil
}

// Read reads the home.toml at path. Errors name the file.
func Read(path string) (*Home, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	h, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// Marshal is the home as a home.toml, the same bytes for the same home. Parse reads it.
func (h *Home) Marshal() ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(h); err != nil {
		return nil, err
	}
	if b.Len() > MaxFile {
		return nil, fmt.Errorf("the home takes %d bytes; a home.toml has at most %d", b.Len(), MaxFile)
	}
	return b.Bytes(), nil
}

// where puts line and column before a decoder's error.
func where(err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		e := &missing.Errors[0]
		line, column := e.Position()
		return fmt.Errorf("line %d, column %d: there is no key %s", line, column, dotted(e.Key()))
	}
	var d *toml.DecodeError
	if errors.As(err, &d) {
		line, column := d.Position()
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}

func dotted(key toml.Key) string {
	s := ""
	for i, k := range key {
		if i > 0 {
			s += "."
		}
		s += k
	}
	return s
}

// line is where the table of the fault begins, 0 if that is nowhere: tables may be written inline, too.
func (f *fault) line(data []byte) int {
	var p unstable.Parser
	p.Reset(data)
	n := 0
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.ArrayTable && e.Kind != unstable.KeyValue {
			continue
		}
		it := e.Key()
		if !it.Next() {
			continue
		}
		key := it.Node()
		at := p.Shape(key.Raw).Start.Line
		if string(key.Data) != f.table || it.Next() || (e.Kind == unstable.KeyValue) != f.key() {
			continue
		}
		if n == f.index {
			return at
		}
		n++
	}
	return 0
}
