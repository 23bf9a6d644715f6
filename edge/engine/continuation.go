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
	marks []mark  // in their order
	heads []int   // where answers begin
	known []known // by the states that have seen what was asked for
	work  int     // how many tokens were looked at
}

// known is what a state has seen. Tokens stay as they are once they are written, so they can be read while the state goes on.
type known struct {
	seq  []uint32
	fed  int
	same int // how many are those of the prefix
	next int // which one is not what the text has: as long as the prefix is shorter, the answer is the same
}

// mark is a special token in a text.
type mark struct {
	from, to int
	id       uint32
}

// Script joins parts. It knows of the states that no request runs on now.
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
	e.loop.mu.Lock()
	defer e.loop.mu.Unlock()
	s.known = e.loop.states.known()
	return s, err
}

// known lists what the states have seen that are not busy.
func (t *states) known() (list []known) {
	for i := range t.all {
		if x := &t.all[i]; !x.busy && len(x.seq) > 0 {
			list = append(list, known{seq: x.seq, fed: x.fed})
		}
	}
	return list
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
// for its text. Special tokens stand where the parts that are not the client's have them, and nowhere else.
//
// Calls for a script come in the order of the text, each with a prefix that goes on where the last one ended. All of them together look at each
// token of a state a few times at most.
func (e *Engine) Continuation(prefix []uint32, s *Script, from int) (ids []uint32, length int) {
	if len(s.known) == 0 {
		return nil, 0
	}
	e.Model.Blob().Guard(func() error { // where the file cannot be read, nothing is known
		ids, length = s.continuation(prefix, from, e.Tokens)
		return nil
	})
	return ids, length
}

// continuation is Engine.Continuation. White space at both beginnings is not compared, as at those of answers.
func (s *Script) continuation(prefix []uint32, from int, tokens *token.Tokenizer) (best []uint32, length int) {
	marks := s.marks[sort.Search(len(s.marks), func(i int) bool { return s.marks[i].from >= from }):]
	start := s.skip(from, marks)
	live := s.known[:0]
	for _, x := range s.known {
		if len(x.seq) <= len(prefix) || !slices.Equal(x.seq[x.same:len(prefix)], prefix[x.same:]) {
			continue // nor will it have more of a longer prefix
		}
		s.work += len(prefix) - x.same
		x.same = len(prefix)
		if len(prefix) >= x.next {
			// What the state has seen it cannot forget: fewer of its tokens are of no use.
			least := max(x.fed-len(prefix), len(best)+1, 1)
			n, end, walked := s.follow(x.seq[len(prefix):], start, marks, least, tokens)
			if n >= least {
				best, length = x.seq[len(prefix):][:n], end-from
			}
			s.work += walked + 1
			x.next = len(prefix) + walked
		}
		live = append(live, x)
	}
	s.known = live
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

// follow is how many of ids, at least so many, s has from byte start on, and where they end; 0 if it has fewer. The first that s has not is number walked.
func (s *Script) follow(ids []uint32, start int, marks []mark, least int, tokens *token.Tokenizer) (n, end, walked int) {
	stream, at, loose := tokens.NewStream(), start, true
	heads := s.heads[sort.SearchInts(s.heads, start):]
	for ; walked < len(ids); walked++ {
		id := ids[walked]
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
		if rest := stream.Rest(); walked+1 >= least && at+len(rest) > start && strings.HasPrefix(s.text[at:], rest) {
			n, end = walked+1, at+len(rest)
		}
	}
	return n, end, walked
}
