package neon

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bimamba/neon/layout"
)

// guarded is n elements between two pages that must not be touched: they end at the second one, or, with front, begin behind the first.
func guarded[T any](t *testing.T, n int, front bool) []T {
	t.Helper()
	page := unix.Getpagesize()
	size := n * int(unsafe.Sizeof(*new(T)))
	pages := (size + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, pages+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	for _, p := range [][]byte{mem[:page], mem[page+pages:]} {
		if err := unix.Mprotect(p, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	at := page
	if !front {
		at += pages - size
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[at])), n)
}

func guardedFloats(t *testing.T, n *noise, count int, front bool) []float32 {
	x := guarded[float32](t, count, front)
	for i := range x {
		x[i] = n.float()
	}
	return x
}

func guardedBytes(t *testing.T, n *noise, count int, front bool) []byte {
	x := guarded[byte](t, count, front)
	for i := range x {
		x[i] = byte(n.bits())
	}
	return x
}

func TestGuardPages(t *testing.T) { eachKernel(t, testGuardPages) }

// testGuardPages runs every kernel with every buffer against a page that must not be touched. The other tests look at the results.
func testGuardPages(t *testing.T) {
	n := noise(15)
	for _, front := range []bool{false, true} {
		floats := func(count int) []float32 { return guardedFloats(t, &n, count, front) }
		bytes := func(count int) []byte { return guardedBytes(t, &n, count, front) }
		for _, count := range []int{1, 15, 16, 17, 64, 100, 128, 1000} {
			x, y, dst := floats(count), floats(count), floats(count)
			Dot(x, y)
			Sum(x)
			Scale(dst, x, 2)
			Mul(dst, x, y)
			Add(dst, x, y)
			AddScalar(dst, x, 2)
			ExpTo(dst, x)
			SoftplusTo(dst, x)
			SiLU(dst, x)
			ConvStep(dst, floats(4*count), floats(4*count), y, 4, 1, count, 0)
			for _, headdim := range []int{1, 3, 8} {
				StateUpdate(floats(headdim), floats(headdim*count), floats(headdim), x, y, 0.5, 0.5, 0.5)
				StateUpdateF16(floats(headdim), guarded[uint16](t, headdim*count, front), floats(headdim), x, y, 0.5, 0.5, 0.5)
			}
			q := NewQ14(bytes(int(Q14Size(count))), count)
			q.Quantize(x)
			for _, rows := range []int{1, 2, 3, 4, 5, 9} {
				I8MatVec(floats(rows), bytes(rows*count), floats(rows), q, 0, rows)
				I4MatVec(floats(rows), bytes(rows*layout.I4RowBytes(count)), bytes(2*rows*layout.I4Groups(count)), q, 0, rows)
				for _, e := range elems {
					MatVec(floats(rows), bytes(rows*count*e.elem.size()), e.elem, x, 0, rows)
				}
			}
			for _, rows := range []int{1, 64, 65, 192} {
				for _, kb := range []int{64, 128, layout.BlockWidth(count)} {
					l := layout.Bits{Rows: rows, Cols: count, Kb: min(kb, (count+63)&^63)}
					for _, form := range []Form{LUT16, LUT8} {
						lut := NewLUT(bytes(int(LUTSize(count, form))), count, form)
						lut.Build(x, l)
						w := bytes(int(l.Bytes()))
						BitMatVec(floats(rows), w, l, lut, 0, l.Tiles())
						BitMatMul([][]float32{floats(rows), floats(rows)}, w, l, []*LUT{lut, lut}, 0, l.Tiles())
					}
				}
			}
		}
	}
}

func TestAlignments(t *testing.T) { eachKernel(t, testAlignments) }

// testAlignments runs kernels on buffers at every offset that their element type allows, against themselves at offset 0.
func testAlignments(t *testing.T) {
	const count, rows = 192, 3
	l := layout.Bits{Rows: 64 * rows, Cols: count, Kb: 128}
	outputs := func(at int) (out []float32) {
		n := noise(16)
		floats := func(count int) []float32 {
			x := unsafe.Slice((*float32)(unsafe.Pointer(&dirty(int64(4 * (count + 16)))[4*at])), count)
			for i := range x {
				x[i] = n.float()
			}
			return x
		}
		bytes := func(count int) []byte {
			b := dirty(int64(count + 64))[at : at+count : at+count]
			for i := range b {
				b[i] = byte(n.bits())
			}
			return b
		}
		x, y, dst := floats(count), floats(count), floats(count)
		keep := func(x []float32) { out = append(out, x...) }
		for _, f := range []func(){
			func() { Scale(dst, x, 2) }, func() { Mul(dst, x, y) }, func() { Add(dst, x, y) }, func() { AddScalar(dst, x, 2) },
			func() { ExpTo(dst, x) }, func() { SoftplusTo(dst, x) }, func() { SiLU(dst, x) },
			func() { ConvStep(dst, floats(4*count), floats(4*count), y, 4, 1, count, 0) },
		} {
			f()
			keep(dst)
		}
		keep([]float32{Dot(x, y), Sum(x)})
		head, state := floats(8), floats(8*count)
		StateUpdate(head, state, floats(8), x, y, 0.5, 0.25, 2)
		keep(head)
		keep(state)
		half := unsafe.Slice((*uint16)(unsafe.Pointer(&dirty(2*8*count + 64)[2*at])), 8*count)
		for i := range half {
			half[i] = layout.F32ToF16(n.float())
		}
		StateUpdateF16(head, half, floats(8), x, y, 0.5, 0.25, 2)
		keep(head)
		q := newQ14(count)
		q.Quantize(x)
		I8MatVec(head[:rows], bytes(rows*count), floats(rows), q, 0, rows)
		keep(head)
		scale := bytes(2 * rows * layout.I4Groups(count))
		layout.EncodeF16(scale, floats(len(scale)/2))
		I4MatVec(head[:rows], bytes(rows*layout.I4RowBytes(count)), scale, q, 0, rows)
		keep(head)
		for _, e := range elems {
			w := bytes(rows * count * e.elem.size())
			e.encode(w, floats(rows*count))
			MatVec(head[:rows], w, e.elem, x, 0, rows)
			keep(head)
		}
		w, product := bytes(int(l.Bytes())), floats(l.Rows)
		for _, form := range []Form{LUT16, LUT8} {
			lut := newLUT(count, form)
			lut.Build(x, l)
			BitMatVec(product, w, l, lut, 0, l.Tiles())
			keep(product)
		}
		return out
	}
	want := outputs(0)
	for at := 1; at < 16; at++ {
		compare(t, fmt.Sprint("buffers off a boundary by ", at), outputs(at), func(i int) float32 { return want[i] }, 0, len(want))
	}
}
