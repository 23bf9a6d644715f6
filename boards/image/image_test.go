package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/boards/image/internal/fat"
	"bimamba/boards/internal/bmap"
	"bimamba/boards/internal/packed/packedtest"
)

// The card in small that testdata/base.sh makes, in bytes.
const (
	baseSize  = 20 << 20
	bootStart = 64 * 512
	rootStart = 32832 * 512
)

var update = flag.Bool("update", false, "write the golden files anew")

// baseImage unpacks the card in small that testdata/base.sh made.
func baseImage(t testing.TB) string {
	t.Helper()
	f, err := os.Open("testdata/base.img.gz")
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
	path := filepath.Join(t.TempDir(), "base.img")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(t testing.TB) Options {
	return Options{
		Base: baseImage(t), Out: filepath.Join(t.TempDir(), "out.img"), Settings: settings(),
		Files: []File{
			Text("/usr/bin/bimambad", 0o755, strings.Repeat("daemon", 10000)),
			Text("/usr/share/bimamba/default.bimamba", 0o644, strings.Repeat("model", 50000)),
			Text("/etc/bimamba/bimambad.toml", 0o644, "sessions = 2\n"),
		},
		Enable: []string{"bimambad.socket", "bimambad.service"},
		Time:   time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC),
	}
}

// hostile are settings with everything that a quote could be missing for.
func hostile() Settings {
	s := settings()
	s.Keys = append(s.Keys, key+` '; reboot; ' "$(reboot)" \`)
	s.WiFi = &WiFi{`it's "$(reboot)" \n`, `p'"$(reboot)\ss`, "DE"}
	s.Timezone = "Europe/Berlin"
	return s
}

// bootFiles reads the texts of an image's boot partition.
func bootFiles(t testing.TB, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := find(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, dir := range []string{"", "bimamba/"} {
		list, err := s.boot.ReadDir(dir)
		if err != nil {
			if dir == "" {
				t.Fatal(err)
			}
			continue
		}
		for _, i := range list {
			if i.Dir {
				continue
			}
			b, err := s.boot.ReadFile(dir+i.Name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			m[dir+i.Name] = string(b)
		}
	}
	return m
}

// TestGolden builds an image for each format and compares all that a first boot reads with testdata/golden.
func TestGolden(t *testing.T) {
	before := bootFiles(t, baseImage(t))
	for _, format := range Formats {
		t.Run(string(format), func(t *testing.T) {
			o := options(t)
			o.Format, o.Settings = format, hostile()
			if format != Custom {
				o.Settings.Locale = "de_DE.UTF-8"
			}
			rep, err := Build(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Format != format || !rep.Cgroup || rep.Size != baseSize || rep.System != "Debian GNU/Linux 13 (trixie)" || len(rep.Written) != 3 {
				t.Errorf("the report is %+v", rep)
			}
			if st, err := os.Stat(o.Out); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("others can read the key of the Wi-Fi: %v, %v", st, err)
			}
			after := bootFiles(t, o.Out)
			dir := filepath.Join("testdata", "golden", string(format))
			if *update {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			golden := map[string]bool{}
			for name, text := range after {
				if before[name] == text || strings.HasPrefix(name, "bimamba/0") {
					continue
				}
				path := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
				golden[filepath.Base(path)] = true
				if *update {
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if text != string(want) {
					t.Errorf("%s is not as in %s (-update writes it anew):\n%s", name, path, text)
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !golden[e.Name()] {
					t.Errorf("%s was not written", e.Name())
				}
			}
			for name := range before {
				if _, ok := after[name]; !ok {
					t.Errorf("%s of the base image is gone", name)
				}
			}
			if after["bimamba/02-default.bimamba"] != strings.Repeat("model", 50000) {
				t.Error("the model is not what it was")
			}
			for name, text := range after {
				if strings.Contains(text, o.Settings.WiFi.Password) {
					t.Errorf("%s has the password of the Wi-Fi", name)
				}
			}
			root, other := partition(t, o.Base, 1), partition(t, o.Out, 1)
			if !bytes.Equal(root, other) {
				t.Error("the root was changed")
			}
		})
	}
}

// partition reads a partition of the small card: 0 boot, 1 root.
func partition(t testing.TB, path string, i int) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if i == 0 {
		return b[bootStart:rootStart]
	}
	return b[rootStart:]
}

// TestCmdline has the kernel's arguments be as they were but for what is added, and that only once.
func TestCmdline(t *testing.T) {
	const was = "console=serial0,115200 console=tty1 root=PARTUUID=b0a4d001-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot"
	for format, want := range map[Format]string{
		Firstrun:  " cgroup_enable=memory systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target",
		Custom:    " cgroup_enable=memory systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target",
		Preseed:   " cgroup_enable=memory",
		CloudInit: " cgroup_enable=memory ds=nocloud;i=bimamba-",
	} {
		o := options(t)
		o.Format = format
		if _, err := Build(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if got := bootFiles(t, o.Out)["cmdline.txt"]; !strings.HasPrefix(got, was+want) || strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
			t.Errorf("%s: %q", format, got)
		}
	}
	o := options(t)
	apply(t, o.Base, change{Path: "cmdline.txt", Data: strings.NewReader(was + " cgroup_enable=memory"), Size: int64(len(was) + 21)})
	o.Format = Preseed
	rep, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := bootFiles(t, o.Out)["cmdline.txt"]; rep.Cgroup || got != was+" cgroup_enable=memory" {
		t.Errorf("%t, %q", rep.Cgroup, got)
	}
}

type change = fat.Change

// apply changes the boot partition of the small card.
func apply(t testing.TB, path string, c ...change) {
	t.Helper()
	applyAt(t, path, bootStart, rootStart-bootStart, c...)
}

func applyAt(t testing.TB, path string, start, size int64, c ...change) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &window{f, start, size}
	v, err := fat.Open(w, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Apply(time.Time{}, c); err != nil {
		t.Fatal(err)
	}
}

func text(path, s string) change {
	return change{Path: path, Data: strings.NewReader(s), Size: int64(len(s))}
}

// TestFormats has the format that an image was made for come first.
func TestFormats(t *testing.T) {
	for name, c := range map[string]struct {
		changes []change
		want    string
	}{
		"as it is":       {nil, "cloud-init, rpi-preseed, firstrun.sh, custom.toml"},
		"no init=":       {[]change{text("cmdline.txt", "root=/dev/mmcblk0p2")}, "cloud-init, rpi-preseed, firstrun.sh"},
		"no files there": {[]change{{Path: "user-data", Remove: true}}, "cloud-init, rpi-preseed, firstrun.sh, custom.toml"},
	} {
		base := baseImage(t)
		apply(t, base, c.changes...)
		f, err := os.Open(base)
		if err != nil {
			t.Fatal(err)
		}
		s, err := inspect(readOnly{f}, baseSize)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := formatList(s.Formats); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
		if s.Firmware != "/boot/firmware" || !s.PiKernel || !s.seeded || s.label != "bootfs" && s.label != "BOOTFS" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, fmt.Errorf("a write") }

// TestRefused has one line say what is wrong, and no file be left.
func TestRefused(t *testing.T) {
	big := Text("/usr/share/bimamba/default.bimamba", 0o644, strings.Repeat("x", 18<<20))
	for name, c := range map[string]struct {
		change func(t *testing.T, o *Options)
		want   string
	}{
		"no base":        {func(t *testing.T, o *Options) { o.Base += "x" }, "no such file"},
		"the same":       {func(t *testing.T, o *Options) { o.Out = o.Base; o.Force = true }, "is the base image itself"},
		"exists":         {func(t *testing.T, o *Options) { os.WriteFile(o.Out, nil, 0o644) }, "--force replaces it"},
		"no image":       {func(t *testing.T, o *Options) { os.WriteFile(o.Base, make([]byte, 4096), 0o644) }, "no partition table"},
		"cut short":      {func(t *testing.T, o *Options) { os.Truncate(o.Base, 3<<20) }, "the image is cut short"},
		"settings":       {func(t *testing.T, o *Options) { o.Settings.Keys = nil }, "an SSH key is needed"},
		"a path":         {func(t *testing.T, o *Options) { o.Files[0].Path = "/usr/../x y" }, "no path on the board"},
		"up":             {func(t *testing.T, o *Options) { o.Files[0].Path = "/usr/../x" }, "no path on the board"},
		"too large":      {func(t *testing.T, o *Options) { o.Files[1] = big }, "would fit: take a smaller one"},
		"size is a lie":  {func(t *testing.T, o *Options) { o.Files[0].Size++ }, "instead of"},
		"zone":           {func(t *testing.T, o *Options) { o.Settings.Timezone = "Europe/Atlantis" }, "no time zone"},
		"prepared":       {func(t *testing.T, o *Options) { apply(t, o.Base, text("firstrun.sh", "x")) }, "prepared for its first boot already"},
		"two lines":      {func(t *testing.T, o *Options) { apply(t, o.Base, text("cmdline.txt", "a\nb\n")) }, "more than one line"},
		"empty line":     {func(t *testing.T, o *Options) { apply(t, o.Base, text("cmdline.txt", "\n")) }, "cmdline.txt is empty"},
		"systemd.run":    {func(t *testing.T, o *Options) { apply(t, o.Base, text("cmdline.txt", "a systemd.run=/x")) }, "prepared for its first boot by something else"},
		"no cmdline.txt": {func(t *testing.T, o *Options) { apply(t, o.Base, change{Path: "cmdline.txt", Remove: true}) }, "no FAT partition with a cmdline.txt"},
		"format": {func(t *testing.T, o *Options) {
			apply(t, o.Base, text("cmdline.txt", "root=/dev/mmcblk0p2"))
			o.Format = Custom
		}, "does not understand custom.toml at its first boot; it does cloud-init, rpi-preseed, firstrun.sh"},
		"locale":      {func(t *testing.T, o *Options) { o.Format, o.Settings.Locale = Custom, "de_DE.UTF-8" }, "custom.toml sets no locale"},
		"no os":       {func(t *testing.T, o *Options) { edit(t, o.Base, "trixie)\"\nID=debian", "trixie)\"\nID=fedora") }, "only Debian and its kin"},
		"no mount":    {func(t *testing.T, o *Options) { edit(t, o.Base, "/boot/firmware vfat", "/boot/firmware ext4") }, "mounts no vfat partition"},
		"other CPU":   {func(t *testing.T, o *Options) { edit(t, o.Base, "\x03\x00\xb7\x00", "\x03\x00\x3e\x00") }, "ELF machine 62"},
		"damaged FAT": {func(t *testing.T, o *Options) { damage(t, o.Base, bootStart+4*512+100) }, "fsck.fat"},
		"no ext4":     {func(t *testing.T, o *Options) { damage(t, o.Base, rootStart+1024+56) }, "no ext4 partition"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			c.change(t, &o)
			before, _ := os.ReadFile(o.Out)
			base, _ := os.ReadFile(o.Base)
			_, err := Build(context.Background(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Build gave %v", err)
			}
			if after, _ := os.ReadFile(o.Out); !bytes.Equal(before, after) {
				t.Error("the output was touched")
			}
			if after, _ := os.ReadFile(o.Base); !bytes.Equal(base, after) {
				t.Error("the base image was touched")
			}
			entries, err := os.ReadDir(filepath.Dir(o.Out))
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
				t.Errorf("%v is left", entries)
			}
		})
	}
}

// edit replaces some bytes of an image by as many others.
func edit(t testing.TB, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(from) != len(to) || bytes.Count(b, []byte(from)) == 0 {
		t.Fatalf("%q cannot become %q", from, to)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(from), []byte(to)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func damage(t testing.TB, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x5a
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPacked builds from packed images, and stops where it is told to.
func TestPacked(t *testing.T) {
	o := options(t)
	if _, err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(o.Base)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"gzip", "xz"} {
		o := options(t)
		if err := os.WriteFile(o.Base, packedtest.Pack(t, kind, raw), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Build(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(o.Out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another image, %v", kind, err)
		}
	}
	o = options(t)
	ctx, cancel := context.WithCancel(context.Background())
	o.Progress = func(step string, done, total int64) {
		if step == "writing" {
			cancel()
		}
	}
	if _, err := Build(ctx, o); err == nil || ctx.Err() == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("Build gave %v", err)
	}
	if _, err := os.Stat(o.Out); err == nil {
		t.Error("there is an image")
	}
}

// TestBlockMap writes what the map of an image has to a card that was full of something else: both file systems are whole.
func TestBlockMap(t *testing.T) {
	o := options(t)
	o.Settings = hostile()
	rep, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := bmap.Read(o.Out + bmap.Ext)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(o.Out + bmap.Ext); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others can read the sums of the Wi-Fi's key: %v, %v", st, err)
	}
	if m.Size != baseSize || m.Mapped() != rep.Mapped || rep.Mapped > baseSize*3/4 {
		t.Errorf("%d of %d bytes are mapped; the report says %d", m.Mapped(), m.Size, rep.Mapped)
	}
	b, err := os.ReadFile(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	card := bytes.Repeat([]byte{0xee}, len(b))
	for _, r := range m.Ranges {
		copy(card[r.Start:r.End], b[r.Start:r.End])
		clear(b[r.Start:r.End])
	}
	if len(bytes.Trim(b, "\x00")) > 0 {
		t.Error("something of the image is not in its map")
	}
	path := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(path, card, 0o644); err != nil {
		t.Fatal(err)
	}
	before, after := bootFiles(t, o.Out), bootFiles(t, path)
	if !maps.Equal(before, after) {
		t.Error("the boot partition has other files")
	}
	fsck := func(name string, part []byte, prog ...string) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, part, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool(t, prog[0], name), append(prog[1:], path)...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", prog, err, out)
		}
	}
	fsck("e2fsprogs", card[rootStart:], "e2fsck", "-fn")
	fsck("dosfstools", card[bootStart:rootStart], "fsck.fat", "-n")

	// Of one that is there nothing is replaced without a word.
	if err := os.Remove(o.Out); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(context.Background(), o); err == nil || !strings.Contains(err.Error(), "out.img.bmap exists; --force replaces it") {
		t.Errorf("over an old block map: %v", err)
	}
}
