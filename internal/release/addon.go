package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// addonVersion is the line of the add-on's config.yaml that a release sets.
const addonVersion = "version: dev\n"

// addonArchitectures are Home Assistant's names.
var addonArchitectures = map[string]string{"aarch64": "arm64", "amd64": "amd64"}

// addon makes dist/home-assistant, a repository of the one add-on with all that its image is built of on the machine that runs Home Assistant.
func (p *product) addon() error {
	files, err := p.addonFiles()
	if err != nil {
		return err
	}
	dir := filepath.Join(p.dist, "home-assistant")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, b := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(p.out, "%s  %d files\n", dir, len(files))
	return nil
}

// addonFiles is the repository's files by their paths in it.
func (p *product) addonFiles() (map[string][]byte, error) {
	source := os.DirFS(filepath.Join(p.root, "packaging", "home-assistant"))
	files := map[string][]byte{}
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(source, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	const config = "bimamba/config.yaml"
	if !bytes.Contains(files[config], []byte("\n"+addonVersion)) {
		return nil, fmt.Errorf("packaging/home-assistant/%s has no line %q", config, addonVersion)
	}
	files[config] = bytes.Replace(files[config], []byte(addonVersion), fmt.Appendf(nil, "version: %q\n", p.tag()), 1)
	for name, arch := range addonArchitectures {
		if files[path.Join("bimamba", name, "bimambad")], err = p.program(arch, "bimambad"); err != nil {
			return nil, err
		}
	}
	files["bimamba/default.bimamba"], err = os.ReadFile(filepath.Join(p.root, defaultModel))
	if err != nil {
		return nil, err
	}
	files["bimamba/CHANGELOG.md"], err = os.ReadFile(filepath.Join(p.root, "CHANGELOG.md"))
	return files, err
}
