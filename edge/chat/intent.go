package chat

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
	"bimamba/edge/intent"
	"bimamba/memmap"
)

// homeTask is the task of an intent model whose intents are Home Assistant's, which clients know as tools.
const homeTask = "home"

// home is what a system prompt and a list of tools come to.
type home struct {
	key     [sha256.Size]byte
	home    *intent.Home
	grammar *grammar.Grammar
}

// homes remembers the last few: a client sends the same ones with every request.
type homes struct {
	mu   sync.Mutex
	list []*home // the one used last in front

	tasks map[string]*grammar.Grammar // without tools
}

const maxHomes = 8

func (h *homes) get(system string, tools []intent.Tool) (*home, error) {
	sum := sha256.New()
	json.NewEncoder(sum).Encode(system)
	if err := json.NewEncoder(sum).Encode(tools); err != nil {
		return nil, Errorf(Invalid, "tools", "they are not JSON: %v", err)
	}
	key := [sha256.Size]byte(sum.Sum(nil))
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.list, func(x *home) bool { return x.key == key })
	if i < 0 {
		x := &home{key: key, home: intent.ReadHome(system)}
		var err error
		if x.grammar, err = x.home.Grammar(tools); err != nil {
			return nil, Errorf(Invalid, "tools", "%v", err)
		}
		i = min(len(h.list), maxHomes-1)
		h.list = append(h.list[:i], x)
	}
	x := h.list[i]
	h.list = slices.Insert(slices.Delete(h.list, i, i+1), 0, x)
	return x, nil
}

// taskSpans wraps an utterance as a task's prompt format says.
func (l *Local) taskSpans(task, utterance string) []span {
	m := l.e.Manifest()
	var t memmap.Task
	for _, x := range m.Tasks {
		if x.Name == task {
			t = x
		}
	}
	return []span{{text: t.Prefix}, {text: utterance, client: true}, {text: t.Suffix + m.Prompt.GenerationPrefix, border: true}}
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
	var h *home
	if len(tools) > 0 {
		var system strings.Builder
		for _, m := range r.Messages {
			if m.Role == System {
				system.WriteString(m.Text + "\n")
			}
		}
		var err error
		if h, err = l.homes.get(system.String(), tools); err != nil {
			return nil, err
		}
	}
	utterance = intent.Utterance(info.Task, utterance)
	enc := newEncoder(l.e)
	if err := enc.encode(l.taskSpans(info.Task, utterance)); err != nil {
		return nil, failure(ctx, err)
	}
	req, err := l.request(&r.Options, enc.ids)
	if err != nil {
		return nil, err
	}
	if h == nil {
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
		return nil, Errorf(Unsupported, "response_format", "it does not go together with tools: an answer is a call or text of a format, send one of them")
	}
	req.Grammar = h.grammar
	res, err := l.generate(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	reply := l.reply(info, req, res)
	out := h.home.Calls(r.Messages[last].Text, res.Text, tools)
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
	l.homes.mu.Lock()
	defer l.homes.mu.Unlock()
	if g, ok := l.homes.tasks[task]; ok {
		return g
	}
	g, err := intent.TaskGrammar(task)
	if err != nil {
		return nil // a task of somebody's own: any text will do
	}
	if l.homes.tasks == nil {
		l.homes.tasks = map[string]*grammar.Grammar{}
	}
	l.homes.tasks[task] = g
	return g
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
