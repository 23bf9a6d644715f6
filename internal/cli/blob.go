package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"bimamba/edge/daemon/config"
	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/internal/atomicfile"
	"bimamba/memmap"
	"bimamba/models"

	"github.com/spf13/cobra"
)

// defaultName is the FILE that means the built-in model.
const defaultName = "default"

// openBlob maps FILE. A file called "default" is reached as ./default.
func openBlob(name string) (*memmap.File, error) {
	if name == defaultName {
		return openDefault()
	}
	return memmap.Open(name)
}

// openDefault maps the built-in model from the user's cache, where it is written once, or from memory where there is no cache.
func openDefault() (*memmap.File, error) {
	if dir, err := os.UserCacheDir(); err == nil {
		path := filepath.Join(dir, "bimamba", models.DefaultSHA256()+".bimamba")
		if f, err := memmap.Open(path); err == nil && f.Size() == int64(len(models.Default)) {
			return f, nil
		}
		if err := writeDefault(path); err == nil {
			return memmap.Open(path)
		}
	}
	fd, err := unix.MemfdCreate("default.bimamba", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("the built-in model can be written neither to the cache (set XDG_CACHE_HOME to a folder of yours) nor to memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "default.bimamba")
	defer f.Close()
	if _, err := f.Write(models.Default); err != nil {
		return nil, fmt.Errorf("writing the built-in model to memory: %w", err)
	}
	return memmap.OpenFile(f)
}

func writeDefault(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, atomicfile.Options{Force: true})
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(models.Default, 0); err != nil {
		return err
	}
	return f.Commit()
}

// modelFlags is how a model is opened.
type modelFlags struct {
	precision, state, threads, memory string
	c                                 *cobra.Command // for what it has to say
}

// addModelFlags adds --precision, --state, --threads and --memory.
func addModelFlags(c *cobra.Command) *modelFlags {
	m := &modelFlags{c: c}
	f := c.Flags()
	f.StringVar(&m.precision, "precision", model.LUT16.String(), "arithmetic of the matrices: lut16 (exact integer sums), exact (float32 sums) or fast (coarser inputs)")
	f.StringVar(&m.state, "state", model.StateF16.String(), "how recurrent states are stored: f16 or f32")
	f.StringVar(&m.threads, "threads", "auto", "threads: a number, or auto for all fast cores, of which as many decode as it takes to read memory at its full speed (measured, unless bimamba doctor --tune did); answers do not depend on it")
	f.StringVar(&m.memory, "memory", "", "the most memory that the model may take, as 128MiB: layers that do not fit are read from storage for every token (default: all of it)")
	return m
}

// options is what the flags say, for a model in blob f with so many sessions.
func (m *modelFlags) options(f *memmap.File, sessions int) (opt model.Options, err error) {
	opt.Sessions = sessions
	if opt.Precision, err = model.ParsePrecision(m.precision); err != nil {
		return opt, fmt.Errorf("--%w", err)
	}
	if opt.State, err = model.ParseState(m.state); err != nil {
		return opt, fmt.Errorf("--%w", err)
	}
	if m.memory != "" {
		n, err := config.ParseBytes(m.memory)
		if err != nil {
			return opt, fmt.Errorf("--memory %s %w", m.memory, err)
		}
		opt.Memory = int64(n)
	}
	tuned := applyTuning(m.c.ErrOrStderr())
	if m.threads == "auto" {
		if tuned != nil {
			f := model.NewFootprint(f.Manifest(), opt)
			opt.Threads, opt.Decode = tuned.ThreadsFor(f.Traffic().Total())
		} else {
			opt.AutoThreads(f.Manifest())
		}
		return opt, nil
	}
	if opt.Threads, err = strconv.Atoi(m.threads); err != nil || opt.Threads < 1 || opt.Threads > maxThreads {
		return opt, fmt.Errorf("--threads %s: it is auto or a number from 1 to %d", m.threads, maxThreads)
	}
	return opt, nil
}

// maxThreads is more than any machine that this is for has cores.
const maxThreads = 256

// openModel maps FILE, and tells of the built-in model if there is none.
func openModel(name string) (*memmap.File, error) {
	f, err := openBlob(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (the built-in model is called %q)", err, defaultName)
	}
	return f, err
}

// withEngine maps FILE, binds its model and calls fn with it.
func withEngine(name string, flags *modelFlags, sessions int, fn func(*engine.Engine) error) error {
	f, err := openModel(name)
	if err != nil {
		return err
	}
	defer f.Close()
	opt, err := flags.options(f, sessions)
	if err != nil {
		return err
	}
	e, err := engine.Open(f, engine.Options{Model: opt})
	if err != nil {
		return err
	}
	defer e.Close()
	return fn(e)
}
