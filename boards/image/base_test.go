package image

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bimamba/boards/internal/packed"
	"bimamba/boards/internal/packed/packedtest"
)

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
	want := packedtest.Content()
	for _, kind := range []string{"raw", "gzip", "xz"} {
		b := packedtest.Pack(t, kind, want)
		out, n, err := unpackFile(t, packedtest.File(t, b))
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
			if _, _, err := unpackFile(t, packedtest.File(t, b[:cut])); err == nil || !strings.Contains(err.Error(), "damaged or not complete") {
				t.Errorf("%s: cut short after %d bytes of %d: %v", kind, cut, len(b), err)
			}
		}
	}
}
