package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"bimamba/edge/chat"
)

// Answers are appended by hand: a streamed token costs a copy this way, and no reflection.

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// appendLogProb appends a logarithm, in all its digits: clients compare them. What JSON cannot say is null, or the API's -9999 for impossible.
func appendLogProb(b []byte, p float64) []byte {
	switch {
	case math.IsNaN(p), math.IsInf(p, 1):
		return append(b, "null"...)
	case p < -9999:
		return append(b, "-9999.0"...)
	}
	return strconv.AppendFloat(b, p, 'g', -1, 64)
}

// appendLogProbs appends the logprobs of a chat's choice.
func appendLogProbs(b []byte, tokens []chat.Token) []byte {
	b = append(b, `{"content":[`...)
	for i, t := range tokens {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendToken(b, t), `,"top_logprobs":[`...)
		for j, top := range t.Top {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(appendToken(b, top), '}')
		}
		b = append(b, ']', '}')
	}
	return append(b, `],"refusal":null}`...)
}

// appendToken appends an object without its closing brace.
func appendToken(b []byte, t chat.Token) []byte {
	b = appendString(append(b, `{"token":`...), t.Bytes)
	b = appendLogProb(append(b, `,"logprob":`...), t.LogProb)
	b = append(b, `,"bytes":[`...)
	for i, c := range t.Bytes {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(c), 10)
	}
	return append(b, ']')
}

// appendTextLogProbs appends the logprobs of a completion's choice. offset is how many characters of the choice's text lie before the tokens; it moves on.
// With top, each token's likeliest ones are there, and the token itself.
func appendTextLogProbs(b []byte, tokens []chat.Token, top bool, offset *int) []byte {
	list := func(name string, item func(b []byte, t chat.Token) []byte) {
		b = append(append(b, name...), '[')
		for i, t := range tokens {
			if i > 0 {
				b = append(b, ',')
			}
			b = item(b, t)
		}
		b = append(b, ']')
	}
	list(`{"tokens":`, func(b []byte, t chat.Token) []byte { return appendString(b, tokenText(t)) })
	list(`,"token_logprobs":`, func(b []byte, t chat.Token) []byte { return appendLogProb(b, t.LogProb) })
	if top {
		list(`,"top_logprobs":`, appendTop)
	} else {
		b = append(b, `,"top_logprobs":null`...)
	}
	list(`,"text_offset":`, func(b []byte, t chat.Token) []byte {
		b = strconv.AppendInt(b, int64(*offset), 10)
		for _, c := range t.Bytes {
			if c&0xc0 != 0x80 { // a character is counted where it starts
				*offset++
			}
		}
		return b
	})
	return append(b, '}')
}

func appendTop(b []byte, t chat.Token) []byte {
	if math.IsNaN(t.LogProb) {
		return append(b, "null"...)
	}
	b = append(b, '{')
	for i := range len(t.Top) + 1 {
		u := t
		if i < len(t.Top) {
			u = t.Top[i]
		}
		// A key cannot come twice, so of tokens with the same text only the likeliest is told.
		same := func(v chat.Token) bool { return bytes.Equal(u.Bytes, v.Bytes) }
		if slices.ContainsFunc(t.Top[:i], same) {
			continue
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLogProb(append(appendString(b, tokenText(u)), ':'), u.LogProb)
	}
	return append(b, '}')
}

// tokenText is how completions write a token: a part of a character as bytes:\xe2\x82.
func tokenText(t chat.Token) string {
	if utf8.Valid(t.Bytes) {
		return string(t.Bytes)
	}
	s := "bytes:"
	for _, c := range t.Bytes {
		s += fmt.Sprintf(`\x%02x`, c)
	}
	return s
}

// appendUsage appends the fields usage and timings. The latter has llama.cpp's server's names where it has them.
func appendUsage(b []byte, u chat.Usage, t chat.Timing, e *chat.Energy) []byte {
	b = strconv.AppendInt(append(b, `"usage":{"prompt_tokens":`...), int64(u.Prompt), 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), int64(u.Completion), 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), int64(u.Prompt+u.Completion), 10)
	b = strconv.AppendInt(append(b, `,"prompt_tokens_details":{"cached_tokens":`...), int64(u.Cached), 10)
	b = append(b, '}')
	if e != nil {
		text, _ := json.Marshal(e) // numbers that are finite, and strings
		b = append(append(b, `,"energy":`...), text...)
	}
	b = appendMillis(append(b, `},"timings":{"queued_ms":`...), t.Queued)
	b = appendMillis(append(b, `,"prefill_ms":`...), t.Prefill)
	b = appendMillis(append(b, `,"decode_ms":`...), t.Decode)
	b = appendRate(append(b, `,"prompt_per_second":`...), u.Prompt-u.Cached, t.Prefill)
	b = appendRate(append(b, `,"predicted_per_second":`...), u.Completion, t.Decode)
	return append(b, '}')
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

// appendRate appends tokens per second, 0 if no time was measured.
func appendRate(b []byte, tokens int, d time.Duration) []byte {
	if d <= 0 {
		return append(b, '0')
	}
	return strconv.AppendFloat(b, float64(tokens)/d.Seconds(), 'f', 2, 64)
}
