package neon

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bimamba/neon/layout"
)

// The benchmarks of this file are for the goals of every kernel set: BenchmarkStream compares kernels that read a mapped file from memory with Read over the
// same bytes, BenchmarkCache counts the multiplications of 1-bit products whose weights lie in a cache.

const (
	streamBytes = 512 << 20 // more than the last-level caches hold
	turnBytes   = 16 << 20  // for each to go through by turns: after Read, the tables have to come back into the cache
)

// A stream is a kernel over copies of its operand that follow one another in memory.
type stream struct {
	name  string
	bytes int // of a copy
	moved int // bytes read and written for each of them
	run   func(copy []byte)
}

func streams() (all []stream) {
	n := noise(20)
	for _, s := range [][2]int{{6448, 1536}, {10576, 2560}} {
		l := layout.Bits{Rows: s[0], Cols: s[1], Kb: layout.BlockWidth(s[1])}
		dst, x := make([]float32, l.Rows), n.floats(l.Cols)
		for _, form := range []Form{LUT16, LUT8} {
			lut := newLUT(l.Cols, form)
			lut.Build(x, l)
			all = append(all, stream{fmt.Sprintf("lut%d/%dx%d", 16-8*int(form), s[0], s[1]), int(l.Bytes()), 1, func(w []byte) { BitMatVec(dst, w, l, lut, 0, l.Tiles()) }})
		}
	}

	const rows, cols = 32000, 1536
	dst, x, q := make([]float32, rows), n.floats(cols), newQ14(cols)
	q.Quantize(x)
	scales := n.floats(rows)
	all = append(all, stream{"int8/32000x1536", rows * cols, 1, func(w []byte) { I8MatVec(dst, w, scales, q, 0, rows) }})
	half := rows * layout.I4RowBytes(cols)
	all = append(all, stream{"int4/32000x1536", half + 2*rows*layout.I4Groups(cols), 1, func(w []byte) { I4MatVec(dst, w[:half], w[half:], q, 0, rows) }})
	all = append(all, stream{"f16/32000x1536", 2 * rows * cols, 1, func(w []byte) { MatVec(dst, w, F16, x, 0, rows) }})

	const layers, heads, headdim, dState = 48, 48, 64, 128
	const state = layers * heads * headdim * dState
	y, in, b, c := make([]float32, headdim), n.floats(headdim), n.floats(dState), n.floats(dState)
	all = append(all, stream{"state/f32", 4 * state, 2, func(mem []byte) {
		s := unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), state)
		for ; len(s) > 0; s = s[headdim*dState:] {
			StateUpdate(y, s, in, b, c, 0.9, 0.1, 1)
		}
	}})
	all = append(all, stream{"state/f16", 2 * state, 2, func(mem []byte) {
		s := unsafe.Slice((*uint16)(unsafe.Pointer(&mem[0])), state)
		for ; len(s) > 0; s = s[headdim*dState:] {
			StateUpdateF16(y, s, in, b, c, 0.9, 0.1, 1)
		}
	}})
	return all
}

// mappedFile is streamBytes of a mapped file, small numbers as float32 and binary16. What is written to it stays in memory.
func mappedFile(b *testing.B) []byte {
	f, err := os.Create(filepath.Join(b.TempDir(), "stream"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	n, part := noise(21), make([]byte, 1<<20)
	for range streamBytes / len(part) {
		for i := 0; i < len(part); i += 8 {
			binary.LittleEndian.PutUint64(part[i:], n.bits()&0xbf07bf07bf07bf07)
		}
		if _, err := f.Write(part); err != nil {
			b.Fatal(err)
		}
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, streamBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Munmap(mem) })
	return mem
}

// BenchmarkStream goes through the copies with Read and with the kernel by turns, so that what else the machine does is the same for both.
// of_read is the median of the ratios of their speeds; a kernel that writes moves twice what it reads.
func BenchmarkStream(b *testing.B) {
	mem := mappedFile(b)
	before := chosen
	defer use(before)
	for _, s := range streams() {
		for _, name := range Kernels()[1:] {
			b.Run(s.name+"/"+name, func(b *testing.B) {
				use(name)
				turn := (turnBytes + s.bytes - 1) / s.bytes
				turns := len(mem) / (turn * s.bytes)
				var ratios []float64
				var kernel time.Duration
				i := 0
				for b.Loop() {
					part := mem[i%turns*turn*s.bytes:][:turn*s.bytes]
					other := mem[(i+turns/2)%turns*turn*s.bytes:][:turn*s.bytes]
					i++
					start := time.Now()
					Read(other)
					read := time.Since(start)
					for ; len(part) > 0; part = part[s.bytes:] {
						s.run(part[:s.bytes])
					}
					took := time.Since(start) - read
					kernel += took
					ratios = append(ratios, float64(s.moved)*float64(read)/float64(took))
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[len(ratios)/2], "of_read")
				b.ReportMetric(float64(turn*s.bytes*s.moved*len(ratios))/float64(kernel), "GB/s")
			})
		}
	}
}

func BenchmarkCache(b *testing.B) {
	before := chosen
	defer use(before)
	n := noise(22)
	for _, l := range []layout.Bits{{Rows: 2192, Cols: 512, Kb: 512}, {Rows: 1536, Cols: 3072, Kb: 1536}} {
		dst, x, w := make([]float32, l.Rows), n.floats(l.Cols), n.packed(l)
		for _, form := range []Form{LUT16, LUT8} {
			lut := newLUT(l.Cols, form)
			lut.Build(x, l)
			for _, name := range Kernels() {
				b.Run(fmt.Sprintf("lut%d/%dx%d/%s", 16-8*int(form), l.Rows, l.Cols, name), func(b *testing.B) {
					use(name)
					for b.Loop() {
						BitMatVec(dst, w, l, lut, 0, l.Tiles())
					}
					b.ReportMetric(float64(l.Rows)*float64(l.Cols)*float64(b.N)/float64(b.Elapsed()), "GMAC/s")
				})
			}
		}
	}
}
