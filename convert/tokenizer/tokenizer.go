// Package tokenizer compiles tokenizers into the tables of a blob.
//
// It reads Hugging Face's tokenizer.json (byte-level BPE, and BPE over characters with byte fallback) and SentencePiece's
// tokenizer.model (BPE). Both become one form, merges of symbols by rank, which package edge/token runs on.
// What either format can say beyond that is refused by name.
package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"bimamba/memmap"
)

// maxFile bounds a source file; the largest tokenizer.json in use has 33 MB.
const maxFile = 128 << 20

// Compiled is a tokenizer as the tables of a blob.
type Compiled struct {
	Info   memmap.Tokenizer
	Tables []Table
	AddBOS bool     // put BOSID in front of a text
	BOSID  int32    // -1: none
	EOSIDs []uint32 // end of text
	Files  []string // paths that it was made from
	ids    map[string]uint32
}

// Table is one table, little-endian.
type Table struct {
	Name  string
	DType memmap.DType
	Shape []uint64
	Data  []byte
}

// Table finds a table by name. A table that would be empty is not there: nil.
func (c *Compiled) Table(name string) ([]byte, error) {
	for _, t := range c.Tables {
		if t.Name == name {
			return t.Data, nil
		}
	}
	return nil, nil
}

// ID finds a token by its text, as it stands in the source file.
func (c *Compiled) ID(text string) (uint32, bool) {
	id, ok := c.ids[text]
	return id, ok
}

// Load compiles the tokenizer at path: a file, or a folder with tokenizer.json or else tokenizer.model.
// The error is an fs.ErrNotExist if the folder has neither.
func Load(path string) (*Compiled, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		dir := path
		path = filepath.Join(dir, "tokenizer.json")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			path = filepath.Join(dir, "tokenizer.model")
		}
	}
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, err := compileBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.Files = []string{path}
	config := filepath.Join(filepath.Dir(path), "tokenizer_config.json")
	if b, err = readFile(config); errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.configure(b); err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	c.Files = append(c.Files, config)
	return c, nil
}

// compileBytes compiles a tokenizer.json or tokenizer.model, told apart by how they begin.
func compileBytes(b []byte) (*Compiled, error) {
	// Field 1 of the protobuf has the tag 0x0a, a line feed; JSON has a brace behind the white space.
	if len(b) > 0 && b[0] == '\n' && !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return compileSentencePiece(b)
	}
	return compileJSON(b)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes: not a tokenizer", path, maxFile)
	}
	return b, err
}

// configure takes BOS and EOS from tokenizer_config.json.
func (c *Compiled) configure(b []byte) error {
	var config struct {
		AddBOS *bool           `json:"add_bos_token"`
		BOS    json.RawMessage `json:"bos_token"`
		EOS    json.RawMessage `json:"eos_token"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	id := func(field string, raw json.RawMessage) (uint32, bool, error) {
		var text *string
		if json.Unmarshal(raw, &text) != nil {
			var token struct {
				Content *string `json:"content"`
			}
			if err := json.Unmarshal(raw, &token); err != nil {
				return 0, false, fmt.Errorf("%s is no token", field)
			}
			text = token.Content
		}
		if text == nil {
			return 0, false, nil
		}
		n, ok := c.ID(*text)
		if !ok {
			return 0, false, fmt.Errorf("%s %q is not in the tokenizer", field, *text)
		}
		return n, true, nil
	}
	if config.BOS != nil {
		n, ok, err := id("bos_token", config.BOS)
		if err != nil {
			return err
		}
		if c.BOSID = -1; ok {
			c.BOSID = int32(n)
		}
	}
	if config.EOS != nil {
		n, ok, err := id("eos_token", config.EOS)
		if err != nil {
			return err
		}
		if c.EOSIDs = nil; ok {
			c.EOSIDs = []uint32{n}
		}
	}
	if config.AddBOS != nil {
		c.AddBOS = *config.AddBOS
	}
	if c.AddBOS && c.BOSID < 0 {
		c.AddBOS = false
	}
	return nil
}
