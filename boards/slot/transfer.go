package slot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// transfer is one version on its way.
type transfer struct {
	store    *Store
	m        *Manifest
	id       string
	dir      string // versions/ID
	progress func(what string, done, total int64)
	missing  [][]bool // by file and piece: what is still to come
	whole    []bool   // by file: it is here, with its checksum
}

func (t *transfer) run(ctx context.Context, r io.Reader, w io.Writer) error {
	s := t.store
	if _, err := s.manifest(t.id); err == nil { // it is here already
		again, err := t.stillWhole(ctx)
		if err != nil {
			return err
		}
		if !again {
			return writeJSON(w, kindNeed, need{Whole: t.m.Size()})
		}
	}
	t.missing, t.whole = make([][]bool, len(t.m.Files)), make([]bool, len(t.m.Files))
	if err := s.disk.mkdir(t.dir); err != nil {
		return err
	}
	if err := s.disk.replace(filepath.Join(t.dir, offerFile), t.m.encode(), 0o644); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	n := t.need()
	if err := writeJSON(w, kindNeed, n); err != nil {
		return err
	}
	if err := t.fill(ctx, r, n.Bytes); err != nil {
		return err
	}
	if err := t.checkAll(ctx); err != nil {
		return err
	}
	if err := s.disk.sync(t.dir); err != nil {
		return err
	}
	if err := s.disk.rename(filepath.Join(t.dir, offerFile), filepath.Join(t.dir, manifestFile)); err != nil {
		return err
	}
	s.log("%s is here: %s", t.id, t.m.Label)
	return nil
}

// stillWhole checks a version that is here. One that is damaged is begun again, with what is good of it, unless it is in use.
func (t *transfer) stillWhole(ctx context.Context) (again bool, err error) {
	s := t.store
	bad := t.checkAll(ctx)
	if bad == nil || ctx.Err() != nil {
		return false, bad
	}
	st, err := s.load()
	if err != nil {
		return false, err
	}
	if s.current() == t.id || st.Trial != nil && (st.Trial.ID == t.id || st.Trial.Previous == t.id) {
		return false, fmt.Errorf("version %s is in use here, and damaged: %w; the board's storage may be failing; deployed with another --label it is another version, with files of its own", t.id, bad)
	}
	s.log("%s is damaged, and is sent again: %v", t.id, bad)
	return true, s.disk.rename(filepath.Join(t.dir, manifestFile), filepath.Join(t.dir, offerFile))
}

// path is the store's name of the manifest's file i.
func (t *transfer) path(i int) string { return filepath.Join(t.dir, t.m.Files[i].Name) }

// room checks that there is place for all that is missing, and removes versions that are not needed if there is not.
func (t *transfer) room() error {
	var want int64
	for i := range t.m.Files {
		for p, missing := range t.missing[i] {
			if missing && !t.whole[i] {
				want += t.m.Files[i].Pieces[p].Size
			}
		}
	}
	free, err := t.store.disk.free()
	if err != nil || free >= want+spare || want == 0 {
		return err
	}
	if _, err := t.store.Prune(1); err != nil {
		return err
	}
	if free, err = t.store.disk.free(); err != nil || free >= want+spare {
		return err
	}
	return fmt.Errorf("the version takes %.1f MB more on the board, and %.1f MB are free there, of which %.1f MB stay free: make room, or deploy a smaller model",
		float64(want)/1e6, float64(free)/1e6, float64(spare)/1e6)
}

// create opens file i for writing, at its full length.
func (t *transfer) create(i int) (*os.File, error) {
	if t.store.disk.step != nil {
		if err := t.store.disk.step("create", t.path(i)); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(t.store.disk.path(t.path(i)), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	mode := os.FileMode(0o644)
	if t.m.Files[i].Exec {
		mode = 0o755
	}
	if err := errors.Join(f.Chmod(mode), f.Truncate(t.m.Files[i].Size)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// need lists what is missing.
func (t *transfer) need() need {
	n := need{Whole: t.m.Size(), Runs: [][3]int{}}
	for i := range t.m.Files {
		for p, missing := range t.missing[i] {
			if !missing || t.whole[i] {
				continue
			}
			if last := len(n.Runs) - 1; last >= 0 && n.Runs[last][0] == i && n.Runs[last][1]+n.Runs[last][2] == p {
				n.Runs[last][2]++
			} else {
				n.Runs = append(n.Runs, [3]int{i, p, 1})
			}
			n.Bytes += t.m.Files[i].Pieces[p].Size
		}
	}
	return n
}

// fill takes the pieces that are missing, want bytes of them, from the deployer.
func (t *transfer) fill(ctx context.Context, r io.Reader, want int64) error {
	files := make([]*os.File, len(t.m.Files))
	defer func() {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i := range files {
		if t.whole[i] {
			continue
		}
		var err error
		if files[i], err = t.create(i); err != nil { // also those without pieces
			return err
		}
	}
	var since int64
	for want > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		d, err := readData(r, t.m)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		f, p := &t.m.Files[d.file], t.m.Files[d.file].Pieces[d.piece]
		if t.whole[d.file] || !t.missing[d.file][d.piece] {
			return fmt.Errorf("piece %d of %s was not asked for", d.piece, f.Name)
		}
		if sha256.Sum256(d.bytes) != p.SHA256 {
			return fmt.Errorf("%s, at %d: what came does not have its checksum: the file was changed while it was sent; deploy again", f.Name, p.Offset)
		}
		if t.store.disk.step != nil {
			if err := t.store.disk.step("piece", t.path(d.file)); err != nil {
				return err
			}
		}
		if _, err := files[d.file].WriteAt(d.bytes, p.Offset); err != nil {
			return err
		}
		t.missing[d.file][d.piece] = false
		want -= p.Size
		if since += p.Size; since >= syncEvery {
			since = 0
			if err := unix.Fdatasync(int(files[d.file].Fd())); err != nil {
				return err
			}
		}
	}
	for i, f := range files {
		if f == nil {
			continue
		}
		if err := t.store.disk.sync(t.path(i)); err != nil {
			return err
		}
	}
	return nil
}
