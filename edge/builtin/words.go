package builtin

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// join is a list in words.
func join(parts []string) string {
	switch n := len(parts); n {
	case 0:
		return ""
	case 1:
		return parts[0]
	default:
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
}

// units splits a time; seconds are left out of one of hours that is only said.
func units(d time.Duration) (hours, minutes, seconds int) {
	s := int(d.Round(time.Second) / time.Second)
	return s / 3600, s / 60 % 60, s % 60
}

// span is a time in words: "1 hour, 15 minutes and 30 seconds".
func span(d time.Duration) string {
	var parts []string
	h, m, s := units(d)
	for _, u := range []struct {
		n    int
		noun string
	}{{h, "hour"}, {m, "minute"}, {s, "second"}} {
		if u.n > 0 {
			parts = append(parts, count(u.n, u.noun))
		}
	}
	if len(parts) == 0 {
		return "0 seconds"
	}
	return join(parts)
}

// about is a time that is left or gone, as exactly as one wants to hear it. What is left is never none.
func about(d time.Duration) string {
	d = max(d, time.Second)
	switch {
	case d >= 48*time.Hour:
		return count(int(d.Round(24*time.Hour)/(24*time.Hour)), "day")
	case d >= time.Hour:
		return span(d.Round(time.Minute))
	case d >= 10*time.Minute:
		return span(d.Round(10 * time.Second))
	}
	return span(d)
}

// adjective is a time before a noun: "1 hour 15 minute".
func adjective(d time.Duration) string {
	var parts []string
	h, m, s := units(d)
	for _, u := range []struct {
		n    int
		noun string
	}{{h, "hour"}, {m, "minute"}, {s, "second"}} {
		if u.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", u.n, u.noun))
		}
	}
	return strings.Join(parts, " ")
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// sentence begins with a capital.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// plain is a name as it is compared: "The Pizza timer" is "pizza".
func plain(s string, noun string) string {
	s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
	for _, article := range []string{"the ", "my ", "our ", "a "} {
		s = strings.TrimPrefix(s, article)
	}
	if t := strings.TrimSuffix(s, " "+noun); t != s {
		return t
	}
	return s
}

// singular is a word as it is compared where its number does not matter.
func singular(s string) string {
	for _, end := range []string{"ies", "es", "s"} {
		if t, ok := strings.CutSuffix(s, end); ok && len(t) > 2 {
			if end == "ies" {
				return t + "y"
			}
			return t
		}
	}
	return strings.TrimSuffix(s, "e")
}

// number is a slot's number; ok is false if there is none, and for what is not one from 0 to a million.
func (s slots) number(name string) (v float64, given, ok bool) {
	switch x := s[name].(type) {
	case nil:
		return 0, false, true
	case int:
		v = float64(x)
	case int64:
		v = float64(x)
	case float64:
		v = x
	case json.Number:
		var err error
		if v, err = x.Float64(); err != nil {
			return 0, true, false
		}
	case string:
		x = strings.ToLower(strings.TrimSpace(x))
		switch x {
		case "":
			return 0, false, true
		case "half", "1/2", "half a", "half an":
			v = 0.5
		default:
			var err error
			if v, err = strconv.ParseFloat(x, 64); err != nil {
				return 0, true, false
			}
		}
	default:
		return 0, true, false
	}
	return v, true, v >= 0 && v <= 1e6 && !math.IsNaN(v)
}

// length is the time in the slots hours, minutes and seconds, whose names have a prefix.
func (s slots) length(prefix string) (d time.Duration, given, ok bool) {
	var sum float64
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"hours", time.Hour}, {"minutes", time.Minute}, {"seconds", time.Second}} {
		v, there, ok := s.number(prefix + u.name)
		if !ok {
			return 0, true, false
		}
		given = given || there
		sum += v * u.unit.Seconds()
	}
	if sum > maxLength.Seconds() {
		return maxLength + time.Second, given, true
	}
	return time.Duration(math.Round(sum)) * time.Second, given, true
}
