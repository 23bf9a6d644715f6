package measure

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"
)

// Spread is a quantity over the runs.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread is nil for no values.
func spread(values []float64) *Spread {
	n := len(values)
	if n == 0 {
		return nil
	}
	v := slices.Sorted(slices.Values(values))
	return &Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// Times is how long something took, by percentiles, to 1 %.
type Times struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	Max   float64 `json:"max_ms"`
}

// histogram counts durations in buckets that grow by 1 %, so that millions of tokens take no memory from the board that is measured.
type histogram struct {
	buckets [buckets]uint32
	n       int64
	max     time.Duration
}

const (
	shortest = time.Microsecond // all that is shorter counts as that
	growth   = 1.01
	buckets  = 2100 // up to 20 minutes
)

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > shortest {
		i = min(int(math.Log(float64(d)/float64(shortest))/math.Log(growth)), buckets-1)
	}
	h.buckets[i]++
	h.n++
	h.max = max(h.max, d)
}

// merge adds what o has counted.
func (h *histogram) merge(o *histogram) {
	for i, n := range &o.buckets {
		h.buckets[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// times is nil if nothing was counted.
func (h *histogram) times() *Times {
	if h.n == 0 {
		return nil
	}
	return &Times{Count: h.n, P50: h.quantile(0.5), P95: h.quantile(0.95), Max: millis(h.max)}
}

// quantile is the middle of the bucket in which the nearest rank lies, in ms.
func (h *histogram) quantile(q float64) float64 {
	rank, seen := int64(math.Ceil(q*float64(h.n))), int64(0)
	for i, n := range &h.buckets {
		if seen += int64(n); seen >= rank {
			return min(millis(shortest)*math.Pow(growth, float64(i)+0.5), millis(h.max))
		}
	}
	return millis(h.max)
}

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

// Column is a quantity over time. What was not read is NaN, which is null in JSON.
type Column []float64

// MarshalJSON writes four significant digits, which is more than any of the sensors has.
func (c Column) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, v := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendFloat(b, v, 'g', 4, 64)
		}
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Column) UnmarshalJSON(b []byte) error {
	var list []*float64
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*c = make(Column, len(list))
	for i, v := range list {
		(*c)[i] = math.NaN()
		if v != nil {
			(*c)[i] = *v
		}
	}
	return nil
}

// known tells whether any value was read.
func (c Column) known() bool {
	return slices.ContainsFunc(c, func(v float64) bool { return !math.IsNaN(v) })
}

// Series is what happened over time, in equal steps; a long measurement has long steps.
type Series struct {
	Step   float64 `json:"step_s"` // seconds from one value to the next
	Watts  Column  `json:"watts"`
	Heat   Column  `json:"celsius"`      // the hottest part
	Clock  Column  `json:"mhz"`          // the fastest core
	Tokens Column  `json:"tokens_per_s"` // of the time from one token to the next
	Marks  []Mark  `json:"phases"`
}

// Mark is where a phase begins.
type Mark struct {
	At   float64 `json:"at_s"`
	Name string  `json:"name"` // idle, load, prefill, decode or soak
	Run  int     `json:"run,omitempty"`
}

const (
	maxPoints = 2000 // of a series
	maxMarks  = 1000
)

// point adds values for the next step.
func (s *Series) point(watts, celsius, mhz, tokens float64) {
	s.Watts, s.Heat, s.Clock, s.Tokens = append(s.Watts, watts), append(s.Heat, celsius), append(s.Clock, mhz), append(s.Tokens, tokens)
}

// fill gives the last n steps their tokens a second.
func (s *Series) fill(n int, rate float64) {
	for i := range s.Tokens[max(len(s.Tokens)-n, 0):] {
		s.Tokens[len(s.Tokens)-1-i] = rate
	}
}

// halve doubles the step.
func (s *Series) halve() {
	for _, c := range []*Column{&s.Watts, &s.Heat, &s.Clock, &s.Tokens} {
		*c = c.halved()
	}
	s.Step *= 2
}

// halved is the means of neighbours.
func (c Column) halved() Column {
	out := c[:0]
	for i := 0; i < len(c); i += 2 {
		pair, sum, n := c[i:min(i+2, len(c))], 0.0, 0.0
		for _, v := range pair {
			if !math.IsNaN(v) {
				sum, n = sum+v, n+1
			}
		}
		out = append(out, sum/n) // NaN if neither was read
	}
	return out
}
