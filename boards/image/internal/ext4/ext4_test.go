package ext4

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fixture is one of the file systems in testdata, which mke2fs made of a small tree.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".img.gz"))
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

func TestFixtures(t *testing.T) {
	for _, name := range []string{"ext4", "ext2"} {
		b := fixture(t, name)
		if !Is(bytes.NewReader(b)) {
			t.Errorf("%s is not recognized", name)
		}
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"etc/os-release", "/usr/lib/os-release", "lib/os-release", "/etc/../lib/./os-release", "../../etc/os-release"} {
			got, err := f.ReadFile(path, 1000)
			if err != nil || string(got) != "ID=debian\nVERSION_CODENAME=trixie\n" {
				t.Errorf("%s: %s holds %q, %v", name, path, got, err)
			}
		}
		for _, path := range []string{"etc/none", "etc/hostname/none", "none/none"} {
			if _, err := f.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: Stat(%s) gave %v", name, path, err)
			}
		}
		if _, err := f.ReadFile("etc", 1000); err == nil {
			t.Errorf("%s: a directory can be read as a file", name)
		}
		if _, err := f.ReadFile("etc/hostname", 5); err == nil || !strings.Contains(err.Error(), "6 bytes long, more than 5") {
			t.Errorf("%s: the limit gave %v", name, err)
		}
		if head, err := f.ReadHead("etc/hostname", 3); err != nil || string(head) != "hel" {
			t.Errorf("%s: the head is %q, %v", name, head, err)
		}
	}
}

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	t.Skipf("%s is not here (Debian package e2fsprogs)", name)
	return ""
}

// TestMade reads what mke2fs makes with the features that images of boards have had.
func TestMade(t *testing.T) {
	mke2fs := tool(t, "mke2fs")
	root := t.TempDir()
	write := func(path string, b []byte) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	big := make([]byte, 6<<20) // three levels of a block map of 1 KiB blocks are not reached; two are
	for i := range big {
		big[i] = byte(i >> 8)
	}
	write("big", big)
	write("usr/lib/os-release", []byte("ID=debian\n"))
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // more extents than fit an inode
		if _, err := sparse.WriteAt([]byte("x"), int64(i)*200_000); err != nil {
			t.Fatal(err)
		}
	}
	sparse.Close()
	var names []string
	for i := range 400 {
		names = append(names, fmt.Sprintf("a file with a name of some length %d", i))
		write("many/"+names[i], []byte(fmt.Sprint(i)))
	}
	slices.Sort(names)
	link("usr/lib", "lib")
	link("/usr/../usr/lib/os-release", "absolute")
	link(strings.Repeat("./", 40)+"usr/lib/os-release", "long") // too long for an inode
	link("loop", "loop")
	for _, c := range [][]string{
		{"-t", "ext4"},
		{"-t", "ext4", "-O", "^64bit,^huge_file"}, // Raspberry Pi OS
		{"-t", "ext4", "-O", "^64bit,^huge_file,^metadata_csum"},
		{"-t", "ext4", "-O", "^huge_file"},
		{"-t", "ext4", "-O", "metadata_csum_seed"},
		{"-t", "ext4", "-b", "1024"},
		{"-t", "ext4", "-b", "1024", "-O", "^64bit"},
		{"-t", "ext4", "-O", "^extents,^64bit", "-b", "1024"},
		{"-t", "ext3"},
		{"-t", "ext2", "-b", "2048"},
		{"-t", "ext4", "-I", "128"},
	} {
		t.Run(strings.Join(c, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			if out, err := exec.Command(mke2fs, append(c, "-q", "-F", "-N", "1000", "-d", root, path, "48M")...).CombinedOutput(); err != nil {
				t.Fatalf("mke2fs: %v\n%s", err, out)
			}
			r, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			f, err := Open(r, 48<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.ReadFile("big", 1<<24); err != nil || !bytes.Equal(got, big) {
				t.Errorf("big: %v, equal %t", err, bytes.Equal(got, big))
			}
			want, err := os.ReadFile(filepath.Join(root, "sparse"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.ReadFile("sparse", 1<<24); err != nil || !bytes.Equal(got, want) {
				t.Errorf("sparse: %v, equal %t", err, bytes.Equal(got, want))
			}
			for _, path := range []string{"lib/os-release", "absolute", "long"} {
				if got, err := f.ReadFile(path, 100); err != nil || string(got) != "ID=debian\n" {
					t.Errorf("%s: %q, %v", path, got, err)
				}
			}
			if _, err := f.ReadFile("loop", 100); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
				t.Errorf("a loop of links gave %v", err)
			}
			got, err := f.ReadDir("many")
			slices.Sort(got)
			if err != nil || !slices.Equal(got, names) {
				t.Errorf("the directory has %d names, %v", len(got), err)
			}
			for _, i := range []int{0, 177, 399} {
				name := fmt.Sprintf("many/a file with a name of some length %d", i)
				if got, err := f.ReadFile(name, 100); err != nil || string(got) != fmt.Sprint(i) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			checkUnused(t, f, path, big)
		})
	}
}

// checkUnused has what is called unused be overwritten: the file system is as good as before.
func checkUnused(t *testing.T, f *FS, path string, big []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last, total := int64(0), int64(0)
	if err := f.Unused(func(start, end int64) {
		if start < last || end <= start || end > int64(len(b)) {
			t.Fatalf("from %d to %d behind %d", start, end, last)
		}
		last, total = end, total+end-start
		copy(b[start:end], bytes.Repeat([]byte{0xee}, int(end-start)))
	}); err != nil {
		t.Fatal(err)
	}
	if free := int64(le.Uint32(b[1024+12:])) * f.block; total > free || total < free/2 {
		t.Errorf("%d bytes are unused, and %d are free", total, free)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ReadFile("big", 1<<24); err != nil || !bytes.Equal(got, big) {
		t.Errorf("big, with what is unused overwritten: %v", err)
	}
	if out, err := exec.Command(tool(t, "e2fsck"), "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck, with what is unused overwritten: %v\n%s", err, out)
	}
	// A bitmap that has not as many free blocks as the descriptor says is not believed.
	where := int64(le.Uint32(b[f.descAt:])) * f.block
	b[where+1] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	group := int64(le.Uint32(b[1024+32:])) * f.block
	f.Unused(func(start, end int64) {
		if start < group {
			t.Fatalf("%d to %d of a group with a damaged bitmap", start, end)
		}
	})
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		at   int
		b    []byte
		want string
	}{
		"no mark":        {1024 + 56, []byte{0}, "no ext4 file system"},
		"block size":     {1024 + 24, []byte{9}, "blocks of 2^9 KiB"},
		"journal":        {1024 + 96, []byte{0x46}, "not unmounted"},
		"unknown":        {1024 + 98, []byte{0x10}, "features that are not known (0x100000)"},
		"inode size":     {1024 + 88, []byte{100}, "inodes of 356 bytes"},
		"longer":         {1024 + 4, []byte{0xff, 0xff}, "more than the"},
		"group of none":  {1024 + 40, []byte{0, 0, 0, 0}, "group of 32"},
		"inodes outside": {2048 + 8, []byte{0xff, 0xff, 0xff}, "group descriptor 0 has its inodes in block"},
	} {
		b := fixture(t, "ext4")
		copy(b[c.at:], c.b)
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = f.ReadFile("etc/os-release", 100)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOpen damages a file system in two places; reading it ends, and takes no more than it may.
func FuzzOpen(f *testing.F) {
	four, two := fixture(f, "ext4"), fixture(f, "ext2")
	f.Add(true, uint32(1024+24), []byte{6}, uint32(0), []byte{})
	f.Add(true, uint32(2048+8), []byte{1, 0}, uint32(1024+40), []byte{1})
	f.Add(false, uint32(1024+88), []byte{0, 1}, uint32(5000), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(false, uint32(1024+96), []byte{0x42, 2}, uint32(1024+254), []byte{64})
	f.Fuzz(func(t *testing.T, ext4 bool, at uint32, patch []byte, at2 uint32, patch2 []byte) {
		b := bytes.Clone(two)
		if ext4 {
			b = bytes.Clone(four)
		}
		copy(b[int(at)%len(b):], patch)
		copy(b[int(at2)%len(b):], patch2)
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		f.ReadFile("etc/os-release", 1<<20)
		f.ReadHead("etc/hostname", 1<<20)
		f.Unused(func(start, end int64) {
			if start < 0 || end <= start || end > int64(len(b)) {
				t.Fatalf("from %d to %d of %d is unused", start, end, len(b))
			}
		})
		for _, dir := range []string{"/", "etc", "lib", "usr/bin"} {
			names, err := f.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, name := range names[:min(len(names), 20)] {
				f.Stat(dir + "/" + name)
			}
		}
	})
}
