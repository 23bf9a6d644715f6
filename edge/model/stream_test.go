package model

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/convert"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// squeezed calls test with less and less memory for a model: 4 of its layers from storage, 6, and so on to as many as there can be.
func squeezed(t *testing.T, blob *memmap.File, opt Options, test func(opt Options, f Footprint)) {
	t.Helper()
	f := NewFootprint(blob.Manifest(), opt)
	n := 0
	for {
		opt.Memory = f.Total() - 1
		if f = NewFootprint(blob.Manifest(), opt); f.Total() > opt.Memory {
			break
		}
		n++
		if f.StreamedLayers < minStreamed || f.StreamedLayers%2 != 0 {
			t.Fatalf("%d bytes: %d layers from storage", opt.Memory, f.StreamedLayers)
		}
		test(opt, f)
	}
	if n != (int(blob.Manifest().Model.NLayer)-minStreamed)/2+1 {
		t.Errorf("%d numbers of layers from storage for %d layers", n, blob.Manifest().Model.NLayer)
	}
}

// copyOf is a copy of a blob in the test's folder.
func copyOf(t *testing.T, blob *memmap.File) *memmap.File {
	t.Helper()
	from, err := os.Open(blob.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(t.TempDir(), "m.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Sync(); err != nil { // else the kernel cannot drop its pages
		t.Fatal(err)
	}
	return testmodel.OpenFile(t, to)
}

// TestStream computes with every number of layers that can be read from storage, and gets the bits of a model in memory: token by token, by batches, and with states
// of several sessions in one pass.
func TestStream(t *testing.T) {
	for _, blob := range []*memmap.File{testmodel.Default(t), testmodel.Convert(t, goldenDir("mamba2-hf-groups"), convert.Options{})} {
		ids := sequence(40, int(blob.Manifest().Model.VocabSize))
		opt := Options{Sessions: 2, Threads: 2, Batch: 16}
		m := openModel(t, blob, opt)
		want := run(t, m.Session(0), ids)
		squeezed(t, blob, opt, func(opt Options, f Footprint) {
			m := openModel(t, blob, opt)
			if got := m.Storage(); got.Layers != f.StreamedLayers || got.Bytes != f.Streamed {
				t.Errorf("%d layers from storage: Storage says %+v", f.StreamedLayers, got)
			}
			if got := run(t, m.Session(0), ids); !slices.Equal(got, want) {
				t.Errorf("%d layers from storage: token by token the logits are others", f.StreamedLayers)
			}
			if got := runBatches(t, m.Session(1), ids, 7); !slices.Equal(got, want[len(want)-len(got):]) {
				t.Errorf("%d layers from storage: by batches the logits are others", f.StreamedLayers)
			}
			if !slices.Equal(m.Session(0).SSM(), m.Session(1).SSM()) {
				t.Errorf("%d layers from storage: the states differ", f.StreamedLayers)
			}
			if _, err := m.StorageRate(1); err != nil {
				t.Error(err)
			}
			logits := make([]float32, m.h.VocabSize)
			if n := testing.AllocsPerRun(5, func() { m.Session(1).Step(3, logits) }); n != 0 {
				t.Errorf("%d layers from storage: %v allocations a token", f.StreamedLayers, n)
			}
			m.Session(1).Reset()
			if got := runBatches(t, m.Session(1), ids, 16); !slices.Equal(got, want[len(want)-len(got):]) {
				t.Errorf("%d layers from storage: after measuring the storage the logits are others", f.StreamedLayers)
			}
		})
	}
}

// TestStreamFault cuts the file under a model that reads it, and puts it back: a request gets an error with the tensor's name, and the next one works again.
func TestStreamFault(t *testing.T) {
	for _, threads := range []int{1, 3} {
		blob := copyOf(t, testmodel.Default(t))
		whole, err := os.ReadFile(blob.Name())
		if err != nil {
			t.Fatal(err)
		}
		opt := Options{Threads: threads}
		f := NewFootprint(blob.Manifest(), opt)
		opt.Memory = f.Total() - f.Weights/3
		m := openModel(t, blob, opt)
		s := m.Session(0)
		ids := sequence(5, int(m.h.VocabSize))
		want := run(t, s, ids)
		last := m.stream.parts[len(m.stream.parts)-1]
		for _, cut := range []uint64{last.Offset, last.Offset + last.Length/2, last.Offset + 100} {
			if err := os.Truncate(blob.Name(), int64(cut)); err != nil {
				t.Fatal(err)
			}
			logits := make([]float32, m.h.VocabSize)
			var fault *memmap.FaultError
			for range 3 { // a layer may have been read before the cut
				if err = s.Step(1, logits); err != nil {
					break
				}
			}
			if !errors.As(err, &fault) || fault.Offset > cut || !strings.Contains(err.Error(), "tensor \""+fault.Tensor) {
				t.Fatalf("%d threads, cut at %d: Step gave %v", threads, cut, err)
			}
			if err := s.Step(1, logits); err == nil {
				t.Errorf("%d threads, cut at %d: the next Step gave no error", threads, cut)
			}
			if err := os.WriteFile(blob.Name(), whole, 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 { // reads that failed may still lie in the buffers
				s.Reset()
				err = s.Prefill(context.Background(), ids, logits)
			}
			if err != nil {
				t.Fatalf("%d threads: with the file put back: %v", threads, err)
			}
			s.Reset()
			if got := run(t, s, ids); !slices.Equal(got, want) {
				t.Errorf("%d threads: with the file put back the logits are others", threads)
			}
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	blob := copyOf(t, testmodel.Default(t))
	opt := Options{Sessions: 2, Batch: DefaultBatch}
	f := NewFootprint(blob.Manifest(), opt)
	opt.Memory = f.Total() - f.Weights
	if _, err := Open(blob, opt); err == nil || !strings.Contains(err.Error(), "at the least") {
		t.Errorf("too little memory: %v", err)
	}
	opt.Memory = f.Total() - f.Weights/2
	if err := os.Rename(blob.Name(), blob.Name()+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(blob, opt); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(blob.Name(), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(blob, opt); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("with another file: %v", err)
	}
	opt.Memory = f.Total()
	m := openModel(t, blob, opt)
	if got := m.Storage(); got.Layers != 0 {
		t.Errorf("all memory that it takes, and %+v", got)
	}
	if _, err := m.StorageRate(1); err == nil {
		t.Error("a rate of a storage that is not read")
	}
}

// TestIsStreamed holds the even spread: as many as were asked for, and no two neighbours' distances differ by more than one.
func TestIsStreamed(t *testing.T) {
	for n := range 70 {
		for k := range n + 1 {
			count, last, least, most := 0, -1, n, 0
			for i := range n {
				if !isStreamed(i, n, k) {
					continue
				}
				if count++; last >= 0 {
					least, most = min(least, i-last), max(most, i-last)
				}
				last = i
			}
			if count != k || count > 1 && most-least > 1 {
				t.Fatalf("%d of %d layers: %d, distances %d to %d", k, n, count, least, most)
			}
		}
	}
}
