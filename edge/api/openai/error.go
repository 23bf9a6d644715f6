package openai

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"bimamba/edge/chat"
)

// refusal is an error of HTTP, where no model was asked.
type refusal struct {
	status  int
	code    string
	message string
}

func (r *refusal) Error() string { return r.message }

// codes are what clients find in error.code.
var codes = map[chat.Code]string{
	chat.Invalid:     "invalid_value",
	chat.NotFound:    "model_not_found",
	chat.TooLong:     "context_length_exceeded",
	chat.Unsupported: "unsupported_value",
	chat.Busy:        "rate_limit_exceeded",
	chat.Unavailable: "unavailable",
	chat.Timeout:     "timeout",
	chat.Internal:    "internal_error",
}

// describe is the status and the body of an error; what a client needs to know about trying again goes into h.
func (a *api) describe(h http.Header, err error) (status int, body []byte) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status, appendError(nil, r.message, "invalid_request_error", "", r.code)
	}
	e, ok := errors.AsType[*chat.Error](err)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		e = chat.Errorf(chat.Timeout, "", "the request's time is up")
	case errors.Is(err, context.Canceled):
		e = chat.Errorf(chat.Unavailable, "", "the request was cancelled")
	default:
		e = chat.Errorf(chat.Internal, "", "internal error; the server's log has it under request id %s", h.Get("X-Request-Id"))
	}
	status = e.Status()
	if status == http.StatusInternalServerError {
		a.Log.Error("a request failed", "request", h.Get("X-Request-Id"), "error", err)
	}

	kind, param := "server_error", e.Param
	switch {
	case status == http.StatusNotFound:
		kind = "not_found_error"
		if param == "" {
			param = "model"
		}
	case status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case status < http.StatusInternalServerError:
		kind = "invalid_request_error"
	}

	// The SDKs repeat 429 and every 5xx twice unless they are told not to, which helps where something passes, and nowhere else.
	wait := e.RetryAfter
	if e.Code == chat.Busy && wait <= 0 {
		wait = time.Second
	}
	if wait > 0 {
		h.Set("Retry-After", strconv.FormatFloat(math.Ceil(wait.Seconds()), 'f', 0, 64))
		h.Set("Retry-After-Ms", strconv.FormatInt(wait.Milliseconds(), 10))
	} else if status >= http.StatusInternalServerError {
		h.Set("X-Should-Retry", "false")
	}
	return status, appendError(nil, e.Error(), kind, param, codes[e.Code])
}

func appendError(b []byte, message, kind, param, code string) []byte {
	b = appendString(append(b, `{"error":{"message":`...), message)
	b = appendString(append(b, `,"type":`...), kind)
	b = appendStringOrNull(append(b, `,"param":`...), param)
	b = appendStringOrNull(append(b, `,"code":`...), code)
	return append(b, '}', '}')
}

func appendStringOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}
