package slot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bimamba/systemd/unit"
)

// mark is the first line of the service's files where no package installed them: another deployment may replace those, and no others.
const mark = "# Written by `bimamba deploy`; a package may replace it.\n"

// Install makes a board take deployments: the service's units, user and folders unless a package brought them, the units of trials, and the links to the
// current version's drop-ins. It may be run again, and then changes what is out of date. The names of files that it wrote are returned.
//
// With first the service is enabled and, unless a package brought it or the configuration says itself where to listen, its socket unit: a package's service
// runs already, and systemd starts no socket of a service that runs.
func (s *Store) Install(ctx context.Context, first, listens bool) (written []string, err error) {
	put := func(path, text string) error {
		full := filepath.Join(s.root, path)
		if old, err := os.ReadFile(full); err == nil && string(old) == text {
			return nil
		}
		written = append(written, path)
		return putFile(full, text)
	}
	packaged := false
	for _, f := range unit.Files(unit.Params{}) {
		old, err := os.ReadFile(filepath.Join(s.root, f.Path))
		if err == nil && !bytes.HasPrefix(old, []byte(mark)) {
			packaged = true
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return written, err
		}
		if err := put(f.Path, mark+f.Text); err != nil {
			return written, err
		}
	}
	for _, f := range unit.SlotFiles() {
		if err := put(f.Path, f.Text); err != nil {
			return written, err
		}
	}
	if err := s.installNone(); err != nil {
		return written, err
	}
	for path, name := range map[string]string{unit.VersionPath: "service.conf", unit.VersionSlicePath: "slice.conf"} {
		full, target := filepath.Join(s.root, path), filepath.Join(Dir, current, name)
		if old, err := os.Readlink(full); err == nil && old == target {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return written, err
		}
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return written, err
		}
		if err := os.Symlink(target, full); err != nil {
			return written, err
		}
		written = append(written, path)
	}
	if len(written) == 0 && !first {
		return nil, nil
	}
	commands := [][]string{
		{"systemd-sysusers", "/usr/lib/sysusers.d/bimamba.conf"},
		{"systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/bimamba.conf"},
		{"systemctl", "daemon-reload"},
	}
	if first {
		commands = append(commands, []string{"systemctl", "enable", "bimamba-slot.service", serviceUnit})
		if !listens && !packaged {
			commands = append(commands, []string{"systemctl", "enable", "--now", socketUnit})
		}
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return written, fmt.Errorf("%s: %w: %.300s", strings.Join(c, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return written, nil
}

// installNone makes the drop-ins that change nothing, and points to them if nothing is current.
func (s *Store) installNone() error {
	if err := s.disk.mkdir(none); err != nil {
		return err
	}
	for _, name := range []string{"service.conf", "slice.conf"} {
		if _, err := os.Stat(s.disk.path(filepath.Join(none, name))); err == nil {
			continue
		}
		if err := s.disk.replace(filepath.Join(none, name), []byte("# No version is deployed: what a package installed serves.\n"), 0o644); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(s.disk.path(current)); err == nil {
		return nil
	}
	return s.point("")
}

// putFile makes a file appear whole, with the folders above it.
func putFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	d := disk{dir: filepath.Dir(path)}
	return d.replace(filepath.Base(path), []byte(text), 0o644)
}
