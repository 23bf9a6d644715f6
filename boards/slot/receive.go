package slot

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bimamba/memmap/sign"
)

const (
	spare     = 16 << 20 // bytes that stay free on the disk
	syncEvery = 32 << 20 // bytes that a power cut takes back at the most
)

// Receive takes a version from a deployer, see [Send], keeps what the board has of it already, and then holds the lock until r ends or is silent for a minute.
// Its error has been told to the deployer. An end of r in the middle leaves what came whole.
func (s *Store) Receive(ctx context.Context, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := newIdleReader(r, func() { cancel(errors.New("the deployer has been silent for a minute")) })
	defer in.stop()
	if _, err := io.WriteString(w, greeting); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- s.receive(ctx, in, w) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		select { // what is being written comes to an end by itself; what is being read may not
		case err := <-failed:
			return err
		case <-time.After(time.Second):
			return context.Cause(ctx)
		}
	}
}

func (s *Store) receive(ctx context.Context, r *idleReader, w io.Writer) error {
	unlock, id, err := s.take(ctx, r, w)
	if unlock != nil {
		defer unlock()
	}
	if err == nil {
		err = writeJSON(w, kindDone, done{id})
	}
	if err != nil {
		if !r.ended { // else the deployer has gone, and has nothing to learn
			writeFrame(w, kindFail, []byte(strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
		return err
	}
	for {
		kind, _, err := readFrame(r, 0)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case kind != kindPing:
			return fmt.Errorf("a frame %q behind the last piece", kind)
		}
	}
}

// take receives an offer's files. unlock is not nil if the session was locked.
func (s *Store) take(ctx context.Context, r io.Reader, w io.Writer) (unlock func(), id string, err error) {
	o, m, err := readOffer(r)
	if err != nil {
		return nil, "", err
	}
	if unlock, err = s.lockSession(o.Who); err != nil {
		return nil, "", err
	}
	id = m.ID()
	t := &transfer{store: s, m: m, id: id, dir: filepath.Join("versions", id), progress: throttled(w)}
	return unlock, id, full(t.run(ctx, r, w))
}

// lockSession takes the lock of deployers, or says who has it.
func (s *Store) lockSession(who string) (func(), error) {
	if err := s.disk.mkdir("versions"); err != nil {
		return nil, err
	}
	unlock, err := s.disk.flock("lock", who+"\n", false)
	if errors.Is(err, errLocked) {
		b, _ := readLimited(s.disk.path("lock"), 2*maxText)
		return nil, fmt.Errorf("%s is deploying to this board: wait for its end", strings.TrimSpace(string(b)))
	}
	if err == nil {
		left, _ := filepath.Glob(filepath.Join(s.root, Incoming+".*"))
		for _, path := range left {
			os.Remove(path)
		}
	}
	return unlock, err
}

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
			list = append(list, source{path: filepath.Join(s.root, packagedFiles[f.Name]), whole: true, file: &f})
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

// checkAll reads every file back and checks its sum, and has the kernel check the model's pages from then on.
func (t *transfer) checkAll(ctx context.Context) error {
	total, at := t.m.Size(), int64(0)
	for i := range t.m.Files {
		f := &t.m.Files[i]
		var digest []byte
		into := &digest
		if !t.protectable(i) {
			into = nil
		}
		if t.whole == nil || !t.whole[i] || into != nil {
			sum, err := t.sum(ctx, t.store.disk.path(t.path(i)), into, func(n int64) { t.progress("checking", at+n, total) })
			if err != nil {
				return err
			}
			if sum != f.SHA256 {
				return fmt.Errorf("%s does not have its checksum on the board's storage", f.Name)
			}
		}
		if into != nil {
			if err := t.protect(i, digest); err != nil {
				return err
			}
		}
		at += f.Size
	}
	return nil
}

// sum reads a file from the storage itself: what is in the kernel's cache is dropped before, so that a card that lost it is found out, and after, so that
// the daemon's memory is what the daemon itself reads. Its fs-verity digest goes to digest if that is not nil.
func (t *transfer) sum(ctx context.Context, path string, digest *[]byte, progress func(int64)) (sum Sum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	drop(path)
	defer drop(path)
	h := sha256.New()
	r := &checked{ctx: ctx, r: f, progress: progress}
	if digest == nil {
		_, err = io.CopyBuffer(h, r, make([]byte, 1<<20))
	} else {
		var st os.FileInfo
		if st, err = f.Stat(); err == nil {
			*digest, err = sign.Digest(io.TeeReader(bufio.NewReaderSize(r, 1<<20), h), st.Size())
		}
	}
	h.Sum(sum[:0])
	return sum, err
}

// drop drops a file's pages from the kernel's cache. It is advice: a file system may not take it.
func drop(path string) {
	if f, err := os.Open(path); err == nil {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
}

// checked reads until ctx ends, and tells how far it is.
type checked struct {
	ctx      context.Context
	r        io.Reader
	n        int64
	progress func(int64)
}

func (c *checked) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(b)
	if c.n += int64(n); c.progress != nil {
		c.progress(c.n)
	}
	return n, err
}

// throttled writes progress to the deployer, a few frames a second.
func throttled(w io.Writer) func(what string, done, total int64) {
	var last time.Time
	return func(what string, done, total int64) {
		if time.Since(last) > 300*time.Millisecond {
			last = time.Now()
			writeJSON(w, kindProgress, Progress{what, done, total}) // a deployer that has gone is found out elsewhere
		}
	}
}

// idleReader calls fn if nothing comes for idleTime.
type idleReader struct {
	r     io.Reader
	t     *time.Timer
	ended bool // nothing more will come, for whatever reason
}

func newIdleReader(r io.Reader, fn func()) *idleReader {
	i := &idleReader{r: r, t: time.AfterFunc(idleTime, fn)}
	i.stop()
	return i
}

func (i *idleReader) Read(p []byte) (int, error) {
	i.t.Reset(idleTime) // while something is waited for, and not while a disk is
	defer i.stop()
	n, err := i.r.Read(p)
	i.ended = err != nil
	return n, err
}

func (i *idleReader) stop() { i.t.Stop() }
