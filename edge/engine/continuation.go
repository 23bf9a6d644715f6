package engine

import (
	"slices"
	"sort"
	"strings"
	"unicode"

	"bimamba/edge/token"
)

// Part is a run of a prompt's text.
type Part struct {
	Text   string
	Client bool // the client's: texts of special tokens in it are no more than text
	Answer bool // an answer begins with it: white space there is not compared, as clients are given answers without it
}

// Script is the text of a conversation, for Continuation.
type Script struct {
	text  string
	marks []mark // in their order
	heads []int  // where answers begin
	lost  bool   // no state has seen what was asked for, so none has seen more
}

// mark is a special token in a text.
type mark struct {
	from, to int
	id       uint32
}

// Script joins parts.
func (e *Engine) Script(parts []Part) (*Script, error) {
	if e.Tokens == nil {
		return nil, ErrNoTokenizer
	}
	s := new(Script)
	err := e.Model.Blob().Guard(func() error {
		var text strings.Builder
		for _, p := range parts {
			if p.Answer {
				s.heads = append(s.heads, text.Len())
			}
			if !p.Client {
				s.mark(e.Tokens, text.Len(), p.Text)
			}
			text.WriteString(p.Text)
		}
		s.text = text.String()
		return nil
	})
	return s, err
}

// mark notes the special tokens of a part that begins at byte from.
func (s *Script) mark(tokens *token.Tokenizer, from int, text string) {
	at := 0
	for _, id := range tokens.Encode(nil, text) {
		if !tokens.IsSpecial(id) {
			continue
		}
		piece := string(tokens.AppendPiece(nil, id))
		if i := strings.Index(text[at:], piece); i >= 0 && piece != "" {
			s.marks = append(s.marks, mark{from + at + i, from + at + i + len(piece), id})
			at += i + len(piece)
		}
	}
}

// Continuation is the longest run of tokens behind the tokens prefix that a state of the engine knows and whose text s has from byte from on, and
// the length of that text: with them a conversation finds the state of an answer again, whose tokens may be others than the tokenizer would choose
// for its text. Special tokens stand where the parts that are not the client's have them, and nowhere else. Calls for a script come in the order of
// the text.
func (e *Engine) Continuation(prefix []uint32, s *Script, from int) (ids []uint32, length int) {
	if s.lost {
		return nil, 0
	}
	e.loop.mu.Lock()
	defer e.loop.mu.Unlock()
	e.Model.Blob().Guard(func() error { // where the file cannot be read, nothing is known
		ids, length = e.loop.states.continuation(prefix, s, from, e.Tokens)
		return nil
	})
	return ids, length
}

// continuation is Engine.Continuation. White space at both beginnings is not compared, as at those of answers.
func (t *states) continuation(prefix []uint32, s *Script, from int, tokens *token.Tokenizer) (best []uint32, length int) {
	s.lost = true
	marks := s.marks[sort.Search(len(s.marks), func(i int) bool { return s.marks[i].from >= from }):]
	start := s.skip(from, marks)
	for i := range t.all {
		x := &t.all[i]
		if x.busy || len(x.seq) <= len(prefix) || !slices.Equal(x.seq[:len(prefix)], prefix) {
			continue
		}
		s.lost = false
		// What the state has seen it cannot forget: fewer of its tokens are of no use.
		least := max(x.fed-len(prefix), len(best)+1, 1)
		if n, end := s.follow(x.seq[len(prefix):], start, marks, least, tokens); n >= least {
			best, length = x.seq[len(prefix):][:n], end-from
		}
	}
	return slices.Clone(best), length
}

// skip is where the white space at byte at ends.
func (s *Script) skip(at int, marks []mark) int {
	at = len(s.text) - len(strings.TrimLeftFunc(s.text[at:], unicode.IsSpace))
	if len(marks) > 0 {
		at = min(at, marks[0].from)
	}
	return at
}

// follow is how many of ids, at least so many, s has from byte start on, and where they end; 0 if it has fewer.
func (s *Script) follow(ids []uint32, start int, marks []mark, least int, tokens *token.Tokenizer) (n, end int) {
	stream, at, loose := tokens.NewStream(), start, true
	heads := s.heads[sort.SearchInts(s.heads, start):]
	for k, id := range ids {
		for len(heads) > 0 && heads[0] <= at {
			if heads[0] == at {
				at, loose = s.skip(at, marks), true
			}
			heads = heads[1:]
		}
		special := tokens.IsSpecial(id)
		if special {
			rest := stream.Flush() // of a character that was not completed
			if !strings.HasPrefix(s.text[at:], rest) {
				break
			}
			if at += len(rest); len(marks) == 0 || marks[0].from != at || marks[0].id != id {
				break
			}
		}
		whole := stream.Next(id)
		if loose && !special {
			whole = strings.TrimLeftFunc(whole, unicode.IsSpace)
		}
		loose = loose && !special && whole == ""
		if !strings.HasPrefix(s.text[at:], whole) {
			break
		}
		at += len(whole)
		if special {
			marks = marks[1:]
		} else if len(marks) > 0 && at > marks[0].from {
			break
		}
		if rest := stream.Rest(); k+1 >= least && at+len(rest) > start && strings.HasPrefix(s.text[at:], rest) {
			n, end = k+1, at+len(rest)
		}
	}
	return n, end
}
