// Package body reads the JSON bodies of the HTTP APIs.
package body

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"bimamba/edge/chat"
)

// decoding holds those that decode a body: what comes out of it is larger than the body, so not all do at once.
var decoding = make(chan struct{}, 2)

// Decode reads the one JSON value of a request's body into v. Unknown fields are ignored: clients send many.
// The server has limited the body's size. The error is a *chat.Error that says where the body is wrong,
// or the context's.
func Decode(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return chat.Errorf(chat.Invalid, "", "the body is larger than %d bytes", large.Limit)
		}
		return chat.Errorf(chat.Invalid, "", "the body ended early: %v", err)
	}
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
		return Unmarshal(b, v)
	case <-r.Context().Done(): // the body is there, so this wait is short
		return context.Cause(r.Context())
	}
}

// Unmarshal is Decode of bytes.
func Unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return chat.Errorf(chat.Invalid, e.Field, "a JSON %s does not fit here (byte %d)", e.Value, e.Offset)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return chat.Errorf(chat.Invalid, "", "the body is not JSON: byte %d: %v", e.Offset, e)
	}
	if e, ok := errors.AsType[*chat.Error](err); ok {
		return e
	}
	return chat.Errorf(chat.Invalid, "", "%s", fmt.Sprint(err))
}
