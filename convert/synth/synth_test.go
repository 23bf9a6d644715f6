package synth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestReadAnywhere gives the same bytes however they are read.
func TestReadAnywhere(t *testing.T) {
	c, err := New("assistant", 7)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"backbone.norm_f.weight", "backbone.layers.3.mixer.in_proj.weight", "backbone.layers.11.mixer.dt_bias"} {
		x, ok := c.Tensor(name)
		if !ok {
			t.Fatalf("no tensor %s", name)
		}
		whole := make([]byte, x.Bytes())
		if _, err := x.Data.ReadAt(whole, 0); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			off := r.Int64N(x.Bytes())
			n := r.Int64N(min(100, x.Bytes()-off) + 1)
			b := make([]byte, n)
			if _, err := x.Data.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, whole[off:off+n]) {
				t.Fatalf("%s: bytes %d to %d differ from those of the whole", name, off, off+n)
			}
		}
		if n, err := x.Data.ReadAt(make([]byte, 9), x.Bytes()-4); n != 4 || err != io.EOF {
			t.Errorf("%s: reading over the end gave %d, %v", name, n, err)
		}
	}
}

// TestSeed makes the same model on every machine, and another one of another seed.
func TestSeed(t *testing.T) {
	const want = "15cc064fc4eb8bc6cbb067278006d001526b734d9b5742e733a210b3bb300a5a"
	sum := func(seed uint64) string {
		c, err := New("assistant", seed)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, name := range c.Names() {
			if x, _ := c.Tensor(name); strings.Contains(name, "layers.5.") {
				if _, err := io.Copy(h, io.NewSectionReader(x.Data, 0, x.Bytes())); err != nil {
					t.Fatal(err)
				}
			}
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	if got := sum(1); got != want {
		t.Errorf("SHA-256 of layer 5 is %s, not %s", got, want)
	}
	if sum(2) == want {
		t.Error("another seed gives the same model")
	}
	if _, err := New("7B", 1); err == nil || !strings.Contains(err.Error(), "2.7B") {
		t.Errorf("an unknown size gave %v", err)
	}
}
