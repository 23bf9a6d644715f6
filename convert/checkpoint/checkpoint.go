// Package checkpoint opens a checkpoint as a whole: config.json and the weights, in one file or in shards with their index.
package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/convert/safetensors"
	"bimamba/convert/source"
	"bimamba/convert/torch"
)

const (
	maxConfig = 1 << 20
	maxIndex  = 64 << 20
)

// Checkpoint is an opened checkpoint. Close it when its tensors are no longer read.
type Checkpoint struct {
	config  []byte
	files   []string
	names   []string
	tensors map[string]source.Tensor
	closers []io.Closer
}

// weights is what Open looks for in a folder, the first one wins; safetensors come first, for nothing in them has to be trusted.
var weights = []string{"model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"}

// Open opens the checkpoint at path: a folder, or a file of weights (or their index) beside its config.json.
func Open(path string) (*Checkpoint, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	dir, name := filepath.Split(path)
	if st.IsDir() {
		dir = path
		if name, err = find(dir); err != nil {
			return nil, err
		}
	}
	c := &Checkpoint{tensors: make(map[string]source.Tensor)}
	config := filepath.Join(dir, "config.json")
	c.config, err = readLimited(config, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: the model's shape stands in it; copy it from where the weights came from", config)
	}
	if err != nil {
		return nil, err
	}
	c.files = []string{config}
	path = filepath.Join(dir, name)
	if strings.HasSuffix(name, ".index.json") {
		err = c.addShards(dir, path)
	} else {
		err = c.addFile(path, nil)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	for name := range c.tensors {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	return c, nil
}

// find chooses the weights of a folder.
func find(dir string) (string, error) {
	for _, name := range weights {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return name, nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names, found []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".safetensors", ".bin", ".pt", ".pth":
			found = append(found, e.Name())
		}
		names = append(names, e.Name())
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if len(names) > 8 {
			names = append(names[:8], "...")
		}
		return "", fmt.Errorf("%s is not a checkpoint: it holds none of %s, but %s", dir, strings.Join(weights, ", "), cmp.Or(strings.Join(names, ", "), "nothing"))
	}
	return "", fmt.Errorf("%s holds several files of weights and no index: %s; name the one to convert", dir, strings.Join(found, ", "))
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

// parseIndex reads the index of shards: the file of each tensor.
func parseIndex(b []byte) (map[string]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, err
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("there is no weight_map")
	}
	for tensor, file := range index.WeightMap {
		if file == "" || file == "." || file == ".." || strings.ContainsAny(file, "/\\\x00") {
			return nil, fmt.Errorf("weight_map: tensor %s lies in %q, which is not a name in the folder", tensor, file)
		}
	}
	return index.WeightMap, nil
}

func (c *Checkpoint) addShards(dir, path string) error {
	b, err := readLimited(path, maxIndex)
	if err != nil {
		return err
	}
	index, err := parseIndex(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.files = append(c.files, path)
	var shards []string
	for _, file := range index {
		shards = append(shards, file)
	}
	slices.Sort(shards)
	for _, file := range slices.Compact(shards) {
		err := c.addFile(filepath.Join(dir, file), func(tensor string) bool { return index[tensor] == file })
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: the shard %s is missing; copy it into the folder", path, file)
		}
		if err != nil {
			return err
		}
	}
	for tensor, file := range index {
		if _, ok := c.tensors[tensor]; !ok {
			return fmt.Errorf("%s: tensor %s is not in %s, where the index says it is: the shard is of another checkpoint", path, tensor, file)
		}
	}
	return nil
}

// addFile opens one file of weights and adds its tensors, those that belong there by the index if there is one.
func (c *Checkpoint) addFile(path string, belongs func(string) bool) error {
	var tensors []source.Tensor
	if filepath.Ext(path) == ".safetensors" {
		f, err := safetensors.Open(path)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, f)
		tensors = f.Tensors()
	} else {
		f, err := torch.Open(path)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, f)
		tensors = f.Tensors()
	}
	c.files = append(c.files, path)
	for _, t := range tensors {
		if belongs == nil || belongs(t.Name) {
			c.tensors[t.Name] = t
		}
	}
	return nil
}

// Config is config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Names is the names of all tensors, sorted.
func (c *Checkpoint) Names() []string { return c.names }

// Tensor finds a tensor by name.
func (c *Checkpoint) Tensor(name string) (source.Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Files is the paths of everything that was opened, config.json first.
func (c *Checkpoint) Files() []string { return c.files }

// Close closes the files.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.closers {
		errs = append(errs, f.Close())
	}
	c.closers = nil
	return errors.Join(errs...)
}
