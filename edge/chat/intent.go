package chat

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
	"bimamba/edge/intent"
)

// homeTask is the task of an intent model whose intents are Home Assistant's, which clients know as tools.
const homeTask = "home"

// encodeTask encodes an utterance as a task's prompt format says.
func (l *Local) encodeTask(ctx context.Context, enc *encoder, task, utterance string) error {
	t, err := l.e.Task(task)
	if err != nil {
		return err
	}
	end := t.Suffix + l.e.Manifest().Prompt.GenerationPrefix
	return enc.encode(ctx, []span{{text: t.Prefix}, {text: utterance, client: true}, {text: end, border: true}})
}

// intent answers by an intent model: the last user message is what it is asked.
func (l *Local) intent(ctx context.Context, info Info, r *Request, emit func(Event) error) (*Reply, error) {
	if emit == nil {
		emit = func(Event) error { return nil }
	}
	last := len(r.Messages) - 1
	if r.Messages[last].Role == Tool {
		return l.results(info, r, emit)
	}
	for last >= 0 && r.Messages[last].Role != User {
		last--
	}
	if last < 0 {
		return nil, Errorf(Invalid, "messages", "there is no user's message, and an intent model reads nothing else")
	}
	utterance := r.Messages[last].Text
	var tools []intent.Tool
	if r.Choice != ToolNone {
		for _, t := range r.Tools {
			if r.Choice == ToolAuto || r.Choice == ToolRequired || t.Name == string(r.Choice) {
				tools = append(tools, intent.Tool{Name: t.Name, Parameters: t.Parameters})
			}
		}
	}
	var home *intent.Home
	if len(tools) > 0 {
		for _, t := range tools {
			if len(t.Parameters) > 0 && !json.Valid(t.Parameters) {
				return nil, Errorf(Invalid, "tools", "the parameters of %q are not JSON", t.Name)
			}
		}
		var system strings.Builder
		for _, m := range r.Messages {
			if m.Role == System {
				system.WriteString(m.Text + "\n")
			}
		}
		home = intent.ReadHome(system.String())
	}
	utterance = intent.Utterance(info.Task, utterance)
	enc := newEncoder(l.e)
	if err := l.encodeTask(ctx, enc, info.Task, utterance); err != nil {
		return nil, failure(ctx, err)
	}
	req, err := l.request(&r.Options, enc.ids)
	if err != nil {
		return nil, err
	}
	if home == nil {
		if req.Grammar == nil {
			req.Grammar = l.taskGrammar(info.Task)
		}
		res, err := l.generate(ctx, req, func(p engine.Piece) error { return emit(Event{Text: p.Text, Tokens: l.tokens(p.Tokens)}) })
		if err != nil {
			return nil, err
		}
		return l.reply(info, req, res), nil
	}
	if req.Grammar != nil {
		return nil, Errorf(Unsupported, "response_format", "an intent model answers a request with tools by calls or by a sentence of its own, not in a format; leave out the format or the tools")
	}
	form := home.Form(utterance, tools)
	req.Constraint = func(v *grammar.Vocab) engine.Constraint { return form.Start(v) }
	res, err := l.generate(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	reply := l.reply(info, req, res)
	out := home.Calls(r.Messages[last].Text, res.Text, tools)
	if out.Refused && l.opt.Log != nil {
		l.opt.Log.DebugContext(ctx, "an intent model refused", "reason", out.Reason)
	}
	// Beside calls there is no text: out.Text is for when they have succeeded, which nobody knows yet. Home Assistant streams the text of every
	// message of a turn to the speaker (components/conversation/chat_log.py), and then sends the results, which get an answer: it would speak twice,
	// and the first time too early. A client that sends no results has the calls alone, as from any model.
	reply.Text = ""
	if len(out.Calls) == 0 {
		reply.Text = out.Text
		return reply, emit(Event{Text: out.Text, Tokens: reply.Tokens})
	}
	for _, c := range out.Calls {
		call := ToolCall{ID: NewCallID(), Name: c.Name, Arguments: c.Arguments}
		reply.ToolCalls = append(reply.ToolCalls, call)
		if err := emit(Event{ToolCall: &call}); err != nil {
			return nil, err
		}
	}
	reply.Finish = FinishToolCalls
	return reply, nil
}

// taskGrammar is what the model may write for a task, nil for one that nothing is known of.
func (l *Local) taskGrammar(task string) *grammar.Grammar {
	f, _ := l.tasks.LoadOrStore(task, sync.OnceValue(func() *grammar.Grammar {
		g, err := intent.TaskGrammar(task)
		if err != nil {
			return nil // a task of somebody's own: any text will do
		}
		return g
	}))
	return f.(func() *grammar.Grammar)()
}

// results puts the results of calls into words. The model is not asked: it was not taught to.
func (l *Local) results(info Info, r *Request, emit func(Event) error) (*Reply, error) {
	i := len(r.Messages)
	for i > 0 && r.Messages[i-1].Role == Tool {
		i--
	}
	var calls []ToolCall
	if i > 0 {
		calls = r.Messages[i-1].ToolCalls
	}
	var list []intent.Result
	for k, m := range r.Messages[i:] {
		x := intent.Result{Tool: m.ToolName, JSON: m.Text}
		for n, c := range calls {
			if m.CallID != "" && c.ID == m.CallID || m.CallID == "" && n == k {
				x.Tool = c.Name
			}
		}
		list = append(list, x)
	}
	text := intent.Answer(list)
	return &Reply{Model: info.Name, Text: text, Finish: FinishStop}, emit(Event{Text: text})
}
