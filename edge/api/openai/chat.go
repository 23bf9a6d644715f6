package openai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"bimamba/edge/chat"
)

// chatBody is the body of a chat completion.
type chatBody struct {
	params
	Messages            messages        `json:"messages"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"` // the newer name of max_tokens
	Logprobs            bool            `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	Tools               tools           `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ResponseFormat      *responseFormat `json:"response_format"`
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// request converts b.
func (b *chatBody) request(r *http.Request) (c *chat.Request, err error) {
	c = &chat.Request{Model: b.Model}
	if c.Options, err = b.options(r, maxChatStop); err != nil {
		return nil, err
	}
	limit, name := b.MaxCompletionTokens, "max_completion_tokens"
	if limit == nil {
		limit, name = b.MaxTokens, "max_tokens"
	}
	if limit != nil {
		if *limit < 1 {
			return nil, invalid(name, "%d tokens; an answer has at least 1, and without the field as many as the model's default", *limit)
		}
		c.MaxTokens = *limit
	}
	c.LogProbs = b.Logprobs
	if n := b.TopLogprobs; n != nil {
		switch {
		case *n < 0 || *n > chat.MaxTopTokens:
			return nil, invalid("top_logprobs", "%d is not within 0 and %d", *n, chat.MaxTopTokens)
		case *n > 0 && !b.Logprobs:
			return nil, invalid("top_logprobs", "there are none without logprobs; set it to true")
		}
		c.TopTokens = *n
	}
	if c.Format, err = b.ResponseFormat.convert(); err != nil {
		return nil, err
	}
	if len(b.Messages) == 0 {
		return nil, invalid("messages", "missing; send at least one")
	}
	for i := range b.Messages {
		m, err := b.Messages[i].convert(i)
		if err != nil {
			return nil, err
		}
		c.Messages = append(c.Messages, m)
	}
	for i, t := range b.Tools {
		if t.Type != "function" {
			return nil, unsupported(fmt.Sprintf("tools[%d].type", i), "%q: only function is known here", t.Type)
		}
		if t.Function.Name == "" {
			return nil, invalid(fmt.Sprintf("tools[%d].function.name", i), "missing")
		}
		def := chat.ToolDef{Name: t.Function.Name, Description: t.Function.Description}
		if kind(t.Function.Parameters) != 0 {
			def.Parameters = t.Function.Parameters
		}
		c.Tools = append(c.Tools, def)
	}
	c.Choice, err = choice(b.ToolChoice, c.Tools)
	return c, err
}

func (f *responseFormat) convert() (chat.Format, error) {
	if f == nil {
		return chat.Format{}, nil
	}
	switch f.Type {
	case "text":
		return chat.Format{}, nil
	case "json_object":
		return chat.Format{JSON: true}, nil
	case "json_schema":
		if kind(f.JSONSchema.Schema) == 0 {
			return chat.Format{}, invalid("response_format.json_schema.schema", "missing")
		}
		return chat.Format{Schema: f.JSONSchema.Schema}, nil
	}
	return chat.Format{}, unsupported("response_format.type", "%q is not text, json_object or json_schema", f.Type)
}

// choice reads a tool_choice: a word, or an object that names one of the tools.
func choice(raw json.RawMessage, tools []chat.ToolDef) (chat.ToolChoice, error) {
	const param = "tool_choice"
	switch kind(raw) {
	case 0:
		return chat.ToolAuto, nil
	case '"':
		var word string
		if err := decode(raw, &word, param); err != nil {
			return "", err
		}
		switch {
		case word == "auto":
			return chat.ToolAuto, nil
		case word == "none":
			return chat.ToolNone, nil
		case word != "required":
			return "", invalid(param, "%q is not none, auto, required or an object that names a function", word)
		case len(tools) == 0:
			return "", invalid(param, "a call is required, but there are no tools")
		}
		return chat.ToolRequired, nil
	}
	var object toolCall
	if err := decode(raw, &object, param); err != nil {
		return "", err
	}
	if object.Type != "function" {
		return "", unsupported(param+".type", "%q: only function is known here", object.Type)
	}
	name := chat.ToolChoice(object.Function.Name)
	if !slices.ContainsFunc(tools, func(t chat.ToolDef) bool { return t.Name == string(name) }) {
		return "", invalid(param+".function.name", "%q is not among the tools", name)
	}
	if name == chat.ToolNone || name == chat.ToolRequired {
		return "", unsupported(param+".function.name", "a tool of the name %q cannot be chosen; give it another name", name)
	}
	return name, nil
}

func (a *api) chat(w http.ResponseWriter, r *http.Request) error {
	var b chatBody
	if err := read(r, &b); err != nil {
		return err
	}
	req, err := b.request(r)
	if err != nil {
		return err
	}
	model, err := a.service.Find(req.Model)
	if err != nil {
		return err
	}
	if b.Stream {
		return a.streamChat(w, r, req, model, b.includeUsage())
	}
	reply, err := a.service.Chat(r.Context(), req, nil)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, appendReply(a.head("chatcmpl-", "chat.completion", model), reply, req.LogProbs))
	return nil
}

// appendReply finishes the object that b begins.
func appendReply(b []byte, reply *chat.Reply, logprobs bool) []byte {
	b = append(b, `"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	if reply.Text == "" && len(reply.ToolCalls) > 0 {
		b = append(b, "null"...)
	} else {
		b = appendString(b, reply.Text)
	}
	b = append(b, `,"refusal":null`...)
	for i := range reply.ToolCalls {
		if i == 0 {
			b = append(b, `,"tool_calls":[{`...)
		} else {
			b = append(b, `,{`...)
		}
		b = appendCall(b, &reply.ToolCalls[i])
		b = append(appendString(append(b, `,"arguments":`...), arguments(&reply.ToolCalls[i])), `}}`...)
	}
	if len(reply.ToolCalls) > 0 {
		b = append(b, ']')
	}
	b = append(b, `},"logprobs":`...)
	if logprobs {
		b = appendLogProbs(b, reply.Tokens)
	} else {
		b = append(b, "null"...)
	}
	b = appendString(append(b, `,"finish_reason":`...), string(reply.Finish))
	b = appendUsage(append(b, `}],`...), reply.Usage, reply.Timing, reply.Energy)
	return append(b, '}')
}

// appendCall appends a call's fields, down to the name in the object function.
func appendCall(b []byte, c *chat.ToolCall) []byte {
	b = appendString(append(b, `"id":`...), c.ID)
	return appendString(append(b, `,"type":"function","function":{"name":`...), c.Name)
}

func arguments(c *chat.ToolCall) []byte {
	if len(c.Arguments) == 0 {
		return []byte("{}")
	}
	return c.Arguments
}

// streamChat answers in events. An error is returned only while nothing has been written.
func (a *api) streamChat(w http.ResponseWriter, r *http.Request, req *chat.Request, model chat.Info, usage bool) error {
	s := a.newStream(w, r)
	defer s.close()
	head := append([]byte("data: "), a.head("chatcmpl-", "chat.completion.chunk", model)...)
	head = append(head, `"choices":[{"index":0,"delta":{`...)
	tail := "}]}\n\n"
	if usage {
		tail = `}],"usage":null}` + "\n\n"
	}
	var (
		buf   []byte
		begun bool
		calls int
	)
	// chunk appends an event, the first time behind the one that says who speaks.
	chunk := func(delta func(b []byte) []byte, tokens []chat.Token, finish chat.FinishReason) {
		buf = append(buf, head...)
		if !begun {
			begun = true
			buf = append(buf, `"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null`+tail...)
			buf = append(buf, head...)
		}
		buf = append(delta(buf), `},"logprobs":`...)
		if tokens != nil {
			buf = appendLogProbs(buf, tokens)
		} else {
			buf = append(buf, "null"...)
		}
		buf = append(appendStringOrNull(append(buf, `,"finish_reason":`...), string(finish)), tail...)
	}
	reply, err := a.service.Chat(s.ctx, req, func(e chat.Event) error {
		buf = buf[:0]
		if e.Text != "" || len(e.Tokens) > 0 {
			chunk(func(b []byte) []byte { return appendString(append(b, `"content":`...), e.Text) }, e.Tokens, "")
		}
		if c := e.ToolCall; c != nil {
			// The name comes first and the arguments behind it, as the API streams a call.
			index := fmt.Appendf(nil, `"tool_calls":[{"index":%d,`, calls)
			chunk(func(b []byte) []byte { return append(appendCall(append(b, index...), c), `,"arguments":""}}]`...) }, nil, "")
			chunk(func(b []byte) []byte {
				b = append(append(b, index...), `"function":{"arguments":`...)
				return append(appendString(b, arguments(c)), `}}]`...)
			}, nil, "")
			calls++
		}
		return s.send(buf)
	})
	if err != nil {
		return s.fail(err)
	}
	buf = buf[:0]
	chunk(func(b []byte) []byte { return b }, nil, reply.Finish)
	if usage {
		buf = append(buf, head[:len(head)-len(`{"index":0,"delta":{`)]...)
		buf = append(appendUsage(append(buf, `],`...), reply.Usage, reply.Timing, reply.Energy), "}\n\n"...)
	}
	return s.end(buf)
}
