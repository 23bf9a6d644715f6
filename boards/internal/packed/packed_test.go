package packed

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"bimamba/boards/internal/packed/packedtest"
)

func read(t *testing.T, path string) ([]byte, error) {
	t.Helper()
	i, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	r, err := i.Reader()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if done, total := i.Progress(); err == nil && done != total {
		t.Errorf("%d of %d bytes were read", done, total)
	}
	return b, err
}

func TestReader(t *testing.T) {
	want := packedtest.Content()
	for _, kind := range []string{"raw", "gzip", "xz"} {
		b := packedtest.Pack(t, kind, want)
		if got, err := read(t, packedtest.File(t, b)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d other bytes, %v", kind, len(got), err)
		}
		i, err := Open(packedtest.File(t, b))
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := i.Size(); ok != (kind != "gzip") || ok && n != int64(len(want)) {
			t.Errorf("%s: the size is %d, %t", kind, n, ok)
		}
		i.Close()
		if kind == "raw" {
			continue
		}
		for _, cut := range []int{len(b) / 2, len(b) - 1} {
			if _, err := read(t, packedtest.File(t, b[:cut])); err == nil || !strings.Contains(err.Error(), "damaged or not complete") {
				t.Errorf("%s: cut short after %d bytes of %d: %v", kind, cut, len(b), err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"\x28\xb5\x2f\xfd rest": "zstd -d",
		"PK\x03\x04 rest":       "zip archive",
		"BZh91AY":               "bunzip2",
		// A dictionary of 4 GiB.
		"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x28\x00\x00\x00\x00\x00\x00\x00": "takes a dictionary of 42",
	} {
		_, err := Open(packedtest.File(t, []byte(text)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %v", text, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory gave %v", err)
	}
}

// TestXZSize has the size be known before anything is unpacked, also of what xz itself wrote.
func TestXZSize(t *testing.T) {
	want := packedtest.Content()
	packed := packedtest.Pack(t, "xz", want)
	if n, ok := xzSize(bytes.NewReader(packed), int64(len(packed))); !ok || n != int64(len(want)) {
		t.Errorf("%d, %t", n, ok)
	}
	two := append(bytes.Clone(packed), packed...)
	if n, ok := xzSize(bytes.NewReader(two), int64(len(two))); ok {
		t.Errorf("two streams have the size %d", n)
	}
	prog, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("xz is not here (Debian package xz-utils)")
	}
	cmd := exec.Command(prog, "-T2", "--block-size=1MiB", "-c")
	cmd.Stdin = bytes.NewReader(want)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := xzSize(bytes.NewReader(out), int64(len(out))); !ok || n != int64(len(want)) {
		t.Errorf("several blocks: %d, %t", n, ok)
	}
	if got, err := read(t, packedtest.File(t, out)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("several blocks: %d other bytes, %v", len(got), err)
	}
}

func FuzzXZ(f *testing.F) {
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x28\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x00\x00\x00\x00\x1c\xdfD!\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDict(bytes.NewReader(b))
		if n, ok := xzSize(bytes.NewReader(b), int64(len(b))); ok && n < 0 {
			t.Errorf("a size of %d", n)
		}
	})
}

// endless is zeros without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestEndless(t *testing.T) {
	i, err := Open(packedtest.File(t, packedtest.Pack(t, "gzip", packedtest.Content())))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	r := &reader{i: i, r: endless{}, n: maxFull - 100}
	if n, err := r.Read(make([]byte, 100)); n != 100 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "no image of a card") {
		t.Errorf("%v", err)
	}
}
