package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"bimamba/convert/source"
)

// Limits of one value of the header.
const (
	maxEntry    = 1 << 20
	maxMetadata = 4 << 20
)

// entry is a tensor of the header.
type entry struct {
	name, dtype string
	shape       []int64
	begin, end  int64 // from the first byte behind the header
}

// decodeHeader decodes a header as it comes, so that it takes memory for its tensors and for one value, not for all of its bytes.
func decodeHeader(r io.Reader) ([]entry, error) {
	lr := &limited{r: r}
	d := json.NewDecoder(lr)
	lr.allow(maxEntry)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object: not a safetensors file")
	}
	var entries []entry
	metadata := false
	for {
		lr.allow(maxEntry)
		if !d.More() {
			break
		}
		t, err := d.Token()
		if err != nil {
			return nil, jsonError(err, d)
		}
		name := t.(string) // the decoder allows no other keys
		if name == "__metadata__" {
			if metadata {
				return nil, errors.New("__metadata__ stands twice")
			}
			metadata = true
			lr.allow(maxMetadata)
			var meta map[string]string
			if err := d.Decode(&meta); err != nil {
				return nil, fmt.Errorf("__metadata__: %w", jsonError(err, d))
			}
			continue
		}
		if err := source.CheckName(name); err != nil {
			return nil, err
		}
		if len(entries) == source.MaxTensors {
			return nil, fmt.Errorf("more than %d tensors", source.MaxTensors)
		}
		var v struct {
			DType   string `json:"dtype"`
			Shape   ints   `json:"shape"`
			Offsets ints   `json:"data_offsets"`
		}
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, jsonError(err, d))
		}
		if v.Shape == nil || len(v.Offsets) != 2 || v.Offsets[0] < 0 || v.Offsets[1] < 0 {
			return nil, fmt.Errorf("tensor %s: shape %v, data_offsets %v; a shape and two offsets are needed", name, v.Shape, v.Offsets)
		}
		entries = append(entries, entry{name, v.DType, v.Shape, v.Offsets[0], v.Offsets[1]})
	}
	if _, err := d.Token(); err != nil {
		return nil, jsonError(err, d)
	}
	// The padding: white space only.
	for rest := io.MultiReader(d.Buffered(), r); ; {
		var b [512]byte
		n, err := rest.Read(b[:])
		if len(bytes.TrimSpace(b[:n])) > 0 {
			return nil, errors.New("something follows the JSON object")
		}
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// jsonError says where the decoder stopped.
func jsonError(err error, d *json.Decoder) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the JSON ends too early")
	}
	return fmt.Errorf("near offset %d: %w", 8+d.InputOffset(), err)
}

// ints is a short list of integers. Its own decoder keeps a list of millions from being built.
type ints []int64

func (v *ints) UnmarshalJSON(b []byte) error {
	*v = nil
	if n := bytes.Count(b, []byte{','}); n >= source.MaxDims {
		return fmt.Errorf("a list of %d numbers, more than %d", n+1, source.MaxDims)
	}
	return json.Unmarshal(b, (*[]int64)(v))
}

// limited ends in an error when more is read than was allowed, so that no value grows without end in the decoder's buffer.
type limited struct {
	r    io.Reader
	left int
}

// allow starts a new value of n bytes. What the decoder has read ahead is not counted.
func (l *limited) allow(n int) { l.left = n }

func (l *limited) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, errors.New("a value is too long")
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
