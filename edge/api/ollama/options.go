package ollama

import (
	"encoding/json"
	"math"
	"strconv"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
)

// options is what of a request's "options" means something here. All others are accepted, whatever their type.
// Whole numbers may come with a fraction, which is cut, as Ollama does.
type options struct {
	NumPredict       *float64 `json:"num_predict"`
	Temperature      *float64 `json:"temperature"`
	TopK             *float64 `json:"top_k"`
	TopP             *float64 `json:"top_p"`
	MinP             *float64 `json:"min_p"`
	RepeatPenalty    *float64 `json:"repeat_penalty"`
	PresencePenalty  *float64 `json:"presence_penalty"`
	FrequencyPenalty *float64 `json:"frequency_penalty"`
	Seed             *seed    `json:"seed"`
	Stop             strs     `json:"stop"`
}

// seed is a whole number that keeps all its digits.
type seed int64

func (s *seed) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil || !(math.Abs(f) < math.MaxInt64) {
			return chat.Errorf(chat.Invalid, "options.seed", "%.40s is no whole number of 64 bits", b)
		}
		n = int64(f)
	}
	*s = seed(n)
	return nil
}

// strs is a list of texts, or a single one.
type strs []string

func (s *strs) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = nil
		if one != "" {
			*s = strs{one}
		}
		return nil
	}
	if _, err := body.Count(b, "options.stop", maxStops); err != nil {
		return err
	}
	var list []string
	if json.Unmarshal(b, &list) != nil {
		return chat.Errorf(chat.Invalid, "options.stop", "it is a list of texts")
	}
	*s = list
	return nil
}

// maxTokens is num_predict. Ollama's -1 and -2, without end and until the context is full, mean as many as the service gives, and so does 0.
func (o *options) maxTokens() int {
	if o.NumPredict == nil {
		return 0
	}
	if *o.NumPredict < 1 {
		return math.MaxInt32
	}
	return int(min(*o.NumPredict, math.MaxInt32))
}

func (o *options) sampling() (s chat.Sampling, err error) {
	for _, p := range []struct {
		name     string
		from     *float64
		to       **float32
		min, max float64 // the range to which Ollama cuts the value
	}{
		{"temperature", o.Temperature, &s.Temperature, 0, math.Inf(1)},
		// With 0 only the likeliest token is left.
		{"top_p", o.TopP, &s.TopP, math.SmallestNonzeroFloat32, 1},
		{"min_p", o.MinP, &s.MinP, 0, 1},
		{"repeat_penalty", o.RepeatPenalty, &s.RepetitionPenalty, math.Inf(-1), math.Inf(1)},
		{"presence_penalty", o.PresencePenalty, &s.PresencePenalty, math.Inf(-1), math.Inf(1)},
		{"frequency_penalty", o.FrequencyPenalty, &s.FrequencyPenalty, math.Inf(-1), math.Inf(1)},
	} {
		if p.from == nil {
			continue
		}
		v := min(max(*p.from, p.min), p.max)
		if math.Abs(v) > math.MaxFloat32 {
			return s, chat.Errorf(chat.Invalid, "options."+p.name, "%g is too large", v)
		}
		f := float32(v)
		*p.to = &f
	}
	if o.TopK != nil {
		k := int(min(max(*o.TopK, 0), math.MaxInt32))
		s.TopK = &k
	}
	// -1 is Ollama's word for any seed.
	if o.Seed != nil && *o.Seed != -1 {
		n := uint64(*o.Seed)
		s.Seed = &n
	}
	return s, nil
}
