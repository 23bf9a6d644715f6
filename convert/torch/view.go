package torch

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// storage is a persistent id: ('storage', type, key, location, elements).
type storage struct {
	class global
	key   string
	elems int64 // of the class; bytes for an untyped one
}

// view is a tensor: a window on a storage. Offset and strides count elements.
type view struct {
	storage *storage
	dtype   memmap.DType
	offset  int64
	shape   []int64
	stride  []int64
}

// tensor checks a view against the bytes that its storage really has. Of all views of a file, one t is the cache.
func (v *view) tensor(s *io.SectionReader, t *tile) (source.Tensor, error) {
	fail := func(format string, a ...any) (source.Tensor, error) {
		return source.Tensor{}, fmt.Errorf(format, a...)
	}
	size := source.ElemSize(v.dtype)
	elems, err := source.CheckShape(v.shape, size)
	if err != nil {
		return source.Tensor{}, err
	}
	unit := source.ElemSize(classes[v.storage.class])
	if v.storage.elems > s.Size()/unit {
		return fail("storage %s has %d bytes, but the pickle says %d elements of %d: cut short or damaged; copy it again", v.storage.key, s.Size(), v.storage.elems, unit)
	}
	have := v.storage.elems * unit / size
	if v.offset < 0 || v.offset > have {
		return fail("storage offset %d is outside of storage %s, %d elements", v.offset, v.storage.key, have)
	}
	last := v.offset // the last element that is touched
	for i, n := range v.shape {
		switch {
		case v.stride[i] < 0:
			return fail("stride %v: negative", v.stride)
		case n < 2 || elems == 0:
		case v.stride[i] > (have-last)/(n-1):
			return fail("shape %v with stride %v and offset %d leaves storage %s, %d elements", v.shape, v.stride, v.offset, v.storage.key, have)
		default:
			last += (n - 1) * v.stride[i]
		}
	}
	switch {
	case elems > 0 && last >= have:
		return fail("shape %v with stride %v and offset %d leaves storage %s, %d elements", v.shape, v.stride, v.offset, v.storage.key, have)
	case elems > have:
		// Nothing bounds the size of such a tensor, and no weight is one.
		return fail("shape %v with stride %v has more elements than its storage %s, %d: expanded; save it with .contiguous()", v.shape, v.stride, v.storage.key, have)
	}
	out := source.Tensor{DType: v.dtype, Shape: v.shape}
	if v.contiguous() {
		out.Data = io.NewSectionReader(s, v.offset*size, elems*size)
	} else {
		out.Data = newGather(s, v, size, elems, t)
	}
	return out, nil
}

func (v *view) contiguous() bool {
	n := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.stride[i] != n {
			return slices.Contains(v.shape, 0)
		}
		n *= v.shape[i]
	}
	return true
}

const (
	tileBytes = 4 << 20  // row-major elements that are gathered at a time
	runBytes  = 64 << 10 // read at a time from disk
)

// tile holds what was gathered last, for all tensors of a file: they are read one after the other, from front to back.
type tile struct {
	mu     sync.Mutex
	of     *gather
	lo, hi int64 // bytes of the tensor that buf holds
	buf    []byte
	run    []byte
}

// gather reads a view whose elements do not lie in order on disk, such as a transposed matrix.
type gather struct {
	r             io.ReaderAt
	size          int64 // of an element
	elems         int64
	offset        int64
	shape, stride []int64 // without dimensions of 1; not empty
	t             *tile
}

func newGather(r io.ReaderAt, v *view, size, elems int64, t *tile) *gather {
	g := &gather{r: r, size: size, elems: elems, offset: v.offset, t: t}
	for i, n := range v.shape {
		if n != 1 {
			g.shape, g.stride = append(g.shape, n), append(g.stride, v.stride[i])
		}
	}
	return g
}

// ReadAt may be called in parallel; the calls take turns.
func (g *gather) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("negative offset %d", off)
	}
	t := g.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at >= g.elems*g.size {
			return n, io.EOF
		}
		if t.of != g || at < t.lo || at >= t.hi {
			if err := g.fill(at / g.size); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], t.buf[at-t.lo:t.hi-t.lo])
	}
	return n, nil
}

// fill gathers the tile that holds element i: a box of one index of the outer dimensions, a range of dimension d, and all of the inner ones.
func (g *gather) fill(i int64) error {
	inner, d := int64(1), len(g.shape)-1
	for d > 0 && inner*g.shape[d]*g.size <= tileBytes {
		inner *= g.shape[d]
		d--
	}
	rows := max(1, tileBytes/(inner*g.size)) // fit in a tile
	first := i / inner % g.shape[d] / rows * rows
	rows = min(rows, g.shape[d]-first)
	src := g.offset + first*g.stride[d]
	outer := i / inner / g.shape[d]
	start := (outer*g.shape[d] + first) * inner
	for k := d - 1; k >= 0; k-- {
		src += outer % g.shape[k] * g.stride[k]
		outer /= g.shape[k]
	}
	t := g.t
	t.of = nil // until it is whole
	if t.buf == nil {
		t.buf, t.run = make([]byte, tileBytes), make([]byte, runBytes)
	}
	box := slices.Clone(g.shape[d:])
	box[0] = rows
	if err := g.readBox(t.buf, box, g.stride[d:], src); err != nil {
		return err
	}
	t.of, t.lo, t.hi = g, start*g.size, (start+rows*inner)*g.size
	return nil
}

// readBox gathers a box row-major into buf. It goes along the dimension in which the elements lie closest on disk, for long reads.
func (g *gather) readBox(buf []byte, box, stride []int64, src int64) error {
	near := 0
	for k := range box {
		if stride[k] < stride[near] {
			near = k
		}
	}
	step := make([]int64, len(box)) // between elements of buf
	n := int64(1)
	for k := len(box) - 1; k >= 0; k-- {
		step[k] = n
		n *= box[k]
	}
	at := make([]int64, len(box))
	for {
		from, to := src, int64(0)
		for k := range box {
			from += at[k] * stride[k]
			to += at[k] * step[k]
		}
		if err := g.readRun(buf, to, step[near], from, stride[near], box[near]); err != nil {
			return err
		}
		// The next index of the dimensions beside near.
		k := len(box) - 1
		for ; k >= 0; k-- {
			if k == near {
				continue
			}
			if at[k]++; at[k] < box[k] {
				break
			}
			at[k] = 0
		}
		if k < 0 {
			return nil
		}
	}
}

// readRun reads n elements that lie stride apart, from element from on, to buf, where they lie step apart from element to on.
func (g *gather) readRun(buf []byte, to, step, from, stride, n int64) error {
	per := n
	if stride > 0 {
		per = max(1, (runBytes/g.size-1)/stride+1)
	}
	for n > 0 {
		m := min(n, per)
		run := g.t.run[:((m-1)*stride+1)*g.size]
		if k, err := g.r.ReadAt(run, from*g.size); k < len(run) {
			return err
		}
		for i := range m {
			copy(buf[(to+i*step)*g.size:][:g.size], run[i*stride*g.size:])
		}
		n, from, to = n-m, from+m*stride, to+m*step
	}
	return nil
}
