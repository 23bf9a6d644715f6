package ollama

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"bimamba/edge/chat"
)

// line is one line of an answer, or a whole one.
type line struct {
	Model      string    `json:"model"`
	CreatedAt  string    `json:"created_at"`
	Message    *message  `json:"message,omitempty"`  // of a chat
	Response   *string   `json:"response,omitempty"` // of a completion
	Done       bool      `json:"done"`
	DoneReason string    `json:"done_reason,omitempty"`
	*metrics             // in the last line
	LogProbs   []logProb `json:"logprobs,omitempty"`
}

type message struct {
	Role      string     `json:"role"`
	Content   string     `json:"content"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// metrics counts tokens and nanoseconds.
type metrics struct {
	TotalDuration         int64 `json:"total_duration"`
	LoadDuration          int64 `json:"load_duration"`     // until the model was free for the request
	PromptEvalCount       int   `json:"prompt_eval_count"` // all of the prompt
	PromptEvalCachedCount int   `json:"prompt_eval_cached_count"`
	CachedTokens          int   `json:"cached_tokens"`
	PromptEvalDuration    int64 `json:"prompt_eval_duration"`
	EvalCount             int   `json:"eval_count"`
	EvalDuration          int64 `json:"eval_duration"`

	Energy *chat.Energy `json:"energy,omitempty"` // this server's own
}

type logProb struct {
	Token   string    `json:"token"`
	LogProb float64   `json:"logprob"`
	Bytes   byteList  `json:"bytes,omitempty"`
	Top     []logProb `json:"top_logprobs,omitempty"`
}

// byteList is bytes as a list of numbers.
type byteList []byte

func (b byteList) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, c := range b {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(c), 10)
	}
	return append(out, ']'), nil
}

// impossible stands for the logarithm of 0, for which JSON has no number.
const impossible = -9999

func logProbs(tokens []chat.Token) []logProb {
	if len(tokens) == 0 {
		return nil
	}
	out := make([]logProb, len(tokens))
	for i, t := range tokens {
		if !(math.Abs(t.LogProb) < -impossible) {
			t.LogProb = impossible
		}
		out[i] = logProb{string(t.Bytes), t.LogProb, t.Bytes, logProbs(t.Top)}
	}
	return out
}

// stamp is a time as RFC 3339 with microseconds and a numeric offset: what datetime.fromisoformat reads also before Python 3.11.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000-07:00") }

// content puts the answer's text where chats or completions have it.
func (l *line) content(chats bool, text string, calls []toolCall) {
	if !chats {
		l.Response = &text
		return
	}
	l.Message = &message{"assistant", text, calls}
}

// query is a request that has an answer.
type query struct {
	model  string // as the client names it
	name   string // canonical
	keep   time.Duration
	stream bool
	chats  bool
	start  time.Time
	run    func(emit func(chat.Event) error) (*chat.Reply, error)
}

// answer runs a request and writes what it gives.
func (a *api) answer(w http.ResponseWriter, q query) {
	a.used.begin(q.name, q.start, q.keep)
	defer func() { a.used.end(q.name, a.now(), q.keep) }()
	out := output{q: &q, w: w, flush: http.NewResponseController(w).Flush, now: a.now}
	out.encoder = json.NewEncoder(&out.buf)
	out.encoder.SetEscapeHTML(false)
	var emit func(chat.Event) error
	if q.stream {
		emit = out.event
	}
	r, err := q.run(emit)
	if err == nil {
		err = out.last(r)
	}
	if err != nil {
		out.fail(err)
	}
}

// output writes an answer's lines. It is used by the goroutine that serves the request.
type output struct {
	q       *query
	w       http.ResponseWriter
	flush   func() error
	now     func() time.Time
	buf     bytes.Buffer
	encoder *json.Encoder // to buf
	started bool          // the header is gone, so that errors come as a line
	calls   int
}

// write sends v as one line. The error of the client's connection ends the request.
func (o *output) write(v any) error {
	o.buf.Reset()
	if err := o.encoder.Encode(v); err != nil {
		return err
	}
	if !o.started {
		o.started = true
		kind := "application/json; charset=utf-8"
		if o.q.stream {
			kind = ndjson
		}
		o.w.Header().Set("Content-Type", kind)
	}
	if _, err := o.w.Write(o.buf.Bytes()); err != nil {
		return err
	}
	if !o.q.stream {
		return nil
	}
	return o.flush()
}

// toolCalls numbers calls through the answer.
func (o *output) toolCalls(calls ...chat.ToolCall) (out []toolCall) {
	for _, c := range calls {
		if len(c.Arguments) == 0 {
			c.Arguments = json.RawMessage("{}")
		}
		out = append(out, toolCall{c.ID, function{o.calls, c.Name, c.Arguments}})
		o.calls++
	}
	return out
}

func (o *output) event(e chat.Event) error {
	if e.Text == "" && e.ToolCall == nil && len(e.Tokens) == 0 {
		return nil
	}
	l := line{Model: o.q.model, CreatedAt: stamp(o.now()), LogProbs: logProbs(e.Tokens)}
	var calls []toolCall
	if e.ToolCall != nil {
		calls = o.toolCalls(*e.ToolCall)
	}
	l.content(o.q.chats, e.Text, calls)
	return o.write(&l)
}

// last writes the line that ends a stream, or the whole answer.
func (o *output) last(r *chat.Reply) error {
	now := o.now()
	l := line{Model: o.q.model, CreatedAt: stamp(now), Done: true, DoneReason: "stop"}
	if r.Finish == chat.FinishLength {
		l.DoneReason = "length"
	}
	l.metrics = &metrics{
		TotalDuration: now.Sub(o.q.start).Nanoseconds(), LoadDuration: r.Timing.Queued.Nanoseconds(),
		PromptEvalCount: r.Usage.Prompt, PromptEvalCachedCount: r.Usage.Cached, CachedTokens: r.Usage.Cached,
		PromptEvalDuration: r.Timing.Prefill.Nanoseconds(),
		EvalCount:          r.Usage.Completion, EvalDuration: r.Timing.Decode.Nanoseconds(),
		Energy: r.Energy,
	}
	if o.q.stream {
		l.content(o.q.chats, "", nil)
	} else {
		l.content(o.q.chats, r.Text, o.toolCalls(r.ToolCalls...))
		l.LogProbs = logProbs(r.Tokens)
	}
	return o.write(&l)
}

// fail ends an answer with an error: with its status as long as nothing is sent, else as a last line.
func (o *output) fail(err error) {
	if !o.started {
		writeFailure(o.w, err, o.q.model)
		return
	}
	if !o.q.stream {
		return // half an object is written, and the connection is broken
	}
	_, message, _ := describe(err, o.q.model)
	o.write(errorBody{message}) // fails only where the client is gone
}
