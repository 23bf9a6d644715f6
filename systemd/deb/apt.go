package deb

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bimamba/internal/atomicfile"
)

// Repository is a repository of packages with one suite and the component main, as apt reads it.
type Repository struct {
	Suite       string // "stable"
	Origin      string // who it is from, one line
	Description string // one line
	Time        time.Time
}

// Write makes the repository below dir out of package files: pool, and dists/SUITE with Packages, Packages.gz and, at last, Release, which has the sums of the others.
// It returns the path of Release. Signing is the caller's: InRelease is that file with a signature around it.
func (r Repository) Write(dir string, packages []string) (release string, err error) {
	if len(packages) == 0 {
		return "", errors.New("there are no packages to make a repository of")
	}
	index := map[string][]byte{} // of an architecture: its Packages
	seen := map[string]string{}
	packages = slices.Clone(packages)
	slices.Sort(packages)
	for _, file := range packages {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		c, err := ReadControl(bytes.NewReader(b))
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		path := fmt.Sprintf("pool/main/%c/%s/%s_%s_%s.deb", c.Package[0], c.Package, c.Package, c.Version, c.Architecture)
		if other, ok := seen[path]; ok {
			return "", fmt.Errorf("%s and %s are the same package", other, file)
		}
		seen[path] = file
		if err := put(filepath.Join(dir, path), b); err != nil {
			return "", err
		}
		entry := fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n\n", c.Text, path, len(b), sha256.Sum256(b))
		index[c.Architecture] = append(index[c.Architecture], entry...)
	}

	var architectures []string
	for a := range index {
		architectures = append(architectures, a)
	}
	slices.Sort(architectures)
	dists := filepath.Join(dir, "dists", r.Suite)
	var sums strings.Builder
	for _, a := range architectures {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(index[a]); err != nil {
			return "", err
		}
		if err := w.Close(); err != nil {
			return "", err
		}
		for _, f := range []struct {
			name string
			data []byte
		}{{"Packages", index[a]}, {"Packages.gz", z.Bytes()}} {
			path := fmt.Sprintf("main/binary-%s/%s", a, f.name)
			if err := put(filepath.Join(dists, path), f.data); err != nil {
				return "", err
			}
			fmt.Fprintf(&sums, " %x %d %s\n", sha256.Sum256(f.data), len(f.data), path)
		}
	}
	text := fmt.Sprintf("Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nDescription: %s\nSHA256:\n%s",
		r.Origin, r.Origin, r.Suite, r.Suite, r.Time.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(architectures, " "), r.Description, sums.String())
	release = filepath.Join(dists, "Release")
	return release, put(release, []byte(text))
}

func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, atomicfile.Options{Force: true})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Commit()
}
