package ollama

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/chat"
)

type errorBody struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, errorBody{message})
}

// writeFailure answers with an error of the service, in Ollama's words where it has some. model is as the client named it.
func writeFailure(w http.ResponseWriter, err error, model string) {
	status, message, retry := describe(err, model)
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(retry.Seconds())), 10))
	}
	writeError(w, status, message)
}

// describe is what a client gets to know of an error. retry is 0 where there is no use in it.
func describe(err error, model string) (status int, message string, retry time.Duration) {
	e, ok := errors.AsType[*chat.Error](err)
	switch {
	case !ok && errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "the request was canceled", 0
	case !ok && errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "the request's time is up", 0
	case !ok:
		return http.StatusInternalServerError, oneLine(err.Error()), 0
	case e.Code == chat.NotFound:
		return e.Status(), fmt.Sprintf("model '%.200s' not found", model), 0
	}
	retry = e.RetryAfter
	if e.Code == chat.Busy && retry <= 0 {
		retry = time.Second
	}
	return e.Status(), oneLine(e.Error()), retry
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
