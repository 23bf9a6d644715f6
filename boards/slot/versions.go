package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// manifest reads the manifest of a version that is whole.
func (s *Store) manifest(id string) (*Manifest, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%.40q is no version: 16 hexadecimal digits; `bimamba slot status` lists them", id)
	}
	b, err := readLimited(s.disk.path(filepath.Join("versions", id, manifestFile)), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("version %s is not here, or not whole; `bimamba slot status` lists those that are", id)
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", id, err)
	}
	for _, f := range m.Files {
		st, err := os.Stat(s.disk.path(filepath.Join("versions", id, f.Name)))
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", id, err)
		}
		if st.Size() != f.Size {
			return nil, fmt.Errorf("version %s: %s has %d bytes and should have %d", id, f.Name, st.Size(), f.Size)
		}
	}
	return m, nil
}

// whole says what a version lacks, or [Package].
func (s *Store) whole(id string) error {
	if id != Package {
		_, err := s.manifest(id)
		return err
	}
	st, err := os.Stat(s.packagedPath(Daemon))
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", s.packagedPath(Daemon))
	}
	if err != nil {
		return fmt.Errorf("no package installed a daemon here: %w", err)
	}
	return nil
}

// Previous is the version that was confirmed before the current one, or [Package] if there was none and it is there; "" if there is nothing.
func (s *Store) Previous() (string, error) {
	st, err := s.load()
	if err != nil {
		return "", err
	}
	return s.previous(st), nil
}

func (s *Store) previous(st *state) string {
	now := named(s.current())
	for _, c := range slices.Backward(st.Confirmed) {
		if c != now && s.whole(c) == nil {
			return c
		}
	}
	if now != Package && s.whole(Package) == nil {
		return Package
	}
	return ""
}

// Prune removes versions until keep of them are left: never the current one, that of a rollback, or one on trial.
func (s *Store) Prune(keep int) ([]string, error) {
	st, unlock, err := s.locked()
	if err != nil {
		return nil, err
	}
	defer unlock()
	stays := map[string]bool{s.current(): true, s.previous(st): true}
	if t := st.Trial; t != nil {
		stays[t.ID], stays[t.Previous] = true, true
	}
	delete(stays, "")
	delete(stays, Package) // it takes no place here
	for _, c := range slices.Backward(st.Confirmed) {
		if len(stays) < keep && c != Package {
			stays[c] = true
		}
	}
	var removed []string
	for _, id := range s.versions() {
		if _, err := os.Stat(s.disk.path(filepath.Join("versions", id, manifestFile))); err != nil || stays[id] {
			continue // what is not whole is the next deployment's to use or to remove
		}
		if err := s.drop(id); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	if len(removed) > 0 {
		s.log("removed %s", strings.Join(removed, " "))
	}
	return removed, nil
}

// drop removes a version, first of all what makes it whole.
func (s *Store) drop(id string) error {
	dir := filepath.Join("versions", id)
	if err := s.disk.remove(filepath.Join(dir, manifestFile)); err != nil {
		return err
	}
	return s.disk.removeAll(dir)
}

// versions is the names of all versions, whole or not.
func (s *Store) versions() (ids []string) {
	entries, _ := os.ReadDir(s.disk.path("versions"))
	for _, e := range entries {
		if validID(e.Name()) && e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

func orPackage(id string) string {
	if id == "" || id == Package {
		return "what the package installed"
	}
	return id
}
