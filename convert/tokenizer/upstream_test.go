package tokenizer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUpstream compares with what the formats' own implementations said, as recorded in testdata/upstream:
// small tokenizers that are made to meet the corners of either format, random texts, and for some random ids.
func TestUpstream(t *testing.T) {
	files, err := filepath.Glob("testdata/upstream/*.golden.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".golden.json")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var golden struct {
				Rows []struct {
					Text    *string  // none: only decoded
					IDs     []uint32 `json:"ids"`
					Decoded *string  // none: not recorded
				} `json:"rows"`
			}
			if err := json.Unmarshal(b, &golden); err != nil {
				t.Fatal(err)
			}
			source := filepath.Join("testdata", "upstream", name+".json")
			if strings.HasPrefix(name, "sp-") {
				source = filepath.Join("testdata", "upstream", name+".model")
			}
			_, tok := load(t, source)
			for _, r := range golden.Rows {
				if r.Text != nil {
					if got := tok.Encode(nil, *r.Text); !slices.Equal(got, r.IDs) {
						t.Errorf("%q: tokens %v, not %v", *r.Text, got, r.IDs)
					}
				}
				if r.Decoded == nil {
					continue
				}
				if got := tok.Decode(r.IDs); got != *r.Decoded {
					t.Errorf("%v: text %q, not %q", r.IDs, got, *r.Decoded)
				}
				s := tok.NewTextStream()
				var text strings.Builder
				for _, id := range r.IDs {
					text.WriteString(s.Next(id))
				}
				if text.WriteString(s.Flush()); text.String() != *r.Decoded {
					t.Errorf("%v: streamed text %q, not %q", r.IDs, text.String(), *r.Decoded)
				}
			}
		})
	}
}
