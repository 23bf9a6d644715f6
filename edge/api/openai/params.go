package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
)

// Limits of a request. What a body may be as a whole is the server's to limit.
const (
	maxChatStop       = 4    // as the API has it
	maxCompletionStop = 32   // lm-evaluation-harness sends a task's list as it is
	maxStopBytes      = 1024 // of each
	maxSessionBytes   = 256
	maxPrompts        = 1024 // of one request
	maxMessages       = 4096
	maxTools          = 128
	maxToolCalls      = 64  // of a message
	maxParts          = 256 // of a message's content
)

// params are the fields that chats and completions have in common. Fields that are not here are ignored.
type params struct {
	Model             string          `json:"model"`
	MaxTokens         *int            `json:"max_tokens"`
	N                 *int            `json:"n"`
	Temperature       *float32        `json:"temperature"`
	TopP              *float32        `json:"top_p"`
	PresencePenalty   *float32        `json:"presence_penalty"`
	FrequencyPenalty  *float32        `json:"frequency_penalty"`
	Seed              *int64          `json:"seed"`
	Stop              json.RawMessage `json:"stop"`
	Stream            bool            `json:"stream"`
	StreamOptions     *streamOptions  `json:"stream_options"`
	PromptCacheKey    string          `json:"prompt_cache_key"`
	TopK              *int            `json:"top_k"` // this and the two below: not OpenAI's, but every local server's
	MinP              *float32        `json:"min_p"`
	RepetitionPenalty *float32        `json:"repetition_penalty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

func invalid(param, format string, args ...any) error {
	return chat.Errorf(chat.Invalid, param, format, args...)
}

func unsupported(param, format string, args ...any) error {
	return chat.Errorf(chat.Unsupported, param, format, args...)
}

// read reads the body into v, which embeds params.
func read(r *http.Request, v any) error {
	err := body.Decode(r, v)
	if e, ok := err.(*chat.Error); ok {
		e.Param = strings.TrimPrefix(e.Param, "params.") // encoding/json names the embedded struct, which clients do not know
	}
	return err
}

// options converts p, but for the number of tokens and logprobs. maxStop is how many stop strings there may be.
func (p *params) options(r *http.Request, maxStop int) (o chat.Options, err error) {
	if p.N != nil && *p.N != 1 {
		return o, unsupported("n", "%d choices: there is only 1 for each request; send the request again for another", *p.N)
	}
	for _, x := range []struct {
		name     string
		value    *float32
		min, max float32
	}{
		{"temperature", p.Temperature, 0, 2},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"presence_penalty", p.PresencePenalty, -2, 2},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2},
		{"repetition_penalty", p.RepetitionPenalty, 0.01, 100},
	} {
		if x.value != nil && (*x.value < x.min || *x.value > x.max) {
			return o, invalid(x.name, "%v is not within %v and %v", *x.value, x.min, x.max)
		}
	}
	o.Sampling = chat.Sampling{
		Temperature: p.Temperature, TopP: p.TopP, MinP: p.MinP, RepetitionPenalty: p.RepetitionPenalty,
		PresencePenalty: p.PresencePenalty, FrequencyPenalty: p.FrequencyPenalty, TopK: p.TopK,
	}
	if p.TopP != nil && *p.TopP == 0 { // samplers want more than 0; so little is the likeliest token alone, too
		least := float32(1e-6)
		o.Sampling.TopP = &least
	}
	if p.TopK != nil && *p.TopK < 0 { // -1 is off
		off := 0
		o.Sampling.TopK = &off
	}
	if p.Seed != nil {
		seed := uint64(*p.Seed)
		o.Sampling.Seed = &seed
	}
	if o.Stop, err = stops(p.Stop, maxStop); err != nil {
		return o, err
	}
	o.Session = p.PromptCacheKey
	name := "prompt_cache_key"
	if o.Session == "" {
		o.Session, name = r.Header.Get("X-Session"), "X-Session"
	}
	if len(o.Session) > maxSessionBytes {
		return o, invalid(name, "%d bytes; at most %d name a conversation", len(o.Session), maxSessionBytes)
	}
	return o, nil
}

func (p *params) includeUsage() bool { return p.StreamOptions != nil && p.StreamOptions.IncludeUsage }

// stops reads null, a string or a list of strings.
func stops(raw json.RawMessage, limit int) (list []string, err error) {
	switch kind(raw) {
	case 0:
		return nil, nil
	case '"':
		list = make([]string, 1)
		err = decode(raw, &list[0], "stop")
	default:
		err = decodeList(raw, &list, "stop", limit)
	}
	if err != nil {
		return nil, err
	}
	for i, s := range list {
		if s == "" || len(s) > maxStopBytes {
			return nil, invalid(fmt.Sprintf("stop[%d]", i), "a stop string has 1 to %d bytes, not %d", maxStopBytes, len(s))
		}
	}
	return list, nil
}

// kind is the first byte of a JSON value, which says what it is: " [ { t f - or a digit; 0 for null and for no value.
func kind(raw json.RawMessage) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 || raw[0] == 'n' {
		return 0
	}
	return raw[0]
}

// decode reads a part of the body that can have several types. Its errors name the field param.
func decode(raw json.RawMessage, v any, param string) error {
	err := body.Unmarshal(raw, v)
	if e, ok := err.(*chat.Error); ok {
		if e.Param != "" {
			param += "." + e.Param
		}
		e.Param = param
	}
	return err
}

// decodeList is decode of a list that may have so many elements; null and no value leave v as it is.
func decodeList[T any](raw json.RawMessage, v *[]T, param string, most int) error {
	if kind(raw) == 0 {
		return nil
	}
	if _, err := body.Count(raw, param, most); err != nil {
		return err
	}
	return decode(raw, v, param)
}
