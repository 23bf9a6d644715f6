package engine

import (
	"strings"

	"bimamba/edge/token"
)

// output turns token ids into text and finds stop strings, which may lie across tokens:
// it holds back the longest tail of the text that could still become one.
type output struct {
	stream  *token.Stream
	stop    []string
	emit    func(text string, tokens []Token)
	text    strings.Builder // what was emitted
	pending string          // decoded, held back
	tokens  []Token         // to go with what is emitted next
	stopped bool
}

func newOutput(t *token.Tokenizer, stop []string, emit func(string, []Token)) *output {
	o := &output{stream: t.NewStream(), emit: emit}
	for _, s := range stop {
		if s != "" {
			o.stop = append(o.stop, s)
		}
	}
	return o
}

// token adds one token and tells whether a stop string is complete.
func (o *output) token(id uint32) bool { return o.add(o.stream.Next(id)) }

func (o *output) add(piece string) bool {
	o.pending += piece
	first := -1
	for _, s := range o.stop {
		if i := strings.Index(o.pending, s); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		o.stopped = true
		o.release(first)
		return true
	}
	o.release(len(o.pending) - o.held())
	return false
}

// held is the length of the longest tail of pending that a stop string starts with.
func (o *output) held() int {
	longest := 0
	for _, s := range o.stop {
		for n := min(len(s)-1, len(o.pending)); n > longest; n-- {
			if strings.HasSuffix(o.pending, s[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// release emits the first n bytes of pending.
func (o *output) release(n int) {
	if n == 0 && len(o.tokens) == 0 {
		return
	}
	s := o.pending[:n]
	o.pending = o.pending[n:]
	o.text.WriteString(s)
	o.emit(s, o.tokens)
	o.tokens = nil
}

// finish emits what is left when no stop string came.
func (o *output) finish() {
	if o.stopped || o.add(o.stream.Flush()) {
		return
	}
	o.release(len(o.pending))
}
