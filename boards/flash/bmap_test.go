package flash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/boards/internal/bmap"
)

// seal puts a file's sum into a block map.
func seal(text string) string {
	blank := strings.Repeat("0", 64)
	sum := sha256.Sum256([]byte(text))
	return strings.Replace(text, blank, hex.EncodeToString(sum[:]), 1)
}

// mapOf makes the block map of an image: blocks that are not zero.
func mapOf(b []byte) string {
	const block = 4096
	blocks, mapped := (len(b)+block-1)/block, 0
	var ranges strings.Builder
	for i := 0; i < blocks; i++ {
		j := i
		for j < blocks && firstNonZero(b[j*block:min((j+1)*block, len(b))]) >= 0 {
			j++
		}
		if j == i {
			continue
		}
		text := fmt.Sprintf("%d-%d", i, j-1)
		if j == i+1 {
			text = fmt.Sprint(i)
		}
		fmt.Fprintf(&ranges, "        <Range chksum=\"%x\"> %s </Range>\n", sha256.Sum256(b[i*block:min(j*block, len(b))]), text)
		mapped += j - i
		i = j
	}
	return seal(fmt.Sprintf(`<?xml version="1.0" ?>
<!-- a block map -->
<bmap version="2.0">
    <!-- Image size in bytes: 1.0 MiB -->
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d     </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`, len(b), block, blocks, mapped, strings.Repeat("0", 64), ranges.String()))
}

func TestFindBmap(t *testing.T) {
	for _, test := range []struct{ image, bmap string }{
		{"a.img", "a.img.bmap"}, {"a.img.xz", "a.img.bmap"}, {"a.img.gz", "a.img.gz.bmap"}, {"a.img.xz", "a.bmap"}, {"a.wic", "a.wic.bmap"}, {"a.wic", ""},
	} {
		dir := t.TempDir()
		want := ""
		if test.bmap != "" {
			want = filepath.Join(dir, test.bmap)
			if err := os.WriteFile(want, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := findBmap(filepath.Join(dir, test.image)); got != want {
			t.Errorf("%s: %q, not %q", test.image, got, want)
		}
	}
}

// TestBmapCheck reads an image in pieces of all kinds of lengths.
func TestBmapCheck(t *testing.T) {
	b := make([]byte, 64*4096)
	for _, at := range []int{0, 1, 2, 7, 8, 30, 31, 32, 33, 63} {
		b[at*4096+17] = byte(at + 1)
	}
	m, err := bmap.Parse([]byte(mapOf(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{4096, 3 * 4096, 16 * 4096, 64 * 4096} {
		out := bytes.Repeat([]byte{0xee}, len(b))
		c := bmapCheck{left: m.Ranges, h: sha256.New()}
		for at := 0; at < len(b); at += step {
			piece := b[at:min(at+step, len(b))]
			parts, err := c.next(piece, int64(at))
			if err != nil {
				t.Fatalf("step %d at %d: %v", step, at, err)
			}
			for _, p := range parts {
				copy(out[at+p.from:], piece[p.from:p.to])
			}
		}
		for i := 0; i < len(b); i += 4096 {
			want := b[i : i+4096]
			if firstNonZero(want) < 0 {
				want = bytes.Repeat([]byte{0xee}, 4096)
			}
			if !bytes.Equal(out[i:i+4096], want) {
				t.Errorf("step %d: block %d is not as it should be", step, i/4096)
			}
		}
	}
}
