package bmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"reflect"
	"testing"
)

// TestMake maps an image with zeros in what is used and in what is not.
func TestMake(t *testing.T) {
	const last = 10*unit + 512
	b := make([]byte, last)
	for _, at := range []int{0, 3*unit + 17, 7 * unit, 10*unit + 511} {
		b[at] = 1
	}
	for name, tt := range map[string]struct {
		unused []Extent
		want   []Extent
	}{
		"all is used":              {nil, []Extent{{0, last}}},
		"all is unused":            {[]Extent{{0, last}}, []Extent{{0, unit}, {3 * unit, 4 * unit}, {7 * unit, 8 * unit}, {10 * unit, last}}},
		"some is":                  {[]Extent{{unit, 2 * unit}, {5 * unit, 8 * unit}}, []Extent{{0, unit}, {2 * unit, 5 * unit}, {7 * unit, last}}},
		"less than a unit is":      {[]Extent{{unit + 1, 2 * unit}, {2 * unit, 3*unit - 4096}}, []Extent{{0, last}}},
		"several in a row":         {[]Extent{{unit, unit + 4096}, {unit + 8192, unit + 12288}, {2 * unit, 3 * unit}}, []Extent{{0, 2 * unit}, {3 * unit, last}}},
		"beyond the end of it all": {[]Extent{{8 * unit, 20 * unit}}, []Extent{{0, 8 * unit}, {10 * unit, last}}},
	} {
		var done int64
		m, err := Make(t.Context(), bytes.NewReader(b), last, tt.unused, func(n, _ int64) { done = n })
		if err != nil || m.Size != last || done != last {
			t.Fatalf("%s: %v, %d", name, err, done)
		}
		var got []Extent
		for _, r := range m.Ranges {
			got = append(got, Extent{r.Start, r.End})
			if r.Sum != sha256.Sum256(b[r.Start:r.End]) {
				t.Errorf("%s: the sum of %d is wrong", name, r.Start)
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		again, err := Parse(m.Text())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%s: read again: %+v, %v", name, again, err)
		}
	}
	if _, err := Make(t.Context(), bytes.NewReader(b), last+1, nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short image gave %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Make(ctx, bytes.NewReader(b), last, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
