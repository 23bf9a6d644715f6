// Package audio is sound as speech engines take it: one channel of 16-bit samples, 16,000 a second. It reads and writes WAV, mixes down, resamples, and
// tells speech from the noise of a room.
package audio
