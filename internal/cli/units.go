package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/systemd/unit"
)

func (e *env) unitsCmd() *cobra.Command {
	var root, exec, file string
	var force, sensors, reload bool
	c := &cobra.Command{
		Use:   "units FILE",
		Short: "Write systemd's files for bimambad",
		Long: `Units prints the service, the socket, the slice, and the files for sysusers and tmpfiles that run bimambad under systemd, with the memory limits that serving FILE
asks for: MemoryMax= so that the daemon cannot harm the rest of the machine, MemoryMin= so that the weights stay in memory.

With --root they are written below a directory, / for this machine; then: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload &&
systemctl enable --now bimambad.socket.

Memory depends on the number of sessions, checkpoints and connections: --config names the daemon's configuration, which it reads from
/etc/bimamba/bimambad.toml, and without it the limits are those of the defaults. The environment is not read, and FILE goes before the file's model.`,
		Example: "  bimamba units default\n  sudo bimamba units m.bimamba --root / --config /etc/bimamba/bimambad.toml --exec /usr/local/bin/bimambad",
		Args:    oneFile,
	}
	f := c.Flags()
	f.StringVar(&root, "root", "", "write the files below this directory instead of printing them")
	f.StringVar(&exec, "exec", "/usr/bin/bimambad", "where the daemon is")
	f.StringVar(&file, "config", "", "the daemon's configuration, bimambad.toml, whose memory the limits are for")
	f.BoolVar(&reload, "notify-reload", false, "Type=notify-reload, for systemd 253 and newer: systemctl reload then waits until the reload is done")
	f.BoolVar(&sensors, "sensors", false, "also the drop-in that opens the devices of temperature and power sensors")
	f.BoolVar(&force, "force", false, "replace files that exist")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !filepath.IsAbs(exec) {
			return fmt.Errorf("--exec %s: systemd wants an absolute path", exec)
		}
		conf, err := unitConfig(file)
		if err != nil {
			return err
		}
		blob, err := openBlob(args[0])
		if err != nil {
			return err
		}
		defer blob.Close()
		m := daemon.Footprint(conf, blob.Manifest())
		p := unit.Params{Exec: exec, Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap, OneModel: conf.Memory > 0, NotifyReload: reload}
		files := unit.Files(p)
		if sensors {
			files = append(files, unit.File{Path: unit.SensorsPath, Mode: 0o644, Text: unit.Sensors()})
		}
		for _, x := range files {
			if root == "" {
				fmt.Fprintf(e.stdout, "# %s\n%s\n", x.Path, x.Text)
				continue
			}
			if err := writeUnit(filepath.Join(root, x.Path), x, force); err != nil {
				return err
			}
			fmt.Fprintln(e.stdout, filepath.Join(root, x.Path))
		}
		return nil
	}
	return c
}

// unitConfig is the configuration in a file as the service will read it, which has a state directory from systemd; the defaults if file is "".
func unitConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	return config.Load([]string{"--config", file}, []string{"STATE_DIRECTORY=/var/lib/bimamba"}, os.ReadFile)
}

func writeUnit(path string, x unit.File, force bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, []byte(x.Text), os.FileMode(x.Mode), force)
}
