package slot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bimamba/memmap/sign"
)

// verity is the kernel's check of each page of a file as it is read (fs-verity), where file system and kernel have it. Tests have their own.
type verity struct {
	enable   func(path string) error
	measured func(path string) ([]byte, error)
}

// States of a model's protection, in [VersionStatus].
const (
	VerityOn   = "on"   // each page is checked as it is read, and nobody can write to the file
	VerityOff  = "off"  // the file system could, and does not
	VerityNone = "none" // the file system or the kernel has no fs-verity: the model was checked when it came
)

// state is the protection of a file.
func (v *verity) state(path string) string {
	switch _, err := v.measured(path); {
	case err == nil:
		return VerityOn
	case errors.Is(err, unix.ENODATA):
		return VerityOff
	}
	return VerityNone
}

// protect has the kernel check file i from now on, and holds what the kernel says of it against digest, which is of bytes that had their checksum. Where that
// cannot be done the version is as good as it was.
func (t *transfer) protect(i int, digest []byte) error {
	s := t.store
	name, path := t.m.Files[i].Name, s.disk.path(t.path(i))
	if err := s.verity.enable(path); err != nil && !errors.Is(err, unix.EEXIST) {
		s.log("%s: fs-verity of %s: %v", t.id, name, err)
		return nil
	}
	drop(path) // the kernel has read all of it
	got, err := s.verity.measured(path)
	if err == nil && string(got) != string(digest) {
		err = fmt.Errorf("its fs-verity digest is %s, and %s is right: the board's storage may be failing", hex.EncodeToString(got), hex.EncodeToString(digest))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// protectable tells whether file i is one that the kernel is to check, and does not yet.
func (t *transfer) protectable(i int) bool {
	return t.m.Files[i].Name == Model && t.store.verity.state(t.store.disk.path(t.path(i))) == VerityOff
}

// verityOf is the protection of a version's model, "" if it has none.
func (s *Store) verityOf(id string, m *Manifest) string {
	if m.File(Model) == nil {
		return ""
	}
	return s.verity.state(s.disk.path(filepath.Join("versions", id, Model)))
}

var kernelVerity = verity{sign.Enable, sign.Measured}
