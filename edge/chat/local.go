package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
	"bimamba/memmap"
)

// Local is a Service on an engine of this process.
type Local struct {
	e        *engine.Engine
	opt      LocalOptions
	name     string // canonical
	grammars *grammar.Cache
	mixed    recent   // of tools with a format
	tasks    sync.Map // by name: functions that give a task's grammar without tools, nil for none
	personas map[string]*persona
}

// LocalOptions of NewLocal. Zero values mean the defaults of the fields.
type LocalOptions struct {
	MaxTokens int           // of an answer whose request does not say; DefaultMaxTokens, or the model's own
	TokenCap  int           // of any answer; DefaultTokenCap
	MaxPrompt int           // tokens; DefaultMaxPrompt
	Timeout   time.Duration // of a request; 0: none
	Grammars  int           // how many schemas stay compiled; DefaultGrammars
	Log       *slog.Logger  // gets, for debugging, why an intent model refused; nil for none
}

// Defaults of LocalOptions.
const (
	DefaultMaxTokens = 512
	DefaultTokenCap  = 4096
	DefaultMaxPrompt = 65536
	DefaultGrammars  = 16
)

// persona is a system prompt that was baked.
type persona struct {
	ids    []uint32
	system string
}

// NewLocal makes a service of an engine. The engine must have a tokenizer.
func NewLocal(e *engine.Engine, opt LocalOptions) (*Local, error) {
	if e.Tokens == nil {
		return nil, engine.ErrNoTokenizer
	}
	if opt.MaxTokens == 0 {
		opt.MaxTokens = DefaultMaxTokens
		if n := e.Defaults().MaxTokens; n > 0 {
			opt.MaxTokens = n
		}
	}
	for p, v := range map[*int]int{&opt.TokenCap: DefaultTokenCap, &opt.MaxPrompt: DefaultMaxPrompt, &opt.Grammars: DefaultGrammars} {
		if *p == 0 {
			*p = v
		}
	}
	return &Local{
		e: e, opt: opt, name: canonical(e.Manifest().Name), grammars: grammar.NewCache(opt.Grammars), personas: map[string]*persona{},
	}, nil
}

// Engine is what the service runs on.
func (l *Local) Engine() *engine.Engine { return l.e }

// Chat is Service.Chat.
func (l *Local) Chat(ctx context.Context, r *Request, emit func(Event) error) (*Reply, error) {
	ctx, cancel := l.limit(ctx)
	defer cancel()
	info, err := l.Find(r.Model)
	if err != nil {
		return nil, err
	}
	if err := l.check(r, info); err != nil {
		return nil, err
	}
	if info.Kind == string(memmap.KindIntent) {
		return l.intent(ctx, info, r, emit)
	}
	return l.converse(ctx, info, r, emit)
}

// check looks at what does not depend on the model's kind.
func (l *Local) check(r *Request, info Info) error {
	if len(r.Messages) == 0 {
		return Errorf(Invalid, "messages", "there are none: send at least one")
	}
	for i := range r.Messages {
		if !slices.Contains([]Role{System, User, Assistant, Tool}, r.Messages[i].Role) {
			return Errorf(Invalid, fmt.Sprintf("messages[%d].role", i), "%q is none; there are system, user, assistant and tool", r.Messages[i].Role)
		}
	}
	if len(r.Tools) == 0 {
		if r.Choice != ToolAuto && r.Choice != ToolNone {
			return Errorf(Invalid, "tool_choice", "there are no tools to choose from")
		}
		return nil
	}
	if !info.Tools && r.Choice != ToolNone {
		return Errorf(Unsupported, "tools", "%s does not support tools", info.Name)
	}
	if c := r.Choice; c != ToolAuto && c != ToolNone && c != ToolRequired && !slices.ContainsFunc(r.Tools, func(t ToolDef) bool { return t.Name == string(c) }) {
		return Errorf(Invalid, "tool_choice", "no tool is called %q", c)
	}
	return nil
}

// converse answers by a base or an instruct model.
func (l *Local) converse(ctx context.Context, info Info, r *Request, emit func(Event) error) (*Reply, error) {
	turns := turnsOf(l.e.Manifest())
	messages := r.Messages
	enc := newEncoder(l.e)
	if p := l.personas[info.Persona]; p != nil {
		enc.ids = slices.Clone(p.ids)
		enc.border()
		if m := messages[0]; m.Role == System && m.Text == p.system {
			messages = messages[1:]
		}
	}
	tools := r.Tools
	if r.Choice == ToolNone {
		tools = nil
	}
	if len(tools) > 0 {
		messages = withTools(messages, tools)
	}
	if err := enc.encode(ctx, spans(turns, messages)); err != nil {
		return nil, failure(ctx, err)
	}
	req, err := l.request(&r.Options, enc.ids)
	if err != nil {
		return nil, err
	}
	req.Borders = enc.borders
	req.Stop = append(req.Stop, turns.Stop...)
	calls := &callReader{emit: emit, tokensOf: l.tokens, tools: len(tools) > 0, trim: turns == &transcript}
	if len(tools) > 0 {
		calls.names = make([]string, len(tools))
		for i := range tools {
			calls.names[i] = tools[i].Name
		}
		calls.format = req.Grammar != nil && r.Choice == ToolAuto
		if req.Grammar, err = l.toolGrammar(tools, r.Choice, &r.Format, req.Grammar); err != nil {
			return nil, err
		}
	}
	res, err := l.generate(ctx, req, calls.piece)
	if err != nil {
		return nil, err
	}
	if err := calls.end(); err != nil {
		return nil, err
	}
	reply := l.reply(info, req, res)
	reply.Text = calls.text.String()
	if calls.call != nil {
		reply.ToolCalls, reply.Finish = []ToolCall{*calls.call}, FinishToolCalls
	}
	return reply, nil
}

// Complete is Service.Complete.
func (l *Local) Complete(ctx context.Context, r *Completion, emit func(Event) error) (*Reply, error) {
	ctx, cancel := l.limit(ctx)
	defer cancel()
	info, err := l.Find(r.Model)
	if err != nil {
		return nil, err
	}
	ids, borders, err := l.completionPrompt(ctx, info, r)
	if err != nil {
		return nil, failure(ctx, err)
	}
	req, err := l.request(&r.Options, ids)
	if err != nil {
		return nil, err
	}
	req.Borders = borders
	if r.Echo && r.MaxTokens == 0 {
		req.MaxTokens = 0
	}
	req.PromptLogProbs = r.Echo && r.LogProbs
	res, err := l.generate(ctx, req, func(p engine.Piece) error {
		if emit == nil {
			return nil
		}
		return emit(Event{Text: p.Text, Tokens: l.tokens(p.Tokens)})
	})
	if err != nil {
		return nil, err
	}
	reply := l.reply(info, req, res)
	if r.Echo {
		if reply.Prompt = l.tokens(res.Prompt); res.Prompt == nil {
			for _, id := range ids {
				reply.Prompt = append(reply.Prompt, Token{Bytes: l.e.Bytes(id)})
			}
		}
	}
	return reply, nil
}

// completionPrompt is the tokens of a completion's prompt, and where its messages end.
func (l *Local) completionPrompt(ctx context.Context, info Info, r *Completion) (ids []uint32, borders []int, err error) {
	switch {
	case r.IDs != nil:
		for i, id := range r.IDs {
			if int(id) >= info.VocabSize {
				return nil, nil, Errorf(Invalid, fmt.Sprintf("prompt[%d]", i), "token id %d is not within the vocabulary of %d", id, info.VocabSize)
			}
		}
		return r.IDs, nil, nil
	case r.Raw:
		ids, err = l.e.EncodePart(nil, r.Prompt, true, true)
		return ids, nil, err
	case info.Kind == string(memmap.KindBase) && r.System == "" && info.Persona == "":
		ids, err = l.e.Encode(r.Prompt)
		return ids, nil, err
	case info.Kind == string(memmap.KindIntent):
		enc := newEncoder(l.e)
		err = l.encodeTask(ctx, enc, info.Task, r.Prompt)
		return enc.ids, nil, err
	}
	enc := newEncoder(l.e)
	var messages []Message
	if p := l.personas[info.Persona]; p != nil {
		enc.ids = slices.Clone(p.ids)
		enc.border()
	} else if r.System != "" {
		messages = append(messages, Message{Role: System, Text: r.System})
	}
	err = enc.encode(ctx, spans(turnsOf(l.e.Manifest()), append(messages, Message{Role: User, Text: r.Prompt})))
	return enc.ids, enc.borders, err
}

// request makes the engine's request of a client's options.
func (l *Local) request(o *Options, prompt []uint32) (*engine.Request, error) {
	if len(prompt) == 0 {
		return nil, Errorf(Invalid, "", "the prompt is empty: there is nothing to continue")
	}
	if len(prompt) > l.opt.MaxPrompt {
		return nil, Errorf(TooLong, "", "the prompt has %d tokens, and at most %d are taken (max_prompt)", len(prompt), l.opt.MaxPrompt)
	}
	p := l.e.Defaults().Sample
	set(&p.Temperature, o.Sampling.Temperature)
	set(&p.TopP, o.Sampling.TopP)
	set(&p.MinP, o.Sampling.MinP)
	set(&p.RepetitionPenalty, o.Sampling.RepetitionPenalty)
	set(&p.PresencePenalty, o.Sampling.PresencePenalty)
	set(&p.FrequencyPenalty, o.Sampling.FrequencyPenalty)
	set(&p.TopK, o.Sampling.TopK)
	p.Seed = uint64(time.Now().UnixNano())
	set(&p.Seed, o.Sampling.Seed)
	if err := p.Validate(); err != nil {
		return nil, Errorf(Invalid, "", "%v", err)
	}
	req := &engine.Request{
		Prompt: prompt, MaxTokens: o.MaxTokens, Sample: p, Stop: slices.Clone(o.Stop), Name: o.Session, LogProbs: o.LogProbs, TopTokens: o.TopTokens,
	}
	switch {
	case o.MaxTokens < 0:
		return nil, Errorf(Invalid, "max_tokens", "%d is negative", o.MaxTokens)
	case o.TopTokens < 0 || o.TopTokens > MaxTopTokens:
		return nil, Errorf(Invalid, "top_logprobs", "%d is not within 0 and %d", o.TopTokens, MaxTopTokens)
	case o.MaxTokens == 0:
		req.MaxTokens = l.opt.MaxTokens
	}
	req.MaxTokens = min(req.MaxTokens, l.opt.TokenCap)
	var err error
	switch {
	case len(o.Format.Schema) > 0:
		if req.Grammar, err = l.grammars.Schema(o.Format.Schema); err != nil {
			return nil, schemaError("schema", err)
		}
	case o.Format.JSON:
		req.Grammar = grammar.JSON()
	}
	return req, nil
}

// schemaError is what is wrong with a schema that came in the field param.
func schemaError(param string, err error) error {
	if e, ok := errors.AsType[*grammar.Error](err); ok && e.Path != "" {
		return Errorf(Invalid, param, "at %s: %s", e.Path, e.Message)
	} else if ok {
		return Errorf(Invalid, param, "%s", e.Message)
	}
	return Errorf(Invalid, param, "%v", err)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// limit gives a request its time, which begins before anything is encoded or compiled.
func (l *Local) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.opt.Timeout > 0 {
		return context.WithTimeout(ctx, l.opt.Timeout)
	}
	return ctx, func() {}
}

// generate runs a request.
func (l *Local) generate(ctx context.Context, req *engine.Request, emit func(engine.Piece) error) (*engine.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure(ctx, err)
	}
	res, err := l.e.Generate(ctx, *req, emit)
	if err != nil {
		return nil, failure(ctx, err)
	}
	return res, nil
}

// failure is what a client learns of an error.
func failure(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	e := &Error{Code: Internal, Message: err.Error(), Err: err}
	if busy, ok := errors.AsType[*engine.BusyError](err); ok {
		e.Code, e.RetryAfter = Busy, busy.RetryAfter
	} else if _, ok := errors.AsType[*memmap.FaultError](err); ok {
		e.Code = Unavailable
	} else if errors.Is(err, engine.ErrClosed) {
		e.Code, e.RetryAfter = Unavailable, time.Second
	} else if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Message = Timeout, "the request took longer than it may (request_timeout)"
	} else if ctx.Err() != nil {
		return err // the client's own doing
	}
	return e
}

// reply is what every answer has.
func (l *Local) reply(info Info, req *engine.Request, res *engine.Result) *Reply {
	finish := FinishStop
	if res.FinishReason == engine.FinishLength {
		finish = FinishLength
	}
	return &Reply{
		Model: info.Name, Text: res.Text, Finish: finish,
		Usage:  Usage{len(req.Prompt), res.Cached, len(res.IDs)},
		Timing: Timing{res.Queued, res.Prefill, res.Decode, res.Began, res.Share},
		Tokens: l.tokens(res.Tokens),
	}
}

// tokens gives tokens their texts.
func (l *Local) tokens(list []engine.Token) []Token {
	if list == nil {
		return nil
	}
	out := make([]Token, len(list))
	for i, t := range list {
		out[i] = Token{l.e.Bytes(t.ID), t.LogProb, l.tokens(t.Top)}
	}
	return out
}

// canonical is a model's name as clients write it.
func canonical(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, strings.TrimSpace(name))
	if name == "" {
		return "bimamba"
	}
	return name
}

var _ Service = (*Local)(nil)
