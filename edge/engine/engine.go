package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
}

// Open binds the blob f. f must stay open as long as the engine.
func Open(f *memmap.File, opt model.Options) (*Engine, error) {
	m, err := model.Open(f, opt)
	if err != nil {
		return nil, err
	}
	e := &Engine{Model: m, manifest: f.Manifest()}
	err = f.Guard(func() error {
		e.Tokens, err = token.Open(f)
		return err
	})
	if err != nil {
		m.Close()
		return nil, err
	}
	return e, nil
}

// Close frees the sessions.
func (e *Engine) Close() error { return e.Model.Close() }

// Manifest describes the model.
func (e *Engine) Manifest() *memmap.Manifest { return e.manifest }

// Encode is the token ids of text, with the BOS token in front if the model wants one.
// Strings of special tokens in text become those tokens.
func (e *Engine) Encode(text string) (ids []uint32, err error) {
	if e.Tokens == nil {
		return nil, ErrNoTokenizer
	}
	if p := &e.manifest.Prompt; p.AddBOS && p.BOSID >= 0 {
		ids = append(ids, uint32(p.BOSID))
	}
	err = e.Model.Blob().Guard(func() error {
		ids = e.Tokens.Encode(ids, text)
		return nil
	})
	return ids, err
}

// TaskPrompt wraps an utterance as the task's prompt format says.
func (e *Engine) TaskPrompt(task, utterance string) (string, error) {
	i := slices.IndexFunc(e.manifest.Tasks, func(t memmap.Task) bool { return t.Name == task })
	if i < 0 {
		names := make([]string, len(e.manifest.Tasks))
		for j, t := range e.manifest.Tasks {
			names[j] = t.Name
		}
		if len(names) == 0 {
			return "", fmt.Errorf("the model has no tasks (its kind is %s)", e.manifest.Kind)
		}
		return "", fmt.Errorf("the model has no task %q; it has %s", task, strings.Join(names, ", "))
	}
	t := e.manifest.Tasks[i]
	return t.Prefix + utterance + t.Suffix + e.manifest.Prompt.GenerationPrefix, nil
}

// Role is who speaks a turn.
type Role string

// Roles.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool"
)

// TurnPrompt is the text of one turn and, behind a user's or a tool's, of the start of the answer.
func (e *Engine) TurnPrompt(role Role, text string) string {
	turns := &e.manifest.Prompt.Turns
	t := map[Role]memmap.Turn{System: turns.System, User: turns.User, Assistant: turns.Assistant, Tool: turns.Tool}[role]
	s := t.Prefix + text + t.Suffix
	if role == User || role == Tool {
		s += e.manifest.Prompt.GenerationPrefix
	}
	return s
}

// Defaults is the sampling that the model's maker recommends, and its limit of tokens.
func (e *Engine) Defaults() (p sample.Params, maxTokens int) {
	g := &e.manifest.Generation
	return sample.Params{Temperature: g.Temperature, TopK: int(g.TopK), TopP: g.TopP, MinP: g.MinP, RepetitionPenalty: g.RepetitionPenalty}, int(g.MaxTokens)
}

// FinishReason says why a generation ended.
type FinishReason string

// Reasons.
const (
	FinishStop   FinishReason = "stop"   // an end token or a stop string
	FinishLength FinishReason = "length" // max_tokens
)

// Request is one generation. The session continues from where it stands.
type Request struct {
	Prompt    []uint32 // at least one token
	MaxTokens int
	Sample    sample.Params
	Stop      []string // beside the model's own
}

// Result is what a generation gave.
type Result struct {
	Text         string
	IDs          []uint32 // without the end token
	FinishReason FinishReason
	Prefill      time.Duration // for len(Prompt) tokens
	Decode       time.Duration // for len(IDs) tokens
}

// Generate feeds the prompt and samples until an end token, a stop string or MaxTokens.
// emit, if not nil, gets the text piece by piece; its error ends the generation.
// On an error the session has to be reset.
func (e *Engine) Generate(ctx context.Context, s *model.Session, req Request, emit func(string) error) (*Result, error) {
	if e.Tokens == nil {
		return nil, ErrNoTokenizer
	}
	if err := req.Sample.Validate(); err != nil {
		return nil, err
	}
	if len(req.Prompt) == 0 {
		return nil, errors.New("the prompt is empty: there is nothing to continue")
	}
	sampler := sample.New(req.Sample, e.Tokens.Size())
	logits := make([]float32, e.Model.Hyper().VocabSize)
	res := &Result{FinishReason: FinishLength}
	out := newOutput(e.Tokens, append(slices.Clone(req.Stop), e.manifest.Prompt.Stop...), emit)

	start := time.Now()
	if err := s.Prefill(ctx, req.Prompt, logits); err != nil {
		return nil, err
	}
	res.Prefill = time.Since(start)

	start = time.Now()
	history := slices.Clone(req.Prompt)
	for len(res.IDs) < req.MaxTokens {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		id, err := sampler.Next(logits, history)
		if err != nil {
			return nil, err
		}
		if slices.Contains(e.manifest.Prompt.EOSIDs, id) {
			res.FinishReason = FinishStop
			break
		}
		res.IDs = append(res.IDs, id)
		history = append(history, id)
		stopped := false
		err = e.Model.Blob().Guard(func() error {
			stopped, err = out.token(id)
			return err
		})
		if err != nil {
			return nil, err
		}
		if stopped {
			res.FinishReason = FinishStop
			break
		}
		if err := s.Step(id, logits); err != nil {
			return nil, err
		}
	}
	res.Decode = time.Since(start)
	if err := out.finish(); err != nil {
		return nil, err
	}
	res.Text = out.text.String()
	return res, nil
}
