package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"bimamba/edge/grammar"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/edge/token"
	"bimamba/memmap"
)

// ErrNoTokenizer is returned where text is asked of a blob that was converted without a tokenizer.
var ErrNoTokenizer = errors.New("the model has no tokenizer, so it has no text; convert the checkpoint again with --tokenizer")

// Engine is a model with its tokenizer.
type Engine struct {
	Model    *model.Model
	Tokens   *token.Tokenizer // nil: converted without one
	manifest *memmap.Manifest
	opt      Options
	vocab    vocab
	samplers []*sample.Sampler // of the sessions
	loop     loop
}

// Options of Open.
type Options struct {
	Model model.Options // Sessions is how many requests run at a time, Prefixes how many copies of states are kept
	Queue int           // how many requests may wait; 0 means DefaultQueue, less than 0 none
	Slice int           // how many tokens of prompts go through the layers together while other requests decode; 0 means DefaultSlice

	// Pace is called behind each pass, if not nil, and says how long the engine rests before the next. Requests come, leave and get sessions meanwhile, and an
	// engine that is to stop does not rest.
	Pace func(Pass) Rest
}

// Rest is how long an engine rests behind a pass.
type Rest struct {
	All     time.Duration // before the next pass
	Answers time.Duration // before the next token of an answer; prompts are read meanwhile
}

// Pass is what a pass over the weights did.
type Pass struct {
	Rows    int           // tokens that went through the layers, of prompts and of answers
	Sampled int           // tokens of answers that it gave
	Took    time.Duration // with sampling
}

// Defaults of Options.
const (
	DefaultQueue = 32
	DefaultSlice = 16
)

// Open binds the blob f and starts the goroutine that runs requests. f must stay open as long as the engine.
func Open(f *memmap.File, opt Options) (*Engine, error) {
	switch {
	case opt.Queue == 0:
		opt.Queue = DefaultQueue
	case opt.Queue < 0:
		opt.Queue = 0
	}
	if opt.Slice <= 0 {
		opt.Slice = DefaultSlice
	}
	m, err := model.Open(f, opt.Model)
	if err != nil {
		return nil, err
	}
	e := &Engine{Model: m, manifest: f.Manifest(), opt: opt}
	err = f.Guard(func() error {
		e.Tokens, err = token.Open(f)
		return err
	})
	if err != nil {
		m.Close()
		return nil, err
	}
	o := m.Options()
	l := &e.loop
	l.more.L, l.ended = &l.mu, make(chan struct{})
	l.rows = make([]model.Row, 0, o.Batch)
	l.states = states{all: make([]state, o.Sessions+o.Prefixes), sessions: o.Sessions}
	for i := range l.states.all {
		l.states.all[i].session = m.Session(i)
		l.states.all[i].clear()
	}
	if e.Tokens != nil {
		for range o.Sessions {
			e.samplers = append(e.samplers, sample.New(sample.Params{}, e.Tokens.Size()))
		}
	}
	go e.run()
	return e, nil
}

// Close ends all requests, waits for exports and imports and frees the sessions. See Drain.
func (e *Engine) Close() error {
	e.abandon()
	e.loop.held.Wait()
	return e.Model.Close()
}

// vocab is the tokens as grammars need them.
type vocab struct {
	mu sync.Mutex
	v  *grammar.Vocab
}

// vocabulary makes the vocab when the first grammar needs it.
func (e *Engine) vocabulary() (*grammar.Vocab, error) {
	e.vocab.mu.Lock()
	defer e.vocab.mu.Unlock()
	if e.vocab.v != nil {
		return e.vocab.v, nil
	}
	err := e.Model.Blob().Guard(func() error {
		e.vocab.v = grammar.NewVocab(e.Tokens, e.manifest.Prompt.EOSIDs)
		return nil
	})
	return e.vocab.v, err
}

// Manifest describes the model.
func (e *Engine) Manifest() *memmap.Manifest { return e.manifest }

// Encode is the token ids of text, with the BOS token in front if the model wants one.
// Strings of special tokens in text become those tokens.
func (e *Engine) Encode(text string) (ids []uint32, err error) {
	if e.Tokens == nil {
		return nil, ErrNoTokenizer
	}
	return e.EncodePart(e.BOS(), text, true, true)
}

// BOS is what every prompt begins with: the BOS token, or nothing.
func (e *Engine) BOS() []uint32 {
	if p := &e.manifest.Prompt; p.AddBOS && p.BOSID >= 0 {
		return []uint32{uint32(p.BOSID)}
	}
	return nil
}

// EncodePart appends the token ids of a part of a text: whether it is the first part, and whether strings of special tokens in it become those tokens.
func (e *Engine) EncodePart(dst []uint32, text string, first, special bool) (ids []uint32, err error) {
	if e.Tokens == nil {
		return nil, ErrNoTokenizer
	}
	err = e.Model.Blob().Guard(func() error {
		ids = e.Tokens.EncodePart(dst, text, first, special)
		return nil
	})
	return ids, err
}

// Specials counts the tokens of ids that are no text.
func (e *Engine) Specials(ids []uint32) (n int) {
	e.Model.Blob().Guard(func() error {
		for _, id := range ids {
			if e.Tokens.IsSpecial(id) {
				n++
			}
		}
		return nil
	})
	return n
}

// HasSpecial tells whether text holds the text of a token that is no text.
func (e *Engine) HasSpecial(text string) (found bool, err error) {
	if e.Tokens == nil {
		return false, ErrNoTokenizer
	}
	err = e.Model.Blob().Guard(func() error {
		found = e.Tokens.HasSpecial(text)
		return nil
	})
	return found, err
}

// Bytes is what a token adds to a text. It may be a part of a character.
func (e *Engine) Bytes(id uint32) (b []byte) {
	e.Model.Blob().Guard(func() error {
		b = e.Tokens.AppendPiece(nil, id)
		return nil
	})
	return b
}

// Task is the task of a name. The error names those that there are.
func (e *Engine) Task(name string) (memmap.Task, error) {
	names := make([]string, len(e.manifest.Tasks))
	for i, t := range e.manifest.Tasks {
		if t.Name == name {
			return t, nil
		}
		names[i] = t.Name
	}
	if len(names) == 0 {
		return memmap.Task{}, fmt.Errorf("the model has no tasks (its kind is %s)", e.manifest.Kind)
	}
	return memmap.Task{}, fmt.Errorf("the model has no task %q; it has %s", name, strings.Join(names, ", "))
}

// TaskPrompt wraps an utterance as the task's prompt format says.
func (e *Engine) TaskPrompt(task, utterance string) (string, error) {
	t, err := e.Task(task)
	if err != nil {
		return "", err
	}
	return t.Prefix + utterance + t.Suffix + e.manifest.Prompt.GenerationPrefix, nil
}

// Defaults is what the model's maker recommends.
type Defaults struct {
	Sample    sample.Params
	MaxTokens int
}

// Defaults of the model.
func (e *Engine) Defaults() Defaults {
	g := &e.manifest.Generation
	return Defaults{
		sample.Params{Temperature: g.Temperature, TopK: int(g.TopK), TopP: g.TopP, MinP: g.MinP, RepetitionPenalty: g.RepetitionPenalty}, int(g.MaxTokens),
	}
}
