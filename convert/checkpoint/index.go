package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"bimamba/convert/source"
)

// Limits of an index.
const (
	maxIndex  = 32 << 20
	maxShards = 1 << 10 // all of them are open at a time
)

// parseIndex reads the index of shards: the file of each tensor, under weight_map.
func parseIndex(b []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	fail := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the JSON ends too early: cut short; copy it again")
		}
		return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
	}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		if err := source.Recognise(bytes.NewReader(b), int64(len(b))); err != nil {
			return nil, err
		}
		return nil, errors.New("not a JSON object: not an index of shards")
	}
	var index map[string]string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fail(err)
		}
		if key != "weight_map" {
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return nil, fail(err)
			}
			continue
		}
		if index != nil {
			return nil, fail(errors.New("weight_map stands twice"))
		}
		index = make(map[string]string)
		if err := parseWeightMap(d, index); err != nil {
			return nil, fail(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fail(err)
	}
	if len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
		return nil, fail(errors.New("something follows the JSON object"))
	}
	if len(index) == 0 {
		return nil, errors.New("no weight_map, or nothing in it: not an index of shards")
	}
	return index, nil
}

// parseWeightMap reads it entry by entry: encoding/json by itself would let the last one of two with the same name win.
func parseWeightMap(d *json.Decoder, index map[string]string) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("weight_map is not an object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		tensor := key.(string) // the decoder allows no other keys
		value, err := d.Token()
		if err != nil {
			return err
		}
		file, ok := value.(string)
		if !ok {
			return fmt.Errorf("weight_map: the file of tensor %.80q is not a string", tensor)
		}
		if err := source.CheckName(tensor); err != nil {
			return fmt.Errorf("weight_map: %w", err)
		}
		if _, ok := index[tensor]; ok {
			return fmt.Errorf("weight_map: tensor %s stands twice", tensor)
		}
		if len(index) == source.MaxTensors {
			return fmt.Errorf("weight_map: more than %d tensors", source.MaxTensors)
		}
		if err := checkFile(file); err != nil {
			return fmt.Errorf("weight_map: tensor %s: %w", tensor, err)
		}
		index[tensor] = file
	}
	_, err := d.Token()
	return err
}

// checkFile refuses names of shards that lead out of the folder.
func checkFile(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\:") || source.CheckName(name) != nil {
		return fmt.Errorf("%.80q is not the name of a file in the folder", name)
	}
	return nil
}
