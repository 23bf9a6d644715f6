package sensor

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// decimal parses digits with at most one point, as firmware and meters print them: no sign, no exponent, no "inf", nothing after it.
// The result is finite.
func decimal(b []byte) (float64, bool) {
	point, digits := false, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' && !point:
			point = true
		default:
			return 0, false
		}
	}
	if digits == 0 || digits > 30 {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

// integer parses an optional minus and digits that fit.
func integer(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 || b[0] == '+' {
		return 0, false
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	return v, err == nil
}

// hex parses 0x and 1 to 8 digits.
func hex(b []byte) (uint32, bool) {
	d, ok := bytes.CutPrefix(b, []byte("0x"))
	if !ok || len(d) == 0 || len(d) > 8 {
		return 0, false
	}
	for _, c := range d {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(string(d), 16, 32)
	return uint32(v), err == nil
}

// throttled checks the firmware's word: bits that no firmware has set mean that it is something else.
func throttled(v uint32) (Throttled, error) {
	if v&^uint32(throttledMask) != 0 {
		return 0, fmt.Errorf("throttled %#x has bits that mean nothing", v)
	}
	return Throttled(v), nil
}

// celsius checks a temperature.
func celsius(v float64) (float64, error) {
	if !(v >= minCelsius && v <= maxCelsius) {
		return 0, fmt.Errorf("%g °C is not within %d and %d °C", v, minCelsius, maxCelsius)
	}
	return v, nil
}

// hertz checks a clock.
func hertz(v float64) (float64, error) {
	if !(v > 0 && v <= maxHertz) {
		return 0, fmt.Errorf("a clock of %g Hz is not within 0 and %g GHz", v, maxHertz/1e9)
	}
	return v, nil
}

// noReading is the error of a sensor that gives none.
func noReading(name string, err error) error {
	return oneLine(fmt.Errorf("%s: no reading: %w", name, err))
}

// maxError is the most bytes of an error's text.
const maxError = 400

// oneLine is err with a text for logs and reports, whatever a bus, a program or the name of a file put into it: one printable line of at most maxError bytes.
func oneLine(err error) error {
	whole := err.Error()
	s := strings.ToValidUTF8(whole, "?")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxError {
		end := maxError - len("...")
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "..."
	}
	if s == whole {
		return err
	}
	return &lineError{s, err}
}

// lineError is an error with another text.
type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }

// quoted shortens what was read for an error message.
func quoted(b []byte) string {
	if len(b) > 60 {
		return strconv.Quote(string(b[:60])) + "..."
	}
	return strconv.Quote(string(b))
}
