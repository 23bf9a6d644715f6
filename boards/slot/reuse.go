package slot

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// source is a file that may have some of the pieces.
type source struct {
	path  string // of the system
	rel   string // of the store, "" if it lies elsewhere: it can have another name then
	whole bool   // of a version that is whole
	file  *File
}

// sources are the files of other versions and of the package.
func (t *transfer) sources() (list []source) {
	s := t.store
	for _, id := range s.versions() {
		if id == t.id {
			continue
		}
		dir := filepath.Join("versions", id)
		m, err := s.manifest(id)
		whole := err == nil
		if !whole {
			b, err := readLimited(s.disk.path(filepath.Join(dir, offerFile)), maxManifest)
			if err != nil {
				continue
			}
			if m, err = ParseManifest(b); err != nil {
				continue
			}
		}
		for i := range m.Files {
			rel := filepath.Join(dir, m.Files[i].Name)
			list = append(list, source{s.disk.path(rel), rel, whole, &m.Files[i]})
		}
	}
	if s.current() == "" {
		for _, f := range s.packaged() {
			list = append(list, source{path: s.packagedPath(f.Name), whole: true, file: &f})
		}
		if f := describe(CLI, s.disk.path(program)); f != nil { // a deployer put it there to be spoken to
			list = append(list, source{s.disk.path(program), program, true, f})
		}
	}
	return list
}

// look finds what is here of the files: whole ones of other versions, which are linked; what an earlier try left; pieces of anything. It makes room if it has to.
func (t *transfer) look(ctx context.Context) error {
	total, at := t.m.Size(), int64(0)
	list := t.sources()
	for i := range t.m.Files {
		f := &t.m.Files[i]
		t.missing[i] = make([]bool, len(f.Pieces))
		if err := t.adopt(ctx, i, list); err != nil {
			return err
		}
		if !t.whole[i] {
			if err := t.keep(ctx, i); err != nil {
				return err
			}
		}
		at += f.Size
		t.progress("looking for what is there", at, total)
	}
	// What is not whole has been adopted, or is of no use.
	for _, id := range t.store.versions() {
		if _, err := os.Stat(t.store.disk.path(filepath.Join("versions", id, manifestFile))); err != nil && id != t.id {
			if err := t.store.drop(id); err != nil {
				return err
			}
		}
	}
	if err := t.room(); err != nil {
		return err
	}
	return t.copyPieces(ctx, list)
}

// adopt takes a whole file over, by a second name for it, or one that was on its way, by a new name.
func (t *transfer) adopt(ctx context.Context, i int, list []source) error {
	f := &t.m.Files[i]
	for _, src := range list {
		if src.rel == "" || src.file.SHA256 != f.SHA256 || src.file.Size != f.Size || src.file.Exec != f.Exec {
			continue
		}
		if !src.whole {
			if _, err := os.Lstat(t.store.disk.path(t.path(i))); err == nil {
				continue // the own one is as good
			}
			if _, err := os.Lstat(src.path); err != nil {
				continue
			}
			return t.store.disk.rename(src.rel, t.path(i))
		}
		if sum, err := t.sum(ctx, src.path, nil, nil); err != nil || sum != f.SHA256 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // damaged: this version gets its own
		}
		if err := t.store.disk.link(src.rel, t.path(i)); err != nil {
			return err
		}
		t.whole[i] = true
		return nil
	}
	return nil
}

// keep sees which pieces of file i an earlier try has left.
func (t *transfer) keep(ctx context.Context, i int) error {
	f := &t.m.Files[i]
	for p := range f.Pieces {
		t.missing[i][p] = true
	}
	h, err := os.Open(t.store.disk.path(t.path(i)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(h.Fd()), &st); err != nil {
		return err
	}
	if st.Nlink > 1 || st.Size != f.Size { // the name of a version's file, or not ours: it is not written to
		return t.store.disk.remove(t.path(i))
	}
	if path := t.store.disk.path(t.path(i)); t.store.verity.state(path) == VerityOn { // it was whole once, and cannot be written to any more
		sum, err := t.sum(ctx, path, nil, nil)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.whole[i] = err == nil && sum == f.SHA256; t.whole[i] {
			return nil
		}
		return t.store.disk.remove(t.path(i))
	}
	buf := make([]byte, MaxPiece)
	for p, piece := range f.Pieces {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.missing[i][p] = !holds(h, piece.Offset, piece, buf)
	}
	return nil
}

// holds tells whether a piece lies at a place of a file. buf, of MaxPiece, holds it afterwards.
func holds(r io.ReaderAt, at int64, p Piece, buf []byte) bool {
	n, err := r.ReadAt(buf[:p.Size], at)
	return int64(n) == p.Size && (err == nil || err == io.EOF) && sha256.Sum256(buf[:p.Size]) == p.SHA256
}

// copyPieces takes pieces from other files that have them. Some of these may have been removed to make room.
func (t *transfer) copyPieces(ctx context.Context, list []source) error {
	where := map[Sum]source{}
	place := map[Sum]int64{}
	for _, src := range list {
		for _, p := range src.file.Pieces {
			where[p.SHA256], place[p.SHA256] = src, p.Offset
		}
	}
	open := map[string]*os.File{}
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	buf := make([]byte, MaxPiece)
	for i := range t.m.Files {
		f := &t.m.Files[i]
		// A package's model is cut without regard to its tensors, and so into other pieces. As a whole it may still be the one.
		same := slices.IndexFunc(list, func(s source) bool { return s.file.SHA256 == f.SHA256 && s.file.Size == f.Size })
		var to *os.File
		for p, piece := range f.Pieces {
			src, ok := where[piece.SHA256]
			at := place[piece.SHA256]
			if !ok && same >= 0 {
				src, ok, at = list[same], true, piece.Offset
			}
			if !ok || t.whole[i] || !t.missing[i][p] {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			from := open[src.path]
			if from == nil {
				var err error
				if from, err = os.Open(src.path); err != nil {
					continue // it has gone
				}
				open[src.path] = from
			}
			if !holds(from, at, piece, buf) {
				continue // damaged: the deployer sends it
			}
			if to == nil {
				var err error
				if to, err = t.create(i); err != nil {
					return err
				}
				defer to.Close()
			}
			if _, err := to.WriteAt(buf[:piece.Size], piece.Offset); err != nil {
				return err
			}
			t.missing[i][p] = false
		}
	}
	return nil
}
