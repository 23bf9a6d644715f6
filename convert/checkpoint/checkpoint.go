// Package checkpoint opens a checkpoint as a whole: config.json and the weights, in one file or in shards with their index.
package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/convert/safetensors"
	"bimamba/convert/source"
	"bimamba/convert/torch"
)

const maxConfig = 1 << 20

// Checkpoint is an opened checkpoint.
type Checkpoint struct {
	config  []byte
	files   []string
	names   []string
	tensors map[string]source.Tensor
	open    []io.Closer
}

// Open opens the checkpoint at path: a folder, or a file of weights (or the index of its shards) with config.json beside it. An error
// names the file that is at fault.
func Open(path string) (*Checkpoint, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; a checkpoint is a folder or a file on this machine", err)
	}
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		if path, err = find(path); err != nil {
			return nil, err
		}
	}
	c := &Checkpoint{tensors: make(map[string]source.Tensor)}
	if err := c.read(path); err != nil {
		c.Close()
		return nil, err
	}
	c.names = slices.Sorted(maps.Keys(c.tensors))
	return c, nil
}

// Config is config.json as it stands in the file. (PyTorch's tools write Infinity into it, which is not JSON.)
func (c *Checkpoint) Config() []byte { return c.config }

// Names is the names of all tensors, sorted.
func (c *Checkpoint) Names() []string { return c.names }

// Tensor finds a tensor by name. Its Data is good until Close.
func (c *Checkpoint) Tensor(name string) (source.Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Files is the paths of the files that the checkpoint consists of: config.json, the index if there is one, the weights.
func (c *Checkpoint) Files() []string { return c.files }

// Close closes the files.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.open {
		errs = append(errs, f.Close())
	}
	c.open = nil
	return errors.Join(errs...)
}

const indexSuffix = ".index.json"

// standard is the weights that a folder is looked through for; the first one wins. In safetensors nothing has to be trusted.
var standard = []string{"model.safetensors", "model.safetensors" + indexSuffix, "pytorch_model.bin", "pytorch_model.bin" + indexSuffix}

// find is the path of the weights in a folder.
func find(dir string) (string, error) {
	for _, name := range standard {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return path, nil // a link to nothing is reported when it is opened
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var all, tensors, pickles []string
	for _, e := range entries {
		all = append(all, e.Name())
		switch filepath.Ext(e.Name()) {
		case ".safetensors":
			tensors = append(tensors, e.Name())
		case ".bin", ".pt":
			pickles = append(pickles, e.Name())
		}
	}
	for _, found := range [][]string{tensors, pickles} {
		switch len(found) {
		case 0:
		case 1:
			return filepath.Join(dir, found[0]), nil
		default:
			return "", fmt.Errorf("%s: several files of weights and no index: %s; name the one to read, or add %s or %s", dir, some(found), standard[1], standard[3])
		}
	}
	return "", fmt.Errorf("%s is not a checkpoint: looked for %s, or one file *.safetensors, *.bin or *.pt; found %s", dir, strings.Join(standard, ", "), some(all))
}

// some lists the first few names.
func some(names []string) string {
	const few = 8
	switch n := len(names); {
	case n == 0:
		return "nothing"
	case n > few:
		return fmt.Sprintf("%q and %d more", names[:few], n-few)
	}
	return fmt.Sprintf("%q", names)
}

// read opens config.json and the weights at path.
func (c *Checkpoint) read(path string) error {
	config := filepath.Join(filepath.Dir(path), "config.json")
	var err error
	c.config, err = source.ReadFile(config, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing; it says what model %s is of: copy it from where the weights came from", config, filepath.Base(path))
	}
	if err != nil {
		return err
	}
	c.files = append(c.files, config)
	if strings.HasSuffix(path, indexSuffix) {
		return c.readShards(path)
	}
	tensors, err := c.readFile(path)
	for _, t := range tensors {
		c.tensors[t.Name] = t
	}
	return err
}

// readFile opens one file of weights.
func (c *Checkpoint) readFile(path string) ([]source.Tensor, error) {
	var f interface {
		io.Closer
		Tensors() []source.Tensor
	}
	var err error
	switch filepath.Ext(path) {
	case ".safetensors":
		f, err = safetensors.Open(path)
	case ".bin", ".pt", ".pth":
		f, err = torch.Open(path)
	default:
		return nil, fmt.Errorf("%s: weights are read from files whose name ends in .safetensors, .bin, .pt, .pth or %s, and from their folder", path, indexSuffix)
	}
	if err != nil {
		return nil, err
	}
	c.open = append(c.open, f)
	c.files = append(c.files, path)
	return f.Tensors(), nil
}

// readShards opens the shards that the index at path names. Index and shards have to agree: where they do not, they are of different
// checkpoints.
func (c *Checkpoint) readShards(path string) error {
	b, err := source.ReadFile(path, maxIndex)
	if err != nil {
		return err
	}
	index, err := parseIndex(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.files = append(c.files, path)
	shards := slices.Compact(slices.Sorted(maps.Values(index)))
	if len(shards) > maxShards {
		return fmt.Errorf("%s: %d shards, more than %d", path, len(shards), maxShards)
	}
	for _, shard := range shards {
		tensors, err := c.readFile(filepath.Join(filepath.Dir(path), shard))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s names the shard %s, which is missing; copy it into the folder", path, shard)
		}
		if err != nil {
			return err
		}
		for _, t := range tensors {
			switch want, ok := index[t.Name]; {
			case !ok:
				return fmt.Errorf("%s: tensor %s is not in the index %s: they are of different checkpoints", c.files[len(c.files)-1], t.Name, filepath.Base(path))
			case want != shard:
				return fmt.Errorf("%s: tensor %s is in %s, but the index says %s: they are of different checkpoints", path, t.Name, shard, want)
			}
			c.tensors[t.Name] = t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index)) {
		if _, ok := c.tensors[name]; !ok {
			return fmt.Errorf("%s: tensor %s is not in %s, where the index says it is: they are of different checkpoints", path, name, index[name])
		}
	}
	return nil
}
