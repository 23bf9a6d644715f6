package sphinx

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var (
	units = [...]string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
		"seventeen", "eighteen", "nineteen"}
	tens = [...]string{"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}
)

// spell is a number from 0 to 100 in words.
func spell(n int) string {
	switch {
	case n >= 100:
		return "one hundred"
	case n < len(units):
		return units[n]
	case n%10 == 0:
		return tens[n/10]
	}
	return tens[n/10] + " " + units[n%10]
}

// spoken is a name as words of a dictionary: in lower case, without accents, numbers up to 100 in words. It is "" if nobody could read it aloud.
func spoken(name string) string {
	var words []string
	for _, w := range strings.FieldsFunc(norm.NFD.String(strings.ToLower(name)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' && r != '’' && !unicode.Is(unicode.Mn, r)
	}) {
		var b strings.Builder
		number := ""
		flush := func() {
			for _, d := range numberWords(number) {
				b.WriteString(" " + d)
			}
			if number != "" {
				b.WriteByte(' ')
			}
			number = ""
		}
		for _, r := range w {
			switch {
			case r >= '0' && r <= '9':
				number += string(r)
				continue
			case r == '’':
				r = '\''
			case unicode.Is(unicode.Mn, r):
				continue
			case r == 'ß':
				flush()
				b.WriteString("ss")
				continue
			}
			if r != '\'' && (r < 'a' || r > 'z') {
				return "" // another script
			}
			flush()
			b.WriteRune(r)
		}
		flush()
		for _, x := range strings.Fields(b.String()) {
			if x = strings.Trim(x, "'"); x != "" {
				words = append(words, x)
			}
		}
	}
	return strings.Join(words, " ")
}

// numberWords are a number's words: up to 100 as one, else digit by digit.
func numberWords(s string) []string {
	if s == "" {
		return nil
	}
	if n := len(s); n <= 2 || s == "100" {
		v := 0
		for _, d := range s {
			v = 10*v + int(d-'0')
		}
		return strings.Fields(spell(v))
	}
	var words []string
	for _, d := range s {
		words = append(words, units[d-'0'])
	}
	return words
}

// measured are words after which number words are figures, as models of text know them: "50 percent".
var measured = map[string]bool{
	"percent": true, "degrees": true, "degree": true, "second": true, "seconds": true, "minute": true, "minutes": true, "hour": true, "hours": true,
}

// Figures writes number words before a unit in figures: "fifty percent" is "50 percent".
func Figures(text string) string {
	words := strings.Fields(text)
	var out []string
	for i := 0; i < len(words); {
		n, used := number(words[i:])
		if used > 0 && i+used < len(words) && measured[words[i+used]] {
			out = append(out, numeral(n))
			i += used
			continue
		}
		out = append(out, words[i])
		i++
	}
	return strings.Join(out, " ")
}

func numeral(n int) string {
	if n == 100 {
		return "100"
	}
	s := string(rune('0' + n%10))
	if n >= 10 {
		s = string(rune('0'+n/10)) + s
	}
	return s
}

// number reads number words, 0 to 100, and how many there are.
func number(words []string) (n, used int) {
	for k := 2; k > 0; k-- {
		if len(words) < k {
			continue
		}
		if v, ok := values[strings.Join(words[:k], " ")]; ok {
			return v, k
		}
	}
	return 0, 0
}

var values = func() map[string]int {
	m := map[string]int{"hundred": 100}
	for n := range 101 {
		m[spell(n)] = n
	}
	return m
}()
