package wyoming

import (
	"fmt"
	"io"
)

// Format is that of raw PCM audio: little-endian, signed but for a width of 1.
type Format struct {
	Rate     int `json:"rate"`     // samples a second
	Width    int `json:"width"`    // bytes of a sample
	Channels int `json:"channels"` // interleaved
}

// Limits of formats, far beyond what speech needs.
const (
	maxRate     = 384_000
	maxWidth    = 4
	maxChannels = 8
)

// chunkBytes is the most that a chunk of audio has: 128 ms of 16 kHz mono.
const chunkBytes = 4096

// Frame is the bytes of one sample of all channels.
func (f Format) Frame() int { return f.Width * f.Channels }

func (f Format) String() string {
	return fmt.Sprintf("%d Hz, %d bit, %d channels", f.Rate, 8*f.Width, f.Channels)
}

func (f Format) check() error {
	if f.Rate < 1 || f.Rate > maxRate || f.Width < 1 || f.Width > maxWidth || f.Channels < 1 || f.Channels > maxChannels {
		return fmt.Errorf("%v is no format of audio; up to %d Hz, %d bit and %d channels are taken", f, maxRate, 8*maxWidth, maxChannels)
	}
	return nil
}

// milliseconds is the time that bytes of audio take.
func (f Format) milliseconds(bytes int64) int64 {
	return bytes / int64(f.Frame()) * 1000 / int64(f.Rate)
}

// audioData is the data of audio-start and audio-chunk, with the time since the start in milliseconds.
type audioData struct {
	Format
	Timestamp *int64 `json:"timestamp,omitempty"`
}

type stopData struct {
	Timestamp *int64 `json:"timestamp,omitempty"`
}

// readFrames is one read of r, and as many more as the last frame needs. A part of a frame at the end is left out.
func readFrames(r io.Reader, buf []byte, frame int) (int, error) {
	n, err := r.Read(buf)
	for err == nil && n%frame != 0 {
		var m int
		m, err = r.Read(buf[n : n+frame-n%frame])
		n += m
	}
	return n - n%frame, err
}
