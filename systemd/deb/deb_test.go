package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *Package {
	return &Package{
		Name: "thing", Version: "1.0~dev+3.gabc", Architecture: "arm64", Maintainer: "Some One <one@example.org>", Section: "misc",
		Depends: []string{"a | b", "c (>= 2)"}, Summary: "a thing", Description: "It is\na thing.\n\nAnd more.",
		Files: []File{
			{Path: "/usr/bin/thing", Mode: 0o755, Data: []byte("#!/bin/sh\n")},
			{Path: "/etc/thing.conf", Mode: 0o644, Data: []byte("a = 1\n"), Conf: true},
			{Path: "/usr/share/doc/thing/copyright", Mode: 0o644, Data: bytes.Repeat([]byte("x"), 1025)},
			{Path: "/usr/share/" + strings.Repeat("long/", 60) + "name", Mode: 0o644, Data: []byte("long")},
		},
		Postinst: "#!/bin/sh\nexit 0\n", Time: time.Unix(1_700_000_001, 0),
	}
}

func write(t *testing.T, p *Package) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// members reads an ar archive by its definition, ar(5).
func members(t *testing.T, b []byte) (names []string, data map[string][]byte) {
	t.Helper()
	if !bytes.HasPrefix(b, []byte("!<arch>\n")) {
		t.Fatal("no ar archive")
	}
	data = map[string][]byte{}
	for at := 8; at < len(b); {
		h := string(b[at : at+60])
		var mtime, uid, gid, mode, size int
		if n, err := fmt.Sscanf(h[16:58], "%d %d %d %o %d", &mtime, &uid, &gid, &mode, &size); n != 5 || h[58:] != "`\n" {
			t.Fatalf("header %q: %v", h, err)
		}
		if mtime != 1_700_000_001 || uid != 0 || gid != 0 || mode != 0o100644 {
			t.Errorf("header %q", h)
		}
		name := strings.TrimSpace(h[:16])
		names = append(names, name)
		data[name] = b[at+60 : at+60+size]
		at += 60 + size + size%2
	}
	return names, data
}

type entry struct {
	header *tar.Header
	data   string
}

func untar(t *testing.T, packed []byte) (list []string, entries map[string]entry) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("gzip has a time or a name: %v %q", z.ModTime, z.Name)
	}
	entries = map[string]entry{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list, entries
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || h.ModTime.Unix() != 1_700_000_001 {
			t.Errorf("%s: %d:%d %s %v", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		list = append(list, h.Name)
		entries[h.Name] = entry{h, string(b)}
	}
}

func TestWrite(t *testing.T) {
	names, data := members(t, write(t, sample()))
	if want := []string{"debian-binary", "control.tar.gz", "data.tar.gz"}; !slices.Equal(names, want) { // in this order, deb(5)
		t.Fatalf("members %v", names)
	}
	if s := string(data["debian-binary"]); s != "2.0\n" {
		t.Errorf("debian-binary is %q", s)
	}
	_, control := untar(t, data["control.tar.gz"])
	const fields = `Package: thing
Version: 1.0~dev+3.gabc
Architecture: arm64
Maintainer: Some One <one@example.org>
Installed-Size: 71
Depends: a | b, c (>= 2)
Section: misc
Priority: optional
Description: a thing
 It is
 a thing.
 .
 And more.
`
	if got := control["./control"].data; got != fields {
		t.Errorf("control is\n%s", got)
	}
	if got := control["./conffiles"].data; got != "/etc/thing.conf\n" {
		t.Errorf("conffiles is %q", got)
	}
	if got, want := control["./md5sums"].data, fmt.Sprintf("%x  usr/bin/thing\n", md5.Sum([]byte("#!/bin/sh\n"))); !strings.HasPrefix(got, want) || strings.Contains(got, "thing.conf") {
		t.Errorf("md5sums is %q", got)
	}
	if h := control["./postinst"].header; h == nil || h.Mode != 0o755 {
		t.Errorf("postinst: %+v", h)
	}
	if _, ok := control["./preinst"]; ok {
		t.Error("there is a preinst")
	}

	list, files := untar(t, data["data.tar.gz"])
	if !slices.Equal(list[:6], []string{"./", "./etc/", "./etc/thing.conf", "./usr/", "./usr/bin/", "./usr/bin/thing"}) {
		t.Errorf("data begins with %v", list[:6])
	}
	seen := map[string]bool{}
	for _, name := range list { // dpkg makes no folders by itself
		if parent := filepath.Dir(strings.TrimSuffix(name, "/")); name != "./" && parent != "." && !seen["./"+parent+"/"] {
			t.Errorf("%s comes before its folder", name)
		}
		seen[name] = true
	}
	for _, f := range sample().Files {
		e := files["."+f.Path]
		if e.data != string(f.Data) || e.header.Mode != f.Mode {
			t.Errorf("%s: %+v", f.Path, e.header)
		}
	}
}

// TestReproducible: the order in which files are named changes nothing.
func TestReproducible(t *testing.T) {
	p := sample()
	slices.Reverse(p.Files)
	if !bytes.Equal(write(t, sample()), write(t, p)) {
		t.Error("the order of files changes the package")
	}
	p.Time = p.Time.Add(time.Second)
	if bytes.Equal(write(t, sample()), write(t, p)) {
		t.Error("the time does not change the package")
	}
}

func TestBad(t *testing.T) {
	for name, change := range map[string]func(*Package){
		"name":              func(p *Package) { p.Name = "Thing" },
		"version":           func(p *Package) { p.Version = "v1" },
		"architecture":      func(p *Package) { p.Architecture = "" },
		"maintainer":        func(p *Package) { p.Maintainer = "" },
		"one line":          func(p *Package) { p.Summary = "a\nb" },
		"no absolute path":  func(p *Package) { p.Files[0].Path = "usr/bin/thing" },
		"unclean path":      func(p *Package) { p.Files[0].Path = "/usr/../thing" },
		"a folder's path":   func(p *Package) { p.Files[0].Path = "/" },
		"two files":         func(p *Package) { p.Files = append(p.Files, p.Files[0]) },
		"file above a file": func(p *Package) { p.Files[0].Path = "/usr/share/doc" },
		"mode":              func(p *Package) { p.Files[0].Mode = 0o4755 },
		"time":              func(p *Package) { p.Time = time.Time{} },
	} {
		p := sample()
		change(p)
		if err := p.Write(io.Discard); err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
}

// TestDpkg lets the program that reads packages say what is in one.
func TestDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not here")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "thing.deb")
	if err := os.WriteFile(file, write(t, sample()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ option, want string }{
		{"--info", "\n Installed-Size: 71\n"}, {"--contents", "./usr/bin/thing\n"}, {"--ctrl-tarfile", "./control"},
	} {
		out, err := exec.Command("dpkg-deb", tt.option, file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("dpkg-deb %s: %v\n%.2000s", tt.option, err, out)
		}
	}
	if out, err := exec.Command("dpkg-deb", "-x", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -x: %v: %s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/thing.conf")); err != nil || string(b) != "a = 1\n" {
		t.Errorf("unpacked: %q, %v", b, err)
	}
}

func TestReadControl(t *testing.T) {
	b := write(t, sample())
	c, err := ReadControl(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if c.Package != "thing" || c.Version != "1.0~dev+3.gabc" || c.Architecture != "arm64" || !strings.HasSuffix(c.Text, " And more.\n") {
		t.Errorf("%+v", c)
	}
	for name, tt := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"empty":        {func(b []byte) []byte { return nil }, "offset 0"},
		"not ar":       {func(b []byte) []byte { return append([]byte("PK"), b...) }, "offset 0"},
		"cut":          {func(b []byte) []byte { return b[:150] }, "ends within control.tar.gz"},
		"cut early":    {func(b []byte) []byte { return b[:20] }, "offset 8: the package ends"},
		"format 3":     {func(b []byte) []byte { b[68] = '3'; return b }, "debian-binary"},
		"other member": {func(b []byte) []byte { b[8+60+4] = '_'; return b }, "offset 72"},
		"size":         {func(b []byte) []byte { copy(b[72+48:], "9999999999"); return b }, "larger than"},
		"damaged":      {func(b []byte) []byte { b[72+60] ^= 1; return b }, "control.tar.gz: gzip"},
	} {
		if _, err := ReadControl(bytes.NewReader(tt.change(bytes.Clone(b)))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"two paragraphs": "Package: thing\nVersion: 1\nArchitecture: all\n\nPackage: other\n",
		"no version":     "Package: thing\nArchitecture: all\n",
		"path":           "Package: ../thing\nVersion: 1\nArchitecture: all\n",
		"no field":       "Package: thing\nVersion: 1\nArchitecture: all\nabc\n",
	} {
		if _, err := parseControl(text); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// FuzzReadControl: whatever a file says, reading it ends, takes no more memory than a package may, and gives fields that can be parts of paths.
func FuzzReadControl(f *testing.F) {
	var b bytes.Buffer
	p := sample()
	p.Files = p.Files[:1]
	if err := p.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:100])
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadControl(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, s := range []string{c.Package, c.Version, c.Architecture} {
			if s == "" || strings.ContainsAny(s, "/\n \x00") {
				t.Errorf("a field is %q", s)
			}
		}
		if strings.Contains(c.Text, "\n\n") || !strings.HasSuffix(c.Text, "\n") {
			t.Errorf("the text is more than a paragraph: %q", c.Text)
		}
	})
}

func TestRepository(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, arch := range []string{"arm64", "amd64"} {
		p := sample()
		p.Architecture = arch
		file := filepath.Join(dir, arch+".deb")
		if err := os.WriteFile(file, write(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	r := Repository{Suite: "stable", Origin: "thing", Description: "Things", Time: time.Unix(1_700_000_001, 0)}
	repo := filepath.Join(dir, "repo")
	release, err := r.Write(repo, files)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Suite: stable\n", "Date: Tue, 14 Nov 2023 22:13:21 UTC\n", "Architectures: amd64 arm64\n", " main/binary-arm64/Packages.gz\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("Release has no %q:\n%s", want, text)
		}
	}
	index, err := os.ReadFile(filepath.Join(repo, "dists/stable/main/binary-arm64/Packages"))
	if err != nil || strings.Count(string(index), "\n\n") != 1 || !strings.HasSuffix(string(index), "\n\n") {
		t.Errorf("Packages: %v\n%s", err, index)
	}
	if b, err := os.ReadFile(filepath.Join(repo, "pool/main/t/thing/thing_1.0~dev+3.gabc_arm64.deb")); err != nil || !bytes.Equal(b, write(t, sample())) {
		t.Errorf("the pool's package is another one, or: %v", err)
	}

	_, err = r.Write(filepath.Join(dir, "twice"), append(files, files[0]))
	if err == nil || !strings.Contains(err.Error(), "the same package") {
		t.Errorf("a package twice: %v", err)
	}
	if err := os.WriteFile(files[0], []byte("no package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Write(filepath.Join(dir, "bad"), files); err == nil || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("a file that is no package: %v", err)
	}
	if _, err = r.Write(dir, nil); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("no packages: %v", err)
	}
}
