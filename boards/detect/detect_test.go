package detect

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"
)

// board is the files of a board in testdata, one archive each (scripts/board/capture.sh captures them), in which binary files are written so that they can be read:
//
//	device tree   a string a line
//	auxv          tag and value
//	elf 64 NAME   the head of a program
//	link TARGET   a symbolic link
func board(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(raw), "# synthesised: ") && !strings.HasPrefix(string(raw), "# captured in ") {
		t.Fatalf("%s does not say where it comes from", name)
	}
	root := fstest.MapFS{}
	for _, f := range txtar.Parse(raw).Files {
		file := &fstest.MapFile{Data: f.Data, Mode: 0o644}
		text := strings.TrimSuffix(string(f.Data), "\n")
		word := strings.Fields(text)
		switch {
		case strings.HasPrefix(f.Name, "sys/firmware/devicetree/"):
			file.Data = []byte(strings.ReplaceAll(text, "\n", "\x00") + "\x00")
		case f.Name == "proc/self/auxv":
			n, err := strconv.ParseUint(word[1], 10, 31)
			if err != nil {
				t.Fatal(err)
			}
			file.Data = auxv(33, 7, 6, n, 0, 0) // AT_SYSINFO_EHDR goes before
		case len(word) > 1 && word[0] == "elf":
			file.Data = elf(word[1:]...)
		case len(word) == 2 && word[0] == "link":
			file.Data, file.Mode = []byte(word[1]), fs.ModeSymlink
		}
		root[f.Name] = file
	}
	return root
}

// auxv is words of this process's size.
func auxv(words ...uint64) (b []byte) {
	for _, w := range words {
		if strconv.IntSize == 64 {
			b = binary.LittleEndian.AppendUint64(b, w)
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(w))
		}
	}
	return b
}

func elf(word ...string) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x01")
	if word[0] == "64" {
		b[4] = 2
	}
	b[18] = 40
	if len(word) > 1 && word[1] == "aarch64" {
		b[18] = 183
	}
	return b
}

func ids(all []Finding) string {
	var list []string
	for _, f := range all {
		list = append(list, string(f.Severity)+" "+f.ID)
	}
	return strings.Join(list, ", ")
}

// summary is model, cores and memory.
func summary(b *Board) string {
	s := b.Model
	for _, c := range b.Cores {
		s += ", " + c.String()
	}
	return s + fmt.Sprintf(", %d MiB", b.Memory.Total>>20)
}

func missing(b *Board) string {
	var list []string
	for _, m := range b.Missing {
		list = append(list, m.What)
	}
	return strings.Join(list, ", ")
}

func TestBoards(t *testing.T) {
	for _, tt := range []struct {
		name, id, soc, summary, features string
		userland, page                   int
		storage, swap, findings, missing string
	}{
		{"pi-zero-2w", "pi-zero-2w", "BCM2837 (RP3A0)", "Raspberry Pi Zero 2 W Rev 1.0, 4 x Cortex-A53 at 1000 MHz, 416 MiB", "asimd", 64, 4096, "sd SC32G /dev/mmcblk0p2", "/var/swap sd",
			"error under-voltage, warning cgroup-memory, warning governor, warning swap, warning groups", ""},
		{"pi-3-32", "pi-3", "BCM2837", "Raspberry Pi 3 Model B Rev 1.2, 4 x Cortex-A53 at 1200 MHz, 922 MiB", "neon", 32, 4096, "sd SD16G /dev/mmcblk0p2", "", "warning kernel-32, note governor", ""},
		{"pi-4", "pi-4", "BCM2711", "Raspberry Pi 4 Model B Rev 1.4, 4 x Cortex-A72 at 1800 MHz, 3793 MiB", "asimd", 32, 4096, "usb Portable SSD /dev/sda2", "",
			"warning cgroup-memory, warning userland-32, note governor, note clock-limit", "throttle"},
		{"pi-5", "pi-5", "BCM2712", "Raspberry Pi 5 Model B Rev 1.0, 4 x Cortex-A76 at 2400 MHz, 8048 MiB", "asimd fphp asimdhp asimddp", 64, 16384, "nvme NVME SSD 256GB /dev/nvme0n1p2", "/dev/zram0 zram",
			"note governor, note zram, note page-size", "throttle"},
		{"jetson-nano", "jetson-nano", "Tegra X1 (T210)", "NVIDIA Jetson Nano Developer Kit, 2 x Cortex-A57 at 1479 MHz, 3964 MiB", "asimd", 64, 4096, "sd SN128 /dev/mmcblk0p1", "",
			"warning cgroup-v1, note cores-off, note clock-limit", ""},
		{"orin-nano", "orin-nano", "Tegra Orin (T234)", "NVIDIA Jetson Orin Nano Developer Kit, 6 x Cortex-A78AE at 1510 MHz, 7619 MiB", "asimd fphp asimdhp asimddp", 64, 4096, "nvme SSD 500GB /dev/nvme0n1p1", "", "", ""},
		{"xavier-nx", "xavier-nx", "Tegra Xavier (T194)", "NVIDIA Jetson Xavier NX Developer Kit (SD-card), 6 x NVIDIA Carmel at 1907 MHz, 6835 MiB", "asimd fphp asimdhp", 64, 4096, "emmc DG4016 /dev/mmcblk0p1", "", "warning cgroup-memory", ""},
		{"arm64", "arm64", "rockchip,rk3588", "Radxa ROCK 5B, 4 x Cortex-A55 at 1800 MHz, 4 x Cortex-A76 at 2400 MHz, 15722 MiB", "asimd fphp asimdhp asimddp", 64, 4096, "emmc AJTD4R /dev/mmcblk1p3", "", "", ""},
		{"qemu-pi-3", "pi-3", "BCM2837", "Raspberry Pi 3 Model B, 4 x Cortex-A53, 904 MiB", "asimd", 64, 4096, "sd QEMU! /dev/mmcblk0p2", "", "note emulated, note vcio", "clock, throttle"},
		{"qemu-pi-4", "pi-4", "BCM2711", "Raspberry Pi 4 Model B Rev 1.4, 4 x Cortex-A72, 968 MiB", "asimd", 64, 4096, "virtual  /dev/vda2", "", "warning cgroup-memory, note emulated, note vcio", "clock, throttle"},
		{"qemu-pi-5", "pi-5", "BCM2712", "Raspberry Pi 5 Model B Rev 1.0, 4 x Cortex-A76, 968 MiB", "asimd fphp asimdhp asimddp", 64, 4096, "virtual  /dev/vda2", "", "note emulated, note vcio", "clock, throttle"},
		{"qemu-orin-nano", "orin-nano", "Tegra Orin (T234)", "NVIDIA Jetson Orin Nano Developer Kit, 2 x Cortex-A76, 3918 MiB", "asimd fphp asimdhp asimddp", 64, 4096, "virtual  /dev/vda2", "", "note emulated", "clock"},
		{"x86", "x86", "", "Example Computers Mini 100, 2 x Intel(R) N100 at 3400 MHz, 15625 MiB", "avx2 f16c fma avx_vnni", 64, 4096, "disk  /dev/sda1", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := Read(board(t, tt.name), Options{})
			var swap, storage []string
			for _, s := range b.Swap {
				swap = append(swap, s.Name+" "+s.Kind)
			}
			for _, s := range b.Storage {
				storage = append(storage, s.Kind+" "+s.Model+" "+s.Device)
			}
			for _, c := range []struct{ what, got, want string }{
				{"id", b.ID, tt.id}, {"soc", b.SoC, tt.soc}, {"summary", summary(b), tt.summary}, {"features", strings.Join(b.Features, " "), tt.features}, {"storage", strings.Join(storage, ","), tt.storage},
				{"swap", strings.Join(swap, ","), tt.swap}, {"findings", ids(Examine(b, nil, nil)), tt.findings}, {"missing", missing(b), tt.missing},
			} {
				if c.got != c.want {
					t.Errorf("%s is %q, want %q", c.what, c.got, c.want)
				}
			}
			if b.Userland != tt.userland || b.PageSize != tt.page {
				t.Errorf("userland %d, pages %d; want %d, %d", b.Userland, b.PageSize, tt.userland, tt.page)
			}
			for _, f := range Examine(b, nil, nil) {
				if f.What == "" || f.Why == "" || f.Mend == "" && f.Severity != Note {
					t.Errorf("a finding without a reason, or without a remedy: %+v", f)
				}
			}
		})
	}
}

// TestMend reads the lines that people will type.
func TestMend(t *testing.T) {
	for _, tt := range []struct{ board, id, want string }{
		{"pi-zero-2w", "cgroup-memory", "sudo sed -i '1s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt && sudo reboot"},
		{"pi-4", "cgroup-memory", "sudo sed -i '1s/$/ cgroup_enable=memory/' /boot/cmdline.txt && sudo reboot"},
		{"pi-zero-2w", "groups", "sudo usermod -aG video,i2c $USER, and log in anew; for the daemon: bimamba units FILE --sensors"},
		{"pi-zero-2w", "governor", "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor (until the next boot)"},
		{"pi-4", "clock-limit", "echo 1800000 | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"},
		{"xavier-nx", "cgroup-memory", "remove it (the line APPEND in /boot/extlinux/extlinux.conf) and reboot"},
		{"jetson-nano", "cores-off", "sudo nvpmodel -m 0 (nvpmodel -q shows the mode)"},
		{"jetson-nano", "cgroup-v1", "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line (the line APPEND in /boot/extlinux/extlinux.conf) and reboot"},
	} {
		all := Examine(Read(board(t, tt.board), Options{}), nil, nil)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.ID == tt.id })
		if i < 0 || all[i].Mend != tt.want {
			t.Errorf("%s, %s: %+v", tt.board, tt.id, all)
		}
	}
}

// TestReboot has a line that was written but not yet read by the kernel.
func TestReboot(t *testing.T) {
	root := board(t, "pi-zero-2w")
	root["boot/firmware/cmdline.txt"].Data = []byte("root=/dev/mmcblk0p2 cgroup_enable=memory\n")
	mend := func() string {
		all := Examine(Read(root, Options{}), nil, nil)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.ID == "cgroup-memory" })
		if i < 0 {
			t.Fatalf("%+v", all)
		}
		return all[i].Mend
	}
	if got := mend(); got != "sudo reboot (/boot/firmware/cmdline.txt has cgroup_enable=memory already)" {
		t.Error(got)
	}
	root["proc/cmdline"].Data = []byte("cgroup_disable=memory root=/dev/mmcblk0p2 cgroup_enable=memory\n")
	if got := mend(); !strings.HasPrefix(got, "take Raspberry Pi's own kernel") { // another reboot would not help
		t.Error(got)
	}
}

func TestLookup(t *testing.T) {
	for _, tt := range []struct {
		model      string
		compatible []string
		want       string
	}{
		{"", []string{"raspberrypi,4-compute-module-s", "brcm,bcm2711"}, "pi-cm4"},
		{"", []string{"raspberrypi,5-compute-module", "brcm,bcm2712"}, "pi-cm5"},
		{"", []string{"raspberrypi,400", "brcm,bcm2711"}, "pi-400"},
		{"", []string{"raspberrypi,500", "brcm,bcm2712"}, "pi-500"},
		{"", []string{"raspberrypi,3-model-b-plus", "brcm,bcm2837"}, "pi-3"},
		{"", []string{"nvidia,p3541-0000", "nvidia,p3450-0000", "nvidia,tegra210"}, "jetson-nano"},
		{"", []string{"nvidia,p3449-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194"}, "xavier-nx"},
		{"", []string{"nvidia,p3768-0000+p3767-0001", "nvidia,tegra234"}, "orin-nx"},
		{"", []string{"nvidia,p3768-0000+p3767-0004", "nvidia,tegra234"}, "orin-nano"},
		{"", []string{"nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"}, "agx-orin"},
		{"NVIDIA Jetson AGX Xavier Developer Kit", []string{"nvidia,p2972-0000", "nvidia,tegra194"}, "agx-xavier"},
		// A board of QEMU whose model was changed.
		{"Raspberry Pi 5 Model B Rev 1.0", []string{"linux,dummy-virt"}, "pi-5"},
		{"Raspberry Pi 500", nil, "pi-500"},
		{"Raspberry Pi 400 Rev 1.0", nil, "pi-400"},
		{"Raspberry Pi Compute Module 4 Rev 1.1", nil, "pi-cm4"},
		{"NVIDIA Jetson Orin NX Engineering Reference Developer Kit", nil, "orin-nx"},
		{"linux,dummy-virt", []string{"linux,dummy-virt"}, ""},
		{"", nil, ""},
	} {
		if k, _ := lookup(tt.model, tt.compatible); k.id != tt.want {
			t.Errorf("%q %q is %q, want %q", tt.model, tt.compatible, k.id, tt.want)
		}
	}
	seen := map[string]bool{}
	for _, k := range known {
		if seen[k.id] || k.name == "" || k.vendor == "" || k.soc == "" {
			t.Errorf("%+v is there twice, or not complete", k)
		}
		seen[k.id] = true
	}
}

// TestEmulated has one sign at a time; the captured boards have theirs.
func TestEmulated(t *testing.T) {
	for _, tt := range []struct{ board, file, data, want string }{
		{"pi-4", "", "", ""},
		{"pi-4", "sys/firmware/devicetree/base/compatible", "raspberrypi,4-model-b\x00brcm,bcm2711\x00linux,dummy-virt\x00", "its device tree says linux,dummy-virt, as that of QEMU's board virt does"},
		{"pi-4", "sys/firmware/devicetree/base/fw-cfg@9020000/compatible", "qemu,fw-cfg-mmio\x00", "its device tree has QEMU's fw-cfg@9020000"},
		{"pi-zero-2w", "sys/class/block/mmcblk0/device/name", "QEMU!\n", "its SD card is one of QEMU's"},
		{"x86", "proc/self/exe", string(elf("64", "aarch64")), "an arm64 program under the kernel of an x86-64 machine"},
		{"x86", "proc/self/exe", string(elf("64")), ""},
	} {
		root := board(t, tt.board)
		if tt.file != "" {
			root[tt.file] = &fstest.MapFile{Data: []byte(tt.data)}
		}
		b := Read(root, Options{})
		if told := strings.Contains(ids(Examine(b, nil, nil)), "note emulated"); b.Emulated != tt.want || told != (tt.want != "") {
			t.Errorf("%s with %s: %q, want %q", tt.board, tt.file, b.Emulated, tt.want)
		}
	}
}

// TestThrottle takes the firmware's bits; the kernel's alarm is in the fixtures.
func TestThrottle(t *testing.T) {
	for _, tt := range []struct {
		bits     ThrottleBits
		findings string
	}{
		{0, ""},
		{0x1, "error under-voltage"},
		{0x50005, "error under-voltage, warning throttled"},
		{0x50000, "warning under-voltage-before, note throttled-before"},
		{0x8, "warning throttled"},
		{0xe0000, "note throttled-before"},
	} {
		b := Read(board(t, "orin-nano"), Options{Throttle: func() (ThrottleBits, error) { return tt.bits, nil }})
		if got := ids(Examine(b, nil, nil)); got != tt.findings {
			t.Errorf("%#x: %s, want %s", tt.bits, got, tt.findings)
		}
	}
	b := Read(board(t, "pi-zero-2w"), Options{Throttle: func() (ThrottleBits, error) { return 0, fs.ErrPermission }})
	if b.Throttle == nil || b.Throttle.Source == "firmware" || b.Throttle.SinceBoot != nil || missing(b) != "throttle" {
		t.Errorf("without the firmware: %+v, missing %s", b.Throttle, missing(b))
	}
}

func TestNeed(t *testing.T) {
	fast, slow := &Speed{BytesPerSecond: 90e6}, &Speed{BytesPerSecond: 4e6}
	for _, tt := range []struct {
		name     string
		need     *Need
		change   func(b *Board)
		findings string
	}{
		{"fits", &Need{"/m", 1e8, 2e8}, nil, ""},
		{"taken", &Need{"/m", 1e8, 7.5e9}, nil, "warning memory-taken"},
		{"too large", &Need{"/m", 1e8, 9e9}, nil, "error memory"},
		{"no figures", &Need{"/m", 1e8, 9e9}, func(b *Board) { b.Memory = Memory{} }, ""},
		{"fast card", &Need{"/m", 1e8, 2e8}, func(b *Board) { b.Storage[0].Bandwidth = fast }, ""},
		{"slow card", &Need{"/m", 1e8, 2e8}, func(b *Board) { b.Storage[0].Bandwidth = slow }, "warning storage-slow"},
		{"network", &Need{"/m", 1e8, 2e8}, func(b *Board) { b.Storage[0].Kind = "network" }, "warning storage-network"},
		{"memory", &Need{"/m", 1e8, 2e8}, func(b *Board) { b.Storage[0].Kind = "memory" }, "note storage-memory"},
	} {
		b := Read(board(t, "orin-nano"), Options{Paths: []string{"/m"}})
		if tt.change != nil {
			tt.change(b)
		}
		if got := ids(Examine(b, nil, tt.need)); got != tt.findings {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.findings)
		}
	}
}

func TestExamineKernels(t *testing.T) {
	b := Read(board(t, "orin-nano"), Options{})
	for _, tt := range []struct {
		name     string
		k        Kernels
		findings string
	}{
		{"fine", Kernels{Sets: []string{"portable", "neon"}, InUse: "neon"}, ""},
		{"forced", Kernels{Sets: []string{"portable", "neon"}, InUse: "portable", Forced: "portable"}, "warning kernel-forced"},
		{"not here", Kernels{Sets: []string{"portable", "neon"}, InUse: "neon", Forced: "vax", Error: "BIMAMBA_KERNEL=vax"}, "error kernel-not-here"},
		{"portable build", Kernels{Sets: []string{"portable"}, InUse: "portable"}, "warning program-portable"},
		{"faults", Kernels{Sets: []string{"portable", "neon"}, InUse: "neon", Faults: []Fault{{2, "neon", "Dot"}}}, "error self-test"},
	} {
		if got := ids(Examine(b, &tt.k, nil)); got != tt.findings {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.findings)
		}
	}
}

// TestHostile damages every file of a board in several ways: what it said is missing then, with a reason, or was of no account, and nothing turns into 0.
func TestHostile(t *testing.T) {
	files, long := board(t, "pi-zero-2w"), []byte(strings.Repeat("9", maxFile+1))
	whole := Read(files, Options{})
	for name, f := range files {
		for kind, data := range map[string][]byte{
			"empty": {}, "NUL": make([]byte, 100), "long": long, "words": []byte("not what you think"), "number": []byte("-1\n"), "huge": []byte("99999999999999999999999"),
			"half": f.Data[:len(f.Data)/2], "no text": []byte("\xff\xfe\x01"),
		} {
			root := maps.Clone(files)
			root[name] = &fstest.MapFile{Data: data, Mode: f.Mode}
			b := Read(root, Options{})
			if b.ID == "" {
				t.Errorf("%s, %s: the board has no id", name, kind)
			}
			lost := map[string]bool{
				"cores": len(b.Cores) == 0, "memory": b.Memory.Total == 0, "page_size_bytes": b.PageSize == 0, "userland_bits": b.Userland == 0, "storage": len(b.Storage) == 0, "throttle": b.Throttle == nil,
				"model": b.Model == "", "cores online": b.Online == 0, "cores present": b.Present == 0, "kernel": b.Kernel == "", "groups": b.UID < 0,
			}
			for what, gone := range lost {
				if told := slices.ContainsFunc(b.Missing, func(m Missing) bool { return m.What == what && m.Reason != "" }); gone && !told {
					t.Errorf("%s, %s: %s is gone without a word: %+v", name, kind, what, b.Missing)
				}
			}
			if len(b.Cores) > 0 && len(b.Features) > 0 && b.Memory.Total > 0 && b.Memory.Total > 4*whole.Memory.Total {
				t.Errorf("%s, %s: memory is %d", name, kind, b.Memory.Total)
			}
			if _, err := json.Marshal(b); err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			Examine(b, nil, &Need{"/m", 1e8, 2e8})
		}
	}
	if b := Read(fstest.MapFS{}, Options{}); b.ID != "unknown" || len(b.Missing) < 9 {
		t.Errorf("of nothing: %+v", b)
	}
}

func TestReadSpeed(t *testing.T) {
	dir := t.TempDir()
	small, large := filepath.Join(dir, "small"), filepath.Join(dir, "large")
	if err := os.WriteFile(small, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, make([]byte, 8<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSpeed(small, 1<<30, 1e9); err == nil || !strings.Contains(err.Error(), "too few") && !strings.Contains(err.Error(), "past the cache") {
		t.Errorf("a small file: %v", err)
	}
	if _, err := ReadSpeed(filepath.Join(dir, "none"), 1<<30, 1e9); err == nil {
		t.Error("no file has a speed")
	}
	s, err := ReadSpeed(large, 6<<20, 1e10)
	if err != nil {
		if strings.Contains(err.Error(), "past the cache") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if s.Bytes != 6<<20 || s.BytesPerSecond <= 0 {
		t.Errorf("%+v", s)
	}
}

func TestTestKernels(t *testing.T) {
	k := TestKernels()
	if len(k.Faults) != 0 || len(k.Cores) == 0 || !slices.Contains(k.Sets, k.InUse) || k.Why == "" {
		t.Errorf("%+v", k)
	}
}

// TestPipes: a named pipe where a file should be is not waited for, and said.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	for name, file := range board(t, "pi-zero-2w") {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && file.Mode.IsRegular() {
			err = unix.Mkfifo(path, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan *Board, 1)
	go func() { ended <- Read(os.DirFS(dir), Options{}) }()
	select {
	case b := <-ended:
		for _, want := range []Missing{
			{"os", "/etc/os-release: it is a named pipe, not a file"}, {"userland_bits", "/bin/sh: it is a named pipe, not a file"}, {"memory", "/proc/meminfo: it is a named pipe, not a file"},
		} {
			if !slices.Contains(b.Missing, want) {
				t.Errorf("%v is not in %v", want, b.Missing)
			}
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for a pipe")
	}
}
