package chat

import (
	"fmt"
	"time"
)

// Code is the kind of an Error.
type Code int

// Codes, with the HTTP status that they become.
const (
	Invalid     Code = iota + 1 // 400: the request is wrong
	NotFound                    // 404: there is no such model
	TooLong                     // 400: the prompt is longer than the service allows
	Unsupported                 // 400: the model cannot do this
	Busy                        // 429: the queue is full
	Unavailable                 // 503: the service is starting, stopping or without a model
	Timeout                     // 504: the request's time is up
	Internal                    // 500
)

// Error is an answer that is none.
type Error struct {
	Code       Code
	Param      string // the field of the request that is wrong, as "messages[2].content", or ""
	Message    string // one line
	RetryAfter time.Duration
	Err        error // what it comes from, or nil
}

func (e *Error) Error() string {
	if e.Param != "" {
		return e.Param + ": " + e.Message
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(code Code, param, format string, args ...any) *Error {
	return &Error{Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Status is the HTTP status of the error.
func (e *Error) Status() int {
	switch e.Code {
	case Invalid, TooLong, Unsupported:
		return 400
	case NotFound:
		return 404
	case Busy:
		return 429
	case Unavailable:
		return 503
	case Timeout:
		return 504
	}
	return 500
}
