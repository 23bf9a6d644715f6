package memmap

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// aligned is n bytes as Direct.Read wants them.
func aligned(n int64) []byte {
	b := make([]byte, n+DirectAlign)
	skip := -int64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectAlign - 1)
	return b[skip:][:n:n]
}

// TestDirect reads every section around the page cache and through it, and finds what is mapped; a file that is cut short is a fault at the right place.
func TestDirect(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/dev/shm"} { // the second one has no direct reads with older kernels
		data, err := os.ReadFile("../models/default.bimamba")
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.CreateTemp(dir, "direct")
		if err != nil {
			t.Logf("%s: %v", dir, err)
			continue
		}
		file.Close()
		defer os.Remove(file.Name())
		if err := os.WriteFile(file.Name(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, err := f.Direct()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for range 2 { // direct if there is such a thing, then not
			for i := range f.manifest.Sections {
				s := &f.manifest.Sections[i]
				buf := aligned(DirectSize(s.Length))
				if err := d.Read(s, buf); err != nil {
					t.Fatalf("%s, buffered %v: %v", dir, d.Buffered(), err)
				}
				if !bytes.Equal(buf[:s.Length], f.SectionData(s)) {
					t.Errorf("%s, buffered %v: section %s is another than the mapped one", dir, d.Buffered(), s.Name)
				}
			}
			if !d.Buffered() {
				if err := d.fallBack(); err != nil {
					t.Fatal(err)
				}
			}
		}
		last := &f.manifest.Sections[len(f.manifest.Sections)-1]
		for _, cut := range []uint64{last.Offset + last.Length - 1, last.Offset + 5000, last.Offset + 1, last.Offset, 1} {
			if err := os.Truncate(file.Name(), int64(cut)); err != nil {
				t.Fatal(err)
			}
			var fault *FaultError
			err := d.Read(last, aligned(DirectSize(last.Length)))
			if !errors.As(err, &fault) || fault.Offset < last.Offset || fault.Offset > max(cut, last.Offset) || !strings.Contains(err.Error(), file.Name()) {
				t.Errorf("%s, cut at %d of a section from %d: %v", dir, cut, last.Offset, err)
			}
		}
	}
}

func TestDirectOther(t *testing.T) {
	data, err := os.ReadFile("../models/default.bimamba")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Direct(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its file: %v", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Direct(); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("with another file of the same bytes: %v", err)
	}
}
