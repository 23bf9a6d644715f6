package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/convert/tokenizer"
	"bimamba/edge/engine"
	"bimamba/edge/token"
)

func (e *env) tokenizeCmd() *cobra.Command {
	var path, shards string
	var shardTokens int
	var decode, jsonl, asJSON, force bool
	c := &cobra.Command{
		Use:   "tokenize FILE | --tokenizer PATH",
		Short: "Turn text into token ids, or back",
		Long: `Tokenize reads text from standard input and prints its token ids on one line, with the tokenizer of FILE or of a source file
(tokenizer.json or tokenizer.model). No BOS is added. Strings of special tokens become those tokens.

With --decode it reads ids and prints text. With --jsonl each line is {"text":...} and becomes {"ids":[...]}, or the reverse.

With --shards lines {"text":...} or {"prompt":...,"completion":...} become files of tokens for training, PREFIX-00000.tok and so on. No token is added
between or behind the parts: write <|endoftext|>, or what the model ends with, into the text.`,
		Example: `  echo -n 'turn on the light' | bimamba tokenize default
  bimamba tokenize --tokenizer tokenizer.model --jsonl < texts.jsonl > ids.jsonl
  echo 282 283 264 | bimamba tokenize default --decode
  bimamba tokenize --tokenizer tokenizer.json --shards data/home < home.jsonl`,
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (path != "") || len(args) > 1 {
				return fmt.Errorf("%s takes one FILE, or --tokenizer PATH instead", c.CommandPath())
			}
			if shards != "" && (decode || jsonl || shardTokens < 1) {
				return fmt.Errorf("--shards goes with neither --decode nor --jsonl, and --shard-tokens is at least 1")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			run := func(t *token.Tokenizer) error {
				switch {
				case shards != "":
					return tokenizeShards(t, e.stdin, e.stdout, shards, shardTokens, force)
				case jsonl:
					return tokenizeLines(t, e.stdin, e.stdout, decode)
				case decode:
					return decodeText(t, e.stdin, e.stdout, asJSON)
				}
				return encodeText(t, e.stdin, e.stdout, asJSON)
			}
			if path != "" {
				ct, err := tokenizer.Load(path)
				if err != nil {
					return err
				}
				t, err := token.New(&ct.Info, ct.Table)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				return run(t)
			}
			f, err := openBlob(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Guard(func() error {
				t, err := token.Open(f)
				if err != nil {
					return err
				}
				if t == nil {
					return fmt.Errorf("%s: %w", args[0], engine.ErrNoTokenizer)
				}
				return run(t)
			})
		},
	}
	c.Flags().StringVar(&path, "tokenizer", "", "tokenizer.json or tokenizer.model, or a folder with one")
	c.Flags().BoolVar(&decode, "decode", false, "read ids, print text")
	c.Flags().BoolVar(&jsonl, "jsonl", false, "read and print JSON lines")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.Flags().StringVar(&shards, "shards", "", "write token shards for training, their names begin with this")
	c.Flags().IntVar(&shardTokens, "shard-tokens", 1<<24, "begin another shard behind so many tokens")
	c.Flags().BoolVar(&force, "force", false, "replace shards that exist")
	return c
}

func encodeText(t *token.Tokenizer, r io.Reader, w io.Writer, asJSON bool) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	ids := t.Encode(nil, string(b))
	if asJSON {
		return writeJSON(w, map[string]any{"ids": append([]uint32{}, ids...)})
	}
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = strconv.FormatUint(uint64(id), 10)
	}
	_, err = fmt.Fprintln(w, strings.Join(s, " "))
	return err
}

func decodeText(t *token.Tokenizer, r io.Reader, w io.Writer, asJSON bool) error {
	var ids []uint32
	sc := bufio.NewScanner(r)
	sc.Split(bufio.ScanWords)
	for sc.Scan() {
		id, err := strconv.ParseUint(strings.Trim(sc.Text(), "[],"), 10, 32)
		if err != nil {
			return fmt.Errorf("%q is no token id", sc.Text())
		}
		ids = append(ids, uint32(id))
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if err := checkIDs(ids, t.Size()); err != nil {
		return err
	}
	text := t.Decode(ids)
	if asJSON {
		return writeJSON(w, map[string]string{"text": text})
	}
	_, err := io.WriteString(w, text)
	return err
}

// checkIDs refuses ids that are no tokens.
func checkIDs(ids []uint32, size int) error {
	for _, id := range ids {
		if int(id) >= size {
			return fmt.Errorf("token id %d is out of range: the largest is %d", id, size-1)
		}
	}
	return nil
}

func tokenizeLines(t *token.Tokenizer, r io.Reader, w io.Writer, decode bool) error {
	bw := bufio.NewWriter(w)
	err := eachLine(r, "standard input", func(line []byte) error {
		var row struct {
			Text *string   `json:"text"`
			IDs  *[]uint32 `json:"ids"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		if decode {
			if row.IDs == nil {
				return errors.New(`there is no "ids"`)
			}
			if err := checkIDs(*row.IDs, t.Size()); err != nil {
				return err
			}
			return writeJSON(bw, map[string]string{"text": t.Decode(*row.IDs)})
		}
		if row.Text == nil {
			return errors.New(`there is no "text"`)
		}
		return writeJSON(bw, map[string]any{"ids": t.Encode([]uint32{}, *row.Text)})
	})
	return errors.Join(err, bw.Flush())
}
