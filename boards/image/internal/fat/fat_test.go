package fat

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var when = time.Date(2026, 11, 26, 12, 34, 56, 0, time.UTC)

// mem is a file in memory that may fail after some writes.
type mem struct {
	b    []byte
	left int // writes that still reach the disk, if cut
	cut  bool
}

var errCut = errors.New("the power went")

func (m *mem) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(m.b).ReadAt(b, at) }

func (m *mem) WriteAt(b []byte, at int64) (int, error) {
	if m.cut {
		if m.left == 0 {
			return 0, errCut
		}
		m.left--
	}
	if at+int64(len(b)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	return copy(m.b[at:], b), nil
}

// fixture is one of the file systems in testdata: mkfs.fat and mtools made them, with a kernel, a command line, an empty file and two directories.
func fixture(t testing.TB, name string) *mem {
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
	return &mem{b: b}
}

func open(t testing.TB, m *mem) *Volume {
	t.Helper()
	v, err := Open(m, int64(len(m.b)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func text(path, s string) Change {
	return Change{Path: path, Data: strings.NewReader(s), Size: int64(len(s))}
}

func read(t testing.TB, v *Volume, path string) string {
	t.Helper()
	b, err := v.ReadFile(path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fsck has fsck.fat look at a file system, which must be without a fault, and mtools if a file is named.
func fsck(t testing.TB, m *mem) {
	t.Helper()
	prog := tool(t, "fsck.fat")
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, m.b, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(prog, "-n", path).CombinedOutput()
	// Two lines say what it is and how full; anything else is a fault.
	if err != nil || len(strings.Split(strings.TrimSpace(string(out)), "\n")) != 2 {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
}

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	t.Skipf("%s is not here (Debian packages dosfstools and mtools)", name)
	return ""
}

func each(t *testing.T, fn func(t *testing.T, m *mem)) {
	for _, name := range []string{"fat16", "fat32"} {
		t.Run(name, func(t *testing.T) { fn(t, fixture(t, name)) })
	}
}

func TestRead(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		list, err := v.ReadDir("/")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, i := range list {
			names = append(names, fmt.Sprintf("%s %d %t", i.Name, i.Size, i.Dir))
		}
		want := "cmdline.txt 48 false, kernel8.img 100000 false, empty2.txt 0 false, overlays 0 true, A longer directory name 0 true"
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("the root holds %s; want %s", got, want)
		}
		for _, path := range []string{"cmdline.txt", "/CMDLINE.TXT", "overlays/A name that needs several slots.dtbo"} {
			if got := read(t, v, path); got != "console=tty1 root=PARTUUID=b0a4d001-02 rootwait\n" {
				t.Errorf("%s holds %q", path, got)
			}
		}
		r, err := v.Open("kernel8.img")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat("x", 100000) {
			t.Errorf("kernel8.img: %d bytes, %v", len(b), err)
		}
		for _, path := range []string{"none", "none/none", "cmdline.txt/none"} {
			if _, err := v.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat(%s) gave %v", path, err)
			}
		}
		if _, err := v.ReadFile("overlays", 100); err == nil {
			t.Error("a directory can be read as a file")
		}
		if _, err := v.ReadFile("kernel8.img", 99999); err == nil {
			t.Error("the limit is not kept")
		}
	})
}

func TestApply(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		big := strings.Repeat("0123456789abcdef", 20000)
		err := v.Apply(when, []Change{
			text("cmdline.txt", "new"),
			text("empty2.txt", "no longer"),
			text("kernel8.img", ""),
			text("bimamba/install.sh", "#!/bin/sh\n"),
			text("bimamba/Model with a long name.bimamba", big),
			text("bimamba/Model with a long name.bimamba.part", "x"),
			text("bimamba/deeper/Ünïcödé 🐍.txt", "snake"),
			text("README", "short"),
			{Path: "overlays/a name that needs several slots.dtbo", Remove: true},
			{Path: "A LONGER DIRECTORY NAME", Remove: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for path, want := range map[string]string{
				"cmdline.txt": "new", "empty2.txt": "no longer", "kernel8.img": "", "bimamba/install.sh": "#!/bin/sh\n", "README": "short",
				"bimamba/model with a long name.bimamba": big, "bimamba/model with a long name.bimamba.part": "x", "bimamba/deeper/Ünïcödé 🐍.txt": "snake",
			} {
				if got := read(t, v, path); got != want {
					t.Errorf("%s holds %d bytes, %.20q", path, len(got), got)
				}
			}
			for _, path := range []string{"overlays/a name that needs several slots.dtbo", "A longer directory name"} {
				if _, err := v.Stat(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s was not removed: %v", path, err)
				}
			}
			v = open(t, m) // and again, as the disk says
		}
		fsck(t, m)
		// What is unused means nothing.
		last, total := int64(0), int64(0)
		v.Unused(func(start, end int64) {
			if start < last || end <= start || end > int64(len(m.b)) {
				t.Fatalf("from %d to %d behind %d", start, end, last)
			}
			last, total = end, total+end-start
			copy(m.b[start:end], bytes.Repeat([]byte{0xee}, int(end-start)))
		})
		if total != v.Free() {
			t.Errorf("%d bytes are unused, and %d are free", total, v.Free())
		}
		if got := read(t, open(t, m), "bimamba/model with a long name.bimamba"); got != big {
			t.Error("a file lay in what is unused")
		}
		fsck(t, m)
	})
}

// TestMtools has mtools read what was written.
func TestMtools(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		mcopy := tool(t, "mcopy")
		data := strings.Repeat("model", 12345)
		if err := open(t, m).Apply(when, []Change{text("Bimamba files/The model.bimamba", data)}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "fs")
		if err := os.WriteFile(path, m.b, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(mcopy, "-i", path, "::Bimamba files/The model.bimamba", "-").Output()
		if err != nil || string(out) != data {
			t.Errorf("mcopy: %v, %d bytes", err, len(out))
		}
	})
}

// TestRefused has each impossible list of changes leave every byte as it was.
func TestRefused(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		before := sha256.Sum256(m.b)
		for name, c := range map[string]struct {
			changes []Change
			want    string
		}{
			"no room":          {[]Change{text("a", "a"), {Path: "big", Size: 3 << 30}}, "there is no room"},
			"a directory":      {[]Change{text("overlays", "a")}, "it is a directory"},
			"below a file":     {[]Change{text("new", "x"), text("cmdline.txt/x", "a")}, "is a file"},
			"not empty":        {[]Change{{Path: "overlays", Remove: true}}, "not empty"},
			"missing":          {[]Change{{Path: "x/y", Remove: true}}, "not exist"},
			"twice":            {[]Change{text("new", "x"), text("NEW", "y")}, "twice"},
			"4 GiB":            {[]Change{{Path: "big", Size: 4 << 30}}, "too large for FAT"},
			"a colon":          {[]Change{text("a:b", "x")}, "FAT cannot have"},
			"a dot at the end": {[]Change{text("a.", "x")}, "ends in a dot"},
			"a long name":      {[]Change{text(strings.Repeat("a", 256), "x")}, "255"},
			"no name":          {[]Change{text("/", "x")}, "names no file"},
			"not UTF-8":        {[]Change{text("\xff", "x")}, "UTF-8"},
		} {
			t.Run(name, func(t *testing.T) {
				if err := v.Apply(when, c.changes); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Apply gave %v", err)
				}
				if sha256.Sum256(m.b) != before {
					t.Fatal("the file system was changed")
				}
				if got := read(t, v, "cmdline.txt"); len(got) != 48 {
					t.Errorf("cmdline.txt is %q", got)
				}
			})
		}
		var space *SpaceError
		if err := v.Apply(when, []Change{{Path: "big", Size: 1 << 30}}); !errors.As(err, &space) || space.Free != v.Free() || space.Need != 1<<30 {
			t.Errorf("Apply gave %v", err)
		}
	})
}

// TestContentFails has a content that is too short or too long change no file.
func TestContentFails(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		for _, c := range []Change{{Path: "x", Data: strings.NewReader("abc"), Size: 4}, {Path: "cmdline.txt", Data: strings.NewReader("abc"), Size: 2}} {
			if err := v.Apply(when, []Change{text("first", "first"), c}); err == nil {
				t.Fatal("it is accepted")
			}
			v = open(t, m)
			if got := read(t, v, "cmdline.txt"); len(got) != 48 {
				t.Errorf("cmdline.txt is %q", got)
			}
			if _, err := v.Stat("first"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("first: %v", err)
			}
		}
		fsck(t, m)
	})
}

// TestFill fills a file system to its last cluster, and shrinks and fills it again.
func TestFill(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		size := v.Free() // the root has slots for it
		need, err := v.Need([]Change{{Path: "big", Size: size}})
		if err != nil || need != size {
			t.Fatalf("%d bytes need %d, %v", size, need, err)
		}
		for range 2 {
			if err := v.Apply(when, []Change{{Path: "big", Data: io.LimitReader(zeros{}, size), Size: size}}); err != nil {
				t.Fatal(err)
			}
			if v.Free() != 0 {
				t.Errorf("%d bytes are free", v.Free())
			}
			if err := v.Apply(when, []Change{text("one", "more")}); err == nil {
				t.Error("a full file system takes another file")
			}
			if err := v.Apply(when, []Change{{Path: "big", Remove: true}}); err != nil {
				t.Fatal(err)
			}
		}
		v = open(t, m)
		if v.Free() != size {
			t.Errorf("%d bytes are free, and %d were", v.Free(), size)
		}
		fsck(t, m)
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestManyFiles makes a directory grow over several clusters; FAT16's root cannot, and says so.
func TestManyFiles(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		v := open(t, m)
		var changes, root []Change
		for i := range 600 {
			changes = append(changes, text(fmt.Sprintf("d/A file with number %d.txt", i), fmt.Sprint(i)))
			root = append(root, text(fmt.Sprintf("A file with number %d.txt", i), fmt.Sprint(i)))
		}
		if err := v.Apply(when, changes); err != nil {
			t.Fatal(err)
		}
		err := v.Apply(when, root)
		if v.Bits() == 16 {
			if err == nil || !strings.Contains(err.Error(), "root directory is full") {
				t.Errorf("the root took 600 files: %v", err)
			}
		} else if err != nil {
			t.Error(err)
		}
		v = open(t, m)
		for i := range 600 {
			if got := read(t, v, fmt.Sprintf("d/A file with number %d.txt", i)); got != fmt.Sprint(i) {
				t.Fatalf("file %d holds %q", i, got)
			}
		}
		fsck(t, m)
	})
}

// TestRandom does random changes and keeps a list of what should be there.
func TestRandom(t *testing.T) {
	each(t, func(t *testing.T, m *mem) {
		r := rand.New(rand.NewPCG(1, uint64(len(m.b))))
		v := open(t, m)
		want := map[string]string{}
		for range 40 {
			var changes []Change
			next, touched := maps.Clone(want), map[string]bool{}
			for range 1 + r.IntN(6) {
				path := fmt.Sprintf("d%d/%s%d", r.IntN(3), strings.Repeat("n", 1+r.IntN(30)), r.IntN(4))
				if touched[path] {
					continue
				}
				touched[path] = true
				if want[path] != "" && r.IntN(3) == 0 {
					changes = append(changes, Change{Path: path, Remove: true})
					delete(next, path)
					continue
				}
				next[path] = strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(20000))
				changes = append(changes, text(path, next[path]))
			}
			err := v.Apply(when, changes)
			var space *SpaceError
			if errors.As(err, &space) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			want = next
		}
		v = open(t, m)
		for path, x := range want {
			if got := read(t, v, path); got != x {
				t.Errorf("%s holds %d bytes, not %d", path, len(got), len(x))
			}
		}
		if len(want) < 10 {
			t.Errorf("only %d files came to be", len(want))
		}
		fsck(t, m)
	})
}

// TestPowerCut stops after each write of a change. Once fsck.fat has freed what nobody uses, each file is as it was or as it was to become.
func TestPowerCut(t *testing.T) {
	prog := tool(t, "fsck.fat")
	dir := t.TempDir()
	base := fixture(t, "fat16")
	v := open(t, base)
	var fill []Change
	for i := range 4 { // the directory is full but for a slot or two, so that it grows
		fill = append(fill, text(fmt.Sprintf("overlays/%d", i), "x"))
	}
	if err := v.Apply(when, fill); err != nil {
		t.Fatal(err)
	}
	old := read(t, v, "cmdline.txt")
	changes := func() []Change {
		return []Change{
			text("cmdline.txt", "new"), text("bimamba/a", strings.Repeat("a", 3000)), text("overlays/One name that is long enough for three slots", "o"),
			{Path: "overlays/1", Remove: true}, text("empty2.txt", "e"),
		}
	}
	for n := 0; ; n++ {
		m := &mem{b: bytes.Clone(base.b), cut: true, left: n}
		err := open(t, m).Apply(when, changes())
		if err == nil {
			if n < 15 {
				t.Errorf("only %d writes", n)
			}
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, m.b, 0o644); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(prog, "-a", path).CombinedOutput()
		for _, fault := range []string{"Truncating", "Bad", "shares", "Contains", "garbage"} {
			if strings.Contains(string(out), fault) {
				t.Errorf("after %d writes fsck.fat says:\n%s", n, out)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v := open(t, &mem{b: b})
		if got := read(t, v, "cmdline.txt"); got != old && got != "new" {
			t.Errorf("after %d writes cmdline.txt holds %q", n, got)
		}
		for _, path := range []string{"overlays/0", "overlays/2", "overlays/3"} {
			if got := read(t, v, path); got != "x" {
				t.Errorf("after %d writes %s holds %q", n, path, got)
			}
		}
		if got := read(t, v, "kernel8.img"); got != strings.Repeat("x", 100000) {
			t.Errorf("after %d writes the kernel is gone", n)
		}
		for path, want := range map[string]string{"bimamba/a": strings.Repeat("a", 3000), "overlays/One name that is long enough for three slots": "o"} {
			if b, err := v.ReadFile(path, 1<<20); err == nil && string(b) != want {
				t.Errorf("after %d writes %s is there with %d wrong bytes", n, path, len(b))
			}
		}
	}
}

// TestDamaged has each damage be noticed.
func TestDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		fs     string
		damage func(m *mem)
		want   string
	}{
		"tables differ":    {"fat16", func(m *mem) { m.b[512+20] ^= 1 }, "copies of the file allocation table differ"},
		"not unmounted":    {"fat16", func(m *mem) { m.b[37] |= 1 }, "not unmounted"},
		"not unmounted 32": {"fat32", func(m *mem) { m.b[65] |= 1 }, "not unmounted"},
		"no signature":     {"fat32", func(m *mem) { m.b[510] = 0 }, "no FAT file system"},
		"exFAT":            {"fat32", func(m *mem) { copy(m.b[3:], "EXFAT   ") }, "EXFAT"},
		"FSInfo":           {"fat32", func(m *mem) { m.b[512] = 0 }, "FSInfo"},
		"sector size":      {"fat32", func(m *mem) { m.b[12] = 3 }, "sectors of 768 bytes"},
		"too long":         {"fat16", func(m *mem) { m.b = m.b[:1<<20] }, "its partition only"},
		"one table": {"fat32", func(m *mem) {
			m.b[40] = 0x80
		}, "only one of the tables"},
		"lost cluster": {"fat16", func(m *mem) { both(m, 4000, 0xffff) }, "in use by no file"},
		"loop": {"fat16", func(m *mem) {
			v := open(t, m)
			_, e, _ := v.lookup("kernel8.img")
			both(m, e.chain[5], uint16(e.chain[2]))
		}, "kernel8.img: its cluster 7"},
		"crossed": {"fat16", func(m *mem) {
			v := open(t, m)
			_, k, _ := v.lookup("kernel8.img")
			_, e, _ := v.lookup("cmdline.txt")
			both(m, k.chain[3], uint16(e.chain[0]))
		}, "meets another file"},
		"too short a chain": {"fat16", func(m *mem) {
			v := open(t, m)
			_, k, _ := v.lookup("kernel8.img")
			both(m, k.chain[3], 0xffff)
		}, "clusters instead of 196"},
		"dot dot": {"fat32", func(m *mem) {
			v := open(t, m)
			d, _, _ := v.lookup("overlays")
			m.b[v.offset(d.chain[0])+32+26] = 9
		}, `wrong entry ".."`},
	} {
		t.Run(name, func(t *testing.T) {
			m := fixture(t, c.fs)
			c.damage(m)
			if _, err := Open(m, int64(len(m.b))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open gave %v", err)
			}
		})
	}
}

// both sets an entry in both tables of the FAT16 fixture.
func both(m *mem, cluster uint32, e uint16) {
	size := (int(m.b[22]) | int(m.b[23])<<8) * 512
	start := (int(m.b[14]) | int(m.b[15])<<8) * 512
	for i := range 2 {
		m.b[start+i*size+2*int(cluster)] = byte(e)
		m.b[start+i*size+2*int(cluster)+1] = byte(e >> 8)
	}
}

// TestMade runs over file systems of several makers and sizes.
func TestMade(t *testing.T) {
	for _, c := range []struct {
		name string
		mib  int64
		args []string
	}{
		{"fat12", 2, []string{"mkfs.fat", "-F", "12"}},
		{"fat16", 64, []string{"mkfs.fat", "-F", "16"}},
		{"fat32", 260, []string{"mkfs.fat", "-F", "32"}},
		{"fat32, clusters of 4096", 300, []string{"mkfs.fat", "-F", "32", "-s", "8"}},
		{"fat32, sectors of 4096", 300, []string{"mkfs.fat", "-F", "32", "-S", "4096", "-s", "1"}},
		{"fat32, one table", 40, []string{"mkfs.fat", "-F", "32", "-s", "1", "-f", "1"}},
		{"mformat", 256, []string{"mformat", "-F", "-c", "4", "-v", "BOOTFS", "-T", "524288", "-h", "255", "-s", "63", "-H", "8192", "::", "-i"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog := tool(t, c.args[0])
			path := filepath.Join(t.TempDir(), "fs")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(c.mib << 20); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(prog, append(c.args[1:], path)...)
			cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			v, err := Open(f, c.mib<<20)
			if c.name == "fat12" {
				if err == nil || !strings.Contains(err.Error(), "FAT12") {
					t.Errorf("Open gave %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data := strings.Repeat("0123456789", 100000)
			if err := v.Apply(when, []Change{text("a", data), text("b/c/A long name.img", data), text("b/d", ""), text("B/e", "e")}); err != nil {
				t.Fatal(err)
			}
			if err := v.Apply(when, []Change{text("b/c/A long name.img", data[:999]), {Path: "a", Remove: true}}); err != nil {
				t.Fatal(err)
			}
			if v, err = Open(f, c.mib<<20); err != nil {
				t.Fatal(err)
			}
			if read(t, v, "b/c/a long name.img") != data[:999] || read(t, v, "b/e") != "e" {
				t.Error("the contents are wrong")
			}
			out, err := exec.Command(tool(t, "fsck.fat"), "-n", path).CombinedOutput()
			if err != nil || len(strings.Split(strings.TrimSpace(string(out)), "\n")) != 2 {
				t.Errorf("fsck.fat: %v\n%s", err, out)
			}
		})
	}
}

func TestShortNames(t *testing.T) {
	d := &dir{}
	for _, c := range []struct {
		name, short string
		long        bool
	}{
		{"README", "README     ", false},
		{"install.sh", "INSTALL SH ", true},
		{"model.bimamba", "MODEL~1 BIM", true},
		{"model.bimambaX", "MODEL~2 BIM", true},
		{".hidden", "HIDDEN~1   ", true},
		{"a b.c.d", "ABC~1   D  ", true},
		{"ÄÖ", "__~1       ", true},
		{"+", "_~1        ", true},
	} {
		short, long := d.shorten(c.name)
		if string(short[:]) != c.short || long != c.long {
			t.Errorf("%s becomes %q, %t", c.name, short[:], long)
		}
		d.entries = append(d.entries, &entry{short: short})
	}
}

// FuzzOpen damages a file system in two places. What is opened nevertheless is sound: it can be read and changed, and is sound again.
func FuzzOpen(f *testing.F) {
	base := fixture(f, "fat16").b
	f.Add(uint32(11), []byte{0, 2}, uint32(0), []byte{})
	f.Add(uint32(512), []byte{0xf8, 0xff, 0, 0, 3, 0}, uint32(512+9216), []byte{1})
	f.Add(uint32(19968), []byte("CMDLINE TXT"), uint32(20000), []byte{0x41})
	f.Add(uint32(13), []byte{128}, uint32(17), []byte{0, 16})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, at2 uint32, patch2 []byte) {
		m := &mem{b: bytes.Clone(base)}
		copy(m.b[int(at)%len(m.b):], patch)
		copy(m.b[int(at2)%len(m.b):], patch2)
		v, err := Open(m, int64(len(m.b)))
		if err != nil {
			return
		}
		walk(t, v, "/", 0)
		if err := v.Apply(when, []Change{text("new/file", "x"), text("fuzz.txt", "y")}); err != nil {
			return
		}
		if v, err = Open(m, int64(len(m.b))); err != nil {
			t.Fatalf("after a change: %v", err)
		}
		if read(t, v, "new/file") != "x" || read(t, v, "fuzz.txt") != "y" {
			t.Fatal("what was written is not there")
		}
	})
}

func walk(t *testing.T, v *Volume, path string, depth int) {
	list, err := v.ReadDir(path)
	if err != nil || depth > maxDepth+1 {
		return // two entries may have one name
	}
	for _, i := range list {
		if i.Dir {
			walk(t, v, path+"/"+i.Name, depth+1)
		} else {
			v.ReadFile(path+"/"+i.Name, 1<<24)
		}
	}
}
