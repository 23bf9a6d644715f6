package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// maxControl bounds what is read of a control.tar.gz, compressed and not: it is some kilobytes.
const maxControl = 1 << 20

// Control is the control file of a package.
type Control struct {
	Package      string
	Version      string
	Architecture string
	Text         string // all of the file, its last line ended
}

// ReadControl reads a package that has the form of [Package.Write]'s as far as the end of its control file. Its errors name an offset, or a member of the archive.
func ReadControl(r io.Reader) (*Control, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return nil, errors.New("is no Debian package: offset 0 is not an ar archive's")
	}
	version, err := member(r, int64(len(arMagic)), "debian-binary")
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return nil, fmt.Errorf("debian-binary: the format is %.10q, not 2.0", version)
	}
	packed, err := member(r, int64(len(arMagic)+arHeader+len(version)+len(version)%2), "control.tar.gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("control.tar.gz: %w", err)
	}
	t := tar.NewReader(io.LimitReader(z, maxControl))
	for {
		h, err := t.Next()
		if err != nil {
			if err == io.EOF {
				err = errors.New("there is no control file in it")
			}
			return nil, fmt.Errorf("control.tar.gz: %w", err)
		}
		if strings.TrimPrefix(h.Name, "./") != "control" {
			continue
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("control.tar.gz: control: %w", err)
		}
		return parseControl(string(text))
	}
}

// member reads the member of the archive at the offset, which has to have the name.
func member(r io.Reader, offset int64, name string) ([]byte, error) {
	h := make([]byte, arHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return nil, fmt.Errorf("offset %d: the package ends before %s", offset, name)
	}
	if got := strings.TrimRight(string(h[:16]), " /"); got != name {
		return nil, fmt.Errorf("offset %d: the member is %q, not %s", offset, got, name)
	}
	size, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 63)
	switch {
	case err != nil || string(h[58:]) != "`\n":
		return nil, fmt.Errorf("offset %d: the header of %s is damaged", offset, name)
	case size > maxControl:
		return nil, fmt.Errorf("offset %d: %s of %d bytes is larger than %d", offset, name, size, maxControl)
	}
	data := make([]byte, size+size%2)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("offset %d: the package ends within %s", offset+arHeader, name)
	}
	return data[:size], nil
}

// parseControl reads the fields that an index is sorted by.
func parseControl(text string) (*Control, error) {
	text = strings.TrimRight(text, "\n") + "\n"
	c := &Control{Text: text}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" { // would end the paragraph, and begin another one in an index
			return nil, fmt.Errorf("control: line %d is empty", i+1)
		}
		name, value, ok := strings.Cut(line, ":")
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("control: line %d is no field", i+1)
		}
		value = strings.TrimSpace(value)
		switch name {
		case "Package":
			c.Package = value
		case "Version":
			c.Version = value
		case "Architecture":
			c.Architecture = value
		}
	}
	switch { // they become parts of paths
	case !nameForm.MatchString(c.Package):
		return nil, fmt.Errorf("control: %q is no Package", c.Package)
	case !versionForm.MatchString(c.Version):
		return nil, fmt.Errorf("control: %q is no Version", c.Version)
	case !architectureForm.MatchString(c.Architecture):
		return nil, fmt.Errorf("control: %q is no Architecture", c.Architecture)
	}
	return c, nil
}
