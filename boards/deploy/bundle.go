package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"bimamba/boards/slot"
	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	"bimamba/memmap"
	"bimamba/memmap/sign"
	"bimamba/systemd/unit"
)

// Options say what is deployed. What is "" is taken over from what serves on the board.
type Options struct {
	Model  string // a blob
	Daemon string // bimambad, static, for the board's processor
	CLI    string // bimamba, of the same kind
	Config string // bimambad.toml
	Label  string // what people read in lists; "" is made of the model's name
	// Open maps Model; nil is memmap.Open.
	Open func(name string) (*memmap.File, error)
}

// Bundle is what is deployed, read and checked once for all boards. Close it.
type Bundle struct {
	opt   Options
	blob  *memmap.File
	files []slot.File            // of the options
	open  map[string]io.ReaderAt // those of files
	close []io.Closer
	conf  []byte // of Config

	mu     sync.Mutex
	golden map[arithmetic]*slot.Golden
}

// arithmetic is what the golden answer depends on beside the model.
type arithmetic struct {
	precision model.Precision
	state     model.State
}

const (
	serviceConf = "service.conf"
	sliceConf   = "slice.conf"
)

// New reads what is to be deployed, and checks every byte of the model. progress is called with bytes of the model; it may be nil.
func New(ctx context.Context, opt Options, progress func(done, total int64)) (*Bundle, error) {
	b := &Bundle{opt: opt, open: map[string]io.ReaderAt{}, golden: map[arithmetic]*slot.Golden{}}
	err := b.read(ctx, progress)
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bundle) read(ctx context.Context, progress func(done, total int64)) error {
	if b.opt.Model != "" {
		open := b.opt.Open
		if open == nil {
			open = memmap.Open
		}
		f, err := open(b.opt.Model)
		if err != nil {
			return err
		}
		b.blob = f
		b.close = append(b.close, f)
		if err := f.Verify(ctx, func(done int64) {
			if progress != nil {
				progress(done, f.Size())
			}
		}); err != nil {
			return err
		}
		if err := b.addModel(f); err != nil {
			return err
		}
		if err := b.add(slot.Model+sign.Ext, b.blob.Name()+sign.Ext, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, x := range []struct {
		name, path string
	}{{slot.Daemon, b.opt.Daemon}, {slot.CLI, b.opt.CLI}} {
		if x.path != "" {
			if err := b.add(x.name, x.path, true); err != nil {
				return err
			}
		}
	}
	if b.opt.Config != "" {
		text, err := os.ReadFile(b.opt.Config)
		if err != nil {
			return err
		}
		b.conf = text
		if _, err := parseConfig(b.opt.Config, text); err != nil {
			return err
		}
		return b.add(slot.Config, b.opt.Config, false)
	}
	return nil
}

// Close closes the files.
func (b *Bundle) Close() error {
	var errs []error
	for _, c := range b.close {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// add describes a file.
func (b *Bundle) add(name, path string, exec bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	b.close = append(b.close, f)
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", path)
	}
	return b.describe(name, exec, f, st.Size(), nil)
}

func (b *Bundle) describe(name string, exec bool, r io.ReaderAt, size int64, cuts []int64) error {
	x, err := slot.NewFile(name, exec, r, size, cuts)
	if err != nil {
		return err
	}
	b.files = append(b.files, *x)
	b.open[name] = r
	return nil
}

// addModel describes a blob, cut where tensors begin and end: those that did not change are found on the board.
func (b *Bundle) addModel(f *memmap.File) error {
	var cuts []int64
	for _, s := range f.Manifest().Sections {
		for _, t := range s.Tensors {
			cuts = append(cuts, int64(t.Offset), int64(t.Offset+t.Length))
		}
	}
	slices.Sort(cuts)
	r, err := os.Open(f.Name())
	if err != nil {
		return fmt.Errorf("the model has no file that can be read again (of the built-in one: set XDG_CACHE_HOME to a folder of yours): %w", err)
	}
	b.close = append(b.close, r)
	return b.describe(slot.Model, false, r, f.Size(), cuts)
}

// parseConfig is a configuration as the service reads it, which has its state directory from systemd.
func parseConfig(name string, text []byte) (*config.Config, error) {
	return config.Load([]string{"--config", name}, []string{"STATE_DIRECTORY=/var/lib/bimamba"}, func(string) ([]byte, error) { return text, nil })
}

// manifest is the version that a board gets: the bundle's files and, for the rest, those of base, which may be nil.
func (b *Bundle) manifest(ctx context.Context, base *slot.Manifest, conf *config.Config) (*slot.Manifest, map[string]io.ReaderAt, error) {
	m := &slot.Manifest{Version: 1, Label: b.opt.Label, Files: slices.Clone(b.files)}
	open := map[string]io.ReaderAt{}
	for name, r := range b.open {
		open[name] = r
	}
	text := func(name, content string) error {
		r := strings.NewReader(content)
		f, err := slot.NewFile(name, false, r, int64(len(content)), nil)
		if err == nil {
			m.Files, open[name] = append(m.Files, *f), r
		}
		return err
	}
	if b.blob != nil {
		fp := daemon.Footprint(conf, b.blob.Manifest())
		p := unit.Params{Mapped: fp.Mapped, Arena: fp.Arena, Heap: fp.Heap, OneModel: conf.Memory > 0}
		deployed := b.conf != nil || base != nil && base.File(slot.Config) != nil
		if err := errors.Join(text(serviceConf, unit.Version(p, slot.Dir+"/current", deployed)), text(sliceConf, unit.Slice(p))); err != nil {
			return nil, nil, err
		}
		var err error
		if m.Golden, err = b.goldenFor(ctx, conf); err != nil {
			return nil, nil, err
		}
		if m.Label == "" {
			m.Label = b.blob.Manifest().Name
		}
	}
	if base != nil {
		for _, f := range base.Files {
			// A signature belongs to its model.
			if m.File(f.Name) == nil && !(b.blob != nil && f.Name == slot.Model+sign.Ext) {
				m.Files = append(m.Files, f)
			}
		}
		if b.blob == nil {
			m.Golden = base.Golden
			if m.Label == "" {
				m.Label = base.Label
			}
		}
	}
	slices.SortFunc(m.Files, func(a, b slot.File) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range []string{slot.CLI, slot.Daemon} {
		if m.File(name) == nil {
			return nil, nil, fmt.Errorf("the board has no %s yet: give --daemon and --cli, static programs for its processor", name)
		}
	}
	if m.File(slot.Model) == nil || m.File(serviceConf) == nil {
		return nil, nil, errors.New("nothing was deployed to the board yet: name the model with --model")
	}
	return m, open, m.Validate()
}

// goldenFor is the golden answer for a configuration, computed once for each kind of arithmetic.
func (b *Bundle) goldenFor(ctx context.Context, c *config.Config) (*slot.Golden, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	how := arithmetic{c.Precision, c.State}
	if g, ok := b.golden[how]; ok {
		return g, nil
	}
	g, err := newGolden(ctx, b.blob, how)
	if err != nil {
		return nil, fmt.Errorf("the golden answer of %s: %w", filepath.Base(b.blob.Name()), err)
	}
	b.golden[how] = g
	return g, nil
}
