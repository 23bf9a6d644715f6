package chat

import (
	"context"
	"encoding/json"
	"strings"

	"bimamba/edge/engine"
	"bimamba/memmap"
)

// transcript is how a base model, which was taught no turns, sees a conversation.
var transcript = memmap.Prompt{
	Turns: memmap.Turns{
		System:    memmap.Turn{Suffix: "\n\n"},
		User:      memmap.Turn{Prefix: "User: ", Suffix: "\n"},
		Assistant: memmap.Turn{Prefix: "Assistant: ", Suffix: "\n"},
		Tool:      memmap.Turn{Prefix: "Tool: ", Suffix: "\n"},
	},
	GenerationPrefix: "Assistant:",
	Stop:             []string{"\nUser:", "\nTool:", "\nAssistant:"},
}

// turnsOf is the prompt table of a model.
func turnsOf(m *memmap.Manifest) *memmap.Prompt {
	if m.Kind == memmap.KindInstruct {
		return &m.Prompt
	}
	return &transcript
}

// span is a run of a prompt's text.
type span struct {
	text   string
	client bool // the client's: tokens that are no text are not recognised in it
	border bool // a message ends behind it
	answer bool // an answer begins here, whose tokens a state may know
}

// spans is the text of a conversation, up to where the answer begins.
func spans(p *memmap.Prompt, messages []Message) []span {
	turns := map[Role]memmap.Turn{System: p.Turns.System, User: p.Turns.User, Assistant: p.Turns.Assistant, Tool: p.Turns.Tool}
	if turns[Tool] == (memmap.Turn{}) {
		turns[Tool] = turns[User]
	}
	var out []span
	for i := range messages {
		m := &messages[i]
		t := turns[m.Role]
		if m.Role != Assistant {
			out = append(out, span{text: t.Prefix}, span{text: m.Text, client: true}, span{text: t.Suffix, border: true})
			continue
		}
		// The answer was generated behind GenerationPrefix, so that is a span of its own here, too.
		head := t.Prefix
		if head == "" {
			head = p.GenerationPrefix
		}
		if rest, ok := strings.CutPrefix(head, p.GenerationPrefix); ok && p.GenerationPrefix != "" {
			out = append(out, span{text: p.GenerationPrefix, border: true})
			head = rest
		}
		out = append(out, span{text: head, answer: true}, span{text: answerText(m), client: true}, span{text: t.Suffix, border: true})
	}
	return append(out, span{text: p.GenerationPrefix, border: true})
}

// answerText is an assistant's message as the model wrote it.
func answerText(m *Message) string {
	var b strings.Builder
	b.WriteString(m.Text)
	for _, c := range m.ToolCalls {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		name, _ := json.Marshal(c.Name)
		arguments := string(c.Arguments)
		if arguments == "" {
			arguments = "{}"
		}
		b.WriteString(`{"name": ` + string(name) + `, "arguments": ` + arguments + `}`)
	}
	return b.String()
}

// encoder turns spans into tokens.
type encoder struct {
	e       *engine.Engine
	bos     int // how many of ids come before any text
	ids     []uint32
	borders []int
}

func newEncoder(e *engine.Engine) *encoder {
	ids := e.BOS()
	return &encoder{e: e, bos: len(ids), ids: ids}
}

// encode appends spans. Messages are encoded one by one, so that a conversation's tokens are the beginning of those of the longer one.
// It stops when ctx ends.
func (c *encoder) encode(ctx context.Context, list []span) error {
	parts := make([]engine.Part, len(list))
	for i, s := range list {
		parts[i] = engine.Part{Text: s.text, Client: s.client, Answer: s.answer}
	}
	script, err := c.e.Script(parts)
	if err != nil {
		return err
	}
	at := 0 // in the text of them all
	for i := 0; i < len(list); {
		if err := ctx.Err(); err != nil {
			return err
		}
		skip, before := 0, at
		if list[i].answer {
			var known []uint32
			known, skip = c.e.Continuation(c.ids, script, at)
			c.ids = append(c.ids, known...)
			at += skip
		}
		for skip > 0 { // what the known tokens say
			s := &list[i]
			if skip < len(s.text) {
				s.text, s.answer, skip = s.text[skip:], false, 0
				break
			}
			skip -= len(s.text)
			border := s.border
			if i++; skip == 0 && border {
				c.border()
			}
		}
		if at > before && i < len(list) && list[i].answer { // what a state knows of the next answer
			continue
		}
		// The rest of a message, up to its border.
		j := i
		for j < len(list) && !list[j].border {
			j++
		}
		if j < len(list) {
			j++
		}
		if err := c.message(list[i:j]); err != nil {
			return err
		}
		for _, s := range list[i:j] {
			at += len(s.text)
		}
		if j > i && list[j-1].border {
			c.border()
		}
		i = j
	}
	return nil
}

// border says that a message ends here.
func (c *encoder) border() {
	if n := len(c.borders); len(c.ids) > 0 && (n == 0 || c.borders[n-1] < len(c.ids)) {
		c.borders = append(c.borders, len(c.ids))
	}
}

// message encodes the spans of one message as the text that they are together, as the model was taught; but where that would make the
// client's text into tokens that are none, span by span.
func (c *encoder) message(list []span) error {
	var joined strings.Builder
	special, apart := 0, false
	for _, s := range list {
		joined.WriteString(s.text)
		if s.client {
			found, err := c.e.HasSpecial(s.text)
			if err != nil {
				return err
			}
			apart = apart || found
			continue
		}
		ids, err := c.e.EncodePart(nil, s.text, true, true)
		if err != nil {
			return err
		}
		special += c.e.Specials(ids)
	}
	n := len(c.ids)
	var err error
	if !apart {
		if c.ids, err = c.e.EncodePart(c.ids, joined.String(), n <= c.bos, true); err != nil {
			return err
		}
		if c.e.Specials(c.ids[n:]) == special {
			return nil
		}
		c.ids = c.ids[:n]
	}
	for _, s := range list {
		if c.ids, err = c.e.EncodePart(c.ids, s.text, len(c.ids) <= c.bos, !s.client); err != nil {
			return err
		}
	}
	return nil
}
