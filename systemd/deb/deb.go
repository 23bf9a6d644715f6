package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Package is one binary package.
type Package struct {
	Name         string
	Version      string // deb-version(7)
	Architecture string // as dpkg has it: arm64, armhf, amd64
	Maintainer   string // NAME <ADDRESS>
	Section      string
	Homepage     string   // "" for none
	MultiArch    string   // "" for none
	Depends      []string // each may have alternatives in it: "a | b"
	Summary      string   // one line
	Description  string   // paragraphs, with an empty line between
	Files        []File   // folders above them come by themselves
	Preinst      string   // maintainer scripts, "" for none
	Postinst     string
	Prerm        string
	Postrm       string
	Time         time.Time // of all files, in whole seconds
}

// File is a regular file of a package.
type File struct {
	Path string // absolute and clean
	Mode int64  // permission bits
	Data []byte
	Conf bool // a configuration file: dpkg keeps what the administrator changed in it
}

var (
	nameForm         = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm      = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~-]*$`)
	architectureForm = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// Write writes the package. It fails for a package that dpkg would not take.
func (p *Package) Write(w io.Writer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	files := slices.Clone(p.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	data, err := p.archive(files)
	if err != nil {
		return err
	}
	control, err := p.archive(p.control(files))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.WriteString(arMagic)
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {"data.tar.gz", data}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, p.Time.Unix(), 0, 0, 0o100644, len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 { // members begin at even offsets
			out.WriteByte('\n')
		}
	}
	_, err = out.WriteTo(w)
	return err
}

func (p *Package) check() error {
	switch {
	case !nameForm.MatchString(p.Name):
		return errors.New("a name is lower-case letters, digits and + . -")
	case !versionForm.MatchString(p.Version):
		return fmt.Errorf("version %q does not begin with a digit, or has other characters than letters, digits and . + ~ -", p.Version)
	case !architectureForm.MatchString(p.Architecture):
		return fmt.Errorf("%q is no architecture", p.Architecture)
	case p.Maintainer == "" || p.Summary == "" || p.Description == "":
		return errors.New("maintainer, summary and description have to be there")
	case strings.ContainsAny(p.Maintainer+p.Summary+p.Section+p.Homepage+p.MultiArch+strings.Join(p.Depends, ""), "\n\r"):
		return errors.New("a field of one line has more of them")
	case p.Time.Unix() < 0:
		return errors.New("the time is before 1970")
	}
	seen := map[string]bool{}
	for _, f := range p.Files {
		switch {
		case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsAny(f.Path, "\n\r"):
			return fmt.Errorf("%q is no absolute path of a file", f.Path)
		case seen[f.Path]:
			return fmt.Errorf("there are two files %s", f.Path)
		case f.Mode&^0o777 != 0:
			return fmt.Errorf("%s: mode %o has more than permissions", f.Path, f.Mode)
		}
		seen[f.Path] = true
	}
	for _, f := range p.Files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("%s is a file, and a folder of %s", dir, f.Path)
			}
		}
	}
	return nil
}

// control is the files of control.tar.
func (p *Package) control(files []File) []File {
	var sums, conf strings.Builder
	kib := 0
	folders := map[string]bool{}
	for _, f := range files {
		if f.Conf {
			fmt.Fprintln(&conf, f.Path)
		} else { // of these dpkg keeps its own sums
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.Data), f.Path[1:])
		}
		kib += (len(f.Data) + 1023) / 1024
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	kib += len(folders) // as dpkg-gencontrol counts
	out := []File{{Path: "/control", Mode: 0o644, Data: []byte(p.fields(kib))}}
	add := func(name string, mode int64, text string) {
		if text != "" {
			out = append(out, File{Path: "/" + name, Mode: mode, Data: []byte(text)})
		}
	}
	add("conffiles", 0o644, conf.String())
	add("md5sums", 0o644, sums.String())
	add("preinst", 0o755, p.Preinst)
	add("postinst", 0o755, p.Postinst)
	add("prerm", 0o755, p.Prerm)
	add("postrm", 0o755, p.Postrm)
	return out
}

// fields is the control file, deb-control(5).
func (p *Package) fields(kib int) string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Package", p.Name)
	field("Version", p.Version)
	field("Architecture", p.Architecture)
	field("Maintainer", p.Maintainer)
	field("Installed-Size", fmt.Sprint(kib))
	field("Depends", strings.Join(p.Depends, ", "))
	field("Section", p.Section)
	field("Priority", "optional")
	field("Multi-Arch", p.MultiArch)
	field("Homepage", p.Homepage)
	field("Description", p.Summary)
	for _, line := range strings.Split(strings.TrimSpace(p.Description), "\n") {
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

// archive is a compressed tar of the files and the folders above them, in this order.
func (p *Package) archive(files []File) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	header := func(name string, kind byte, mode, size int64) error {
		return t.WriteHeader(&tar.Header{
			Format: tar.FormatGNU, // the one that dpkg knows in which a path may be of any length
			Name:   name, Typeflag: kind, Mode: mode, Size: size, ModTime: p.Time, Uname: "root", Gname: "root",
		})
	}
	made := map[string]bool{}
	var folder func(dir string) error
	folder = func(dir string) error {
		if made[dir] {
			return nil
		}
		if dir != "/" {
			if err := folder(path.Dir(dir)); err != nil {
				return err
			}
		}
		made[dir] = true
		return header("."+strings.TrimSuffix(dir, "/")+"/", tar.TypeDir, 0o755, 0)
	}
	for _, f := range files {
		if err := errors.Join(folder(path.Dir(f.Path)), header("."+f.Path, tar.TypeReg, f.Mode, int64(len(f.Data)))); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
