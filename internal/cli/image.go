package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/image"
	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
	"bimamba/internal/static"
	"bimamba/models"
	"bimamba/systemd/unit"
)

// imageFlags are what `bimamba image` is told.
type imageFlags struct {
	image.Options
	model, config, home string
	daemon, command     string
	keys                []string
	wifi, password      string
	country, format     string
	json                bool
}

func (e *env) imageCmd() *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use:   "image --base BASE -o OUT --hostname NAME --ssh-key FILE",
		Short: "Make a card's image that boots into the assistant",
		Long: `Image puts bimambad, this command, a model and the board's settings into an image of Raspberry Pi OS, Ubuntu or Debian for a Raspberry Pi. It needs no root, mounts
nothing and runs no other program. BASE is the image as it is published, also packed as .xz or .gz; OUT appears whole or not at all. OUT.bmap beside it is its block map: which
blocks are in use, with checksums, so that "bimamba flash" need not write the others.

Only the FAT boot partition is written. At the first boot the board itself moves the files to their places, checks each by its SHA-256, enables bimambad, and
removes from the boot partition what was for that, the key of the Wi-Fi included. That may be cut off and starts again at the next boot. If something goes wrong,
bimamba-error.txt on the boot partition says what.

How a system sets itself up at its first boot is told from what is installed in it (--first-boot):
  cloud-init    Raspberry Pi OS trixie, Ubuntu: user-data, meta-data and network-config
  rpi-preseed   images with that package: rpi-preseed.toml
  firstrun.sh   Raspberry Pi OS bookworm, Debian: a script that systemd runs because the kernel's arguments say so
  custom.toml   early Raspberry Pi OS bookworm; only if it is asked for
An image that understands none of them is refused. Where the kernel is Raspberry Pi's, cgroup_enable=memory is added to its arguments: without it the limits of
memory in bimambad.service do nothing.

Nobody gets a password. The user logs in with the key, and sudo asks for nothing. The Wi-Fi's password is written as the key that it makes with the network's name.

On the board: /usr/bin/bimambad and bimamba, the model as /usr/share/bimamba/default.bimamba, the configuration in /etc/bimamba, units with the limits of memory
that the model asks for. With --home, home.toml is put into /etc/bimamba, too.`,
		Example: "  bimamba image --base raspios.img.xz -o kitchen.img --hostname kitchen --ssh-key ~/.ssh/id_ed25519.pub\n" +
			"  bimamba image --base raspios.img.xz -o kitchen.img --hostname kitchen --ssh-key ~/.ssh/id_ed25519.pub \\\n" +
			"      --wifi 'My network' --wifi-country DE --timezone Europe/Berlin --model m.bimamba",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("%s takes no arguments, only flags", c.CommandPath())
			case f.Base == "" || f.Out == "" || f.Settings.Hostname == "" || len(f.keys) == 0:
				return fmt.Errorf("%s needs --base BASE, -o OUT, --hostname NAME and --ssh-key FILE", c.CommandPath())
			case f.wifi == "" && (f.password != "" || f.country != ""):
				return errors.New("--wifi-password-file and --wifi-country belong to --wifi")
			case f.wifi != "" && f.country == "" && !strings.Contains(f.Settings.Locale, "_"):
				return errors.New("--wifi needs --wifi-country, two letters such as DE: without it the radio stays off")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return e.image(c.Context(), &f) },
	}
	s := c.Flags()
	s.StringVar(&f.Base, "base", "", "the image to start from, .img, .img.xz or .img.gz")
	s.StringVarP(&f.Out, "output", "o", "", "the image to write")
	s.StringVar(&f.model, "model", defaultName, "the model, a .bimamba file")
	s.StringVar(&f.Settings.Hostname, "hostname", "", "the board's name")
	s.StringVar(&f.Settings.User, "user", "pi", "who logs in")
	s.StringArrayVar(&f.keys, "ssh-key", nil, "file of a public key for that user; may be given several times")
	s.StringVar(&f.wifi, "wifi", "", "name of the Wi-Fi network; its password is asked for")
	s.StringVar(&f.password, "wifi-password-file", "", "file with the Wi-Fi's password in its first line")
	s.StringVar(&f.country, "wifi-country", "", "country of the Wi-Fi, two letters such as DE (default: that of --locale)")
	s.StringVar(&f.Settings.Timezone, "timezone", "", "time zone, such as Europe/Berlin (default: as in BASE)")
	s.StringVar(&f.Settings.Locale, "locale", "", "language and country, such as de_DE.UTF-8 (default: as in BASE)")
	s.StringVar(&f.config, "config", "", "the daemon's configuration, bimambad.toml (default: none, which means the defaults)")
	s.StringVar(&f.home, "home", "", "the home that the assistant is for, home.toml")
	s.StringVar(&f.daemon, "daemon", "", "bimambad for arm64, static (default: what \"make boards\" built, or what lies beside this program)")
	s.StringVar(&f.command, "cli", "", "bimamba for arm64, static (default: as for --daemon)")
	s.Var(&choice{&f.format, []string{"auto", string(image.CloudInit), string(image.Preseed), string(image.Firstrun), string(image.Custom)}}, "first-boot",
		"how the system sets itself up: auto, cloud-init, rpi-preseed, firstrun.sh or custom.toml (default auto)")
	s.BoolVar(&f.Force, "force", false, "replace OUT if it exists")
	s.BoolVar(&f.json, "json", false, "print the report as JSON")
	return c
}

func (e *env) image(ctx context.Context, f *imageFlags) error {
	if f.format != "auto" {
		f.Format = image.Format(f.format)
	}
	for _, name := range f.keys {
		b, err := readShort(name)
		if err != nil {
			return err
		}
		keys, err := image.ParseKeys(string(b))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f.Settings.Keys = append(f.Settings.Keys, keys...)
	}
	if err := e.wifi(f); err != nil {
		return err
	}
	if err := f.Settings.Check(); err != nil { // before anything large is read
		return err
	}
	if err := f.addFiles(); err != nil {
		return err
	}
	f.Enable = []string{"bimambad.service"} // as the package does: the socket would go before the addresses in the configuration
	f.Time = time.Now().UTC()
	var bar *progress
	step := ""
	f.Progress = func(what string, done, total int64) {
		if what != step {
			if bar != nil {
				bar.done()
			}
			bar, step = newProgress(e.stderr, what, total, true), what
		}
		bar.set(done, total)
	}
	rep, err := image.Build(ctx, f.Options)
	if bar != nil {
		bar.done()
	}
	if err != nil {
		return err
	}
	return e.printImage(f, rep)
}

// wifi completes the settings of the Wi-Fi.
func (e *env) wifi(f *imageFlags) error {
	if f.wifi == "" {
		return nil
	}
	if f.password == "" && !e.typed {
		return errors.New("there is no terminal to ask for the Wi-Fi's password at: --wifi-password-file names a file with it")
	}
	password, err := e.password(fmt.Sprintf("password of the Wi-Fi network %q: ", f.wifi), f.password)
	if err != nil {
		return err
	}
	if f.country == "" {
		_, f.country, _ = strings.Cut(f.Settings.Locale, "_")
		f.country = f.country[:min(2, len(f.country))]
	}
	f.Settings.WiFi = &image.WiFi{SSID: f.wifi, Password: string(password), Country: f.country}
	return nil
}

// boardModel is where a packaged daemon looks for its model.
const boardModel = "/usr/share/bimamba/default.bimamba"

// addFiles collects what the board is to have.
func (f *imageFlags) addFiles() error {
	add := func(path string, mode os.FileMode, from string) error {
		x, err := image.FromFile(path, mode, from)
		f.Files = append(f.Files, x)
		return err
	}
	for _, p := range []struct{ name, path, flag string }{{"bimambad", f.daemon, "--daemon"}, {"bimamba", f.command, "--cli"}} {
		path, err := boardProgram(p.name, p.path, p.flag)
		if err != nil {
			return err
		}
		if err := add("/usr/bin/"+p.name, 0o755, path); err != nil {
			return err
		}
	}
	conf, err := unitConfig(f.config)
	if err != nil {
		return err
	}
	if def := config.Default().Model; conf.Model != def {
		return fmt.Errorf("%s: model = %q, and the image has its model as %s: leave the line out", f.config, conf.Model, boardModel)
	}
	blob, err := openModel(f.model)
	if err != nil {
		return err
	}
	m := daemon.Footprint(conf, blob.Manifest())
	blob.Close()
	if f.model == defaultName {
		f.Files = append(f.Files, image.Text(boardModel, 0o644, string(models.Default)))
	} else if err := add(boardModel, 0o644, f.model); err != nil {
		return err
	}
	for _, x := range unit.Files(unit.Params{Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap, OneModel: conf.Memory > 0}) {
		f.Files = append(f.Files, image.Text(x.Path, os.FileMode(x.Mode), x.Text))
	}
	if f.config != "" {
		if err := add("/etc/bimamba/bimambad.toml", 0o644, f.config); err != nil {
			return err
		}
	}
	if f.home == "" {
		return nil
	}
	if _, err := home.Read(f.home); err != nil {
		return err
	}
	return add("/etc/bimamba/home.toml", 0o644, f.home)
}

// boardProgram finds a program for boards: the one that was named, or what was built beside this one.
func boardProgram(name, named, flag string) (string, error) {
	if named != "" {
		return named, static.Check(named, named, static.Arm64)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, path := range []string{"arm64", "../arm64", "../dist/arm64", "."} {
		path = filepath.Join(dir, path, name)
		if static.Check(path, path, static.Arm64) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s for arm64 boards beside this program: build it with `make boards`, or name it with %s", name, flag)
}

func (e *env) printImage(f *imageFlags, rep *image.Report) error {
	if f.json {
		type file struct {
			Path   string `json:"path"`
			Bytes  int64  `json:"bytes"`
			SHA256 string `json:"sha256"`
		}
		files := []file{}
		for _, w := range rep.Written {
			files = append(files, file{w.Path, w.Size, w.SHA256})
		}
		return writeJSON(e.stdout, struct {
			File    string `json:"file"`
			Bytes   int64  `json:"bytes"`
			System  string `json:"system"`
			Format  string `json:"first_boot"`
			Cgroup  bool   `json:"cgroup_enable_memory"`
			Payload int64  `json:"payload_bytes"`
			Free    int64  `json:"boot_free_bytes"`
			Mapped  int64  `json:"mapped_bytes"`
			Files   []file `json:"files"`
		}{f.Out, rep.Size, rep.System, string(rep.Format), rep.Cgroup, rep.Payload, rep.Free, rep.Mapped, files})
	}
	fmt.Fprintf(e.stdout, "%s: %s, %s, set up by %s at its first boot\n", f.Out, mega(rep.Size), rep.System, rep.Format)
	fmt.Fprintf(e.stdout, "%d files, %s, are in the boot partition, which has %s left\n", len(rep.Written), mega(rep.Payload), mega(rep.Free))
	if rep.Cgroup {
		fmt.Fprintln(e.stdout, "cgroup_enable=memory was added to cmdline.txt")
	}
	fmt.Fprintf(e.stdout, "%s.bmap: %s of the image are in use, and `bimamba flash` writes no more than that\n", f.Out, mega(rep.Mapped))
	fmt.Fprintf(e.stdout, "next: write it to a card (`bimamba flash`) and start the board with it; when it has set itself up: ssh %s@%s.local\n", f.Settings.User, f.Settings.Hostname)
	return nil
}
