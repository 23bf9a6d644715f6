package home

import (
	"strconv"
	"strings"
)

// clean takes from a command what people say around it, and writes numbers that go with a unit in digits: the model has seen few of either.
func clean(text string) string {
	text = strings.Join(strings.Fields(strings.NewReplacer("’", "'", "‘", "'", "“", "", "”", "", `"`, "", "–", "-", "each and every", "every").Replace(text)), " ")
	for {
		s := suffix().ReplaceAllString(prefix().ReplaceAllString(text, ""), "")
		if s == text || strings.Trim(s, " .,!?") == "" {
			break
		}
		text = s
	}
	text = gerunds().ReplaceAllStringFunc(text, func(s string) string { return bare[strings.ToLower(s)] })
	text = tos().ReplaceAllString(offs().ReplaceAllString(text, "${1}off${2}"), "to $1")
	for _, f := range fractions {
		text = f.said().ReplaceAllString(text, f.is)
	}
	for _, s := range slips {
		text = s.said().ReplaceAllString(text, s.is)
	}
	text = digits(text)
	for _, t := range times {
		text = t.said().ReplaceAllString(text, t.is)
	}
	return text
}

// slips are numbers that sound like other words, in front of a unit, and a few others.
var slips = []struct {
	said pattern
	is   string
}{
	{lazy(`(?i)\b(for|to|by|at|a) (?:to|too) (percent|degrees|minutes?|seconds?|hours?)\b`), "$1 2 $2"},
	{lazy(`(?i)\b(for|to|by|at|a) (?:for|fore) (percent|degrees|minutes?|seconds?|hours?)\b`), "$1 4 $2"},
	{lazy(`(?i)\bwon (percent|degree|minute|second|hour)\b`), "1 $1"},
	{lazy(`(?i)\b(?:ate|eat) (percent|degrees|minutes?|seconds?|hours?)\b`), "8 $1"},
	{lazy(`(?i)\b(?:tree|free) (percent|degrees|minutes?|seconds?|hours?)\b`), "3 $1"},
	{lazy(`(?i)\b(?:sex|sicks) (percent|degrees|minutes?|seconds?|hours?)\b`), "6 $1"},
	{lazy(`(?i)^((?:make|turn|paint|set|light|color|colour) .+) read$`), "$1 red"},
	{lazy(`(?i)^((?:make|turn|paint|set|light|color|colour) .+) blew$`), "$1 blue"},
	{lazy(`(?i)\btee ?vee\b`), "TV"},
	{lazy(`(?i)\btin (percent|degrees|minutes?|seconds?|hours?)\b`), "10 $1"},
}

// Halves of hours and minutes, and single ones.
var times = []struct {
	said pattern
	is   string
}{
	{lazy(`(?i)\b(?:an|1|one) hour and (?:a|1/2) half\b`), "1 hour and 30 minutes"},
	{lazy(`(?i)\b(?:a|1|one) minute and (?:a|1/2) half\b`), "1 minute and 30 seconds"},
	{lazy(`(?i)\b(\d+) and (?:a half|1/2) hours?\b`), "$1 hours and 30 minutes"},
	{lazy(`(?i)\b(\d+) and (?:a half|1/2) minutes?\b`), "$1 minutes and 30 seconds"},
	{lazy(`(?i)\b(\d+) hours? and a half\b`), "$1 hours and 30 minutes"},
	{lazy(`(?i)\b(\d+) minutes? and a half\b`), "$1 minutes and 30 seconds"},
	{lazy(`(?i)\b(?:half an|half a|1/2 an|a half|half) hour\b`), "30 minutes"},
	{lazy(`(?i)\b(?:half a|1/2 a) minute\b`), "30 seconds"},
	{lazy(`(?i)\b(?:a |1/4 )?quarter of an hour\b`), "15 minutes"},
	{lazy(`(?i)\ba couple of (minutes|hours|seconds)\b`), "2 $1"},
	{lazy(`(?i)\ban hour\b`), "1 hour"},
	{lazy(`(?i)\ba minute\b`), "1 minute"},
}

// fractions are those that lights and covers are set to.
var fractions = []struct {
	said pattern
	is   string
}{
	{lazy(`(?i)\b(?:a|one) (?:third|3rd)\b`), "33 percent"}, {lazy(`(?i)\btwo thirds\b`), "67 percent"},
	{lazy(`(?i)\b(to|at) (?:a|one) quarter\b`), "$1 25 percent"}, {lazy(`(?i)\bthree quarters\b`), "75 percent"},
	{lazy(`(?i)\b(?:a|one) fifth\b`), "20 percent"}, {lazy(`(?i)\b(?:a|one) tenth\b`), "10 percent"},
	{lazy(`(?i)\b(at|to|on) half(?: power| brightness| strength)?$`), "$1 50 percent"},
	{lazy(`(?i)\b(at|to|on) full(?: power| brightness| strength| blast)?$`), "$1 100 percent"},
}

var (
	prefix = lazy(`(?i)^(?:(?:hey|hi|hello|ok|okay|so|um+|uh+|uhm|er|well|alright|now|please|kindly|just|actually|listen|quick|also|then|and)[, ]+|` +
		`(?:would you|do you) mind |(?:can|could|would|will) (?:you|we)(?: please| just| kindly)* |(?:i|we|you) (?:want|need|have|would like|would love|gotta|wanna|must|could use|could do with)(?: you)?(?: to)? |` +
		`i'd (?:like|love|prefer|appreciate|rather have|be happier with)(?: it if)?(?: you)?(?: to)? |(?:we'd|we would) (?:like|love|prefer)(?: you)?(?: to)? |go ahead and |go now and |help me (?:to )?|` +
		`let's |lets |be (?:so kind|a dear|nice) (?:as to|and) |how about |what about |why don't (?:you|we) |` +
		`(?:it would|it'd) be (?:nice|great|good|lovely|better) (?:to have|to|if you(?: could| would)?) |(?:it's |it is )?time to |is there any chance (?:you could |of )|do me a (?:favor|favour) and )`)
	suffix = lazy(`(?i)(?:[, ]+(?:please|thanks|thank you|for me|for us|if you can|if you could|if you don't mind|would be (?:nice|great|good|lovely|perfect)|right now|right away|immediately|at once|asap|will you|would you|could you|ok|okay|already|again))[.!?]*$`)

	// offs are "of" where speech recognition did not hear "off".
	// and tos are "too" for "to".
	// gerunds are verbs behind "would you mind" and the like, which prefix has taken away.
	offs    = lazy(`(?i)\b((?:turn|switch|shut) )of( |$)`)
	gerunds = lazy(`(?i)^(?:turning|switching|opening|closing|shutting|locking|unlocking|setting|dimming|putting|making|starting|stopping|pausing|playing|lowering|raising|adding)\b`)
	tos     = lazy(`(?i)\btoo (the|my|our)\b`)
)

// bare is the verb of a gerund.
var bare = map[string]string{
	"turning": "turn", "switching": "switch", "opening": "open", "closing": "close", "shutting": "shut", "locking": "lock", "unlocking": "unlock", "setting": "set", "dimming": "dim",
	"putting": "put", "making": "make", "starting": "start", "stopping": "stop", "pausing": "pause", "playing": "play", "lowering": "lower", "raising": "raise", "adding": "add",
}

var ones = map[string]int{
	"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
	"thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}

var tens = map[string]int{"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}

var (
	units  = set("percent", "per", "%", "degree", "degrees", "second", "seconds", "sec", "secs", "minute", "minutes", "min", "mins", "hour", "hours", "celsius", "fahrenheit", "point", "and")
	before = set("to", "at", "by", "of", "level", "for")
)

// number is the number that words begin with, and how many of them it has; 0 for none.
func number(words []string) (value, n int) {
	take := func(i int) string {
		if i < len(words) {
			return strings.ToLower(strings.TrimRight(words[i], ".,!?"))
		}
		return ""
	}
	w := take(0)
	if a, b, ok := strings.Cut(w, "-"); ok && tens[a] > 0 && ones[b] > 0 {
		return tens[a] + ones[b], 1
	}
	if (w == "a" || w == "one") && take(1) == "hundred" {
		return 100, 2
	}
	if w == "hundred" {
		return 100, 1
	}
	if t := tens[w]; t > 0 {
		if s := ones[take(1)]; s > 0 && s < 10 {
			return t + s, 2
		}
		return t, 1
	}
	if s, ok := ones[w]; ok {
		return s, 1
	}
	return 0, 0
}

// digits writes numbers in digits that have a unit behind them, or that a command ends with.
func digits(text string) string {
	words := strings.Split(text, " ")
	var out []string
	for i := 0; i < len(words); {
		v, n := number(words[i:])
		if n == 0 {
			out = append(out, words[i])
			i++
			continue
		}
		j := i + n
		unit := ""
		if j < len(words) {
			unit = strings.ToLower(strings.TrimRight(words[j], ".,!?"))
		}
		ends := j == len(words) && i > 0 && before[strings.ToLower(words[i-1])] || n == 2
		if units[unit] || ends {
			s := strconv.Itoa(v)
			if unit == "point" {
				if f, m := number(words[j+1:]); m > 0 && f < 10 {
					s += "." + strconv.Itoa(f)
					j += 1 + m
				}
			}
			out = append(out, s)
		} else {
			out = append(out, words[i:j]...)
		}
		i = j
	}
	return strings.ReplaceAll(strings.Join(out, " "), " per cent", " percent")
}
