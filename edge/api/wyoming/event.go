package wyoming

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"unicode/utf8"
)

// Version is what events say of the protocol that they are written in. Nobody reads it but people.
const Version = "1.9.0"

// Event is one message.
type Event struct {
	Type    string
	Data    json.RawMessage // an object, or nil
	Payload []byte          // audio, or nil
}

// NewEvent is an event with data of a type whose JSON is an object; nil is none.
func NewEvent(kind string, data any) (*Event, error) {
	e := &Event{Type: kind}
	if data == nil {
		return e, nil
	}
	b, err := marshal(data)
	if err != nil {
		return nil, fmt.Errorf("wyoming: data of %s: %w", kind, err)
	}
	if !bytes.Equal(b, []byte("{}")) {
		e.Data = b
	}
	return e, nil
}

// Decode reads the event's data into v. Fields that v does not know are left out; without data v stays as it is.
func (e *Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return &FormatError{fmt.Sprintf("the data of %s: %s", quote(e.Type), jsonError(err))}
	}
	return nil
}

// marshal is JSON with <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// outHeader is the line in front, as it is written.
type outHeader struct {
	Type    string `json:"type"`
	Version string `json:"version"`
	Data    int    `json:"data_length,omitempty"`
	Payload int    `json:"payload_length,omitempty"`
}

// Append adds an event's bytes to b. Data goes behind the line, as the reference writes it: readers of lines need not have room for it.
func Append(b []byte, e *Event) ([]byte, error) {
	line, err := marshal(outHeader{e.Type, Version, len(e.Data), len(e.Payload)})
	if err != nil {
		return b, err
	}
	b = append(append(b, line...), '\n')
	b = append(b, e.Data...)
	return append(b, e.Payload...), nil
}

// FormatError says what of the bytes that a peer sent is no event.
type FormatError struct{ Message string }

func (e *FormatError) Error() string { return "wyoming: " + e.Message }

func malformed(format string, args ...any) error { return &FormatError{fmt.Sprintf(format, args...)} }

// Limits are the most bytes that a Reader takes of an event. 0 is the default.
type Limits struct {
	Header  int  // of the line; DefaultHeader
	Data    int  // behind the line; DefaultData
	Payload int  // DefaultPayload
	Skip    bool // payloads are read past, and not kept
}

// Defaults of Limits. The line's is what the reference reads at most.
const (
	DefaultHeader  = 64 << 10
	DefaultData    = 1 << 20
	DefaultPayload = 1 << 20
)

// Reader reads events.
type Reader struct {
	r      *bufio.Reader
	limits Limits
	events int // read so far, for errors
}

// NewReader makes a Reader.
func NewReader(r io.Reader, limits Limits) *Reader {
	for p, v := range map[*int]int{&limits.Header: DefaultHeader, &limits.Data: DefaultData, &limits.Payload: DefaultPayload} {
		if *p == 0 {
			*p = v
		}
	}
	return &Reader{r: bufio.NewReader(r), limits: limits}
}

// Wait returns when there is something to read, or with the error that comes instead.
func (r *Reader) Wait() error {
	_, err := r.r.Peek(1)
	return err
}

// inHeader is the line in front, as it is read. What else is in it is left out.
type inHeader struct {
	Type    string          `json:"type"`
	Data    json.RawMessage `json:"data"`
	Length  *int64          `json:"data_length"`
	Payload *int64          `json:"payload_length"`
}

// Read is the next event. The error is io.EOF where the stream ends between two events, io.ErrUnexpectedEOF where it ends within one, and a *[FormatError] for
// what is none; nothing can be read after that.
func (r *Reader) Read() (*Event, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	r.events++
	var h inHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, malformed("the line of event %d: %s", r.events, jsonError(err))
	}
	if h.Type == "" {
		return nil, malformed("the line of event %d has no type", r.events)
	}
	data, err := r.block(h.Type, "data", h.Length, r.limits.Data, false)
	if err != nil {
		return nil, err
	}
	e := &Event{Type: h.Type}
	if e.Data, err = merge(h.Data, data); err != nil {
		return nil, malformed("the data of event %d, %s: %s", r.events, quote(h.Type), jsonError(err))
	}
	e.Payload, err = r.block(h.Type, "payload", h.Payload, r.limits.Payload, r.limits.Skip)
	return e, err
}

// line is the next line, which grows with what has come of it.
func (r *Reader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		if n := len(line) + len(part); n > r.limits.Header || n == r.limits.Header && errors.Is(err, bufio.ErrBufferFull) {
			return nil, malformed("the line of event %d is longer than %d bytes", r.events+1, r.limits.Header)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// block is the bytes behind a line, nil for none. The buffer grows with what has come, whatever the line says.
func (r *Reader) block(kind, what string, length *int64, limit int, skip bool) ([]byte, error) {
	if length == nil || *length == 0 {
		return nil, nil
	}
	n := *length
	if n < 0 || n > int64(limit) {
		return nil, malformed("event %d, %s, has %d bytes of %s; 0 to %d are taken", r.events, quote(kind), n, what, limit)
	}
	var err error
	if skip {
		_, err = r.r.Discard(int(n))
	} else {
		var b bytes.Buffer
		if _, err = io.CopyN(&b, r.r, n); err == nil {
			return b.Bytes(), nil
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// merge lays the data behind a line over the data in it.
func merge(inline, behind json.RawMessage) (json.RawMessage, error) {
	if bytes.Equal(inline, []byte("null")) {
		inline = nil
	}
	var objects [2]map[string]json.RawMessage
	for i, b := range []json.RawMessage{inline, behind} {
		if b == nil {
			continue
		}
		if err := json.Unmarshal(b, &objects[i]); err != nil {
			return nil, err
		}
		if objects[i] == nil {
			return nil, errors.New("is null, not an object")
		}
	}
	switch {
	case inline == nil:
		return behind, nil
	case behind == nil:
		return inline, nil
	}
	maps.Copy(objects[0], objects[1])
	return marshal(objects[0])
}

// jsonError is an error of package json without Go's types in it.
func jsonError(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Sprintf("is a JSON %s, not an object", e.Value)
		}
		return fmt.Sprintf("%s is a JSON %s, and should not be", e.Field, e.Value)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("is no JSON: byte %d: %v", e.Offset, e)
	}
	return err.Error()
}

// quote is a peer's word for errors and the log, of a length that fits a line.
func quote(s string) string { return fmt.Sprintf("%q", cut(s, 40)) }

// cut is the beginning of a text, of n bytes at most.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
