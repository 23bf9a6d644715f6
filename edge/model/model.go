package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"bimamba/memmap"
	"bimamba/neon"
	"bimamba/neon/pool"
)

// Options of Open.
type Options struct {
	Precision Precision
	State     State
	Sessions  int // how many sequences there can be at a time; 0 means 1
	Prefixes  int // how many states more there are to keep copies in
	Threads   int // workers of the forward pass; 0 means 1
	Decode    int // how many of them decode, a token at a time, which is bound by memory; 0 means all
	Batch     int // how many tokens go through the layers together at the most; 0 means DefaultBatch, or fewer with Memory

	// Memory is the most that the model may take in bytes, as Footprint.Total counts them: what is mapped, states and workspace. Layers that do not fit
	// are read from storage for each pass over the weights. 0 means all of it.
	Memory int64
}

// DefaultBatch is as many tokens as share a pass over the weights unless Options say otherwise: weights then cost a token a thirty-second part of their
// bytes, and the tables of so many tokens (0.4 MB a column block of 1,536) about fill a second-level cache.
const DefaultBatch = 32

// batchPart of the memory is what the workspace of a batch may take, where both are left to the model: a pass that reads storage serves a batch, but
// what a large one takes are layers.
const batchPart = 8

func (o *Options) fill(h *memmap.Model) {
	o.Sessions, o.Prefixes, o.Threads = max(o.Sessions, 1), max(o.Prefixes, 0), max(o.Threads, 1)
	if o.Decode <= 0 {
		o.Decode = o.Threads
	}
	o.Decode = min(o.Decode, o.Threads)
	if o.Batch <= 0 {
		o.Batch = DefaultBatch
		for o.Memory > 0 && o.Batch > 1 && int64(o.Batch)*workspace(h, o.Precision) > o.Memory/batchPart {
			o.Batch /= 2
		}
	}
}

// AutoThreads sets Threads to all fast cores, and Decode to as many as it takes to read memory at its full speed, for a model with manifest m.
func (o *Options) AutoThreads(m *memmap.Manifest) {
	f := NewFootprint(m, *o)
	o.Threads = pool.AllCores()
	o.Decode = pool.Auto(o.Threads, f.Traffic().Total())
}

// layer is one Mamba-2 block, bound to its mapped tensors.
type layer struct {
	in       matrix    // (d_in_proj, d_model), rows z | x | B | C | dt, the norm in front folded in or at in.norm
	conv     []float32 // (d_conv, channels), tap 0 the oldest
	convBias []float32 // (channels) or nil
	dtBias   []float32 // (nheads)
	a        []float32 // (nheads), -exp(A_log)
	d        []float32 // (nheads)
	out      matrix    // (d_model, d_inner), the gated norm in front folded in or at out.norm
}

// Model is a bound model, the arena of its sessions, and the threads that compute.
type Model struct {
	blob      *memmap.File
	h         memmap.Model
	opt       Options
	embedding matrix    // (vocab_size, d_model)
	normF     []float32 // (d_model)
	head      matrix    // (vocab_size, d_model)
	layers    []layer
	footprint Footprint
	arena     []byte
	stream    *stream // nil: all layers stay in memory
	unlocked  string  // why mapped sections are not locked, with a stream
	sessions  []Session
	pool      *pool.Pool
	most      atomic.Int32 // workers of a pass; 0: as Options say
	forward   forward
}

// Open binds the tensors of f, reserves the memory of opt.Sessions sessions and starts opt.Threads workers. f must stay open as long as the model.
// It fails if $BIMAMBA_KERNEL names kernels that are not here, and if opt.Memory is less than what has to stay in memory.
func Open(f *memmap.File, opt Options) (*Model, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.New("this machine is big-endian, and a blob is little-endian")
	}
	if _, err := neon.Kernel(); err != nil {
		return nil, err
	}
	opt.fill(&f.Manifest().Model)
	m := &Model{blob: f, h: f.Manifest().Model, opt: opt, footprint: NewFootprint(f.Manifest(), opt)}
	if opt.Memory > 0 {
		if err := m.footprint.Within(opt.Memory); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	if err := m.reserve(); err != nil {
		return nil, err
	}
	if err := m.bind(); err != nil {
		m.Close()
		return nil, err
	}
	m.pool = pool.New(opt.Threads)
	return m, nil
}

// bind looks up all tensors, hands out the arena and starts to read what is read from storage.
func (m *Model) bind() error {
	f, h := m.blob, &m.h
	arena := carver{m.arena}
	buffers := arena.bytes(m.footprint.Buffers)
	b := &binder{f: f}
	b.section("io")
	m.embedding = b.matrix("embedding", "", h.VocabSize, h.DModel)
	m.normF = b.floats(false, "norm_f.weight", h.DModel)
	m.head = m.embedding
	if !h.TieEmbeddings {
		m.head = b.matrix("lm_head", "", h.VocabSize, h.DModel)
	}
	if m.embedding.dtype == memmap.B1 || m.head.dtype == memmap.B1 {
		b.fail("a 1-bit embedding or head is not supported")
	}
	m.layers = make([]layer, h.NLayer)
	logs := make([][]float32, h.NLayer) // A_log of each layer, mapped
	streamed := 0
	for i := range m.layers {
		l := &m.layers[i]
		b.section(layerName(i))
		logs[i] = b.floats(false, "A_log", h.NHeads)
		if m.streamed(i) {
			f.Advise(b.s, memmap.Random) // of which A_log alone is looked at
			b.data = bindStream(b.s, buffers[streamed%2*len(buffers)/2:])
			streamed++
		}
		l.in = b.matrix("in_proj", "norm.weight", h.DInProj(), h.DModel)
		l.conv = b.floats(false, "conv.weight", h.DConv, h.Channels())
		l.convBias = b.floats(true, "conv.bias", h.Channels())
		l.dtBias = b.floats(false, "dt_bias", h.NHeads)
		l.d = b.floats(false, "D", h.NHeads)
		l.out = b.matrix("out_proj", "mixer_norm.weight", h.DModel, h.DInner)
		if b.err != nil {
			break
		}
	}
	if b.err != nil {
		return b.err
	}
	err := f.Guard(func() error {
		for i := range m.layers {
			a := arena.floats(int(h.NHeads))
			for j, v := range logs[i] {
				a[j] = -neon.Exp(v)
			}
			m.layers[i].a = a
		}
		return nil
	})
	if err != nil {
		return err
	}
	if streamed > 0 {
		if m.stream, err = openStream(m, buffers); err != nil {
			return err
		}
		m.keep()
	}
	m.sessions = make([]Session, m.opt.Sessions+m.opt.Prefixes)
	for i := range m.sessions {
		m.sessions[i].init(m, &arena)
	}
	m.forward.init(m, &arena)
	return nil
}

// layerPrefix and its number are the name of a layer's section.
const layerPrefix = "layers."

func layerName(i int) string { return layerPrefix + strconv.Itoa(i) }

// reserve maps the arena: zeroed pages outside of Go's heap, which the garbage collector does not count or scan.
func (m *Model) reserve() error {
	size := m.footprint.Arena()
	if size > math.MaxInt {
		return fmt.Errorf("%s: %d states take %d bytes, more than this machine can address", m.blob.Name(), m.footprint.States, size)
	}
	var err error
	m.arena, err = unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("%s: reserving %d bytes for %d states: %w; ask for fewer sessions or checkpoints", m.blob.Name(), size, m.footprint.States, err)
	}
	// Where the system has large pages for who asks (most do), states cost fewer look-ups of addresses. Without them all is as it was.
	unix.Madvise(m.arena, unix.MADV_HUGEPAGE)
	return nil
}

// Close ends the workers and gives the arena back. Sessions must not be used afterwards.
func (m *Model) Close() error {
	if m.arena == nil {
		return nil
	}
	if m.pool != nil {
		m.pool.Close()
	}
	var err error
	if m.stream != nil {
		err = errors.Join(m.stream.Close(), m.letGo())
	}
	arena := m.arena
	m.arena = nil
	return errors.Join(err, unix.Munmap(arena))
}

// Blob is the file that the model is mapped from.
func (m *Model) Blob() *memmap.File { return m.blob }

// Hyper is the model's hyperparameters.
func (m *Model) Hyper() memmap.Model { return m.h }

// Options is what the model was opened with, defaults filled in.
func (m *Model) Options() Options { return m.opt }

// LimitThreads lets at most n threads compute, from the next pass on; 0 is as many as Options say. It may be called at any time, and changes no result.
func (m *Model) LimitThreads(n int) { m.most.Store(int32(max(n, 0))) }

// Footprint is the memory of the model as opened.
func (m *Model) Footprint() Footprint { return m.footprint }

// ReadRate is how fast the threads that decode read what a token reads of it, session 0's state included and layers from storage left out, in bytes a second: the fastest of some passes.
func (m *Model) ReadRate(passes int) (float64, error) {
	parts := [][]byte{m.sessions[0].ssm, floatBytes(m.sessions[0].conv), m.head.data}
	for i := range m.layers {
		s, _ := m.blob.Section(layerName(i))
		if m.streamed(i) {
			continue
		}
		parts = append(parts, m.blob.SectionData(s))
	}
	m.forward.mu.Lock()
	defer m.forward.mu.Unlock()
	return m.pool.ReadRate(m.opt.Decode, passes, m.blob.Guard, parts...)
}

// floatBytes is the memory of x.
func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// Session is the i-th of the sessions that Open reserved, Options.Sessions and Options.Prefixes together.
func (m *Model) Session(i int) *Session { return &m.sessions[i] }

// carver hands out the arena from front to back, in whole cache lines.
type carver struct{ rest []byte }

func (c *carver) bytes(n int64) []byte {
	n = (n + 63) &^ 63
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *carver) floats(n int) []float32 {
	b := c.bytes(4 * int64(n))
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}
