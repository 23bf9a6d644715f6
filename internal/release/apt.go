package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bimamba/systemd/deb"
)

// apt makes dist/apt of all packages in dist, signed by the key of gpg.
func (p *product) apt() error {
	packages, err := filepath.Glob(filepath.Join(p.dist, "*.deb"))
	if err != nil {
		return err
	}
	if len(packages) == 0 {
		return fmt.Errorf("there are no packages in %s; make deb makes them", p.dist)
	}
	if p.key == "" {
		return errors.New(`a repository is signed, and there is no key: gpg --quick-generate-key "NAME <ADDRESS>" ed25519 sign never, then make apt APT_KEY=ADDRESS`)
	}
	if _, err := exec.LookPath("gpg"); err != nil {
		return errors.New("a repository is signed, and gpg is not here: apt-get install gnupg")
	}
	if _, err := gpg("--list-secret-keys", p.key); err != nil {
		return fmt.Errorf(`gpg has no secret key %s: gpg --list-secret-keys shows those it has`, p.key)
	}
	dir := filepath.Join(p.dist, "apt")
	release, err := deb.Repository{Suite: "stable", Origin: "bimamba", Description: "Bi-Mamba Edge", Time: p.time}.Write(dir, packages)
	if err != nil {
		return err
	}
	// apt reads InRelease alone where there is one; Release.gpg is for older mirrors' tools. Each replaces the one before as a whole.
	for _, s := range [][]string{{"InRelease", "--clear-sign"}, {"Release.gpg", "--armor", "--detach-sign"}} {
		path := filepath.Join(filepath.Dir(release), s[0])
		if _, err := gpg(append(s[1:], "--local-user", p.key, "--output", path+".new", release)...); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	public, err := gpg("--export", p.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bimamba.gpg"), public, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(p.out, `%s: %d packages. Serve it as files over HTTP; on a machine, as root:
  curl -o /usr/share/keyrings/bimamba.gpg URL/bimamba.gpg
  echo 'deb [signed-by=/usr/share/keyrings/bimamba.gpg] URL stable main' >/etc/apt/sources.list.d/bimamba.list
  apt-get update && apt-get install bimamba
`, dir, len(packages))
	return nil
}

// gpg runs gpg without a question. Its error has what gpg said.
func gpg(args ...string) ([]byte, error) {
	cmd := exec.Command("gpg", append([]string{"--batch", "--yes", "--quiet"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gpg %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return out, nil
}
