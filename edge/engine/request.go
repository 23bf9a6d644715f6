package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bimamba/edge/grammar"
	"bimamba/edge/sample"
)

// Request is one generation.
type Request struct {
	Prompt    []uint32 // at least one token
	MaxTokens int      // at most; 0 only computes the prompt
	Sample    sample.Params
	Stop      []string         // beside the model's own
	Grammar   *grammar.Grammar // what the text may be; nil for any

	// Constraint, if not nil, begins what the text may be, instead of Grammar: for texts that are not worth compiling.
	Constraint func(*grammar.Vocab) Constraint

	// Borders are lengths of prompt, ascending: what lies before them will be asked for again, with something else behind it. The first one
	// should be the part that many prompts begin with.
	Borders []int
	Name    string // of the session, for Save; "" for none

	LogProbs       bool // Piece.Tokens and Result.Tokens
	PromptLogProbs bool // Result.Prompt; the prompt then goes token by token
	TopTokens      int  // with either, so many of the likeliest tokens at each place
}

// Constraint keeps a text in a form: a *[grammar.Matcher], or a *[grammar.Follower].
type Constraint interface {
	Mask(left int) []uint64 // the tokens that may come next, with left to go
	Accept(id uint32) error
	Complete() bool
	Final() bool
}

// Token is a token with the natural logarithm of its probability, before sampling changes it.
type Token struct {
	ID      uint32
	LogProb float64
	Top     []Token // the likeliest first, without Top
}

// Piece is a part of an answer: whole characters.
type Piece struct {
	Text   string
	Tokens []Token // with Request.LogProbs: those that have come since the last piece; their text may still be held back
}

// FinishReason says why a generation ended.
type FinishReason string

// Reasons.
const (
	FinishStop   FinishReason = "stop"   // an end token, a stop string, or nothing that the grammar lets follow
	FinishLength FinishReason = "length" // MaxTokens
)

// Result is what a generation gave.
type Result struct {
	Text         string
	IDs          []uint32 // without the end token
	FinishReason FinishReason
	Cached       int           // tokens of the prompt that had been computed before
	Queued       time.Duration // until a session was free
	Prefill      time.Duration // for the prompt's other tokens
	Decode       time.Duration // for IDs
	Began        time.Time     // when a session was free: it ended Prefill and Decode later
	Share        time.Duration // of the time of the passes with it, rests included, by its share of the tokens in each: shares of requests add up to the time with work
	Prompt       []Token       // with PromptLogProbs; the first one's LogProb is NaN
	Tokens       []Token       // with LogProbs
}

// ErrClosed is returned while an engine drains, and behind Close.
var ErrClosed = errors.New("the engine is shutting down")

// BusyError says that as many requests wait as may.
type BusyError struct {
	Waiting    int
	RetryAfter time.Duration // an estimate, from how long requests took lately
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%d requests are waiting: the queue is full; try again in %v", e.Waiting, e.RetryAfter)
}

// validate looks at a request before it waits.
func (e *Engine) validate(r *Request) error {
	if e.Tokens == nil {
		return ErrNoTokenizer
	}
	if err := r.Sample.Validate(); err != nil {
		return err
	}
	if len(r.Prompt) == 0 {
		return errors.New("the prompt is empty: there is nothing to continue")
	}
	if r.MaxTokens < 0 {
		return fmt.Errorf("the number of tokens to generate, %d, is negative", r.MaxTokens)
	}
	if i := slices.IndexFunc(r.Prompt, func(id uint32) bool { return id >= e.Model.Hyper().VocabSize }); i >= 0 {
		return fmt.Errorf("token id %d of the prompt (number %d) is not within the vocabulary of %d", r.Prompt[i], i, e.Model.Hyper().VocabSize)
	}
	return nil
}
