package image

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"bimamba/boards/image/internal/fat"
	"bimamba/boards/internal/bmap"
	"bimamba/boards/internal/packed"
	"bimamba/internal/atomicfile"
)

// File is a file that the board is to have.
type File struct {
	Path string      // absolute, on the board
	Mode fs.FileMode // permissions
	Size int64
	Open func() (io.ReadCloser, error) // it is read twice
}

// Text is a file with a text.
func Text(path string, mode fs.FileMode, text string) File {
	return File{path, mode, int64(len(text)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// FromFile is a file with the content of another.
func FromFile(path string, mode fs.FileMode, from string) (File, error) {
	st, err := os.Stat(from)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", from)
	}
	if err != nil {
		return File{}, err
	}
	return File{path, mode, st.Size(), func() (io.ReadCloser, error) { return os.Open(from) }}, nil
}

// Options of Build.
type Options struct {
	Base     string // the image to start from: as it is, or packed by gzip or xz
	Out      string // the image to write
	Force    bool   // replace Out if it exists
	Format   Format // "" is the first that the base image understands
	Settings Settings
	Files    []File
	Enable   []string  // units of systemd to enable once the files are in place
	Time     time.Time // of what is written to the boot partition
	// Progress is told how far a step is, in bytes. It may be nil.
	Progress func(step string, done, total int64)
}

// Report is what came of Build.
type Report struct {
	System  string // what the base image is
	Format  Format
	Size    int64 // bytes of the image
	Payload int64 // bytes of the files
	Free    int64 // bytes that are left in the boot partition
	Mapped  int64 // bytes that are in use: those of the block map
	Cgroup  bool  // cgroup_enable=memory was added to cmdline.txt
	Written []Written
}

// Written is a file of the payload.
type Written struct {
	Path   string
	Size   int64
	SHA256 string
}

// Build writes an image, and its block map beside it, [bmap.Ext] behind its name. Out appears whole or not at all, and is read again before. Others cannot read one with
// the key of a Wi-Fi.
func Build(ctx context.Context, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if err := o.Settings.Check(); err != nil {
		return nil, err
	}
	pay, err := newPayload(o.Files)
	if err != nil {
		return nil, err
	}
	base, err := packed.Open(o.Base)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	if same(base.File(), o.Out) {
		return nil, fmt.Errorf("%s is the base image itself: name another file to write", o.Out)
	}
	out, err := atomicfile.Create(o.Out, atomicfile.Options{Force: o.Force})
	if err != nil {
		return nil, err
	}
	defer out.Close()
	blocks, err := atomicfile.Create(o.Out+bmap.Ext, atomicfile.Options{Force: o.Force})
	if err != nil {
		return nil, err
	}
	defer blocks.Close()
	if o.Settings.WiFi != nil { // its key is in there, and a sum to guess a password by in the map
		if err := errors.Join(out.Chmod(0o600), blocks.Chmod(0o600)); err != nil {
			return nil, err
		}
	}
	size, err := unpack(ctx, base, out.File, func(done, total int64) { o.Progress("unpacking", done, total) })
	if err != nil {
		return nil, err
	}
	s, err := inspect(out.File, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Base, err)
	}
	rep := &Report{System: s.Name, Format: o.Format, Size: size, Payload: pay.size}
	if rep.Format == "" {
		rep.Format = s.Formats[0]
	}
	if !slices.Contains(s.Formats, rep.Format) {
		return nil, fmt.Errorf("%s: %s does not understand %s at its first boot; it does %s", o.Base, s.Name, rep.Format, formatList(s.Formats))
	}
	if err := s.write(ctx, &o, pay, rep); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Base, err)
	}
	s, err = verify(out.File, size, pay)
	if err != nil {
		return nil, fmt.Errorf("reading %s again: %w", o.Out, err)
	}
	m, err := s.blockMap(ctx, out.File, size, func(done, total int64) { o.Progress("mapping", done, total) })
	if err != nil {
		return nil, fmt.Errorf("the block map of %s: %w", o.Out, err)
	}
	if _, err := blocks.Write(m.Text()); err != nil {
		return nil, err
	}
	rep.Mapped = m.Mapped()
	// Between the two flash finds that they do not belong together, and says so.
	if err := out.Commit(); err != nil {
		return nil, err
	}
	if err := blocks.Commit(); err != nil {
		return nil, fmt.Errorf("%s is written, but not its block map: %w", o.Out, err)
	}
	return rep, nil
}

// blockMap is which blocks of the image are in use.
func (s *System) blockMap(ctx context.Context, f io.ReaderAt, size int64, progress func(done, total int64)) (*bmap.Map, error) {
	unused, err := s.unused()
	if err != nil {
		return nil, err
	}
	return bmap.Make(ctx, f, size, unused, progress)
}

// same tells whether path is the file f.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Stat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// write puts all into the boot partition.
func (s *System) write(ctx context.Context, o *Options, pay *payload, rep *Report) error {
	for _, name := range []string{"firstrun.sh", "custom.toml", "bimamba"} {
		if s.onBoot(name) {
			return fmt.Errorf("the boot partition has a %s: this image is prepared for its first boot already; take a fresh one", name)
		}
	}
	p, err := s.prepare(rep.Format, &o.Settings, pay.id(&o.Settings), o.Enable)
	if err != nil {
		return err
	}
	rep.Cgroup = p.cgroup
	p.texts["bimamba/manifest"] = pay.manifest()
	var changes []fat.Change
	for path, text := range p.texts {
		changes = append(changes, fat.Change{Path: path, Data: strings.NewReader(text), Size: int64(len(text))})
	}
	slices.SortFunc(changes, func(a, b fat.Change) int { return strings.Compare(a.Path, b.Path) })
	done := int64(0)
	for _, f := range pay.files {
		data := &lazyReader{ctx: ctx, open: f.Open, read: func(n int) { done += int64(n); o.Progress("writing", done, pay.size) }}
		defer data.close()
		changes = append(changes, fat.Change{Path: "bimamba/" + f.name, Data: data, Size: f.Size})
		rep.Written = append(rep.Written, Written{f.Path, f.Size, f.sum})
	}
	if p.cmdline != s.Cmdline { // last: with it the first boot is what it is to be
		line := p.cmdline + "\n"
		changes = append(changes, fat.Change{Path: "cmdline.txt", Data: strings.NewReader(line), Size: int64(len(line))})
	}
	err = s.boot.Apply(o.Time, changes)
	var space *fat.SpaceError
	if errors.As(err, &space) {
		return pay.tooLarge(space)
	}
	rep.Free = s.boot.Free()
	return err
}

// payloadFile is a file and where it waits.
type payloadFile struct {
	File
	name string // in the boot partition's folder
	sum  string // SHA-256, in hexadecimal
}

type payload struct {
	files []payloadFile
	size  int64
}

// Paths stand in a list that a shell reads: these characters mean nothing to it.
var pathRE = regexp.MustCompile(`^(/[A-Za-z0-9_@.-]+)+$`)

// newPayload reads the files for their sums.
func newPayload(files []File) (*payload, error) {
	p := &payload{}
	for i, f := range files {
		if !pathRE.MatchString(f.Path) || strings.Contains(f.Path, "/../") || strings.HasSuffix(f.Path, "/..") {
			return nil, fmt.Errorf("%q is no path on the board", f.Path)
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		n, err := io.Copy(h, r)
		r.Close()
		if err == nil && n != f.Size {
			err = fmt.Errorf("%d bytes instead of %d", n, f.Size)
		}
		if err != nil {
			return nil, fmt.Errorf("reading what becomes %s: %w", f.Path, err)
		}
		// The number keeps apart what has one name in two directories.
		name := fmt.Sprintf("%02d-%s", i+1, f.Path[strings.LastIndexByte(f.Path, '/')+1:])
		p.files = append(p.files, payloadFile{f, strings.TrimRight(name, "."), hex.EncodeToString(h.Sum(nil))})
		p.size += f.Size
	}
	return p, nil
}

// manifest is the list that install.sh works off.
func (p *payload) manifest() string {
	var b strings.Builder
	for _, f := range p.files {
		fmt.Fprintf(&b, "%s %04o %s %s\n", f.sum, f.Mode.Perm(), f.name, f.Path)
	}
	return b.String()
}

// id is another one where anything is but the password, which must not be guessed from it.
func (p *payload) id(s *Settings) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n", p.manifest(), []any{s.Hostname, s.User, s.Keys, s.Timezone, s.Locale})
	if s.WiFi != nil {
		fmt.Fprintf(h, "%q\n", []string{s.WiFi.SSID, s.WiFi.Country})
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// tooLarge says by how much, and what would fit.
func (p *payload) tooLarge(e *fat.SpaceError) error {
	large := slices.MaxFunc(p.files, func(a, b payloadFile) int { return cmp.Compare(a.Size, b.Size) })
	over := e.Need - e.Free
	hint := "take a smaller model, or a base image with a larger boot partition"
	if fits := large.Size - over; fits > 0 {
		hint = fmt.Sprintf("%s has %s, and %s would fit: take a smaller one, or deploy it over the network later", large.Path, mega(large.Size), mega(fits))
	}
	return fmt.Errorf("the boot partition has %s free and the files take %s, %s too many; %s", mega(e.Free), mega(e.Need), mega(over), hint)
}

// lazyReader opens a file when it is read first.
type lazyReader struct {
	ctx  context.Context
	open func() (io.ReadCloser, error)
	read func(n int)
	r    io.ReadCloser
}

func (l *lazyReader) Read(b []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	n, err := l.r.Read(b)
	l.read(n)
	return n, err
}

func (l *lazyReader) close() {
	if l.r != nil {
		l.r.Close()
	}
}

// verify opens the image anew, which checks the boot partition's tables, and compares the sums of all files.
func verify(f fat.File, size int64, pay *payload) (*System, error) {
	s, err := find(f, size)
	if err != nil {
		return nil, err
	}
	if s.boot == nil {
		return nil, errors.New("the boot partition is gone")
	}
	manifest, err := s.boot.ReadFile("bimamba/manifest", maxText)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(manifest, []byte(pay.manifest())) {
		return nil, errors.New("bimamba/manifest is not what was written")
	}
	for _, p := range pay.files {
		r, err := s.boot.Open("bimamba/" + p.name)
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if hex.EncodeToString(h.Sum(nil)) != p.sum {
			return nil, fmt.Errorf("%s is not what was written", p.name)
		}
	}
	return s, nil
}
