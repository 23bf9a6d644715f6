package audio

import "math"

// Resampler changes the rate of a stream by a windowed sinc, a phase of it for each place that an output sample can have between input samples.
// The pass band ends at 0.42 of the lower rate; what would fold back into it is at least 60 dB down.
type Resampler struct {
	up, down int         // output samples for input samples
	phases   [][]float32 // up filters, each over taps input samples
	taps     int
	past     []float32 // input not yet done with: the next output sample lies over past[0:taps]
	phase    int       // of the next output sample
	skip     int       // input samples to drop before it
	out      []float32
	in       int // samples that came
	given    int // samples that went
}

// width is how many zero crossings of the sinc lie on each side of its middle.
const width = 24

// NewResampler goes from one rate to another, both from 4,000 to 192,000.
func NewResampler(from, to int) *Resampler {
	g := gcd(from, to)
	r := &Resampler{up: to / g, down: from / g}
	scale := min(1, float64(to)/float64(from)) // the sinc is as wide as the lower rate's
	half := int(math.Ceil(width / scale))
	r.taps = 2 * half
	cut := 0.925 * scale
	r.phases = make([][]float32, r.up)
	for p := range r.phases {
		f, sum := make([]float32, r.taps), 0.0
		at := float64(half-1) + float64(p)/float64(r.up) // of the output sample among the taps
		h := make([]float64, r.taps)
		for i := range h {
			x := float64(i) - at
			h[i] = sinc(cut*x) * kaiser(x/float64(half))
			sum += h[i]
		}
		for i := range h {
			f[i] = float32(h[i] / sum) // no ripple at 0 Hz from phase to phase
		}
		r.phases[p] = f
	}
	r.past = make([]float32, half-1) // silence before the beginning, so that the first output sample is at the first input sample
	return r
}

// Write takes input and gives the output that it completes, which is good until the next call.
func (r *Resampler) Write(x []float32) []float32 {
	r.in += len(x)
	r.past = append(r.past, x...)
	r.out = r.out[:0]
	at := 0
	for {
		at += r.skip
		r.skip = 0
		if at > len(r.past) {
			r.skip = at - len(r.past)
			at = len(r.past)
			break
		}
		if at+r.taps > len(r.past) {
			break
		}
		var sum float32
		for i, h := range r.phases[r.phase] {
			sum += h * r.past[at+i]
		}
		r.out = append(r.out, sum)
		r.phase += r.down
		r.skip = r.phase / r.up
		r.phase %= r.up
	}
	r.past = append(r.past[:0], r.past[at:]...)
	r.given += len(r.out)
	return r.out
}

// Flush gives what silence after the end completes: the whole output is then as long as the input.
func (r *Resampler) Flush() []float32 {
	want := int((int64(r.in)*int64(r.up)+int64(r.down)-1)/int64(r.down)) - r.given
	in := r.in
	out := r.Write(make([]float32, r.taps+1))
	r.in = in
	return out[:max(0, min(want, len(out)))]
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func sinc(x float64) float64 {
	if math.Abs(x) < 1e-9 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is Kaiser's window for 60 dB (beta 5.65), 0 beyond -1 and 1.
func kaiser(x float64) float64 {
	const beta = 5.65
	if x <= -1 || x >= 1 {
		return 0
	}
	return bessel0(beta*math.Sqrt(1-x*x)) / bessel0(beta)
}

// bessel0 is the modified Bessel function of order 0, by its series.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}
