package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/memmap"
	"bimamba/systemd/deb"
	"bimamba/systemd/unit"
)

//go:embed text
var text embed.FS

// architectures are Debian's, with the programs that their packages hold. A 32-bit Raspberry Pi OS has a 64-bit kernel on every board that has one.
var architectures = []struct{ name, programs string }{{"arm64", "arm64"}, {"armhf", "arm64"}, {"amd64", "amd64"}}

const defaultModel = "models/default.bimamba"

// debVersion orders what is before a release before it.
func (p *product) debVersion() string { return strings.Replace(p.version, "-", "~", 1) }

// debs writes dist/bimamba_VERSION_ARCH.deb.
func (p *product) debs() error {
	if p.maintainer == "" {
		return errors.New("-maintainer is missing")
	}
	for _, a := range architectures {
		d, err := p.deb(a.name, a.programs)
		if err != nil {
			return err
		}
		if err := p.write(fmt.Sprintf("%s_%s_%s.deb", d.Name, d.Version, d.Architecture), d.Write); err != nil {
			return err
		}
	}
	return nil
}

// deb is the package for one of Debian's architectures.
func (p *product) deb(architecture, programs string) (*deb.Package, error) {
	bimamba, err := p.program(programs, "bimamba")
	if err != nil {
		return nil, err
	}
	bimambad, err := p.program(programs, "bimambad")
	if err != nil {
		return nil, err
	}
	files := []deb.File{
		{Path: "/usr/bin/bimamba", Mode: 0o755, Data: bimamba},
		{Path: "/usr/bin/bimambad", Mode: 0o755, Data: bimambad},
		{Path: "/etc/bimamba/bimambad.toml", Mode: 0o644, Data: []byte(config.Sample()), Conf: true},
		{Path: "/usr/share/doc/bimamba/examples/sensors.conf", Mode: 0o644, Data: []byte(unit.Sensors())},
		{Path: "/usr/share/lintian/overrides/bimamba", Mode: 0o644, Data: p.text("overrides." + architecture)},
	}
	shared, err := p.shared(bimamba, bimambad)
	if err != nil {
		return nil, err
	}
	d := &deb.Package{
		Name: "bimamba", Version: p.debVersion(), Architecture: architecture, Maintainer: p.maintainer, Section: "misc", MultiArch: "foreign",
		Depends: []string{"systemd | systemd-standalone-sysusers | systemd-sysusers", "systemd | systemd-standalone-tmpfiles | systemd-tmpfiles"},
		Summary: "language models of one bit a weight, for small boards", Description: strings.TrimSpace(string(p.text("description"))),
		Files: append(files, shared...), Postinst: string(p.text("postinst")), Prerm: string(p.text("prerm")), Postrm: string(p.text("postrm")), Time: p.time,
	}
	if architecture != programs {
		d.Description += "\n\nThe programs are 64-bit ones: this package is for 32-bit systems with a\n64-bit kernel, and refuses to be installed on others."
		d.Preinst = string(p.text("preinst." + architecture))
	}
	return d, nil
}

func (p *product) text(name string) []byte {
	b, err := text.ReadFile("text/" + name)
	if err != nil {
		panic(err) // the texts are part of the program, and a test makes each package
	}
	return b
}

// shared is the files that do not depend on the architecture.
func (p *product) shared(programs ...[]byte) ([]deb.File, error) {
	model, err := os.ReadFile(filepath.Join(p.root, defaultModel))
	if err != nil {
		return nil, err
	}
	files := []deb.File{{Path: "/usr/share/bimamba/default.bimamba", Mode: 0o644, Data: model}}
	params, err := p.params()
	if err != nil {
		return nil, err
	}
	for _, f := range unit.Files(params) {
		files = append(files, deb.File{Path: f.Path, Mode: int64(f.Mode), Data: []byte(f.Text)})
	}
	pages, err := p.manual()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		files = append(files, deb.File{Path: "/usr/share/man/man" + name[len(name)-1:] + "/" + name + ".gz", Mode: 0o644, Data: packed(pages[name])})
	}
	complete, err := completions()
	if err != nil {
		return nil, err
	}
	markdown, err := os.ReadFile(filepath.Join(p.root, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	changes, err := p.changelog(string(markdown))
	if err != nil {
		return nil, err
	}
	copyright, err := p.copyright(programs...)
	if err != nil {
		return nil, err
	}
	return append(append(files, complete...),
		deb.File{Path: "/usr/share/doc/bimamba/changelog.gz", Mode: 0o644, Data: packed(changes)},
		deb.File{Path: "/usr/share/doc/bimamba/copyright", Mode: 0o644, Data: []byte(copyright)}), nil
}

// params is what the units' limits of memory follow from: the default model in the default configuration. Debian 12's systemd is older than Type=notify-reload.
func (p *product) params() (unit.Params, error) {
	blob, err := memmap.Open(filepath.Join(p.root, defaultModel))
	if err != nil {
		return unit.Params{}, err
	}
	defer blob.Close()
	m := daemon.Footprint(config.Default(), blob.Manifest())
	return unit.Params{Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap}, nil
}

// packed is text as gzip has it, without a name and a time.
func packed(s string) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails for a wrong level alone
	io.WriteString(z, s)
	z.Close()
	return b.Bytes()
}
