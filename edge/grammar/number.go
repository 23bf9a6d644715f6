package grammar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// decimal is a number as its digits, without zeros that change nothing.
type decimal struct {
	neg   bool
	whole string // "0" or digits that do not begin with 0
	frac  string // digits that do not end with 0
}

// maxExponent bounds the digits of a decimal.
const maxExponent = 400

// parseDecimal reads a JSON number.
func parseDecimal(s string) (decimal, error) {
	var d decimal
	s, d.neg = strings.CutPrefix(s, "-")
	mantissa, exp := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		var err error
		if exp, err = strconv.Atoi(s[i+1:]); err != nil || exp < -maxExponent || exp > maxExponent {
			return d, errors.New("its exponent is out of range")
		}
		mantissa = s[:i]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	if exp >= 0 {
		frac += strings.Repeat("0", max(0, exp-len(frac)))
		whole, frac = whole+frac[:exp], frac[exp:]
	} else {
		whole = strings.Repeat("0", max(0, -exp-len(whole))) + whole
		whole, frac = whole[:len(whole)+exp], whole[len(whole)+exp:]+frac
	}
	d.whole, d.frac = strings.TrimLeft(whole, "0"), strings.TrimRight(frac, "0")
	if d.whole == "" {
		d.whole = "0"
	}
	if d.zero() {
		d.neg = false
	}
	return d, nil
}

func (d decimal) zero() bool { return d.whole == "0" && d.frac == "" }

func (d decimal) negated() decimal {
	d.neg = !d.neg && !d.zero()
	return d
}

// compare compares values.
func (d decimal) compare(e decimal) int {
	if d.neg != e.neg {
		if d.neg {
			return -1
		}
		return 1
	}
	x, y := d, e
	if d.neg {
		x, y = e, d
	}
	if len(x.whole) != len(y.whole) {
		return len(x.whole) - len(y.whole)
	}
	if c := strings.Compare(x.whole, y.whole); c != 0 {
		return c
	}
	return strings.Compare(x.frac, y.frac)
}

// count is a whole number that is not negative as an int; all large ones are the same.
func (d decimal) count() int {
	n, err := strconv.ParseInt(d.whole, 10, 32)
	if err != nil {
		return 1<<31 - 1
	}
	return int(n)
}

// limit is an end of a range of numbers, open if the end itself is not in it.
type limit struct {
	decimal
	open bool
}

// number takes a number of type number or integer.
func (c *compiler) number(n *nfa, from, to int, v *value, typ, path string) error {
	if x := v.get("multipleOf"); x != nil {
		if d, err := parseDecimal(x.text); x.kind != isNumber || err != nil || d != (decimal{whole: "1"}) {
			return c.errorf(path+"/multipleOf", "multipleOf is supported as 1 only")
		}
		typ = "integer"
	}
	low, err := c.end(v, "minimum", "exclusiveMinimum", path, 1)
	if err != nil {
		return err
	}
	high, err := c.end(v, "maximum", "exclusiveMaximum", path, -1)
	if err != nil {
		return err
	}
	if low == nil && high == nil {
		if typ == "integer" {
			n.call(from, c.b.anyInteger(), to)
		} else {
			n.call(from, c.b.anyNumber(), to)
		}
		return nil
	}
	if low == nil {
		low = &limit{opposite(high.negated(), typ).negated(), false}
	}
	if high == nil {
		high = &limit{opposite(low.decimal, typ), false}
	}
	digits := 0
	if typ == "number" {
		digits = max(0, maxInt-max(len(low.whole), len(high.whole)))
		digits = max(min(digits, 6+max(len(low.frac), len(high.frac))), len(low.frac), len(high.frac))
	}
	if d := low.compare(high.decimal); d > 0 || d == 0 && (low.open || high.open) {
		return c.errorf(path, "no number lies between the minimum and the maximum")
	}
	if len(low.frac) > maxFraction || len(high.frac) > maxFraction {
		return c.errorf(path, "a minimum or maximum with more than %d digits behind the point is not supported", maxFraction)
	}
	r := c.b.once(fmt.Sprintf("%s %v %v", typ, *low, *high), func(n *nfa, start, end int) {
		zero := limit{decimal{whole: "0"}, false}
		if !high.neg {
			from := zero
			if !low.neg {
				from = *low
			}
			n.magnitude(start, from, *high, digits, end)
		}
		if low.neg {
			from := limit{zero.decimal, true}
			if high.neg {
				from = limit{high.negated(), high.open}
			}
			n.magnitude(n.text(start, "-"), from, limit{low.negated(), low.open}, digits, end)
		}
	})
	n.call(from, r, to)
	return nil
}

// opposite is the upper end of a range of which only the lower one is given. Numbers that are no integers are left digits behind the point
// that a float64 can hold.
func opposite(low decimal, typ string) decimal {
	whole := maxInt
	if typ == "number" {
		whole = maxInt - 6
	}
	for _, high := range []decimal{{whole: strings.Repeat("9", whole)}, {whole: strings.Repeat("9", maxInt)}} {
		if low.compare(high) < 0 {
			return high
		}
	}
	return int64s
}

// int64s is the largest integer of 64 bits, and the largest number that is written.
var int64s = decimal{whole: "9223372036854775807"}

// end reads one end of the range: sign is 1 for the lower, -1 for the upper one. Of two the narrower one counts.
func (c *compiler) end(v *value, key, openKey, path string, sign int) (*limit, error) {
	var out *limit
	for _, k := range []string{key, openKey} {
		x := v.get(k)
		if x == nil {
			continue
		}
		if k == openKey && x.kind == isBool { // until draft 4 it said how the other key is meant
			if out != nil {
				out.open = x.text == "true"
			}
			continue
		}
		if x.kind != isNumber {
			return nil, c.errorf(path+pointer(k), "%s has to be a number, not %s", k, x.kind)
		}
		d, err := parseDecimal(x.text)
		if err != nil {
			return nil, c.errorf(path+pointer(k), "%s: %v", k, err)
		}
		if (decimal{whole: d.whole}).compare(int64s) > 0 {
			if d.neg != (sign > 0) {
				return nil, c.errorf(path+pointer(k), "%s is beyond the integers of 64 bits, which is not supported", x.text)
			}
			continue // further away than any number that is written
		}
		if out == nil || sign*d.compare(out.decimal) >= 0 {
			out = &limit{d, k == openKey}
		}
	}
	return out, nil
}

// magnitude takes a number from low to high, both not negative, with at most digits digits behind the point.
func (n *nfa) magnitude(from int, low, high limit, digits, to int) {
	for size := len(low.whole); size <= len(high.whole); size++ {
		r := &ranged{n: n, size: size, digits: digits, end: to, nodes: map[place]int{}}
		at := place{0, size == len(low.whole), size == len(high.whole)}
		r.low, r.lowOpen = padded(low.decimal, digits), low.open
		r.high, r.highOpen = padded(high.decimal, digits), high.open
		n.free(from, r.node(at))
	}
}

// padded is the digits of d with exactly so many behind the point, and one more that stands for those that are cut off.
func padded(d decimal, digits int) string {
	if len(d.frac) > digits {
		return d.whole + d.frac[:digits] + "1"
	}
	return d.whole + d.frac + strings.Repeat("0", digits-len(d.frac)) + "0"
}

// ranged takes numbers of size digits in front of the point, digit by digit, between two others.
type ranged struct {
	n                 *nfa
	size, digits      int
	low, high         string
	lowOpen, highOpen bool
	end               int
	nodes             map[place]int
}

// place is how many digits have been read, and whether they are those of the lower and of the upper limit.
type place struct {
	pos       int
	low, high bool
}

func (r *ranged) node(p place) int {
	at, ok := r.nodes[p]
	if ok {
		return at
	}
	at = r.n.node()
	r.nodes[p] = at
	digit := at
	if p.pos >= r.size {
		if r.fits(p) {
			r.n.free(at, r.end)
		}
		if p.pos == r.size {
			digit = r.n.text(at, ".")
		}
		if p.pos == r.size+r.digits {
			return at
		}
	}
	lo, hi := byte('0'), byte('9')
	if p.pos == 0 && r.size > 1 {
		lo = '1'
	}
	if p.low {
		lo = r.low[p.pos]
	}
	if p.high {
		hi = r.high[p.pos]
	}
	for c := int(lo); c <= int(hi); c++ {
		to := r.node(place{p.pos + 1, p.low && byte(c) == lo, p.high && byte(c) == hi})
		r.n.bytes(digit, byte(c), byte(c), to)
	}
	return at
}

// fits tells whether the number may end: the digits of a limit that are left count as zeros.
func (r *ranged) fits(p place) bool {
	if p.low && (r.lowOpen || strings.Trim(r.low[p.pos:], "0") != "") {
		return false
	}
	return !p.high || !r.highOpen || strings.Trim(r.high[p.pos:], "0") != ""
}
