package bench

// Rival is another engine's speed on the same shape, measured elsewhere, and what it comes to at the bandwidth of this run.
type Rival struct {
	Engine    string  `json:"engine"`
	Prefill   float64 `json:"prefill_tokens_per_s,omitempty"` // 512 tokens, as measured
	Decode    float64 `json:"decode_tokens_per_s"`            // as measured
	Bandwidth float64 `json:"read_bandwidth_bytes_per_s"`     // of the machine that it was measured on
	Scaled    float64 `json:"scaled_decode_tokens_per_s"`     // Decode times the bandwidth of this run over that one
}

// Read bandwidth of the rivals' machine (Zen 5, 2 cores, AVX-512) with one thread and with two. The rivals: llama.cpp of August 2026, random weights in
// the shape, medians on an idle machine; Q1_0 is its 1-bit type, and the other its fastest.
var rivalRead = map[int]float64{1: 40.8e9, 2: 46.0e9}

var rivals = map[string]map[int][]Rival{
	"780M": {
		1: {{Engine: "llama.cpp Q1_0", Decode: 27.9}, {Engine: "llama.cpp Q2_K", Decode: 33.7}, {Engine: "bitmamba.c with a 128-wide state (estimate)", Decode: 44}},
		2: {{Engine: "llama.cpp Q1_0", Decode: 45.3, Prefill: 81}, {Engine: "llama.cpp Q4_0", Decode: 51.8, Prefill: 209}, {Engine: "bitmamba.c with a 128-wide state (estimate)", Decode: 67}},
	},
	"2.7B": {
		1: {{Engine: "llama.cpp Q1_0", Decode: 11.1}},
		2: {{Engine: "llama.cpp Q1_0", Decode: 18.0}},
	},
}

// Rivals is what is known of other engines at a size and number of threads, scaled to the bandwidth read. It is empty where nothing is.
func Rivals(size string, threads int, read float64) []Rival {
	var out []Rival
	for _, r := range rivals[size][threads] {
		r.Bandwidth = rivalRead[threads]
		r.Scaled = r.Decode * read / r.Bandwidth
		out = append(out, r)
	}
	return out
}
