// Package packedtest makes packed files for tests.
package packedtest

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ulikunitz/xz"
)

// Content is some noise with holes, of a length that is no round number.
func Content() []byte {
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

// Pack is b as gzip or xz, or as it is.
func Pack(t testing.TB, kind string, b []byte) []byte {
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

// File is a file of b.
func File(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
