package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/convert"
	"bimamba/convert/safetensors"
	"bimamba/convert/source"
	"bimamba/convert/synth"
	"bimamba/edge/daemon"
)

func (e *env) synthCmd() *cobra.Command {
	var out, size, format, head string
	var seed uint64
	var force, asJSON bool
	c := &cobra.Command{
		Use:   "synth --size SIZE -o FILE",
		Short: "Make a random model of a known shape",
		Long: `Synth writes a model of random 1-bit weights in the shape of a real one, to measure speed and memory where the weights are not at hand.
Its states stay normal numbers. The same seed gives the same file. --head is that of "bimamba convert".

Sizes: ` + strings.Join(synth.Sizes(), ", ") + `.

With --format checkpoint it writes a folder instead: config.json and f16 safetensors in shards, as they come out of training.`,
		Example: "  bimamba synth --size 780M -o 780m.bimamba\n  bimamba synth --size 2.7B --head int4 -o 2.7b.bimamba\n  bimamba synth --size 2.7B --format checkpoint -o 2.7b",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("%s takes no arguments beside its flags", c.CommandPath())
			case size == "" || out == "":
				return fmt.Errorf("%s needs --size and -o", c.CommandPath())
			case format == "checkpoint" && head != "":
				return errors.New("--head is for --format bimamba; give it to bimamba convert with the checkpoint")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ck, err := synth.New(size, seed)
			if err != nil {
				return fmt.Errorf("--size: %w", err)
			}
			if format == "checkpoint" {
				if err := e.writeCheckpoint(out, ck); err != nil {
					return err
				}
				if asJSON {
					return writeJSON(e.stdout, map[string]string{"folder": out})
				}
				fmt.Fprintf(e.stdout, "%s: a random %s checkpoint\n", out, size)
				return nil
			}
			rep, err := e.writeBlob(c.Context(), out, force, ck, synthOptions(size, seed, convert.Head(head)))
			if err != nil {
				return err
			}
			return printConversion(e.stdout, out, rep, asJSON)
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "", "the file or folder to write")
	f.StringVar(&size, "size", "", strings.Join(synth.Sizes(), ", "))
	f.StringVar(&format, "format", "bimamba", "bimamba or checkpoint")
	f.Lookup("format").Value = &choice{&format, []string{"bimamba", "checkpoint"}}
	headFlag(c, &head)
	f.Uint64Var(&seed, "seed", 1, "of the random numbers")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// synthOptions converts a random checkpoint.
func synthOptions(size string, seed uint64, head convert.Head) convert.Options {
	return convert.Options{
		Head:      head,
		Card:      &convert.Card{Name: "synth-" + size, Kind: "base", License: "CC0-1.0", Description: "random numbers", Generation: convert.CardGeneration{MaxTokens: 256, TopP: 1, RepetitionPenalty: 1}},
		Converter: fmt.Sprintf("bimamba %s synth --seed %d", daemon.Version, seed),
	}
}

// shardBytes is the size that a shard of a checkpoint does not exceed, unless one tensor does.
const shardBytes = 1 << 30

// writeCheckpoint writes ck as a folder that appears whole or not at all.
func (e *env) writeCheckpoint(dir string, ck *synth.Checkpoint) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s exists; name another folder, or remove it", dir)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), "."+filepath.Base(dir)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	var shards [][]source.Tensor
	var total, n int64
	for _, name := range ck.Names() {
		t, _ := ck.Tensor(name)
		if len(shards) == 0 || n+t.Bytes() > shardBytes {
			shards, n = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		n += t.Bytes()
		total += t.Bytes()
	}
	bar := newProgress(e.stderr, "writing", total, true)
	defer bar.done()
	weightMap := make(map[string]string)
	var done int64
	for i, tensors := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, t := range tensors {
			weightMap[t.Name] = name
		}
		if err := writeShard(filepath.Join(tmp, name), tensors, func(n int) { done += int64(n); bar.set(done, total) }); err != nil {
			return err
		}
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]int64{"total_size": total}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "model.safetensors.index.json"), index, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "config.json"), ck.Config(), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func writeShard(path string, tensors []source.Tensor, progress func(int)) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	bw := bufio.NewWriterSize(f, 1<<20)
	w, err := safetensors.NewWriter(bw, tensors)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, t := range tensors {
		for off := int64(0); off < t.Bytes(); {
			n := min(int64(len(buf)), t.Bytes()-off)
			if _, err := t.Data.ReadAt(buf[:n], off); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			off += n
			progress(int(n))
		}
	}
	return errors.Join(w.Close(), bw.Flush(), f.Sync())
}
