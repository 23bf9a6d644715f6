package bmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// used tells whether a block has something in it.
func used(b []byte) bool { return len(bytes.Trim(b, "\x00")) > 0 }

// seal puts a file's sum into a block map.
func seal(text string) string {
	blank := strings.Repeat("0", 64)
	sum := sha256.Sum256([]byte(text))
	return strings.Replace(text, blank, hex.EncodeToString(sum[:]), 1)
}

// mapOf makes the block map of an image as others write it: blocks that are not zero.
func mapOf(b []byte) string {
	const block = 4096
	blocks, mapped := (len(b)+block-1)/block, 0
	var ranges strings.Builder
	for i := 0; i < blocks; i++ {
		j := i
		for j < blocks && used(b[j*block:min((j+1)*block, len(b))]) {
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

func TestParse(t *testing.T) {
	b := make([]byte, 10*4096+512)
	for _, at := range []int{0, 4096, 5 * 4096, 10 * 4096} {
		b[at] = 1
	}
	m, err := Parse([]byte(mapOf(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{{0, 8192, sha256.Sum256(b[:8192])}, {5 * 4096, 6 * 4096, sha256.Sum256(b[5*4096 : 6*4096])}, {10 * 4096, int64(len(b)), sha256.Sum256(b[10*4096:])}}
	if fmt.Sprint(m.Ranges) != fmt.Sprint(want) || m.Size != int64(len(b)) || m.Mapped() != 3*4096+512 {
		t.Errorf("%v, %d bytes", m.Ranges, m.Size)
	}
	good := mapOf(b)
	sum := strings.Fields(good[strings.Index(good, "<BmapFileChecksum>"):])[1]
	for _, test := range []struct{ from, to, want string }{
		{`version="2.0"`, `version="1.4"`, `version "1.4", and only 2.0 is read`},
		{"sha256 <", "sha512 <", `ChecksumType is "sha512"`},
		{"> 0-1 <", "> 0-2 <", "MappedBlocksCount is 4, and the ranges have 5 blocks"},
		{"> 5 <", "> 1 <", "range 2 of BlockMap"},
		{"> 5 <", "> 5-4 <", "range 2 of BlockMap"},
		{"> 5 <", "> five <", "range 2 of BlockMap"},
		{"> 10 <", "> 11 <", "range 3 of BlockMap"},
		{"> 10 <", "> 99999999999999999999 <", "range 3 of BlockMap"},
		{"<BlockSize> 4096", "<BlockSize> 4095", "BlockSize is 4095"},
		{"<BlockSize> 4096", "<BlockSize> 8388608", `BlockSize is "8388608"`},
		{"<BlocksCount> 11", "<BlocksCount> 12", "BlocksCount is 12"},
		{"<ImageSize> 41472", "<ImageSize> -1", `ImageSize is "-1"`},
		{`chksum="`, `chksum="zz`, "chksum of range 1"},
		{"<bmap ", "<other ", "no block map"},
		{"</bmap>", "", "no block map"},
	} {
		bad := strings.Replace(good, test.from, test.to, 1)
		if bad == good {
			t.Fatalf("%q is not there", test.from)
		}
		bad = seal(strings.Replace(bad, sum, strings.Repeat("0", 64), 1))
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q gave %v", test.to, test.from, err)
		}
	}
	if _, err := Parse([]byte(strings.Replace(good, "a block map", "another one", 1))); err == nil || !strings.Contains(err.Error(), "BmapFileChecksum is not that of the file") {
		t.Errorf("a changed file gave %v", err)
	}
}

func FuzzParse(f *testing.F) {
	b := make([]byte, 3*4096)
	b[0], b[2*4096] = 1, 1
	f.Add([]byte(mapOf(b)))
	f.Add([]byte("<bmap version=\"2.0\"><BlockMap><Range>0</Range></BlockMap></bmap>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		at := int64(0)
		for _, r := range m.Ranges {
			if r.Start < at || r.End <= r.Start || r.End > m.Size {
				t.Fatalf("range %d to %d after %d of %d", r.Start, r.End, at, m.Size)
			}
			at = r.End
		}
	})
}
