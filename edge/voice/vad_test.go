package voice

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"bimamba/edge/voice/audio"
)

// TestVoiceVAD measures the detector on the same voices: frames of speech that it misses and frames of noise that it takes for speech, by the loudness of the clean
// recording. Without noise, the whispers of a voice are no noise: only what is below -80 dBFS. What follows speech within [audio.VADTail] is neither. `make voice-test`
func TestVoiceVAD(t *testing.T) {
	if os.Getenv("BIMAMBA_VOICE") == "" {
		t.Skip("needs programs that not every machine has: BIMAMBA_VOICE=. (make voice-test)")
	}
	read := func(name string) (x []int16) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if x, err = audio.ReadAll(f, audio.Speech, maxUtterance); err != nil {
			t.Fatal(err)
		}
		return x
	}
	const n = audio.FrameSamples
	energy := func(f []int16) (sum float64) {
		for _, s := range f {
			sum += float64(s) * float64(s)
		}
		return sum / n
	}
	for _, voice := range []string{"flite slt", "flite rms", "espeak-ng"} {
		for _, noisy := range []bool{false, true} {
			speech, missed, quiet, taken := 0, 0, 0, 0
			for i, c := range readCommands(t) {
				if i%6 != 0 {
					continue
				}
				dir := t.TempDir()
				say(t, voice, c.text, false, filepath.Join(dir, "clean.wav"))
				clean := read(filepath.Join(dir, "clean.wav"))
				x := clean
				if noisy {
					say(t, voice, c.text, true, filepath.Join(dir, "noisy.wav"))
					x = read(filepath.Join(dir, "noisy.wav"))
				}
				var loudest float64
				for f := clean; len(f) >= n; f = f[n:] {
					loudest = max(loudest, energy(f))
				}
				var v audio.VAD
				since := math.MaxInt32
				for at := 0; at+n <= min(len(clean), len(x)); at += n {
					heard, e := v.Speech(x[at:at+n]), energy(clean[at:at+n])
					since++
					switch {
					case e > loudest*1e-3: // 30 dB below
						since = 0
						speech++
						if !heard {
							missed++
						}
					case (e < 10 || noisy && e < loudest*1e-4) && audio.Duration(since*n) > audio.VADTail:
						quiet++
						if heard {
							taken++
						}
					}
				}
			}
			t.Logf("RESULT %s, noise %v: %.1f %% of %d frames of speech missed, %.1f %% of %d others taken for speech", voice, noisy, 100*float64(missed)/float64(speech), speech, 100*float64(taken)/float64(quiet), quiet)
			if missed*10 > speech || taken*10 > quiet {
				t.Errorf("more than a tenth is wrong")
			}
		}
	}
}
