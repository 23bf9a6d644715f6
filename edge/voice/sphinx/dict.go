package sphinx

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Limits of a dictionary's text.
const (
	maxDictLine = 1024
	maxDict     = 64 << 20
)

// Dictionary is the lines for words of a pronouncing dictionary in the format of CMU's: WORD or WORD(2), white space, phones. Words that it does not have
// get a pronunciation by rule, and are returned as guessed.
func Dictionary(r io.Reader, words []string) (dict []byte, guessed []string, err error) {
	missing := make(map[string]bool, len(words))
	wanted := make(map[string]bool, len(words))
	for _, w := range words {
		missing[w], wanted[w] = true, true
	}
	var b bytes.Buffer
	sc := bufio.NewScanner(io.LimitReader(r, maxDict))
	sc.Buffer(make([]byte, 0, maxDictLine), maxDictLine)
	for sc.Scan() {
		word, phones, ok := strings.Cut(sc.Text(), " ")
		if !ok {
			continue
		}
		base, _, _ := strings.Cut(word, "(")
		if !wanted[base] || strings.TrimSpace(phones) == "" {
			continue
		}
		delete(missing, base)
		fmt.Fprintf(&b, "%s %s\n", word, strings.TrimSpace(phones))
	}
	if err := sc.Err(); err != nil {
		return nil, nil, fmt.Errorf("the dictionary: %w", err)
	}
	for _, w := range words {
		if missing[w] {
			delete(missing, w)
			guessed = append(guessed, w)
			fmt.Fprintf(&b, "%s %s\n", w, strings.Join(Pronounce(w), " "))
		}
	}
	return b.Bytes(), guessed, nil
}

// A spelling and its sound. Longer ones come first; a context of "^" is a word's beginning, "$" its end.
type spelling struct{ letters, phones string }

// spellings are rules of English for names that dictionaries lack, in the phones of CMU's dictionary. They are a guess, no more.
var spellings = []spelling{
	{"tion", "SH AH N"}, {"sion", "ZH AH N"}, {"ough", "AO"}, {"eigh", "EY"}, {"igh", "AY"}, {"tch", "CH"}, {"sch", "SH"}, {"dge", "JH"}, {"ing", "IH NG"}, {"eau", "OW"},
	{"air", "EH R"}, {"ear", "IH R"}, {"eer", "IH R"}, {"our", "AW R"}, {"oor", "AO R"}, {"are$", "EH R"}, {"ire$", "AY R"}, {"ore$", "AO R"},
	{"^kn", "N"}, {"^wr", "R"}, {"^ps", "S"}, {"^gn", "N"}, {"^x", "Z"}, {"mb$", "M"}, {"gh", "G"}, {"ch", "CH"}, {"sh", "SH"}, {"th", "TH"}, {"ph", "F"}, {"wh", "W"}, {"ck", "K"},
	{"ng", "NG"}, {"nk", "NG K"}, {"qu", "K W"}, {"ce", "S EH"}, {"ci", "S IH"}, {"cy", "S IY"}, {"ge$", "JH"}, {"gi", "JH IH"},
	{"ar", "AA R"}, {"er", "ER"}, {"ir", "ER"}, {"ur", "ER"}, {"or", "AO R"}, {"ai", "EY"}, {"ay", "EY"}, {"au", "AO"}, {"aw", "AO"}, {"ea", "IY"}, {"ee", "IY"}, {"ei", "AY"}, {"ey", "IY"},
	{"eu", "Y UW"}, {"ew", "UW"}, {"ie", "IY"}, {"oa", "OW"}, {"oi", "OY"}, {"oo", "UW"}, {"ou", "AW"}, {"ow", "OW"}, {"oy", "OY"}, {"ue", "UW"}, {"ui", "UW"},
	{"bb", "B"}, {"cc", "K"}, {"dd", "D"}, {"ff", "F"}, {"gg", "G"}, {"kk", "K"}, {"ll", "L"}, {"mm", "M"}, {"nn", "N"}, {"pp", "P"}, {"rr", "R"}, {"ss", "S"}, {"tt", "T"}, {"zz", "Z"},
	{"le$", "AH L"}, {"es$", "Z"}, {"ed$", "D"}, {"y$", "IY"}, {"a$", "AH"}, {"o$", "OW"}, {"i$", "IY"}, {"s$", "Z"},
	{"a", "AE"}, {"b", "B"}, {"c", "K"}, {"d", "D"}, {"e$", ""}, {"e", "EH"}, {"f", "F"}, {"g", "G"}, {"h", "HH"}, {"i", "IH"}, {"j", "JH"}, {"k", "K"}, {"l", "L"}, {"m", "M"}, {"n", "N"},
	{"o", "AA"}, {"p", "P"}, {"q", "K"}, {"r", "R"}, {"s", "S"}, {"t", "T"}, {"u", "AH"}, {"v", "V"}, {"w", "W"}, {"x", "K S"}, {"^y", "Y"}, {"y", "IH"}, {"z", "Z"}, {"'", ""},
}

// long are vowels before one consonant and a silent e: "lake".
var long = map[byte]string{'a': "EY", 'i': "AY", 'o': "OW", 'u': "UW", 'e': "IY", 'y': "AY"}

// letterNames are how words are said that have no vowel: "pc".
var letterNames = map[rune]string{
	'a': "EY", 'b': "B IY", 'c': "S IY", 'd': "D IY", 'e': "IY", 'f': "EH F", 'g': "JH IY", 'h': "EY CH", 'i': "AY", 'j': "JH EY", 'k': "K EY", 'l': "EH L", 'm': "EH M", 'n': "EH N",
	'o': "OW", 'p': "P IY", 'q': "K Y UW", 'r': "AA R", 's': "EH S", 't': "T IY", 'u': "Y UW", 'v': "V IY", 'w': "D AH B AH L Y UW", 'x': "EH K S", 'y': "W AY", 'z': "Z IY",
}

// Pronounce guesses the phones of an English word in lower case.
func Pronounce(word string) []string {
	var phones []string
	if !strings.ContainsAny(word, "aeiouy") {
		for _, r := range word {
			phones = append(phones, strings.Fields(letterNames[r])...)
		}
		return orSchwa(phones)
	}
	stem, suffix := word, []string(nil)
	if s, ok := strings.CutSuffix(word, "'s"); ok {
		stem, suffix = s, []string{"Z"}
	}
	for i := 0; i < len(stem); {
		if p, ok := long[stem[i]]; ok && i+3 == len(stem) && stem[i+2] == 'e' && !strings.ContainsRune("aeiouyrwx", rune(stem[i+1])) {
			phones = append(phones, p)
			i++
			continue
		}
		n := 1
		for _, s := range spellings {
			letters := s.letters
			if l, ok := strings.CutPrefix(letters, "^"); ok {
				if letters = l; i > 0 {
					continue
				}
			}
			if l, ok := strings.CutSuffix(letters, "$"); ok {
				if letters = l; i+len(letters) != len(stem) || !strings.ContainsAny(stem[:i], "aeiouy") { // an ending is no word's only syllable
					continue
				}
			}
			if strings.HasPrefix(stem[i:], letters) {
				phones = append(phones, strings.Fields(s.phones)...)
				n = len(letters)
				break
			}
		}
		i += n
	}
	return orSchwa(append(phones, suffix...))
}

// orSchwa is phones, or the one of a word that has none: a dictionary's line has at least one.
func orSchwa(phones []string) []string {
	if len(phones) == 0 {
		return []string{"AH"}
	}
	return phones
}
