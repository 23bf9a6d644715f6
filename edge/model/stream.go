package model

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bimamba/memmap"
)

// minStreamed layers are read from storage, if any are: two of them always lie in buffers, so that fewer would save nothing worth it.
const minStreamed = 4

// isStreamed tells whether layer i of n is one of the k that are read from storage for each pass. They are spread evenly among the others, whose
// computing then hides the reading of the next. Which ones they are does not matter to how much is read: a pass needs every layer once, in the same order
// always, and no way to keep some of them saves more than to keep the same ones.
func isStreamed(i, n, k int) bool { return (i+1)*k/n > i*k/n }

// streamed tells it of a layer of m.
func (m *Model) streamed(i int) bool { return isStreamed(i, len(m.layers), m.footprint.StreamedLayers) }

// stream reads the layers that do not fit the memory, ahead of the passes that need them: two buffers, each with a goroutine that fills it with every
// second one of those layers, round and round. Their number is even, so that a layer always comes to lie in the same buffer.
type stream struct {
	r      *memmap.Direct
	layers []int             // which ones, in rising order
	parts  []*memmap.Section // theirs
	buf    [2][]byte

	want  [2]chan int   // which of the layers to read next into the buffer
	have  [2]chan error // it is there, or is not
	taken [2]bool       // what was wanted last has been taken from have
	gone  sync.WaitGroup
}

// openStream starts to read into the two halves of buf.
func openStream(m *Model, buf []byte) (*stream, error) {
	r, err := m.blob.Direct()
	if err != nil {
		return nil, err
	}
	s := &stream{r: r, buf: [2][]byte{buf[:len(buf)/2], buf[len(buf)/2:]}}
	for i := range m.layers {
		if m.streamed(i) {
			part, _ := m.blob.Section(layerName(i))
			s.layers, s.parts = append(s.layers, i), append(s.parts, part)
		}
	}
	for j := range s.buf {
		s.want[j], s.have[j] = make(chan int, 1), make(chan error, 1)
		s.gone.Go(func() {
			for k := range s.want[j] {
				s.have[j] <- r.Read(s.parts[k], s.buf[j][:memmap.DirectSize(s.parts[k].Length)])
			}
		})
		s.want[j] <- j
	}
	return s, nil
}

// Close ends the reading.
func (s *stream) Close() error {
	for _, c := range s.want {
		close(c)
	}
	s.gone.Wait()
	return s.r.Close()
}

// acquire waits for the k-th of the layers.
func (s *stream) acquire(k int) error {
	err := <-s.have[k%2]
	s.taken[k%2] = true
	return err
}

// release gives the buffer of the k-th layer to the one that comes next in it.
func (s *stream) release(k int) {
	s.taken[k%2] = false
	s.want[k%2] <- (k + 2) % len(s.layers)
}

// rewind lets the next pass begin at the first layer again, after one that ended in the middle.
func (s *stream) rewind() {
	for j := range s.buf {
		if !s.taken[j] {
			<-s.have[j]
		}
		s.taken[j] = false
		s.want[j] <- j
	}
}

// pass is a pass of the forward pass, with the layers read from storage: whatever lies between two of them is computed while they are read.
func (s *stream) pass(f *forward, width int) (err error) {
	whole := false
	defer func() {
		if !whole { // also if a worker panicked
			s.rewind()
		}
	}()
	n, done := len(f.m.layers), 0
	for k, i := range s.layers {
		if i > done {
			if err := f.compute(width, done, i); err != nil {
				return err
			}
		}
		if err := s.acquire(k); err != nil {
			return err
		}
		if err := f.compute(width, i, i+1); err != nil {
			return err
		}
		s.release(k)
		done = i + 1
	}
	whole = true
	if done == n {
		return nil
	}
	return f.compute(width, done, n)
}

// bindStream makes the bytes of section part be looked up in a buffer that the section will be read into.
func bindStream(part *memmap.Section, buf []byte) func(*memmap.Tensor) []byte {
	return func(t *memmap.Tensor) []byte {
		from := t.Offset - part.Offset
		return buf[from : from+t.Length : from+t.Length]
	}
}

// Storage is how a model that is larger than its memory is read.
type Storage struct {
	Layers   int    // that are read from storage for each pass
	Bytes    int64  // of them
	Buffered bool   // the file system has no direct reads: they go through the page cache
	Unlocked string // why the other layers are not locked in memory, where the system may drop them and read them again; "" if they are
}

// Storage tells how the model is read; Layers is 0 if all of it stays in memory.
func (m *Model) Storage() Storage {
	if m.stream == nil {
		return Storage{}
	}
	return Storage{len(m.stream.layers), m.footprint.Streamed, m.stream.r.Buffered(), m.unlocked}
}

// StorageRate is how fast the layers that are read from storage are read when nothing is computed, in bytes a second, over some passes.
func (m *Model) StorageRate(passes int) (float64, error) {
	s := m.stream
	if s == nil {
		return 0, fmt.Errorf("%s: all layers are in memory", m.blob.Name())
	}
	m.forward.mu.Lock()
	defer m.forward.mu.Unlock()
	var start time.Time
	for n := range passes + 1 { // at the first one there is something in the buffers already
		for k := range s.layers {
			if err := s.acquire(k); err != nil {
				s.rewind()
				return 0, err
			}
			s.release(k)
		}
		if n == 0 {
			start = time.Now()
		}
	}
	return float64(passes) * float64(m.footprint.Streamed) / time.Since(start).Seconds(), nil
}

// keep locks what is not streamed in memory, and lets go of pages that were touched of what is.
func (m *Model) keep() {
	sections := m.blob.Manifest().Sections
	for i := range sections {
		part := &sections[i]
		switch {
		case slices.Contains(m.stream.parts, part):
			m.blob.Drop(part) // advice, refused where another model has locked it
		case part.Name != "tokenizer" && m.unlocked == "":
			if err := m.blob.Lock(part); err != nil {
				m.unlocked = err.Error()
			}
		}
	}
}

// letGo undoes keep.
func (m *Model) letGo() error {
	var errs []error
	sections := m.blob.Manifest().Sections
	for i := range sections {
		errs = append(errs, m.blob.Unlock(&sections[i]))
	}
	return errors.Join(errs...)
}
