package audio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Rate is samples a second of everything in this package that does not say otherwise.
const Rate = 16000

// Duration is how long n samples take at [Rate].
func Duration(n int) time.Duration { return time.Duration(n) * time.Second / Rate }

// Samples is how many samples at [Rate] take d.
func Samples(d time.Duration) int { return int(d * Rate / time.Second) }

// Format is how samples lie in a stream: little-endian, the channels of a moment side by side.
type Format struct {
	Rate     int  // frames a second, 4,000 to 192,000
	Width    int  // bytes a sample: 1 (unsigned), 2, 3 or 4
	Channels int  // 1 to 16
	Float    bool // of 4 bytes: float32 instead of integers
}

// Speech is the format of this package's samples.
var Speech = Format{Rate: Rate, Width: 2, Channels: 1}

// Limits of what is read.
const (
	minRate, maxRate = 4000, 192000
	maxChannels      = 16
	maxChunk         = 1 << 20 // bytes of a chunk before the samples
	maxChunks        = 64
)

// Check says what about f cannot be read.
func (f Format) Check() error {
	switch {
	case f.Rate < minRate || f.Rate > maxRate:
		return fmt.Errorf("%d samples a second; it has to be %d to %d", f.Rate, minRate, maxRate)
	case f.Width < 1 || f.Width > 4 || f.Float && f.Width != 4:
		return fmt.Errorf("samples of %d bytes; they have to be of 1 to 4, or float32", f.Width)
	case f.Channels < 1 || f.Channels > maxChannels:
		return fmt.Errorf("%d channels; it has to be 1 to %d", f.Channels, maxChannels)
	}
	return nil
}

// Reader reads a stream of audio as samples of this package: mixed down, and resampled.
type Reader struct {
	r      *bufio.Reader
	format Format
	left   int64 // bytes of samples, -1 for as many as come
	rs     *Resampler
	frames []byte // a whole number of frames
	mono   []float32
	out    []int16 // read from out[at:]
	at     int
	err    error
}

// NewReader reads the head of a WAV stream. A stream that does not begin as one is raw samples in the given format.
// The size in a WAV's head is believed only where the writer can have known it: programs that write to pipes put a large number there.
func NewReader(r io.Reader, raw Format) (*Reader, error) {
	a := &Reader{r: bufio.NewReaderSize(r, 8192), format: raw, left: -1}
	head, err := a.r.Peek(12)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 12 && string(head[:4]) == "RIFF" && string(head[8:]) == "WAVE" {
		if err := a.header(); err != nil {
			return nil, fmt.Errorf("the WAV: %w", err)
		}
	}
	if err := a.format.Check(); err != nil {
		return nil, fmt.Errorf("the audio: %w", err)
	}
	if a.format.Rate != Rate {
		a.rs = NewResampler(a.format.Rate, Rate)
	}
	return a, nil
}

// Format is the stream's own.
func (a *Reader) Format() Format { return a.format }

var errEnds = errors.New("it ends before its samples; was it cut short?")

// header reads up to the samples. Source: Multimedia Programming Interface and Data Specifications 1.0, Microsoft 1991; WAVE_FORMAT_EXTENSIBLE as in mmreg.h.
func (a *Reader) header() error {
	a.r.Discard(12)
	known := false
	for range maxChunks {
		var head [8]byte
		if _, err := io.ReadFull(a.r, head[:]); err != nil {
			return errEnds
		}
		id, size := string(head[:4]), int64(binary.LittleEndian.Uint32(head[4:]))
		if id == "data" {
			if !known {
				return errors.New("its samples come before their format")
			}
			if size > 0 && size < 0x7fff0000 {
				a.left = size
			}
			return nil
		}
		size += size & 1
		if size > maxChunk {
			return fmt.Errorf("its chunk %q has %d bytes, more than %d", id, size, maxChunk)
		}
		if id != "fmt " {
			if n, err := a.r.Discard(int(size)); err != nil || int64(n) != size {
				return errEnds
			}
			continue
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(a.r, b); err != nil {
			return errEnds
		}
		if size < 16 {
			return fmt.Errorf("its format has %d bytes, fewer than 16", size)
		}
		tag := binary.LittleEndian.Uint16(b)
		if tag == 0xfffe && size >= 26 {
			tag = binary.LittleEndian.Uint16(b[24:])
		}
		if tag != 1 && tag != 3 {
			return fmt.Errorf("its encoding is number %d; only PCM (1) and float (3) are read", tag)
		}
		bits := int(binary.LittleEndian.Uint16(b[14:]))
		a.format = Format{
			Rate: int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)), Channels: int(binary.LittleEndian.Uint16(b[2:])), Width: (bits + 7) / 8, Float: tag == 3,
		}
		known = true
	}
	return fmt.Errorf("it has more than %d chunks before its samples", maxChunks)
}

// Read fills p with samples. Like [io.Reader] it may give fewer, and io.EOF behind the last.
func (a *Reader) Read(p []int16) (int, error) {
	for a.at == len(a.out) {
		if a.err != nil {
			return 0, a.err
		}
		a.fill()
	}
	n := copy(p, a.out[a.at:])
	a.at += n
	return n, nil
}

// fill reads some frames into out.
func (a *Reader) fill() {
	size := a.format.Width * a.format.Channels
	want := max(a.format.Rate/100, 1) * size // 10 ms
	if cap(a.frames) < want {
		a.frames = make([]byte, want)
	}
	if a.left >= 0 {
		want = int(min(int64(want), a.left/int64(size)*int64(size)))
	}
	n, err := io.ReadFull(a.r, a.frames[:want])
	if errors.Is(err, io.ErrUnexpectedEOF) || want == 0 {
		err = io.EOF
	}
	n -= n % size
	if a.left >= 0 {
		a.left -= int64(n)
	}
	a.mono = a.mono[:0]
	for b := a.frames[:n]; len(b) > 0; b = b[size:] {
		a.mono = append(a.mono, a.format.mix(b))
	}
	a.at, a.out = 0, a.out[:0]
	x := a.mono
	if a.rs != nil {
		x = a.rs.Write(x)
		if err == io.EOF {
			x = append(x, a.rs.Flush()...)
		}
	}
	for _, v := range x {
		a.out = append(a.out, Clip16(v))
	}
	a.err = err
}

// mix is the mean of a frame's channels, from -1 to 1.
func (f Format) mix(frame []byte) float32 {
	var sum float32
	for c := range f.Channels {
		b := frame[c*f.Width:]
		switch {
		case f.Float:
			v := math.Float32frombits(binary.LittleEndian.Uint32(b))
			if v != v {
				v = 0
			}
			sum += max(-1, min(1, v))
		case f.Width == 1:
			sum += (float32(b[0]) - 128) / 128
		case f.Width == 2:
			sum += float32(int16(binary.LittleEndian.Uint16(b))) / (1 << 15)
		case f.Width == 3:
			sum += float32(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)) / (1 << 31)
		default:
			sum += float32(int32(binary.LittleEndian.Uint32(b))) / (1 << 31)
		}
	}
	return sum / float32(f.Channels)
}

// Clip16 is a sample from -1 to 1 as 16 bits, the nearest there is.
func Clip16(v float32) int16 {
	return int16(max(-1<<15, min(1<<15-1, math.RoundToEven(float64(v)*(1<<15)))))
}

// ReadAll reads a stream of at most so long; more is an error.
func ReadAll(r io.Reader, raw Format, most time.Duration) ([]int16, error) {
	a, err := NewReader(r, raw)
	if err != nil {
		return nil, err
	}
	var all []int16
	var buf [Rate / 10]int16
	for {
		n, err := a.Read(buf[:])
		all = append(all, buf[:n]...)
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, err
		case len(all) > Samples(most):
			return nil, fmt.Errorf("the audio is longer than %v", most)
		}
	}
}

// WAV is samples as a file.
func WAV(samples []int16) []byte {
	var b bytes.Buffer
	b.Grow(44 + 2*len(samples))
	b.Write(Header(len(samples)))
	binary.Write(&b, binary.LittleEndian, samples)
	return b.Bytes()
}

// Header is what a WAV file of n samples begins with.
func Header(n int) []byte {
	b := make([]byte, 0, 44)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(36+2*n))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // channels
	b = le.AppendUint32(b, Rate)
	b = le.AppendUint32(b, 2*Rate)
	b = le.AppendUint16(b, 2)  // bytes of a frame
	b = le.AppendUint16(b, 16) // bits of a sample
	b = append(b, "data"...)
	return le.AppendUint32(b, uint32(2*n))
}

// Bytes is samples without a head, little-endian.
func Bytes(samples []int16) []byte {
	b := make([]byte, 0, 2*len(samples))
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}
