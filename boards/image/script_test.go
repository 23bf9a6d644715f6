package image

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Commands that the scripts run, beside those of a shell. Only the power before those that change something makes a difference. The faked ones write down that
// they were called.
var (
	plainCommands   = strings.Fields("cat cut df dirname grep sha256sum wc")
	countedCommands = strings.Fields("awk chmod cp dd ln mkdir mv rm sed sh tee")
	fakedCommands   = strings.Fields("chown groupmod locale-gen raspi-config reboot systemctl systemd-sysusers systemd-tmpfiles useradd usermod")
	wantedCommands  = []string{
		"systemctl enable ssh", "raspi-config nonint do_wifi_country DE", "locale-gen", "systemd-sysusers", "systemd-tmpfiles --create", "systemctl daemon-reload",
		"systemctl enable bimambad.socket bimambad.service",
	}
)

// board is a root directory with a boot partition in it, and commands that count themselves.
type board struct {
	root, bin, log string
}

// newBoard is a board before its first boot from an image.
func newBoard(t *testing.T, img string) *board {
	t.Helper()
	dir := t.TempDir()
	b := &board{filepath.Join(dir, "root"), filepath.Join(dir, "bin"), filepath.Join(dir, "log")}
	for _, d := range []string{"etc/sudoers.d", "etc/default", "boot/firmware/bimamba", "home/pi", "var/lib/systemd/rfkill"} {
		if err := os.MkdirAll(filepath.Join(b.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{
		"etc/hostname": "raspberrypi\n", "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n", "etc/locale.gen": "# de_DE.UTF-8 UTF-8",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/bash\n", "var/lib/systemd/rfkill/platform-x:wlan": "1\n",
	} {
		if err := os.WriteFile(filepath.Join(b.root, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range bootFiles(t, img) {
		if err := os.WriteFile(filepath.Join(b.root, "boot/firmware", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	script := func(name, text string) {
		t.Helper()
		// The power goes before a command, which ends everything in the process group.
		text = "#!/bin/sh\nread -r n <$COUNT; n=$((n + 1)); echo $n >$COUNT; [ $n != $CUT ] || kill -9 0\n" + text
		if err := os.WriteFile(filepath.Join(b.bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(plainCommands, countedCommands...) {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not here", name)
		}
		if slices.Contains(countedCommands, name) {
			script(name, "exec "+path+" \"$@\"\n")
		} else if err := os.Symlink(path, filepath.Join(b.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range fakedCommands {
		script(name, "echo "+name+" \"$@\" >>$LOG\n")
	}
	if err := os.Symlink("/bin/true", filepath.Join(b.bin, "sync")); err != nil { // this machine's disks have nothing to do with it
		t.Fatal(err)
	}
	script("getent", "while IFS=: read -r name x id rest; do [ $name != $2 ] && [ $id != $2 ] || echo $name:$x:$id:$rest; done <$BIMAMBA_ROOT/etc/$1\n")
	return b
}

// boot runs what systemd would: firstrun.sh as long as the kernel's arguments say so. The power goes before command number cut; 0 is never.
// It returns the number of commands.
func (b *board) boot(t *testing.T, cut int) int {
	t.Helper()
	line, err := os.ReadFile(filepath.Join(b.root, "boot/firmware/cmdline.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(line), "systemd.run=/boot/firmware/firstrun.sh ") {
		return 0
	}
	count := filepath.Join(b.bin, "..", "count")
	if err := os.WriteFile(count, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", filepath.Join(b.root, "boot/firmware/firstrun.sh"))
	cmd.Env = []string{"PATH=" + b.bin, "BIMAMBA_ROOT=" + b.root, "COUNT=" + count, "LOG=" + b.log, "CUT=" + strconv.Itoa(cut)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if cut == 0 && (err != nil || len(out) != 0) {
		t.Errorf("firstrun.sh: %v\n%s", err, out)
	}
	text, err := os.ReadFile(count)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// step is how many commands further the next cut is. BIMAMBA_CUTS=1 has the power go before every one, which takes a minute or two.
func step() int {
	switch {
	case os.Getenv("BIMAMBA_CUTS") != "":
		return 1
	case testing.Short():
		return 11
	}
	return 4
}

// state is all files with their contents and modes, and links.
func (b *board) state(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		var text string
		if st.Mode()&fs.ModeSymlink != 0 {
			text, err = os.Readlink(path)
		} else {
			var x []byte
			x, err = os.ReadFile(path)
			text = string(x)
		}
		m[strings.TrimPrefix(path, b.root)] = fmt.Sprintf("%04o %s", st.Mode().Perm(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func buildFirstrun(t *testing.T) Options {
	t.Helper()
	o := options(t)
	o.Format, o.Settings = Firstrun, hostile()
	o.Settings.Locale = "de_DE.UTF-8"
	if _, err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestFirstBoot runs the scripts of an image in a directory, with hostile settings.
func TestFirstBoot(t *testing.T) {
	o := buildFirstrun(t)
	b := newBoard(t, o.Out)
	b.boot(t, 0)
	got := b.state(t)
	for path, want := range map[string]string{
		"/usr/bin/bimambad":                          "0755 " + strings.Repeat("daemon", 10000),
		"/usr/share/bimamba/default.bimamba":         "0644 " + strings.Repeat("model", 50000),
		"/etc/bimamba/bimambad.toml":                 "0644 sessions = 2\n",
		"/etc/hostname":                              "0644 kitchen\n",
		"/etc/hosts":                                 "0644 127.0.0.1\tlocalhost\n127.0.1.1\tkitchen\n",
		"/home/pi/.ssh/authorized_keys":              "0600 " + strings.Join(o.Settings.Keys, "\n") + "\n",
		"/etc/sudoers.d/010_bimamba":                 "0440 pi ALL=(ALL) NOPASSWD: ALL\n",
		"/etc/timezone":                              "0644 Europe/Berlin\n",
		"/etc/default/locale":                        "0644 LANG=de_DE.UTF-8\n",
		"/etc/locale.gen":                            "0644 # de_DE.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n",
		"/var/lib/systemd/rfkill/platform-x:wlan":    "0644 0\n",
		"/boot/firmware/cmdline.txt":                 "0644 " + strings.TrimSuffix(bootFiles(t, o.Base)["cmdline.txt"], "\n") + " cgroup_enable=memory\n",
		"/etc/ssh/sshd_config.d/10-bimamba.conf":     "0644 PasswordAuthentication no\n",
		"/boot/firmware/config.txt":                  "0644 arm_64bit=1\n",
		"/boot/firmware/kernel8.img":                 "0644 " + strings.Repeat("k", 50000),
		"/var/lib/systemd/rfkill/platform-x:unknown": "",
	} {
		if got[path] != want {
			t.Errorf("%s is %.200q, not %.200q", path, got[path], want)
		}
	}
	if wifi := got["/etc/NetworkManager/system-connections/bimamba.nmconnection"]; !strings.HasPrefix(wifi, "0600 [connection]\n") || !strings.Contains(wifi, "\nssid=105;116;39;") {
		t.Errorf("the Wi-Fi is %q", wifi)
	}
	psk, err := o.Settings.WiFi.PSK()
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range got {
		if strings.HasPrefix(path, "/boot/firmware/") && (strings.Contains(path, "bimamba") || strings.Contains(path, "firstrun") || strings.Contains(path, ".new") || strings.Contains(text, psk)) {
			t.Errorf("%s is left on the boot partition", path)
		}
	}
	log, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range wantedCommands {
		if strings.Count("\n"+string(log), "\n"+want+"\n") != 1 {
			t.Errorf("%q was not run once:\n%s", want, log)
		}
	}
	if strings.Contains("\n"+string(log), "\nreboot") {
		t.Error("a setting was run as a command")
	}
}

// TestFirstBootUser renames the user, as an image has another.
func TestFirstBootUser(t *testing.T) {
	o := options(t)
	o.Format, o.Settings.User = Firstrun, "anna"
	if _, err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	b := newBoard(t, o.Out)
	passwd := filepath.Join(b.root, "etc/passwd")
	script := "#!/bin/sh\necho usermod \"$@\" >>$LOG\necho anna:x:1000:1000::/home/anna:/bin/bash >" + passwd + "\n"
	if err := os.WriteFile(filepath.Join(b.bin, "usermod"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	b.boot(t, 0)
	log, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	if want := "usermod -l anna pi\nusermod -m -d /home/anna anna\ngroupmod -n anna pi\n"; !strings.HasPrefix(string(log), want) {
		t.Errorf("these were run:\n%s", log)
	}
	if got := b.state(t)["/home/anna/.ssh/authorized_keys"]; got != "0600 "+key+"\n" {
		t.Errorf("the key is %q", got)
	}
}

// TestFirstBootCut has the power go before commands. The boots after that end in the same state as one without.
func TestFirstBootCut(t *testing.T) {
	o := buildFirstrun(t)
	b := newBoard(t, o.Out)
	n := b.boot(t, 0)
	want := b.state(t)
	if n < 30 {
		t.Fatalf("only %d commands", n)
	}
	for cut := n; cut > 0; cut -= step() {
		b := newBoard(t, o.Out)
		b.boot(t, cut)
		for path, text := range b.state(t) { // what is in place is whole, at any moment
			if w, ok := want[path]; ok && strings.HasPrefix(path, "/usr/") && text[5:] != w[5:] {
				t.Errorf("cut before command %d: %s has %d bytes", cut, path, len(text)-5)
			}
		}
		b.boot(t, 0)
		got := b.state(t)
		if _, ok := got["/boot/firmware/firstrun.sh"]; ok && cut == n { // the last: nothing runs it, and it holds no secret
			delete(got, "/boot/firmware/firstrun.sh")
		}
		if !maps.Equal(got, want) {
			for path := range want {
				if got[path] != want[path] {
					t.Errorf("cut before command %d: %s is %.100q, not %.100q", cut, path, got[path], want[path])
				}
			}
			for path := range got {
				if _, ok := want[path]; !ok {
					t.Errorf("cut before command %d: %s is left", cut, path)
				}
			}
		}
	}
}

// TestFirstBootFails has a damaged payload, and a full disk, be said on the boot partition, and the board boot as ever.
func TestFirstBootFails(t *testing.T) {
	o := buildFirstrun(t)
	for name, c := range map[string]struct {
		fault func(b *board) error
		want  string
	}{
		"damaged": {func(b *board) error {
			return os.WriteFile(filepath.Join(b.root, "boot/firmware/bimamba/02-default.bimamba"), []byte("noise"), 0o644)
		}, "02-default.bimamba is damaged: flash the card again"},
		"full": {func(b *board) error {
			return os.WriteFile(filepath.Join(b.bin, "cp"), []byte("#!/bin/sh\nexit 1\n"), 0o755)
		}, "no room for /usr/bin/bimambad ("},
		"systemctl": {func(b *board) error {
			return os.WriteFile(filepath.Join(b.bin, "systemctl"), []byte("#!/bin/sh\nexit 1\n"), 0o755)
		}, "systemctl daemon-reload failed"},
	} {
		b := newBoard(t, o.Out)
		if err := c.fault(b); err != nil {
			t.Fatal(err)
		}
		b.boot(t, -1)
		got := b.state(t)
		if text := got["/boot/firmware/bimamba-error.txt"]; !strings.Contains(text, c.want) || strings.Count(text, "\n") != 1 || !strings.Contains(text, "sudo sh /") {
			t.Errorf("%s: the error is %q", name, text)
		}
		if _, ok := got["/etc/bimamba/image-id"]; ok {
			t.Errorf("%s: the mark is there", name)
		}
		if line := got["/boot/firmware/cmdline.txt"]; strings.Contains(line, "systemd.run") {
			t.Errorf("%s: the next boot is no ordinary one: %s", name, line)
		}
		if got["/etc/hostname"] != "0644 kitchen\n" || got["/boot/firmware/bimamba/install.sh"] == "" || got["/boot/firmware/firstrun.sh"] != "" {
			t.Errorf("%s: the settings are not made, or install.sh is gone", name)
		}
	}
}

// TestInstallCut has the power go before commands of install.sh as cloud-init runs it: the key of the Wi-Fi leaves the boot partition in any case.
func TestInstallCut(t *testing.T) {
	o := options(t)
	o.Format, o.Settings = CloudInit, hostile()
	if _, err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	run := func(cut int) (*board, int) {
		b := newBoard(t, o.Out)
		n := 0
		for _, c := range []int{cut, 0} {
			if _, err := os.Stat(filepath.Join(b.root, "boot/firmware/bimamba/install.sh")); err != nil {
				break
			}
			count := filepath.Join(b.bin, "..", "count")
			if err := os.WriteFile(count, []byte("0\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/bin/sh", filepath.Join(b.root, "boot/firmware/bimamba/install.sh"), "start")
			cmd.Env = []string{"PATH=" + b.bin, "BIMAMBA_ROOT=" + b.root, "COUNT=" + count, "LOG=" + b.log, "CUT=" + strconv.Itoa(c)}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if out, err := cmd.CombinedOutput(); c == 0 && err != nil {
				t.Errorf("install.sh, cut before command %d: %v\n%s", cut, err, out)
			}
			text, err := os.ReadFile(count)
			if err != nil {
				t.Fatal(err)
			}
			n, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return b, n
	}
	b, n := run(0)
	want = b.state(t)
	net := want["/boot/firmware/network-config"]
	if strings.Contains(net, "password") || !strings.Contains(net, "wlan0") {
		t.Errorf("network-config is %q", net)
	}
	log, err := os.ReadFile(b.log)
	if err != nil || !strings.Contains(string(log), "systemctl --no-block start bimambad.socket bimambad.service\n") {
		t.Errorf("the daemon was not started: %v\n%s", err, log)
	}
	for cut := n; cut > 0; cut -= step() {
		b, _ := run(cut)
		got := b.state(t)
		delete(got, "/boot/firmware/bimamba-error.txt")
		if !maps.Equal(got, want) {
			for path := range got {
				if got[path] != want[path] {
					t.Errorf("cut before command %d: %s is %.200q, not %.200q", cut, path, got[path], want[path])
				}
			}
		}
	}
}
