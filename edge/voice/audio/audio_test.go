package audio

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// tone is a sine of a frequency, 0.5 of full scale.
func tone(hz float64, rate, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(0.5 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return x
}

// file is a WAV in a format.
func file(f Format, frames [][]float32) []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	tag := uint16(1)
	if f.Float {
		tag = 3
	}
	b.WriteString("RIFF\x00\x00\x00\x00WAVELIST\x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00")
	for _, v := range []any{tag, uint16(f.Channels), uint32(f.Rate), uint32(f.Rate * f.Width * f.Channels), uint16(f.Width * f.Channels), uint16(8 * f.Width)} {
		binary.Write(&b, le, v)
	}
	b.WriteString("data")
	binary.Write(&b, le, uint32(len(frames)*f.Width*f.Channels))
	for _, frame := range frames {
		for _, v := range frame {
			switch {
			case f.Float:
				binary.Write(&b, le, v)
			case f.Width == 1:
				b.WriteByte(byte(math.Round(float64(v)*127) + 128))
			default:
				x := uint32(int32(float64(v) * (1<<31 - 1)))
				var all [4]byte
				le.PutUint32(all[:], x)
				b.Write(all[4-f.Width:])
			}
		}
	}
	return b.Bytes()
}

// level is the RMS of samples.
func level(x []int16) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum/float64(len(x))) / (1 << 15)
}

// TestFormats reads a tone of 440 Hz in every kind of WAV: it comes out of the same length and loudness.
func TestFormats(t *testing.T) {
	for _, f := range []Format{
		{16000, 2, 1, false}, {8000, 2, 1, false}, {44100, 2, 2, false}, {48000, 3, 1, false}, {22050, 4, 2, false}, {11025, 1, 1, false}, {48000, 4, 6, true}, {192000, 2, 1, false},
	} {
		n := f.Rate / 2
		mono := tone(440, f.Rate, n)
		frames := make([][]float32, n)
		for i := range frames {
			for range f.Channels {
				frames[i] = append(frames[i], mono[i])
			}
		}
		got, err := ReadAll(bytes.NewReader(file(f, frames)), Speech, time.Second)
		if err != nil {
			t.Errorf("%+v: %v", f, err)
			continue
		}
		if d := len(got) - Rate/2; d < -1 || d > 1 {
			t.Errorf("%+v: %d samples, not %d", f, len(got), Rate/2)
		}
		var worst float64
		for i := 400; i < len(got)-400; i++ {
			want := 0.5 * math.Sin(2*math.Pi*440*float64(i)/Rate)
			worst = max(worst, math.Abs(float64(got[i])/(1<<15)-want))
		}
		limit := 0.002
		if f.Width == 1 {
			limit = 0.012
		}
		if worst > limit {
			t.Errorf("%+v: off by %.4f", f, worst)
		}
	}
}

// TestDownmix: what is on one channel is there with half its loudness.
func TestDownmix(t *testing.T) {
	x := tone(300, Rate, Rate/4)
	frames := make([][]float32, len(x))
	for i := range frames {
		frames[i] = []float32{x[i], 0}
	}
	got, err := ReadAll(bytes.NewReader(file(Format{Rate, 2, 2, false}, frames)), Speech, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if l := level(got); math.Abs(l-0.25/math.Sqrt2) > 0.001 {
		t.Errorf("level %.4f", l)
	}
}

// TestResampler: tones in the band keep their level, tones that would fold back are gone.
func TestResampler(t *testing.T) {
	for _, tt := range []struct {
		from int
		hz   float64
		low  float64 // decibels
		high float64
	}{
		{48000, 100, -0.1, 0.1}, {48000, 6000, -0.1, 0.1}, {48000, 6700, -0.5, 0.1}, {48000, 9000, -200, -60}, {48000, 15900, -200, -60},
		{44100, 3000, -0.1, 0.1}, {44100, 10000, -200, -60}, {8000, 1000, -0.1, 0.1}, {8000, 3400, -0.5, 0.1},
	} {
		r := NewResampler(tt.from, Rate)
		x := tone(tt.hz, tt.from, tt.from)
		var out []int16
		for len(x) > 0 { // in pieces of odd lengths
			n := min(len(x), 1+rand.IntN(700))
			for _, v := range r.Write(x[:n]) {
				out = append(out, Clip16(v))
			}
			x = x[n:]
		}
		for _, v := range r.Flush() {
			out = append(out, Clip16(v))
		}
		if len(out) != Rate {
			t.Errorf("%d Hz: %d samples", tt.from, len(out))
		}
		db := 20 * math.Log10(max(level(out[500:len(out)-500]), 1e-9)/(0.5/math.Sqrt2))
		if db < tt.low || db > tt.high {
			t.Errorf("%.0f Hz at %d: %.2f dB, not %.1f to %.1f", tt.hz, tt.from, db, tt.low, tt.high)
		}
	}
}

func TestBadWAV(t *testing.T) {
	whole := WAV(make([]int16, 100))
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"cut in its head", whole[:30], "cut short"},
		{"no format", append([]byte("RIFF\x00\x00\x00\x00WAVEdata"), 1, 0, 0, 0, 0), "before their format"},
		{"MP3", append(append([]byte{}, whole[:20]...), append([]byte{0x55, 0}, whole[22:]...)...), "number 85"},
		{"no channels", append(append([]byte{}, whole[:22]...), append([]byte{0, 0}, whole[24:]...)...), "0 channels"},
		{"a rate of 1", append(append([]byte{}, whole[:24]...), append([]byte{1, 0, 0, 0}, whole[28:]...)...), "1 samples a second"},
		{"a chunk of 2 GB", append([]byte("RIFF\x00\x00\x00\x00WAVELIST"), 0xff, 0xff, 0xff, 0x7f), "more than"},
		{"too long", WAV(make([]int16, 3*Rate)), "longer than 1s"},
	} {
		_, err := ReadAll(bytes.NewReader(tt.b), Speech, time.Second)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	// Samples that end early are those that are there.
	got, err := ReadAll(bytes.NewReader(whole[:144]), Speech, time.Second)
	if err != nil || len(got) != 50 {
		t.Errorf("cut: %d samples, %v", len(got), err)
	}
	// A program that writes to a pipe knows no size.
	endless := append([]byte{}, whole...)
	copy(endless[40:], "\xff\xff\xff\xff")
	if got, err := ReadAll(bytes.NewReader(endless), Speech, time.Second); err != nil || len(got) != 100 {
		t.Errorf("endless: %d samples, %v", len(got), err)
	}
	// What is no WAV is raw.
	if got, err := ReadAll(bytes.NewReader(make([]byte, 64)), Speech, time.Second); err != nil || len(got) != 32 {
		t.Errorf("raw: %d samples, %v", len(got), err)
	}
	if got, err := ReadAll(bytes.NewReader(nil), Speech, time.Second); err != nil || len(got) != 0 {
		t.Errorf("empty: %d samples, %v", len(got), err)
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(WAV([]int16{1, -1, 32767, -32768}))
	f.Add(file(Format{44100, 3, 2, false}, [][]float32{{0.1, 0.2}, {0.3, -0.4}}))
	f.Add(file(Format{48000, 4, 1, true}, [][]float32{{float32(math.NaN())}, {float32(math.Inf(1))}}))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVE"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ReadAll(bytes.NewReader(b), Speech, time.Minute)
		if err == nil && len(got) > 4*len(b)+Rate/10 {
			t.Errorf("%d samples of %d bytes", len(got), len(b))
		}
	})
}

func TestReaderEnds(t *testing.T) {
	a, err := NewReader(bytes.NewReader(WAV([]int16{1, 2, 3})), Speech)
	if err != nil {
		t.Fatal(err)
	}
	var p [2]int16
	if n, err := a.Read(p[:]); n != 2 || err != nil || p != [2]int16{1, 2} {
		t.Errorf("%d %v %v", n, err, p)
	}
	if n, err := a.Read(p[:]); n != 1 || err != nil || p[0] != 3 {
		t.Errorf("%d %v %v", n, err, p)
	}
	if n, err := a.Read(p[:]); n != 0 || err != io.EOF {
		t.Errorf("%d %v", n, err)
	}
}

// vowels makes speech of a kind: harmonics of 120 Hz through formants, in syllables of 200 ms with gaps of 80 ms, and a fricative before each.
func vowels(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	const syllable, gap = Rate / 5, Rate * 8 / 100
	formants := [][2]float64{{700, 1200}, {300, 2200}, {500, 900}}
	for i := range x {
		at := i % (syllable + gap)
		f := formants[i/(syllable+gap)%len(formants)]
		if at >= syllable {
			continue
		}
		if at < Rate*6/100 {
			x[i] = 0.02 * r.NormFloat64()
			continue
		}
		env := math.Sin(math.Pi * float64(at) / syllable)
		for k := 1.0; k*120 < 4000; k++ {
			hz := 120 * k
			gain := 1/(1+sq((hz-f[0])/150)) + 0.5/(1+sq((hz-f[1])/200))
			x[i] += 0.06 * env * gain * math.Sin(2*math.Pi*hz*float64(i)/Rate)
		}
	}
	return x
}

func sq(x float64) float64 { return x * x }

// heard is the frames of speech that the detector finds, of all.
func heard(v *VAD, x []float64) (speech, all int) {
	var f [FrameSamples]int16
	for ; len(x) >= FrameSamples; x = x[FrameSamples:] {
		for i := range f {
			f[i] = Clip16(float32(x[i]))
		}
		if v.Speech(f[:]) {
			speech++
		}
		all++
	}
	return speech, all
}

// TestVAD holds the detector to what the loop needs: it hears nothing in noise of any loudness and colour, and speech in it down to 10 dB.
func TestVAD(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(n int, level float64, brown bool) []float64 {
		x := make([]float64, n)
		var low float64
		for i := range x {
			w := r.NormFloat64()
			if brown {
				low = 0.95*low + w
				w = low / 3.2
			}
			x[i] = level * w
		}
		return x
	}
	for _, tt := range []struct {
		name  string
		level float64
		brown bool
		least float64 // of frames in speech
	}{
		{"silence", 0, false, 0.7}, {"a quiet room", 1e-4, false, 0.7}, {"20 dB", 3e-3, false, 0.7}, {"20 dB, brown", 3e-3, true, 0.7}, {"10 dB", 1e-2, false, 0.5}, {"a loud fan", 0.1, true, 0},
	} {
		var v VAD
		before := noise(10*Rate, tt.level, tt.brown)
		n, all := heard(&v, before)
		if n > all/50 {
			t.Errorf("%s: %d of %d frames of noise are speech", tt.name, n, all)
		}
		if tt.least == 0 {
			continue
		}
		said := vowels(r, 4*Rate)
		for i, w := range noise(len(said), tt.level, tt.brown) {
			said[i] += w
		}
		n, all = heard(&v, said)
		if float64(n) < tt.least*float64(all) {
			t.Errorf("%s: %d of %d frames of speech are found", tt.name, n, all)
		}
		t.Logf("%s: %d of %d frames of speech", tt.name, n, all)
		heard(&v, noise(Rate/2, tt.level, tt.brown))
		n, all = heard(&v, noise(5*Rate, tt.level, tt.brown))
		if n > all/20 {
			t.Errorf("%s: %d of %d frames behind speech are speech", tt.name, n, all)
		}
	}
	// A fan that is switched on is speech for some two seconds at the most, and hum at once no longer than that.
	var v VAD
	heard(&v, noise(5*Rate, 1e-4, false))
	heard(&v, noise(2*Rate, 1e-2, false))
	if n, all := heard(&v, noise(5*Rate, 1e-2, false)); n > all/20 {
		t.Errorf("a fan: %d of %d frames are speech after 2 s", n, all)
	}
	// Full scale, and the most that can be: it neither fails nor sticks.
	loud := make([]float64, 5*Rate)
	for i := range loud {
		loud[i] = math.Copysign(2, math.Sin(float64(i)/7))
	}
	heard(&v, loud)
	heard(&v, noise(3*Rate, 1e-4, false))
	if n, all := heard(&v, noise(5*Rate, 1e-4, false)); n > all/20 {
		t.Errorf("after clipping: %d of %d frames are speech", n, all)
	}
}

func BenchmarkVAD(b *testing.B) {
	var v VAD
	var f [FrameSamples]int16
	for i := range f {
		f[i] = int16(rand.IntN(2000) - 1000)
	}
	for b.Loop() {
		v.Speech(f[:])
	}
}

func BenchmarkResampler(b *testing.B) {
	r := NewResampler(48000, Rate)
	x := tone(440, 48000, 960)
	for b.Loop() {
		r.Write(x)
	}
}
