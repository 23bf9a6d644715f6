package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"bimamba/edge/daemon/config"
	"bimamba/internal/cli"
	"bimamba/systemd/deb"
	"bimamba/systemd/unit"
)

const version = "1.2.3-dev+45.gabcdef0"

// built is a product whose programs are of a few lines: what is packaged of them is tested here, not what they do.
func built(t *testing.T) *product {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}
	p := &product{root: "../..", dist: t.TempDir(), version: version, time: time.Unix(1_700_000_001, 0).UTC(), maintainer: "Some One <one@example.org>", out: io.Discard}
	source := t.TempDir()
	write(t, filepath.Join(source, "go.mod"), "module program\n\ngo 1.26\n")
	write(t, filepath.Join(source, "main.go"), "package main\n\nfunc main() { println(\""+version+"\") }\n")
	for arch := range machines {
		compile(t, source, arch, filepath.Join(p.dist, arch, "bimambad"), "-s -w")
		link(t, filepath.Join(p.dist, arch, "bimambad"), filepath.Join(p.dist, arch, "bimamba"))
	}
	return p
}

func compile(t *testing.T, source, arch, to, flags string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+flags, "-o", to, ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Link(from, to); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestResults makes everything twice, in the way of the command, and holds the results together.
func TestResults(t *testing.T) {
	p := built(t)
	sums := func() map[string]string {
		for _, make := range []func() error{p.programs, p.debs, p.image, p.addon} {
			if err := make(); err != nil {
				t.Fatal(err)
			}
		}
		out := map[string]string{}
		err := filepath.WalkDir(p.dist, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			out[strings.TrimPrefix(path, p.dist+"/")] = fmt.Sprintf("%x", sha256.Sum256(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := sums()
	for name, sum := range sums() {
		if first[name] != sum {
			t.Errorf("%s is not the same a second time", name)
		}
	}
	for _, name := range []string{
		"bimamba_1.2.3~dev+45.gabcdef0_arm64.deb", "bimamba_1.2.3~dev+45.gabcdef0_armhf.deb", "bimamba_1.2.3~dev+45.gabcdef0_amd64.deb",
		"bimamba_1.2.3-dev+45.gabcdef0_oci.tar", "home-assistant/repository.yaml", "home-assistant/bimamba/aarch64/bimambad", "home-assistant/bimamba/default.bimamba",
	} {
		if first[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if first["home-assistant/bimamba/aarch64/bimambad"] != first["arm64/bimambad"] {
		t.Error("the add-on's program is another one")
	}
}

func TestDeb(t *testing.T) {
	p := built(t)
	program, err := os.ReadFile(filepath.Join(p.dist, "arm64", "bimambad"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range architectures {
		d, err := p.deb(a.name, a.programs)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]deb.File{}
		for _, f := range d.Files {
			files[f.Path] = f
		}
		for _, name := range []string{
			"/usr/bin/bimamba", "/usr/share/bimamba/default.bimamba", "/usr/share/man/man1/bimamba.1.gz", "/usr/share/man/man8/bimambad.8.gz", "/usr/share/man/man5/bimambad.toml.5.gz",
			"/usr/share/bash-completion/completions/bimamba", "/usr/share/zsh/vendor-completions/_bimamba", "/usr/share/fish/vendor_completions.d/bimamba.fish",
			"/usr/share/doc/bimamba/changelog.gz", "/usr/share/doc/bimamba/copyright", "/usr/lib/systemd/system/bimambad.service", "/usr/lib/systemd/system/bimambad.socket", "/usr/lib/systemd/system/bimamba-home.service",
			"/usr/lib/sysusers.d/bimamba.conf", "/usr/lib/tmpfiles.d/bimamba.conf",
		} {
			if len(files[name].Data) == 0 {
				t.Errorf("%s: there is no %s", a.name, name)
			}
		}
		for path, f := range files {
			if conf := strings.HasPrefix(path, "/etc/"); f.Conf != conf {
				t.Errorf("%s: %s is a configuration file: %v", a.name, path, f.Conf)
			}
		}
		if string(files["/etc/bimamba/bimambad.toml"].Data) != config.Sample() {
			t.Errorf("%s: the configuration is not the daemon's sample", a.name)
		}
		if same := bytes.Equal(files["/usr/bin/bimambad"].Data, program); same != (a.programs == "arm64") {
			t.Errorf("%s: has the arm64 program: %v", a.name, same)
		}
		if (d.Preinst != "") != (a.name == "armhf") {
			t.Errorf("%s: preinst is %q", a.name, d.Preinst)
		}
		service := string(files["/usr/lib/systemd/system/bimambad.service"].Data)
		params, err := p.params()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("\nMemoryMax=%d\n", params.MemoryMax()); params.MemoryMax() <= params.Mapped || !strings.Contains(service, want) || service != unit.Service(params) {
			t.Errorf("%s: the service has not %q", a.name, want)
		}
		for name, script := range map[string]string{"preinst": d.Preinst, "postinst": d.Postinst, "prerm": d.Prerm, "postrm": d.Postrm} {
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", a.name, name, err, out)
			}
		}
		if got := string(files["/usr/share/doc/bimamba/copyright"].Data); !strings.Contains(got, "Go's standard library") || !strings.Contains(got, "Redistribution and use in source and binary forms") {
			t.Errorf("%s: the copyright file is %.300s", a.name, got)
		}
	}
}

// TestKernel runs the armhf package's preinst on systems with several kernels.
func TestKernel(t *testing.T) {
	script := (&product{}).text("preinst.armhf")
	for machine, refused := range map[string]bool{"aarch64": false, "armv8l": false, "armv7l": true, "armv6l": true, "x86_64": true} {
		for _, action := range []string{"install", "upgrade", "abort-upgrade"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "uname"), []byte("#!/bin/sh\necho "+machine+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-s", action)
			cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
			cmd.Stdin = bytes.NewReader(script)
			out, err := cmd.CombinedOutput()
			refused := refused && action != "abort-upgrade"
			if (err != nil) != refused || refused && (strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), machine)) {
				t.Errorf("%s %s: %v: %s", machine, action, err, out)
			}
		}
	}
}

// TestManual: every command has a page, and every option of the daemon is on both of its pages.
func TestManual(t *testing.T) {
	p := &product{version: version, time: time.Unix(1_700_000_001, 0).UTC()}
	pages, err := p.manual()
	if err != nil {
		t.Fatal(err)
	}
	var documented func(c *cobra.Command)
	documented = func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page := pages[name+".1"]
		if !strings.Contains(page, `.SH "DESCRIPTION"`) || !strings.Contains(page, `\fB`+strings.ReplaceAll(c.CommandPath(), "-", `\-`)+`\fR`) {
			t.Errorf("%s has no page, or another one's", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() {
				continue
			}
			if !strings.Contains(page, ".TP\n"+`\fB`+strings.ReplaceAll(sub.Name(), "-", `\-`)) {
				t.Errorf("%s is not on the page of %s", sub.Name(), c.CommandPath())
			}
			documented(sub)
		}
	}
	documented(cli.Root())
	for _, s := range config.Default().Sources() {
		flag, key := `\fB\-\-`+strings.ReplaceAll(s.Name, "_", `\-`)+`\fR`, `\fB`+s.Name+`\fR = `
		for page, tag := range map[string]string{"bimambad.8": flag, "bimambad.toml.5": key} {
			if n := strings.Count(pages[page], "\n.TP\n"+tag); n != 1 && (s.Name != "config" || page != "bimambad.toml.5") {
				t.Errorf("%s has %s %d times", page, s.Name, n)
			}
		}
	}
	_, example, _ := strings.Cut(pages["bimambad.toml.5"], ".RS 4\n")
	example, _, _ = strings.Cut(example, ".RE")
	file := func(string) ([]byte, error) {
		return []byte(strings.NewReplacer(`\-`, "-", `\(aq`, "'").Replace(example)), nil
	}
	if c, err := config.Load([]string{"--config", "x"}, []string{"STATE_DIRECTORY=/s"}, file); err != nil || c.Sessions != 4 {
		t.Errorf("the example is none: %v\n%s", err, example)
	}
	if strings.Contains(pages["bimambad.toml.5"], `\fBconfig\fR`) {
		t.Error("the file's page has the key config")
	}
	for _, want := range []string{`"2023\-11\-14" "bimamba 1.2.3\-dev+45.gabcdef0"`, `.SH "FILES"`, `.SS "Network"`} {
		if !strings.Contains(pages["bimambad.8"], want) {
			t.Errorf("bimambad.8 has no %s", want)
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not here")
	}
	for name, text := range pages {
		cmd := exec.Command("groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func TestChangelog(t *testing.T) {
	p := &product{version: version, maintainer: "Some One <one@example.org>", time: time.Unix(1_700_000_001, 0).UTC()}
	got, err := p.changelog("# Changelog\n\n## Unreleased\n\n### Added\n- One `thing`,\n  in two lines.\n- " + strings.Repeat("word ", 30) + "\n\n## 1.0\n- Old.\n")
	want := `bimamba (1.2.3~dev+45.gabcdef0) stable; urgency=medium

  * One thing, in two lines.
  * word word word word word word word word word word word word word word word
    word word word word word word word word word word word word word word word

 -- Some One <one@example.org>  Tue, 14 Nov 2023 22:13:21 +0000
`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	for _, bad := range []string{"", "# Changelog\n", "## 1.0\n\n## 0.9\n- Old.\n"} {
		if _, err := p.changelog(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestPrograms: what is no program for every system of the architecture is refused.
func TestPrograms(t *testing.T) {
	p := built(t)
	good, err := os.ReadFile(filepath.Join(p.dist, "arm64", "bimambad"))
	if err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	write(t, filepath.Join(source, "go.mod"), "module program\n\ngo 1.26\n")
	write(t, filepath.Join(source, "main.go"), "package main\n\nfunc main() {}\n")
	unstripped := filepath.Join(source, "unstripped")
	compile(t, source, "arm64", unstripped, "")
	symbols, err := os.ReadFile(unstripped)
	if err != nil {
		t.Fatal(err)
	}
	dynamic := bytes.Clone(good)
	binary.LittleEndian.PutUint32(dynamic[64:], uint32(elf.PT_INTERP)) // the first program header's type
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"no program":   {[]byte("#!/bin/sh\n"), "EOF"},
		"with symbols": {symbols, "not stripped"},
		"dynamic":      {dynamic, "not linked statically"},
	} {
		if err := static(tt.b, elf.EM_AARCH64); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := static(good, elf.EM_X86_64); err == nil {
		t.Error("the other architecture is taken")
	}
	p.version = "9.9.9"
	if _, err := p.program("arm64", "bimambad"); err == nil || !strings.Contains(err.Error(), "not of version 9.9.9") {
		t.Errorf("another version: %v", err)
	}
	p.version = version
	large := append(bytes.Clone(good), make([]byte, budget)...)
	file := filepath.Join(p.dist, "arm64", "large")
	write(t, file, string(large))
	if err := os.Rename(file, filepath.Join(p.dist, "arm64", "bimambad")); err != nil {
		t.Fatal(err)
	}
	if err := p.programs(); err == nil || !strings.Contains(err.Error(), "more bytes than") {
		t.Errorf("a program over the budget: %v", err)
	}
}

func TestImage(t *testing.T) {
	p := built(t)
	x, err := p.index()
	if err != nil {
		t.Fatal(err)
	}
	if x.Tag != "1.2.3-dev-45.gabcdef0" || len(x.Images) != 2 {
		t.Errorf("tag %s, %d images", x.Tag, len(x.Images))
	}
	for _, image := range x.Images {
		if image.Config.User != "65532:65532" || image.Config.Entrypoint[0] != "/usr/bin/bimambad" {
			t.Errorf("%+v", image.Config)
		}
		for _, e := range image.Config.Env { // the daemon refuses variables that it does not know
			if _, err := config.Load(nil, []string{e, "BIMAMBAD_STATE_DIR=/var/lib/bimamba"}, os.ReadFile); err != nil {
				t.Errorf("%s: %v", e, err)
			}
		}
	}
}

// TestAddon checks the add-on's files by what Home Assistant's supervisor asks of them.
func TestAddon(t *testing.T) {
	files, err := built(t).addonFiles()
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Name, Version, Slug, Description string
		Arch, Discovery, Map             []string
		Environment                      map[string]string
		Ports                            map[string]*int
	}
	if err := yaml.Unmarshal(files["bimamba/config.yaml"], &c); err != nil {
		t.Fatal(err)
	}
	if c.Name == "" || c.Description == "" || c.Version != "1.2.3-dev-45.gabcdef0" || !regexp.MustCompile(`^[-_.A-Za-z0-9]+$`).MatchString(c.Slug) {
		t.Errorf("%+v", c)
	}
	for _, arch := range c.Arch {
		if len(files["bimamba/"+arch+"/bimambad"]) == 0 {
			t.Errorf("there is no program for %s", arch)
		}
	}
	if port, ok := c.Ports["11434/tcp"]; !ok || port != nil {
		t.Error("the port is published unasked")
	}
	var env []string
	for name, value := range c.Environment {
		env = append(env, name+"="+value)
	}
	conf, err := config.Load(nil, env, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	if conf.TokenFile != "/config/token" || conf.StateDir != "/data" || conf.Listen[0].Local() {
		t.Errorf("the daemon's configuration is %+v", conf)
	}
	var r struct{ Name string }
	if err := yaml.Unmarshal(files["repository.yaml"], &r); err != nil || r.Name == "" {
		t.Errorf("repository.yaml: %v %+v", err, r)
	}
	for _, line := range strings.Split(string(files["bimamba/Dockerfile"]), "\n") { // what is copied has to be there
		if m := regexp.MustCompile(`^COPY \S+ (\S+) `).FindStringSubmatch(line); m != nil {
			name := "bimamba/" + strings.ReplaceAll(m[1], "${BUILD_ARCH}", "aarch64")
			if len(files[name]) == 0 {
				t.Errorf("the image is made of %s, which is not there", name)
			}
		}
	}
}

// TestApt signs a repository with a key made for it and checks the signature.
func TestApt(t *testing.T) {
	p := built(t)
	if err := p.apt(); err == nil || !strings.Contains(err.Error(), "make deb") {
		t.Errorf("without packages: %v", err)
	}
	if err := p.debs(); err != nil {
		t.Fatal(err)
	}
	if err := p.apt(); err == nil || !strings.Contains(err.Error(), "APT_KEY=") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not here")
	}
	home, err := os.MkdirTemp("", "gpg") // a short path: gpg-agent's sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	p.key = "test@example.org"
	if err := p.apt(); err == nil || !strings.Contains(err.Error(), "no secret key test@example.org") {
		t.Errorf("with a key that is not there: %v", err)
	}
	if _, err := gpg("--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "ed25519", "sign", "never"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if err := p.apt(); err != nil {
			t.Fatal(err)
		}
	}
	dists := filepath.Join(p.dist, "apt", "dists", "stable")
	if _, err := gpg("--verify", filepath.Join(dists, "Release.gpg"), filepath.Join(dists, "Release")); err != nil {
		t.Error(err)
	}
	signed, err := gpg("--decrypt", filepath.Join(dists, "InRelease"))
	if err != nil {
		t.Fatal(err)
	}
	if release, err := os.ReadFile(filepath.Join(dists, "Release")); err != nil || !bytes.Equal(signed, release) {
		t.Errorf("what is signed is not Release: %v", err)
	}
}

// TestRun is the command line.
func TestRun(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "say what to make"}, {"deb", "-version is missing"}, {"-version 1 everything", "is none of"}, {"-nothing", "not defined"},
		{"-version 1 -root ../.. deb", "-maintainer is missing"},
		{"-version 1 -root ../.. -dist missing oci", "scripts/boards.sh builds it"},
	} {
		err := run(strings.Fields(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}
