package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

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

// precisionFlag adds --precision.
func precisionFlag(c *cobra.Command) *string {
	return c.Flags().String("precision", "lut16", "arithmetic of the matrices: lut16 (exact integer sums) or exact (float32 sums)")
}

// withEngine maps FILE, binds its model and calls fn with it.
func withEngine(name, precision string, sessions int, fn func(*engine.Engine) error) error {
	p, err := model.ParsePrecision(precision)
	if err != nil {
		return fmt.Errorf("--%w", err)
	}
	f, err := openBlob(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (the built-in model is called %q)", err, defaultName)
		}
		return err
	}
	defer f.Close()
	e, err := engine.Open(f, model.Options{Precision: p, Sessions: sessions})
	if err != nil {
		return err
	}
	defer e.Close()
	return fn(e)
}
