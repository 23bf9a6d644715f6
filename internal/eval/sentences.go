package eval

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"bimamba/edge/home"
)

// A Sentence is one line of a test of a whole assistant: what somebody says, and every outcome that a reasonable person would accept.
type Sentence struct {
	Group  string    `json:"group"`
	Half   string    `json:"half,omitempty"` // "dev" may be looked at while an assistant is made, "held" is for the figure
	Text   string    `json:"text"`
	At     string    `json:"at,omitempty"` // the area in which it is said
	Accept []Outcome `json:"accept"`
}

// An Outcome is one of three: actions that are done at once, actions that are done after a question and its "yes", or a kind of answer.
type Outcome struct {
	Do      []Expected `json:"do,omitempty"`
	Confirm []Expected `json:"confirm,omitempty"`
	Kind    string     `json:"kind,omitempty"` // "ask", "decline" or "say"
}

// An Expected action is one by its effect: what it is done to, however the slots say that, and with what values.
type Expected struct {
	Intent   string         `json:"intent"`
	Entities []string       `json:"entities,omitempty"` // none is no target, as of a timer
	Slots    map[string]any `json:"slots,omitempty"`    // but those that say the target
}

// A Verdict is how an answer is judged. The first three are right.
type Verdict int

const (
	Acted           Verdict = iota // the right action
	Asked                          // a question, where one is in place; its "yes" leads to the right action
	Declined                       // nothing, where nothing is to be done
	WrongAction                    // something that nobody wanted
	NeedlessAsk                    // a question, where the wish was clear
	NeedlessRefusal                // nothing, where something was wanted
	verdicts
)

// Right tells whether a reasonable person would accept the answer.
func (v Verdict) Right() bool { return v <= Declined }

var verdictNames = [...]string{"acted", "asked", "declined", "wrong action", "asked needlessly", "refused needlessly"}

func (v Verdict) String() string { return verdictNames[v] }

// Handler is an assistant.
type Handler interface {
	Handle(context.Context, home.Request) (*home.Answer, error)
}

// ReadSentences reads JSON lines of sentences about a home. An error names the line.
func ReadSentences(r io.Reader, h *home.Home) ([]Sentence, error) {
	known := map[string]bool{}
	for i := range h.Entities {
		known[h.Entities[i].ID] = true
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var out []Sentence
	for n := 1; sc.Scan(); n++ {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		var s Sentence
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := s.check(h, known); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, s)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("there are no sentences")
	}
	return out, nil
}

func (s *Sentence) check(h *home.Home, known map[string]bool) error {
	switch {
	case s.Group == "" || s.Text == "" || len(s.Accept) == 0:
		return errors.New("a sentence needs a group, a text and what to accept")
	case s.At != "" && h.Area(s.At) == nil:
		return fmt.Errorf("the home has no area %q", s.At)
	case s.Half != "" && s.Half != "dev" && s.Half != "held":
		return fmt.Errorf("half is %q; write \"dev\" or \"held\"", s.Half)
	}
	for _, o := range s.Accept {
		n := 0
		for _, given := range []bool{len(o.Do) > 0, len(o.Confirm) > 0, o.Kind != ""} {
			n += count(given)
		}
		if n != 1 || (o.Kind != "" && !slices.Contains([]string{"ask", "decline", "say"}, o.Kind)) {
			return errors.New(`an outcome is one of do, confirm, and kind "ask", "decline" or "say"`)
		}
		for _, e := range slices.Concat(o.Do, o.Confirm) {
			if e.Intent == "" {
				return errors.New("an action needs an intent")
			}
			for _, id := range e.Entities {
				if !known[id] {
					return fmt.Errorf("the home has no entity %q", id)
				}
			}
		}
	}
	return nil
}

// Judge says the sentence to an assistant in a conversation of its own and judges what comes. It returns the first answer, too.
func Judge(ctx context.Context, a Handler, h *home.Home, s *Sentence, conversation string) (Verdict, *home.Answer, error) {
	request := home.Request{Text: s.Text, Conversation: conversation, Device: s.At}
	ans, err := a.Handle(ctx, request)
	if err != nil {
		return 0, nil, err
	}
	acts := func(got *home.Answer, want func(*Outcome) []Expected) bool {
		return slices.ContainsFunc(s.Accept, func(o Outcome) bool {
			w := want(&o)
			return len(w) > 0 && (&judge{h, s.At}).same(w, got.Actions)
		})
	}
	is := func(kind string) bool {
		return slices.ContainsFunc(s.Accept, func(o Outcome) bool { return o.Kind == kind })
	}
	kind := ans.Kind
	if kind == home.Act && onlyWords(ans.Actions) {
		kind = home.Say
	}
	switch kind {
	case home.Act:
		if acts(ans, func(o *Outcome) []Expected { return o.Do }) {
			return Acted, ans, nil
		}
		return WrongAction, ans, nil
	case home.Ask:
		confirm := func(o *Outcome) []Expected { return o.Confirm }
		if slices.ContainsFunc(s.Accept, func(o Outcome) bool { return len(o.Confirm) > 0 }) {
			request.Text = "yes"
			yes, err := a.Handle(ctx, request)
			switch {
			case err != nil:
				return 0, ans, err
			case yes.Kind == home.Act && acts(yes, confirm):
				return Asked, ans, nil
			case yes.Kind == home.Act:
				return WrongAction, ans, nil
			}
		}
		if is("ask") {
			return Asked, ans, nil
		}
		return NeedlessAsk, ans, nil
	}
	if is("decline") || is("say") { // both do nothing
		return Declined, ans, nil
	}
	return NeedlessRefusal, ans, nil
}

// onlyWords tells whether actions do nothing to a house.
func onlyWords(actions []home.Action) bool {
	for _, a := range actions {
		if a.Intent != "HassNevermind" && a.Intent != "HassRespond" {
			return false
		}
	}
	return true
}

// judge compares effects in a home, as spoken in an area.
type judge struct {
	home *home.Home
	at   string
}

// same tells whether the actions got have the effect that is wanted. Actions with one intent and the same values are taken together.
func (j *judge) same(want []Expected, got []home.Action) bool {
	wanted := map[string][]string{}
	optional := map[string]bool{"state": true, "media_class": true}
	for _, w := range want {
		for k := range w.Slots {
			delete(optional, k)
		}
		add(wanted, w.Intent+values(w.Slots, nil), w.Entities)
	}
	// A target that is not named is the speaker's room's, the only one of its kind, or none: each reading counts.
	for reading := range 3 {
		effects := map[string][]string{}
		for i := range got {
			a := &got[i]
			add(effects, a.Intent+values(a.Slots, func(k string) bool { return isTarget(a.Intent, k) || optional[k] }), j.targets(a, reading))
		}
		if len(effects) == len(wanted) && subset(wanted, effects) {
			return true
		}
	}
	return false
}

func add(m map[string][]string, key string, ids []string) {
	l := append(m[key], ids...)
	slices.Sort(l)
	m[key] = slices.Compact(l)
}

func subset(a, b map[string][]string) bool {
	for k, v := range a {
		w, ok := b[k]
		if !ok || !slices.Equal(v, w) {
			return false
		}
	}
	return true
}

// values is the slots but those left out, as they are compared.
func values(slots map[string]any, without func(string) bool) string {
	var l []string
	for k, v := range slots {
		if without == nil || !without(k) {
			l = append(l, "\x00"+k+"\x00"+foldAny(v))
		}
	}
	slices.Sort(l)
	return strings.Join(l, "")
}

func foldAny(v any) string {
	switch v := v.(type) {
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fold(v)
}

// isTarget tells whether a slot of an intent says what it is done to.
func isTarget(intent, slot string) bool {
	switch slot {
	case "name":
		return !strings.HasSuffix(intent, "Timer") && intent != "HassTimerStatus"
	case "area", "floor", "domain", "device_class":
		return true
	}
	return false
}

// domains are those of intents that imply one.
var domains = map[string][]string{
	"HassLightSet": {"light"}, "HassSetPosition": {"cover", "valve"}, "HassClimateSetTemperature": {"climate"}, "HassClimateGetTemperature": {"climate"},
	"HassFanSetSpeed": {"fan"}, "HassVacuumStart": {"vacuum"}, "HassVacuumReturnToBase": {"vacuum"}, "HassVacuumCleanArea": {"vacuum"},
	"HassMediaPause": {"media_player"}, "HassMediaUnpause": {"media_player"}, "HassMediaNext": {"media_player"}, "HassMediaPrevious": {"media_player"},
	"HassSetVolume": {"media_player"}, "HassSetVolumeRelative": {"media_player"}, "HassMediaPlayerMute": {"media_player"}, "HassMediaPlayerUnmute": {"media_player"},
	"HassMediaSearchAndPlay": {"media_player"}, "HassListAddItem": {"todo"}, "HassListCompleteItem": {"todo"}, "HassListRemoveItem": {"todo"}, "HassGetWeather": {"weather"},
	"HassLawnMowerStartMowing": {"lawn_mower"}, "HassLawnMowerDock": {"lawn_mower"},
}

// targets is what the action is done to: its entities, or what its slots select.
func (j *judge) targets(a *home.Action, reading int) []string {
	if len(a.Entities) > 0 {
		return a.Entities
	}
	slot := func(k string) string {
		s, _ := a.Slots[k].(string)
		return strings.TrimSpace(s)
	}
	name, area, floor, domain, class := slot("name"), slot("area"), slot("floor"), slot("domain"), slot("device_class")
	if strings.EqualFold(name, "all") || !isTarget(a.Intent, "name") {
		name = ""
	}
	kinds := domains[a.Intent]
	if domain != "" {
		kinds = []string{domain}
	}
	if name == "" && area == "" && floor == "" {
		if reading == 0 && domain == "" || len(kinds) == 0 {
			return nil
		}
		if reading == 1 {
			area = j.at
		}
	}
	var out []string
	for i := range j.home.Entities {
		e := &j.home.Entities[i]
		in := j.home.Area(e.Area)
		switch {
		case name != "" && !called(name, e.Name, e.Aliases, e.ID):
		case area != "" && (in == nil || !called(area, in.Name, in.Aliases, in.ID)):
		case floor != "" && !j.onFloor(in, floor):
		case len(kinds) > 0 && !slices.Contains(kinds, e.Domain()):
		case class != "" && e.DeviceClass != class:
		default:
			out = append(out, e.ID)
		}
	}
	if len(out) == 0 {
		return []string{"what the home does not have"}
	}
	return out
}

func (j *judge) onFloor(in *home.Area, floor string) bool {
	if in == nil || in.Floor == "" {
		return false
	}
	f := j.home.Floor(in.Floor)
	return f != nil && called(floor, f.Name, f.Aliases, f.ID)
}

func called(s, name string, aliases []string, id string) bool {
	return strings.EqualFold(s, name) || s == id || slices.ContainsFunc(aliases, func(a string) bool { return strings.EqualFold(s, a) })
}

// SentenceTally adds verdicts up.
type SentenceTally struct {
	groups []string // in the order in which they came
	counts map[string]*[verdicts]int
}

// Add counts a verdict.
func (t *SentenceTally) Add(group string, v Verdict) {
	if t.counts == nil {
		t.counts = map[string]*[verdicts]int{}
	}
	c := t.counts[group]
	if c == nil {
		c = new([verdicts]int)
		t.counts[group] = c
		t.groups = append(t.groups, group)
	}
	c[v]++
}

// SentenceFigures is the result of one group, in sentences.
type SentenceFigures struct {
	Group           string `json:"group"`
	N               int    `json:"n"`
	Right           int    `json:"right"` // the sum of the next three
	Acted           int    `json:"acted"`
	Asked           int    `json:"asked"`
	Declined        int    `json:"declined"`
	WrongAction     int    `json:"wrong_action"`
	NeedlessAsk     int    `json:"asked_needlessly"`
	NeedlessRefusal int    `json:"refused_needlessly"`
}

// Figures is the result by groups; the last one is of all, named "all".
func (t *SentenceTally) Figures() []SentenceFigures {
	var sum [verdicts]int
	var out []SentenceFigures
	for _, g := range t.groups {
		for v, n := range t.counts[g] {
			sum[v] += n
		}
		out = append(out, sentenceFigures(g, t.counts[g]))
	}
	return append(out, sentenceFigures("all", &sum))
}

func sentenceFigures(group string, c *[verdicts]int) SentenceFigures {
	f := SentenceFigures{Group: group, Acted: c[Acted], Asked: c[Asked], Declined: c[Declined], WrongAction: c[WrongAction], NeedlessAsk: c[NeedlessAsk], NeedlessRefusal: c[NeedlessRefusal]}
	f.Right = f.Acted + f.Asked + f.Declined
	f.N = f.Right + f.WrongAction + f.NeedlessAsk + f.NeedlessRefusal
	return f
}

// WriteSentenceTable writes the figures in sentences, and the shares of right ones and wrong actions.
func WriteSentenceTable(w io.Writer, figures []SentenceFigures) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "group\tn\tright\tacted\tasked\tdeclined\twrong action\tasked needlessly\trefused needlessly\t")
	for _, f := range figures {
		share := func(n int) string { return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(max(f.N, 1))) }
		fmt.Fprintf(tw, "%s\t%d\t%s\t%d\t%d\t%d\t%s\t%d\t%d\t\n", f.Group, f.N, share(f.Right), f.Acted, f.Asked, f.Declined, share(f.WrongAction), f.NeedlessAsk, f.NeedlessRefusal)
	}
	return tw.Flush()
}
