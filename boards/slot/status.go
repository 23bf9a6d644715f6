package slot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Status is what is on the board. Its JSON form keeps its names; fields may be added.
type Status struct {
	Protocol  int             `json:"protocol"`  // that Receive speaks
	Program   string          `json:"program"`   // version of the program that answers
	Current   string          `json:"current"`   // "": [Package], or nothing
	Previous  string          `json:"previous"`  // what a rollback leads to; "": nothing
	Confirmed []string        `json:"confirmed"` // the latest last
	Trial     *Trial          `json:"trial"`     // null: none
	Left      float64         `json:"left_s"`    // until the trial ends by itself
	Busy      string          `json:"busy"`      // who deploys now
	Free      int64           `json:"free_bytes"`
	Versions  []VersionStatus `json:"versions"`
	Last      string          `json:"last"` // line of the log
	Base      *Manifest       `json:"base"` // what a deployment takes over that does not bring it: the current version, or the package's files; null: nothing
}

// VersionStatus is a version on the board.
type VersionStatus struct {
	ID    string `json:"id"` // or [Package]
	Label string `json:"label"`
	Whole bool   `json:"whole"` // false: on its way
	Size  int64  `json:"bytes"` // of its files, which it may share with others
	// Verity is whether the kernel checks each page of the model as it is read (fs-verity): on, off or none; "" for a version that is not whole or has no model.
	Verity string `json:"verity"`
	Error  string `json:"error,omitempty"`
}

// Status reads the store.
func (s *Store) Status(program string) (*Status, error) {
	st, err := s.load()
	if err != nil {
		return nil, err
	}
	out := &Status{
		Protocol: Protocol, Program: program, Current: s.current(), Previous: s.previous(st), Confirmed: append([]string{}, st.Confirmed...), Trial: st.Trial,
		Versions: []VersionStatus{}, Last: s.Last(),
	}
	if t := st.Trial; t != nil {
		boot, up, err := s.now()
		if err != nil {
			return nil, err
		}
		if left, same := t.left(boot, up); same {
			out.Left = max(0, left.Round(time.Second).Seconds())
		}
	}
	if _, err := os.Stat(s.disk.path("lock")); err == nil {
		unlock, err := s.disk.flock("lock", "", false)
		switch {
		case err == nil:
			unlock()
		case errors.Is(err, errLocked): // a disk that cannot be written to is no deployment, and one will say so
			if b, err := readLimited(s.disk.path("lock"), 2*maxText); err == nil {
				out.Busy = strings.TrimSpace(string(b))
			}
		}
	}
	if out.Free, err = s.disk.free(); err != nil {
		return nil, err
	}
	for _, id := range s.versions() {
		v := VersionStatus{ID: id}
		m, err := s.manifest(id)
		if err == nil {
			v.Label, v.Whole, v.Size, v.Verity = m.Label, true, m.Size(), s.verityOf(id, m)
		} else if b, oerr := readLimited(s.disk.path(filepath.Join("versions", id, offerFile)), maxManifest); oerr == nil {
			if m, err := ParseManifest(b); err == nil {
				v.Label, v.Size = m.Label, m.Size()
			}
		} else {
			v.Error = err.Error()
		}
		if id == out.Current && m != nil {
			out.Base = m
		}
		out.Versions = append(out.Versions, v)
	}
	if s.whole(Package) == nil {
		v := VersionStatus{ID: Package, Label: "what a package or an image installed", Whole: true}
		for name := range packagedFiles {
			if st, err := os.Stat(s.packagedPath(name)); err == nil {
				v.Size += st.Size()
			}
		}
		out.Versions = append(out.Versions, v)
	}
	if out.Current == "" {
		if files := s.packaged(); len(files) > 0 {
			out.Base = &Manifest{Version: 1, Label: "package", Files: files}
		}
	}
	return out, nil
}

// packagedFiles is where a package puts what a version has, by a version's names for it, and their order is that of manifests.
var packagedFiles = map[string]string{CLI: "/usr/bin/bimamba", Daemon: "/usr/bin/bimambad", Model: "/usr/share/bimamba/default.bimamba"}

func (s *Store) packagedPath(name string) string { return filepath.Join(s.root, packagedFiles[name]) }

// packaged describes the files that a package installed.
func (s *Store) packaged() (files []File) {
	for _, name := range []string{CLI, Daemon, Model} {
		if f := describe(name, s.packagedPath(name)); f != nil {
			files = append(files, *f)
		}
	}
	return files
}

// describe describes a file, nil if there is none.
func describe(name, path string) *File {
	h, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil
	}
	f, err := NewFile(name, name != Model, h, st.Size(), nil)
	if err != nil {
		return nil
	}
	return f
}

// Path is where the current version's file of a name lies, or the package's.
func (s *Store) Path(name string) string {
	if _, there := packagedFiles[name]; there && s.current() == "" {
		return s.packagedPath(name)
	}
	return filepath.Join(s.disk.path(current), name)
}

// Current is the manifest of the current version and its ID; nil and [Package] if none is, or nil and "" if there is no package either.
func (s *Store) Current() (*Manifest, string, error) {
	id := s.current()
	switch {
	case id == "" && s.whole(Package) == nil:
		return nil, Package, nil
	case id == "":
		return nil, "", nil
	}
	m, err := s.manifest(id)
	return m, id, err
}
