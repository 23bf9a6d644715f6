package home

import (
	"context"
	"slices"
	"strings"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
	"bimamba/edge/intent"
	"bimamba/edge/sample"
)

// maxTokens is how long what the model writes may be. Its longest lines have some 60.
const maxTokens = 160

// greedy takes the likeliest token.
var greedy = sample.Params{TopP: 1, RepetitionPenalty: 1}

// reading is what one command was understood as.
type reading struct {
	said    string // the command
	text    string // what the model wrote
	outcome intent.Outcome
	score   float64 // see Answer
	ask     bool    // it was said in words that are only near to what was understood
}

// read understands one command: as it was said, and where it is not understood so with slips of speech recognition mended, in other words, and at last
// with words that only sound a little alike.
func (a *Assistant) read(ctx context.Context, p *place, said, here string) (*reading, error) {
	said = clean(said)
	if s := p.scenes[plain(occasion().ReplaceAllString(said, ""))]; s != "" { // nothing but its name
		said = "activate " + s
	}
	first, err := a.readAs(ctx, p, said, here)
	if err != nil || first.taken() {
		return first, err
	}
	for _, text := range []string{said, p.names.Mend(said)} {
		if text != said {
			if x, err := a.readAs(ctx, p, text, here); err != nil || x.taken() {
				return x, err
			}
			said = text
		}
		for _, way := range paraphrasesOf(text) {
			x, err := a.readAs(ctx, p, clean(way.text), here)
			if err != nil {
				return nil, err
			}
			if x.taken() {
				if x.ask = way.ask; way.become != nil && !x.outcome.Refused {
					if way.become(&x.outcome); x.outcome.Lacks {
						x.said = said // what is lacking is put behind what was said
					}
				}
				return x, nil
			}
		}
	}
	var best *reading
	for _, r := range p.names.Readings(said) {
		x, err := a.readAs(ctx, p, r.Text, here)
		if err != nil {
			return nil, err
		}
		if !x.outcome.Refused && !intent.Reads(x.outcome.Intent) && x.outcome.Uses(r.Word) && (best == nil || x.score > best.score) {
			best = x
		}
	}
	if best != nil {
		return best, nil
	}
	return first, nil
}

// occasion is what people say around the name of a scene: "it's time for dinner".
var occasion = lazy(`(?i)^(?:it's |it is |its )?(?:time for |time to have )?(?:a |the )?|(?: time| now)?[.!?]*$`)

// taken tells whether a command was understood, if not in full.
func (x *reading) taken() bool {
	return !x.outcome.Refused || len(x.outcome.Choices) > 0 || x.outcome.Lacks
}

// readAs understands one command in these words.
func (a *Assistant) readAs(ctx context.Context, p *place, said, here string) (*reading, error) {
	if p.runs--; p.runs < 0 {
		return &reading{said: said, outcome: intent.Outcome{Refused: true, Text: "Sorry, that is too much at once.", Reason: "the model was asked too often"}}, nil
	}
	u := intent.Utterance(Task, said)
	form := p.names.HomeForm(u)
	res, err := a.generate(ctx, u, func(v *grammar.Vocab) engine.Constraint { return form.Start(v) })
	if err != nil {
		return nil, err
	}
	r := &reading{said: said, text: res.Text}
	r.score = a.score(res)
	r.outcome = p.names.Understand(said, res.Text, here)
	return r, nil
}

// copied are the keys of values that are copied from the utterance or spelled as the home does. How probable their letters are says little: the model
// was trained on few names.
var copied = lazy(`"(?:name|area|floor|item|message|search_query|conversation_command)":"((?:[^"\\]|\\.)*)`)

// score is the mean log probability of the tokens of the first line, without those that are copied.
func (a *Assistant) score(res *engine.Result) float64 {
	line, _, _ := strings.Cut(res.Text, "\n")
	values := copied().FindAllStringSubmatchIndex(line, -1)
	sum, n, at := 0.0, 0, 0
	for _, t := range res.Tokens {
		begin := at
		at += len(a.e.Bytes(t.ID))
		if begin < len(line) && !slices.ContainsFunc(values, func(v []int) bool { return begin >= v[2]-1 && begin < v[3] }) {
			sum += t.LogProb
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// generate is what the model writes for an utterance of the task home.
func (a *Assistant) generate(ctx context.Context, utterance string, constraint func(*grammar.Vocab) engine.Constraint) (*engine.Result, error) {
	t, err := a.e.Task(Task)
	if err != nil {
		return nil, err
	}
	ids, err := a.e.EncodePart(a.e.BOS(), t.Prefix, true, true)
	if err == nil {
		ids, err = a.e.EncodePart(ids, utterance, false, false)
	}
	if err == nil {
		ids, err = a.e.EncodePart(ids, t.Suffix+a.e.Manifest().Prompt.GenerationPrefix, false, true)
	}
	if err != nil {
		return nil, err
	}
	return a.e.Generate(ctx, engine.Request{Prompt: ids, MaxTokens: maxTokens, Sample: greedy, Constraint: constraint, LogProbs: true}, nil)
}

// sureness is what a score comes to.
type sureness int

const (
	certain  sureness = iota
	doubtful          // a reason to ask
	unsure            // a reason to decline
)

// Limits of scores. "go test ./edge/home -run TestScores -v" tells what each would keep: of every second row of the test set, what is right, and of
// utterances of CLINC150 that are about something else, what would be done. The words of an utterance decide first, and let little of the latter through.
const (
	surely   = -2.0 // below it an action is asked about
	possibly = -4.0 // below it nothing is done
)

func (x *reading) sure() sureness {
	switch {
	case x.score < possibly:
		return unsure
	case x.score < surely:
		return doubtful
	}
	return certain
}
