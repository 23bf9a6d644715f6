package intent

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/edge/internal/edit"
)

// similar tells whether two words count as one: one is the other's plural, or, if both are long, one letter is wrong, or they sound alike. Numbers must be equal.
func similar(a, b string) bool { return alike(a, b, false) }

// alike is similar, but where one of the words is known to be right, only a plural counts.
func alike(a, b string, right bool) bool {
	switch {
	case a == b:
		return true
	case min(len(a), len(b)) < 3 || strings.ContainsFunc(a+b, unicode.IsDigit):
		return false
	case a+"s" == b || b+"s" == a || a+"es" == b || b+"es" == a:
		return true
	case right:
		return false
	}
	if a[0] == b[0] && min(utf8.RuneCountInString(a), utf8.RuneCountInString(b)) >= 5 && oneEdit([]rune(a), []rune(b)) {
		return true
	}
	if k := consonants(a); k == "" || k != consonants(b) {
		return false
	}
	x, y := sound(a), sound(b)
	return x == y || min(len(x), len(y)) > 3 && edit.Distance(x, y, 1) <= 1
}

// sounds are spellings of English with others that sound nearly the same.
var sounds = strings.NewReplacer("ight", "it", "igh", "i", "ough", "o", "augh", "o", "tch", "s", "ch", "s", "sh", "s", "ph", "f", "ck", "k", "ce", "se", "ci", "si", "cy", "si",
	"wh", "w", "wr", "r", "kn", "n", "gn", "n", "qu", "kw", "x", "ks", "th", "t", "dge", "j", "c", "k", "q", "k", "z", "s", "v", "f", "d", "t", "b", "p", "g", "k", "j", "k",
	"y", "i", "ee", "i", "ea", "i", "oo", "u", "ou", "u", "ai", "a", "ay", "a")

// sound is a word as it sounds, roughly: voiced and unvoiced consonants, and letters that are written twice, are one.
func sound(w string) string {
	s := sounds.Replace(w)
	if len(s) > 2 {
		s = strings.TrimSuffix(s, "e")
	}
	var b strings.Builder
	for i := range len(s) {
		if i == 0 || s[i] != s[i-1] {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// consonants are those of a word's sound, and the vowel that it may begin with; "" if there are less than two, which tells nothing.
func consonants(w string) string {
	if len(w) < 3 {
		return ""
	}
	s := sound(w)
	k := make([]byte, 0, len(s))
	for i := range len(s) {
		if i == 0 || !strings.ContainsRune("aeiouhw", rune(s[i])) {
			k = append(k, s[i])
		}
	}
	if len(k) < 2 {
		return ""
	}
	return string(k)
}
