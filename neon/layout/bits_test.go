package layout

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestBlockWidth(t *testing.T) {
	for _, c := range []struct{ cols, want int }{
		{1, 64}, {64, 64}, {65, 128}, {512, 512}, {1024, 1024}, {1536, 1536}, {1537, 832}, {2048, 1024}, {2560, 1280}, {3072, 1536}, {4096, 1408}, {5120, 1280},
	} {
		if got := BlockWidth(c.cols); got != c.want {
			t.Errorf("BlockWidth(%d) = %d, want %d", c.cols, got, c.want)
		}
		if _, err := ParseBits(Bits{Kb: BlockWidth(c.cols)}.Name(), 1, c.cols); err != nil {
			t.Errorf("a writer's own name: %v", err)
		}
	}
}

func TestParseBits(t *testing.T) {
	l, err := ParseBits("bits-64x8-kb128", 70, 130)
	if want := (Bits{Rows: 70, Cols: 130, Kb: 128}); err != nil || l != want {
		t.Fatalf("%+v, %v, want %+v", l, err, want)
	}
	if l.Name() != "bits-64x8-kb128" {
		t.Errorf("Name() = %q", l.Name())
	}
	if l.Tiles() != 2 || l.PaddedCols() != 192 || l.Bytes() != 128*192/8 || l.Blocks() != 2 {
		t.Errorf("%d tiles, %d columns, %d bytes, %d blocks", l.Tiles(), l.PaddedCols(), l.Bytes(), l.Blocks())
	}
	if col, width := l.Block(1); col != 128 || width != 64 {
		t.Errorf("Block(1) = %d, %d", col, width)
	}
	for _, c := range []struct {
		name       string
		rows, cols int
		want       string // a part of the error
	}{
		{"", 1, 1, "form"},
		{"bits-64x8", 1, 1, "form"},
		{"bits-32x8-kb64", 1, 1, "form"},
		{"bits-64x8-kb", 1, 1, "form"},
		{"bits-64x8-kb064", 1, 1, "form"},
		{"bits-64x8-kb+64", 1, 1, "form"},
		{"bits-64x8-kb64 ", 1, 1, "form"},
		{"bits-64x8-kb18446744073709551680", 1, 1, "form"},
		{"bits-64x8-kb0", 1, 1, "multiple of 64"},
		{"bits-64x8-kb63", 1, 1, "multiple of 64"},
		{"bits-64x8-kb128", 1, 64, "up to 64,"},
		{"bits-64x8-kb65600", 1, 1 << 20, "up to 65536,"},
		{"bits-64x8-kb64", 0, 1, "0 x 1"},
		{"bits-64x8-kb64", 1, 0, "1 x 0"},
		{"bits-64x8-kb64", -1, 1, "-1 x 1"},
		{"bits-64x8-kb64", 1, math.MaxInt32, "2147483647"},
	} {
		if l, err := ParseBits(c.name, c.rows, c.cols); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseBits(%q, %d, %d) = %+v, %v; want an error with %q", c.name, c.rows, c.cols, l, err, c.want)
		}
	}
	if l, err := ParseBits("bits-64x8-kb64", math.MaxInt32-63, math.MaxInt32-63); err != nil || l.Bytes() != 1<<25*64*(1<<28)-64*(1<<28)-(1<<25)*64*8+64*8 {
		t.Errorf("the largest matrix: %d bytes, %v", l.Bytes(), err)
	}
}

// bitAt is element (o, i) by the formula of FORMAT.md, section 3.
func bitAt(data []byte, l Bits, o, i int) byte {
	rows, cols := (l.Rows+63)/64*64, (l.Cols+63)/64*64
	cb := i / l.Kb * l.Kb
	w := min(l.Kb, cols-cb)
	return data[cb*rows/8+(o/64)*w*8+((i-cb)/8)*64+o%64] >> (i % 8) & 1
}

func TestPack(t *testing.T) {
	for _, rows := range []int{1, 63, 64, 65, 130} {
		for _, cols := range []int{1, 7, 8, 9, 63, 64, 65, 127, 129, 200, 256, 321} {
			for _, kb := range []int{64, 128, 192, 512} {
				l, err := ParseBits(Bits{Kb: kb}.Name(), rows, cols)
				if err != nil {
					continue // wider than the matrix
				}
				w := make([]float32, rows*cols)
				for i := range w {
					w[i] = float32(i*i%7) - 3
				}
				w[0] = float32(math.Copysign(0, -1))
				if len(w) > 1 {
					w[len(w)-1] = float32(math.NaN())
				}
				whole := make([]byte, l.Bytes())
				l.PackRows(whole, 0, w)
				// The same in parts, from the back.
				parts := make([]byte, l.Bytes())
				for end := rows; end > 0; end = max(0, end-3) {
					first := max(0, end-3)
					l.PackRows(parts, first, w[first*cols:end*cols])
				}
				if !bytes.Equal(whole, parts) {
					t.Fatalf("%+v: packing in parts differs", l)
				}
				ones := 0
				row := make([]float32, cols)
				for o := range rows {
					l.UnpackRow(row, whole, o)
					for i, v := range row {
						want := byte(1)
						if w[o*cols+i] < 0 {
							want = 0
						}
						ones += int(want)
						if bitAt(whole, l, o, i) != want || v != float32(2*int(want)-1) {
							t.Fatalf("%+v: element (%d, %d) of %v is bit %d, unpacked %v", l, o, i, w[o*cols+i], bitAt(whole, l, o, i), v)
						}
					}
				}
				for _, b := range whole {
					for ; b != 0; b &= b - 1 {
						ones--
					}
				}
				if ones != 0 {
					t.Fatalf("%+v: %d bits of padding are set", l, -ones)
				}
			}
		}
	}
}

func FuzzParseBits(f *testing.F) {
	f.Add("bits-64x8-kb512", 2192, 512)
	f.Add("bits-64x8-kb64", 1, 1)
	f.Add("bits-64x8-kb65536", math.MaxInt32-63, math.MaxInt32-63)
	f.Add("bits-64x8-kb-64", 64, 64)
	f.Fuzz(func(t *testing.T, name string, rows, cols int) {
		l, err := ParseBits(name, rows, cols)
		if err != nil {
			return
		}
		if l.Name() != name || l.Rows != rows || l.Cols != cols {
			t.Fatalf("%q, %d x %d, is read as %+v", name, rows, cols, l)
		}
		if l.Bytes() <= 0 || l.Blocks() < 1 {
			t.Fatalf("%+v: %d bytes, %d blocks", l, l.Bytes(), l.Blocks())
		}
		// The last block ends where the columns do, and its last tile where the bytes do.
		last := l.Blocks() - 1
		col, width := l.Block(last)
		if col+width != l.PaddedCols() || width < 64 || int64(l.Line(last, l.Tiles()-1)+width/8*LineBytes) != l.Bytes() {
			t.Fatalf("%+v: the last block has columns %d to %d", l, col, col+width)
		}
	})
}
