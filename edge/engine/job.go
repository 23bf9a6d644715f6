package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/edge/grammar"
	"bimamba/edge/sample"
)

// maxUnread is how many bytes of an answer wait for a client before the request stands still.
const maxUnread = 64 << 10

// job is a request on its way. The loop owns what is not said to be shared.
type job struct {
	e       *Engine
	ctx     context.Context
	req     *Request
	eos     []uint32
	state   *state
	sampler *sample.Sampler
	matcher Constraint // nil for any text
	out     *output
	res     Result
	rows    int // in the pass that is under way
	logits  bool
	over    bool      // the last token was sampled,
	cause   error     // or this ended the request
	came    time.Time // when it was submitted, got its session, and had its prompt computed
	began   time.Time
	decoded time.Time

	// Shared with the caller.
	gone   atomic.Bool   // the caller has left
	wake   chan struct{} // something below has changed
	mu     sync.Mutex
	pieces []Piece
	unread int
	done   bool
	err    error
}

// prompting tells whether the prompt is still being computed.
func (j *job) prompting() bool { return j.state.fed < len(j.req.Prompt) }

// stalled tells whether the client reads too slowly to go on.
func (j *job) stalled() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unread > maxUnread
}

// send hands a piece to the caller.
func (j *job) send(p Piece) {
	j.mu.Lock()
	j.pieces = append(j.pieces, p)
	j.unread += len(p.Text) + 64*len(p.Tokens)
	j.mu.Unlock()
	j.signal()
}

func (j *job) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// finish ends the job, unless it has ended.
func (j *job) finish(err error) {
	j.mu.Lock()
	if !j.done {
		j.done, j.err = true, err
	}
	j.mu.Unlock()
	j.signal()
}

// sample takes up the logits of a pass: the probability of the prompt's next token if it is asked for, else a token of the answer. The loop's lock
// is not held, for masks and texts take their time: what belongs to the state is changed later.
func (j *job) sample() {
	logits := j.state.session.Logits()
	if j.prompting() {
		j.res.Prompt = append(j.res.Prompt, j.e.tokenOf(logits, j.req.Prompt[j.state.fed], j.req.TopTokens))
		return
	}
	j.over, j.cause = j.next(logits)
}

// next samples a token behind what the session has seen. It tells whether the request is done.
func (j *job) next(logits []float32) (done bool, err error) {
	if len(j.res.IDs) >= j.req.MaxTokens {
		j.res.FinishReason = FinishLength
		return true, nil
	}
	var allowed []uint64
	if j.matcher != nil {
		if allowed = j.matcher.Mask(j.req.MaxTokens - len(j.res.IDs)); allowed == nil { // MaxTokens is too few for any text
			allowed = j.matcher.Mask(grammar.NoLimit)
		}
		if allowed == nil {
			return true, errors.New("the format lets nothing follow that the model's tokens can write; ask for another format")
		}
	}
	id, err := j.sampler.Next(logits, j.req.Prompt, j.res.IDs, allowed)
	if err != nil {
		return true, err
	}
	if slices.Contains(j.eos, id) {
		j.res.FinishReason = FinishStop
		return true, nil
	}
	if j.matcher != nil {
		if err := j.matcher.Accept(id); err != nil {
			return true, err
		}
	}
	j.res.IDs = append(j.res.IDs, id)
	if j.req.LogProbs {
		t := j.e.tokenOf(logits, id, j.req.TopTokens)
		j.res.Tokens = append(j.res.Tokens, t)
		j.out.tokens = append(j.out.tokens, t)
	}
	stopped := false
	err = j.e.Model.Blob().Guard(func() error {
		stopped = j.out.token(id)
		return nil
	})
	switch {
	case err != nil:
		return true, err
	case stopped, j.matcher != nil && j.matcher.Final():
		j.res.FinishReason = FinishStop
		return true, nil
	case len(j.res.IDs) < j.req.MaxTokens:
		return false, nil
	case j.matcher != nil && j.matcher.Complete():
		j.res.FinishReason = FinishStop
	default:
		j.res.FinishReason = FinishLength
	}
	return true, nil
}

// tokenOf is a token with its probability and the likeliest ones in its place.
func (e *Engine) tokenOf(logits []float32, id uint32, top int) Token {
	total := sample.LogSum(logits)
	t := Token{ID: id, LogProb: float64(logits[id]) - total}
	if top <= 0 {
		return t
	}
	var least float32                            // of those in t.Top
	for i, v := range logits[:e.Tokens.Size()] { // the rows behind them are no tokens
		if v != v || len(t.Top) == top && v <= least {
			continue
		}
		k := len(t.Top)
		for k > 0 && v > logits[t.Top[k-1].ID] {
			k--
		}
		if len(t.Top) == top {
			t.Top = t.Top[:top-1]
		}
		t.Top = slices.Insert(t.Top, k, Token{ID: uint32(i), LogProb: float64(v) - total})
		least = logits[t.Top[len(t.Top)-1].ID]
	}
	return t
}

// Generate computes the prompt and samples until an end token, a stop string, the grammar's end or MaxTokens. emit, if not nil, gets the text
// piece by piece on the caller's goroutine; its error ends the generation and is returned. Requests share the machine; a *BusyError says that
// too many wait.
func (e *Engine) Generate(ctx context.Context, req Request, emit func(Piece) error) (*Result, error) {
	if err := e.validate(&req); err != nil {
		return nil, err
	}
	req.Prompt, req.Borders = slices.Clone(req.Prompt), slices.Clone(req.Borders) // the loop may read them after the caller has left
	j := &job{e: e, ctx: ctx, req: &req, eos: e.manifest.Prompt.EOSIDs, wake: make(chan struct{}, 1), came: time.Now()}
	j.out = newOutput(e.Tokens, append(slices.Clone(req.Stop), e.manifest.Prompt.Stop...), func(s string, tokens []Token) {
		if emit != nil {
			j.send(Piece{s, tokens})
		}
	})
	if req.Grammar != nil || req.Constraint != nil {
		v, err := e.vocabulary()
		if err != nil {
			return nil, err
		}
		if req.Constraint != nil {
			j.matcher = req.Constraint(v)
		} else {
			j.matcher = req.Grammar.Start(v)
		}
	}
	if req.PromptLogProbs {
		j.res.Prompt = append(j.res.Prompt, Token{ID: req.Prompt[0], LogProb: math.NaN()})
	}
	if err := e.submit(j); err != nil {
		return nil, err
	}
	defer e.wakeLoop()
	defer j.gone.Store(true)
	var pieces []Piece
	for {
		select {
		case <-j.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		j.mu.Lock()
		pieces, j.pieces = j.pieces, pieces[:0]
		full := j.unread > maxUnread
		j.unread = 0
		done, err := j.done, j.err
		j.mu.Unlock()
		if full {
			e.wakeLoop()
		}
		for _, p := range pieces {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := emit(p); err != nil {
				return nil, err
			}
		}
		clear(pieces)
		if done {
			if err != nil {
				return nil, err
			}
			return &j.res, nil
		}
	}
}

// errGone is why a job ends whose caller has left.
var errGone = errors.New("the caller has left")
