package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"bimamba/edge/chat"
)

// completionBody is the body of a completion.
type completionBody struct {
	params
	Prompt   json.RawMessage `json:"prompt"` // a string, several, token ids, or several lists of these
	Suffix   string          `json:"suffix"`
	Echo     bool            `json:"echo"`
	Logprobs *int            `json:"logprobs"`
	BestOf   *int            `json:"best_of"`
}

const (
	maxLogprobs   = 5
	maxKept       = 1 << 20 // log probabilities that one request can get: an answer is put together in memory
	echoMaxTokens = 16      // with echo and without max_tokens, as the API has it: a service may take 0 for none
)

// request converts b. Prompts are taken as they are, so that the places of tokens are those that the client counts.
func (b *completionBody) request(r *http.Request) (c chat.Completion, err error) {
	c = chat.Completion{Model: b.Model, Raw: true, Echo: b.Echo}
	if c.Options, err = b.options(r, maxCompletionStop); err != nil {
		return c, err
	}
	if b.BestOf != nil && *b.BestOf != 1 {
		return c, unsupported("best_of", "%d: there is only 1 answer to choose from", *b.BestOf)
	}
	if b.Suffix != "" {
		return c, unsupported("suffix", "the models here continue texts and do not fill them in; leave it out")
	}
	if b.Logprobs != nil {
		if *b.Logprobs < 0 || *b.Logprobs > maxLogprobs {
			return c, invalid("logprobs", "%d is not within 0 and %d", *b.Logprobs, maxLogprobs)
		}
		c.LogProbs, c.TopTokens = true, *b.Logprobs
	}
	switch {
	case b.MaxTokens != nil:
		if *b.MaxTokens < 0 || *b.MaxTokens == 0 && !b.Echo {
			return c, invalid("max_tokens", "%d tokens; a completion has at least 1, or 0 with echo", *b.MaxTokens)
		}
		// A service cannot be asked for no tokens. The first one comes out of computing the prompt, so it costs nothing; answer drops it.
		c.MaxTokens = max(1, *b.MaxTokens)
	case b.Echo:
		c.MaxTokens = echoMaxTokens
	}
	return c, nil
}

// prompts makes a request of each prompt out of one that has none.
func prompts(raw json.RawMessage, c chat.Completion) ([]chat.Completion, error) {
	const param = "prompt"
	var (
		texts []string
		ids   [][]uint32
		err   error
	)
	first := kind(raw)
	if first == '[' {
		first = kind(bytes.TrimLeft(raw, " \t\r\n")[1:])
		switch first {
		case '"':
			err = decodeList(raw, &texts, param, maxPrompts)
		case '[':
			err = decodeList(raw, &ids, param, maxPrompts)
		case ']':
		default:
			ids = make([][]uint32, 1)
			err = decode(raw, &ids[0], param)
		}
	} else if first != 0 {
		texts = make([]string, 1)
		err = decode(raw, &texts[0], param)
	}
	n := len(texts) + len(ids)
	switch {
	case err != nil:
		return nil, err
	case len(ids) > 0 && bytes.IndexByte(raw, 'n') >= 0: // null, which decodes as 0
		return nil, invalid(param, "null is not a token id")
	case n == 0:
		return nil, invalid(param, "missing; it is a string, a list of strings, a list of token ids or a list of such lists")
	}
	list := make([]chat.Completion, n)
	for i := range list {
		list[i] = c
		at := param
		if n > 1 {
			at = fmt.Sprintf("%s[%d]", param, i)
		}
		if len(texts) > 0 {
			list[i].Prompt = texts[i]
		} else {
			list[i].IDs = ids[i]
		}
		if list[i].Prompt == "" && len(list[i].IDs) == 0 {
			return nil, invalid(at, "empty: there is nothing to continue")
		}
	}
	return list, nil
}

func (a *api) completions(w http.ResponseWriter, r *http.Request) error {
	var b completionBody
	if err := read(r, &b); err != nil {
		return err
	}
	c, err := b.request(r)
	if err != nil {
		return err
	}
	requests, err := prompts(b.Prompt, c)
	if err != nil {
		return err
	}
	model, err := a.service.Find(b.Model)
	if err != nil {
		return err
	}
	var known int // tokens, before anything is computed
	for i := range requests {
		known += len(requests[i].IDs)
	}
	if err := checkKept(&c, known); c.Echo && err != nil {
		return err
	}
	none := b.MaxTokens != nil && *b.MaxTokens == 0
	if b.Stream {
		return a.streamCompletions(w, r, requests, model, none, b.includeUsage())
	}
	out := append(a.head("cmpl-", "text_completion", model), `"choices":[`...)
	var total spent
	for i := range requests {
		reply, err := a.service.Complete(r.Context(), &requests[i], nil)
		if err != nil {
			return err
		}
		if i > 0 {
			out = append(out, ',')
		}
		choice := answer(i, &requests[i], reply, none)
		if err := total.add(&c, reply); err != nil {
			return err
		}
		out = choice.append(out)
	}
	out = appendUsage(append(out, `],`...), total.Usage, total.Timing, total.energy)
	writeJSON(w, http.StatusOK, append(out, '}'))
	return nil
}

// spent is what the prompts of one request took together.
type spent struct {
	chat.Usage
	chat.Timing
	energy *chat.Energy
	any    bool // there was a reply
	kept   int  // tokens with their probabilities
}

// checkKept refuses what has more log probabilities than one answer takes.
func checkKept(c *chat.Completion, tokens int) error {
	if c.LogProbs && tokens > maxKept/(1+c.TopTokens) {
		return invalid("logprobs", "of the request's prompts together there are more than %d log probabilities; send fewer prompts at once", maxKept)
	}
	return nil
}

// add counts a reply to c. With it the request may have got too large.
func (s *spent) add(c *chat.Completion, r *chat.Reply) error {
	s.Usage.Prompt += r.Usage.Prompt
	s.Usage.Cached += r.Usage.Cached
	s.Usage.Completion += r.Usage.Completion
	s.Timing.Queued += r.Timing.Queued
	s.Timing.Prefill += r.Timing.Prefill
	s.Timing.Decode += r.Timing.Decode
	if s.any {
		s.energy = s.energy.Plus(r.Energy)
	} else {
		s.energy, s.any = r.Energy, true
	}
	s.kept += len(r.Prompt) + len(r.Tokens)
	return checkKept(c, s.kept)
}

// piece is a choice, or a part of one in a stream.
type piece struct {
	index    int
	text     string
	logprobs bool
	top      bool
	tokens   []chat.Token
	offset   int // characters of the choice's text before the tokens
	finish   chat.FinishReason
}

func (p *piece) append(b []byte) []byte {
	b = appendString(append(b, `{"text":`...), p.text)
	b = strconv.AppendInt(append(b, `,"index":`...), int64(p.index), 10)
	b = append(b, `,"logprobs":`...)
	if p.logprobs {
		b = appendTextLogProbs(b, p.tokens, p.top, &p.offset)
	} else {
		b = append(b, "null"...)
	}
	return append(appendStringOrNull(append(b, `,"finish_reason":`...), string(p.finish)), '}')
}

// answer is the whole choice. With none, the token that the service had to be asked for is dropped, also from reply's usage.
func answer(index int, c *chat.Completion, reply *chat.Reply, none bool) piece {
	p := piece{index: index, text: reply.Text, logprobs: c.LogProbs, top: c.TopTokens > 0, tokens: reply.Tokens, finish: reply.Finish}
	if none {
		p.text, p.tokens, p.finish = "", nil, chat.FinishLength
		reply.Usage.Completion = 0
	} else if c.Echo && c.LogProbs && len(p.tokens) == 0 {
		// lm-evaluation-harness leaves out the last place, which is the answer's one token. Where the model ended at once that is the end, which has no text.
		p.tokens = []chat.Token{{LogProb: math.NaN()}}
	}
	if c.Echo {
		prompt := c.Prompt
		if prompt == "" {
			var b []byte
			for _, t := range reply.Prompt {
				b = append(b, t.Bytes...)
			}
			prompt = string(b)
		}
		p.text = prompt + p.text
		p.tokens = append(reply.Prompt[:len(reply.Prompt):len(reply.Prompt)], p.tokens...)
	}
	return p
}

// streamCompletions answers in events, one prompt behind the other. With Echo each choice is one piece: what the prompt's tokens are is known at the end.
// An error is returned only while nothing has been written.
func (a *api) streamCompletions(w http.ResponseWriter, r *http.Request, requests []chat.Completion, model chat.Info, none, usage bool) error {
	s := a.newStream(w, r)
	defer s.close()
	head := append([]byte("data: "), a.head("cmpl-", "text_completion", model)...)
	head = append(head, `"choices":[`...)
	tail := "]}\n\n"
	if usage {
		tail = `],"usage":null}` + "\n\n"
	}
	var (
		buf   []byte
		total spent
	)
	for i := range requests {
		c := &requests[i]
		p := piece{index: i, logprobs: c.LogProbs, top: c.TopTokens > 0}
		var emit func(chat.Event) error
		if !c.Echo {
			emit = func(e chat.Event) error {
				if e.Text == "" && len(e.Tokens) == 0 {
					return nil
				}
				p.text, p.tokens = e.Text, e.Tokens
				buf = append(p.append(append(buf[:0], head...)), tail...)
				return s.send(buf)
			}
		}
		reply, err := a.service.Complete(s.ctx, c, emit)
		if err != nil {
			return s.fail(err)
		}
		if c.Echo {
			p = answer(i, c, reply, none)
		} else {
			p.text, p.tokens, p.logprobs, p.finish = "", nil, false, reply.Finish
		}
		if err := total.add(c, reply); err != nil {
			return s.fail(err)
		}
		buf = append(p.append(append(buf[:0], head...)), tail...)
		if i < len(requests)-1 {
			if err := s.send(buf); err != nil {
				return nil
			}
		}
	}
	if usage {
		buf = append(buf, head...)
		buf = append(appendUsage(append(buf, `],`...), total.Usage, total.Timing, total.energy), "}\n\n"...)
	}
	return s.end(buf)
}
