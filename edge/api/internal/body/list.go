package body

import (
	"encoding/json"

	"bimamba/edge/chat"
)

// Limit says how long a List may be.
type Limit interface {
	// Limit is the list's name for errors, and how many elements it may have.
	Limit() (param string, most int)
}

// List is a JSON array of at most so many elements as L says. A longer one is refused before anything is made of its elements: a few bytes
// of JSON can become a large struct.
type List[T any, L Limit] []T

// UnmarshalJSON is of encoding/json, which has looked at the syntax.
func (l *List[T, L]) UnmarshalJSON(b []byte) error {
	var limit L
	param, most := limit.Limit()
	n, err := Count(b, param, most)
	if err != nil {
		return err
	}
	list := make([]T, 0, n)
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*l = list
	return nil
}

// Count is how many elements the JSON value b has if it is an array, else 0. More than most are an error that names param.
func Count(b []byte, param string, most int) (n int, err error) {
	depth, empty := 0, true
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		case depth == 0 && c != '[':
			return 0, nil
		case c == '[' || c == '{':
			if depth++; depth == 1 {
				continue
			}
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				if !empty {
					n++
				}
				return n, nil
			}
		case c == ',' && depth == 1:
			if n++; n >= most {
				return n, chat.Errorf(chat.Invalid, param, "it has more than %d elements; send fewer", most)
			}
		case c == '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
		empty = false
	}
	return n, nil // not the whole of an array
}
