package slot

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bimamba/memmap/sign"
)

// fakeVerity is a file system's: what a file's digest is, it computes when it is asked to check it, and it refuses to open that file for writing.
type fakeVerity struct {
	on      map[uint64][]byte // by inode
	none    bool              // the file system has none
	fails   error             // of enable
	damaged bool              // the digest is of other bytes
}

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Ino
}

func (f *fakeVerity) install(t testing.TB, s *Store) {
	f.on = map[uint64][]byte{}
	s.verity = verity{
		enable: func(path string) error {
			if f.fails != nil {
				return f.fails
			}
			b, err := os.ReadFile(path)
			must(t, err)
			if f.damaged {
				b[0] ^= 1
			}
			f.on[inode(t, path)], err = sign.Digest(bytes.NewReader(b), int64(len(b)))
			return err
		},
		measured: func(path string) ([]byte, error) {
			if f.none {
				return nil, fmt.Errorf("%w: %w", sign.ErrNoVerity, unix.EOPNOTSUPP)
			}
			if d := f.on[inode(t, path)]; d != nil {
				return d, nil
			}
			return nil, fmt.Errorf("%w: %w", sign.ErrNoVerity, unix.ENODATA)
		},
	}
	s.disk.step = func(op, path string) error {
		full := s.disk.path(path)
		var st unix.Stat_t
		if err := unix.Stat(full, &st); err != nil {
			return nil
		}
		switch {
		case op == "remove" && st.Nlink == 1:
			delete(f.on, st.Ino) // the next file may get its number
		case (op == "create" || op == "piece") && f.on[st.Ino] != nil:
			return &fs.PathError{Op: "open", Path: full, Err: unix.EPERM}
		}
		return nil
	}
}

func verityStatus(t testing.TB, s *Store, id string) string {
	t.Helper()
	st, err := s.Status("test")
	must(t, err)
	for _, v := range st.Versions {
		if v.ID == id {
			return v.Verity
		}
	}
	t.Fatalf("%s is not in %+v", id, st.Versions)
	return ""
}

func TestVerity(t *testing.T) {
	a := version(1)
	m := a.manifest(t, "a")
	path := filepath.Join("versions", m.ID(), Model)
	for name, tt := range map[string]struct {
		v    fakeVerity
		want string // in the status
		log  string
		err  string
	}{
		"on":             {fakeVerity{}, VerityOn, "is here: a", ""},
		"no support":     {fakeVerity{none: true}, VerityNone, "is here: a", ""},
		"no room for it": {fakeVerity{fails: unix.ENOSPC}, VerityOff, "fs-verity of model.bimamba: no space left", ""},
		"other bytes":    {fakeVerity{damaged: true}, "", "", "model.bimamba: its fs-verity digest is "},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := newStore(t, t.TempDir())
			tt.v.install(t, s)
			_, _, _, err := deliver(s, a, m, -1, -1)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v", err)
				}
				if _, err := s.manifest(m.ID()); err == nil {
					t.Error("the version is whole")
				}
				return
			}
			must(t, err)
			equal(t, s, m.ID(), a)
			if got := verityStatus(t, s, m.ID()); got != tt.want {
				t.Errorf("%s in the status, want %s", got, tt.want)
			}
			if text, _ := s.Log(); !strings.Contains(text, tt.log) {
				t.Errorf("no %q in the log: %s", tt.log, text)
			}
			for n := range tt.v.on {
				if n != inode(t, s.disk.path(path)) {
					t.Error("another file than the model is protected")
				}
			}
		})
	}
}

// TestVerityLater: a version that came before the file system could is protected when it comes again, and so is a model that two versions share.
func TestVerityLater(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	f := &fakeVerity{none: true}
	f.install(t, s)
	a := version(1)
	m := a.manifest(t, "a")
	_, _, _, err := deliver(s, a, m, -1, -1)
	must(t, err)
	f.none = false
	if got := verityStatus(t, s, m.ID()); got != VerityOff {
		t.Errorf("before: %s", got)
	}
	b := a.manifest(t, "another label")
	sent, _, _, err := deliver(s, a, b, -1, -1)
	if err != nil || sent != 0 || verityStatus(t, s, b.ID()) != VerityOn || verityStatus(t, s, m.ID()) != VerityOn {
		t.Errorf("%d bytes sent, %v; %s, %s", sent, err, verityStatus(t, s, b.ID()), verityStatus(t, s, m.ID()))
	}
}

// TestVerityCut ends a transfer behind the model's protection: the file that nobody can write to any more is taken as it is, or replaced if it is damaged.
func TestVerityCut(t *testing.T) {
	for _, damage := range []bool{false, true} {
		s, _, _ := newStore(t, t.TempDir())
		f := &fakeVerity{}
		f.install(t, s)
		a := version(1)
		m := a.manifest(t, "a")
		step := s.disk.step
		s.disk.step = func(op, path string) error {
			if op == "rename" && strings.HasSuffix(path, manifestFile) {
				return errCut
			}
			return step(op, path)
		}
		if _, _, _, err := deliver(s, a, m, -1, -1); err == nil {
			t.Fatal("a cut gave no error")
		}
		s.disk.step = step
		model := s.disk.path(filepath.Join("versions", m.ID(), Model))
		if len(f.on) != 1 || f.on[inode(t, model)] == nil {
			t.Fatal("the model is not protected")
		}
		want := int64(0)
		if damage {
			must(t, os.WriteFile(model, pattern(9, 2<<20), 0o644))
			f.on[inode(t, model)] = []byte("of other bytes")
			want = 2 << 20
		}
		sent, _, _, err := deliver(s, a, m, -1, -1)
		if err != nil || sent != want {
			t.Errorf("damaged %v: %d bytes sent, %v", damage, sent, err)
		}
		equal(t, s, m.ID(), a)
		if verityStatus(t, s, m.ID()) != VerityOn {
			t.Errorf("damaged %v: %s", damage, verityStatus(t, s, m.ID()))
		}
	}
}
