package disk

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const gptSize = 64 << 20 // of the disk whose first sectors the fixture has

// gpt is the start of a disk that sgdisk partitioned.
func gpt(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/gpt.img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type part struct {
	kind        byte
	start, size uint32
}

// mbr is a first sector with these partitions.
func mbr(parts ...part) []byte {
	b := make([]byte, 2*Sector)
	for i, p := range parts {
		e := b[446+16*i:]
		e[4] = p.kind
		binary.LittleEndian.PutUint32(e[8:], p.start)
		binary.LittleEndian.PutUint32(e[12:], p.size)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

func TestMBR(t *testing.T) {
	b := mbr(part{0x0c, 8192, 1000}, part{}, part{0x83, 9192, 5000})
	b[446] = 0x80
	table, err := Read(bytes.NewReader(b), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(*table); got != "{mbr [{1 4194304 512000 0c } {3 4706304 2560000 83 }]}" {
		t.Errorf("the table is %s", got)
	}
}

func TestGPT(t *testing.T) {
	table, err := Read(bytes.NewReader(gpt(t)), gptSize)
	if err != nil {
		t.Fatal(err)
	}
	want := "{gpt [{1 1048576 20971520 c12a7328-f81f-11d2-ba4b-00a0c93ec93b boot} {2 22020096 45071872 0fc63daf-8483-4772-8e79-3d69d8477de4 root ü}]}"
	if got := fmt.Sprint(*table); got != want {
		t.Errorf("the table is %s", got)
	}
}

// TestMade reads what sfdisk makes.
func TestMade(t *testing.T) {
	prog, err := exec.LookPath("sfdisk")
	if err != nil {
		if prog = "/usr/sbin/sfdisk"; !exists(prog) {
			t.Skip("sfdisk is not here (Debian package fdisk)")
		}
	}
	for _, label := range []Kind{MBR, GPT} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 32<<20); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(prog, "-q", path)
		name := map[Kind]string{MBR: "dos", GPT: "gpt"}[label]
		cmd.Stdin = strings.NewReader("label: " + name + "\nstart=2048, size=8192\nstart=10240, size=4096\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		table, err := Read(f, 32<<20)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if p := table.Partitions; table.Kind != label || len(p) != 2 || p[0].Start != 1<<20 || p[0].Size != 4<<20 || p[1].Number != 2 || p[1].Start != 5<<20 || p[1].Size != 2<<20 {
			t.Errorf("%s: the table is %v", label, *table)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestRefused(t *testing.T) {
	damaged := func(at int, value byte, sum bool) []byte {
		b := gpt(t)
		b[at] ^= value
		if sum { // the header's sum is right again
			clear(b[512+16 : 512+20])
			binary.LittleEndian.PutUint32(b[512+16:], crc32.ChecksumIEEE(b[512:512+92]))
		}
		return b
	}
	flag := mbr(part{0x0c, 2048, 100})
	flag[446] = 0x12
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":            {nil, "too few"},
		"no signature":     {make([]byte, 4096), "55 AA"},
		"no partitions":    {mbr(), "the partition table is empty"},
		"flag":             {flag, "neither 0 nor 0x80"},
		"extended":         {mbr(part{0x0c, 2048, 100}, part{0x05, 4096, 100}), "partition 2 is an extended one"},
		"overlap":          {mbr(part{0x83, 3000, 100}, part{0x0c, 2048, 1000}), "partitions 2 and 1 overlap"},
		"in the table":     {mbr(part{0x83, 0, 100}), "inside the partition table"},
		"no sectors":       {mbr(part{0x83, 2048, 0}), "partition 1 is empty"},
		"cut short":        {mbr(part{0x83, 2048, 1 << 30}), "the image is cut short"},
		"GPT header":       {damaged(512+72, 1, false), "the header's sum"},
		"GPT entries":      {damaged(1024+33, 1, false), "the sum of the entries"},
		"GPT mark":         {damaged(512, 1, false), `not "EFI PART"`},
		"GPT header size":  {damaged(512+13, 0xff, false), "bytes long, not 92 to 512"},
		"GPT elsewhere":    {damaged(512+24, 3, true), "says that it is in sector 2"},
		"GPT entry size":   {damaged(512+84, 1, true), "are no table"},
		"GPT many entries": {damaged(512+82, 0xff, true), "are no table"},
		"GPT first entry":  {damaged(512+79, 0xff, true), "the entries are said to be in sector"},
		"GPT cut":          {gpt(t)[:1500], "reading the entries"},
	} {
		size := int64(gptSize)
		if c.b == nil {
			size = 0
		}
		if _, err := Read(bytes.NewReader(c.b), size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead has partitions that are read lie in the disk, and not in each other.
func FuzzRead(f *testing.F) {
	f.Add(mbr(part{0x0c, 8192, 1000}, part{0x83, 9192, 5000}), int64(1<<30))
	f.Add(mbr(part{0xee, 1, 0xffffffff}), int64(1<<30))
	f.Add(gpt(f), int64(gptSize))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		table, err := Read(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		for i, p := range table.Partitions {
			if p.Start < Sector || p.Size <= 0 || p.Start+p.Size > size || p.Start+p.Size < p.Start {
				t.Errorf("partition %d is %v", i, p)
			}
			for _, q := range table.Partitions[i+1:] {
				if p.Start < q.Start+q.Size && q.Start < p.Start+p.Size {
					t.Errorf("%v and %v overlap", p, q)
				}
			}
		}
	})
}
