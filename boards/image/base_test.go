package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ulikunitz/xz"

	"bimamba/boards/internal/packed"
)

// content is some noise with holes, of a length that is no round number.
func content() []byte {
	b := make([]byte, 3<<20+12345)
	r := rand.New(rand.NewPCG(1, 2))
	for _, at := range []int{0, 1 << 20, len(b) - 100} {
		for i := range 5000 {
			if at+i < len(b) {
				b[at+i] = byte(r.Uint32())
			}
		}
	}
	return b
}

func pack(t *testing.T, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch kind {
	case "gzip":
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
	case "xz":
		z, err := xz.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	default:
		return b
	}
	return out.Bytes()
}

func file(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func unpackFile(t *testing.T, path string) (*os.File, int64, error) {
	t.Helper()
	in, err := packed.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	last := int64(0)
	n, err := unpack(context.Background(), in, out, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d bytes after %d", done, total, last)
		}
		last = done
	})
	return out, n, err
}

func TestUnpack(t *testing.T) {
	want := content()
	for _, kind := range []string{"raw", "gzip", "xz"} {
		b := pack(t, kind, want)
		out, n, err := unpackFile(t, file(t, b))
		if err != nil || n != int64(len(want)) {
			t.Fatalf("%s: %d bytes, %v", kind, n, err)
		}
		got, err := os.ReadFile(out.Name())
		if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
			t.Errorf("%s: %d other bytes, %v", kind, len(got), err)
		}
		st, err := out.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if blocks := st.Sys().(*syscall.Stat_t).Blocks * 512; blocks > 1<<20 {
			t.Errorf("%s: the holes take room: %d bytes", kind, blocks)
		}
		if kind == "raw" {
			continue
		}
		for _, cut := range []int{len(b) / 2, len(b) - 1} {
			if _, _, err := unpackFile(t, file(t, b[:cut])); err == nil || !strings.Contains(err.Error(), "damaged or not complete") {
				t.Errorf("%s: cut short after %d bytes of %d: %v", kind, cut, len(b), err)
			}
		}
	}
}
