package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bimamba/convert"
	"bimamba/convert/checkpoint"
	"bimamba/convert/tokenizer"
	"bimamba/edge/daemon"
	"bimamba/internal/atomicfile"
	"bimamba/memmap"
)

func (e *env) convertCmd() *cobra.Command {
	var out, proj, head, tok, card string
	var force, asJSON bool
	c := &cobra.Command{
		Use:   "convert SRC -o OUT",
		Short: "Convert a checkpoint to a .bimamba file",
		Long: `Convert reads the checkpoint SRC, a folder or a file of weights beside its config.json, and writes one file that is memory-mapped as it is.

Read are Bi-Mamba (as its authors save it) and Mamba-2 (state-spaces, Hugging Face), from PyTorch .bin or .safetensors, whole or in shards.
Tensors are read a few rows at a time, so a large model takes little memory. OUT appears whole or not at all.

The projections in_proj and out_proj (--proj):
  auto   1bit for Bi-Mamba, keep for full precision
  keep   the checkpoint's own element type
  int8   8 bit, one scale a row
  1bit   1 bit; on full-precision weights this is post-training binarization, which ruins a model

Embedding and head (--head):
  int8   8 bit, one scale a row
  int4   4 bit, one half-precision scale for 32 columns: 4.5 bits a weight
  f16    half precision
  keep   the checkpoint's own element type

The tokenizer is SRC's tokenizer.json or tokenizer.model. Without one the file can be scored by token ids, and text commands refuse it.

A card (TOML) says what the checkpoint does not: name, kind (base, instruct, intent), tasks, the prompt's format, generation defaults, licence and
data. Without one the kind is base, and BOS is as tokenizer_config.json says, else on for SentencePiece and off for others.`,
		Example: `  bimamba convert ./bimamba-780m -o bimamba-780m.bimamba
  bimamba convert ./mamba2-130m --proj keep --head keep -o m.bimamba
  bimamba convert model.safetensors --tokenizer tok/tokenizer.json --card card.toml -o m.bimamba`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%s takes one SRC, not %d", c.CommandPath(), len(args))
			}
			if out == "" {
				return fmt.Errorf("%s needs -o OUT, the file to write", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o := convert.Options{Proj: convert.Proj(proj), Head: convert.Head(head), Converter: "bimamba " + daemon.Version}
			return e.convert(c.Context(), args[0], out, tok, card, force, asJSON, o)
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "", "the file to write")
	f.Var(&choice{&proj, []string{"auto", "keep", "int8", "1bit"}}, "proj", "form of the projections: auto, keep, int8 or 1bit (default auto)")
	headFlag(c, &head)
	f.StringVar(&tok, "tokenizer", "", "tokenizer.json or tokenizer.model, or a folder with one (default: SRC's)")
	f.StringVar(&card, "card", "", "model card (TOML)")
	f.BoolVar(&force, "force", false, "replace OUT if it exists")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// headFlag adds --head to c.
func headFlag(c *cobra.Command, head *string) {
	c.Flags().Var(&choice{head, []string{"int8", "int4", "f16", "keep"}}, "head", "form of embedding and head: int8, int4, f16 or keep (default int8)")
}

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}
func (c *choice) Type() string { return "word" }
func (c *choice) Set(s string) error {
	for _, w := range c.words {
		if s == w {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("it is one of %s", strings.Join(c.words, ", "))
}

func (e *env) convert(ctx context.Context, src, out, tok, card string, force, asJSON bool, opt convert.Options) error {
	ck, err := checkpoint.Open(src)
	if err != nil {
		return err
	}
	defer ck.Close()
	if opt.Tokenizer, err = e.findTokenizer(src, tok); err != nil {
		return err
	}
	if card != "" {
		if opt.Card, err = convert.ReadCard(card); err != nil {
			return err
		}
	}
	rep, err := e.writeBlob(ctx, out, force, ck, opt)
	if err != nil {
		return err
	}
	for _, w := range rep.Warnings {
		fmt.Fprintf(e.stderr, "bimamba: warning: %s\n", w)
	}
	return printConversion(e.stdout, out, rep, asJSON)
}

// writeBlob converts ck to the file out, with a progress bar.
func (e *env) writeBlob(ctx context.Context, out string, force bool, ck convert.Checkpoint, opt convert.Options) (*convert.Report, error) {
	f, err := atomicfile.Create(out, atomicfile.Options{Force: force})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bar := newProgress(e.stderr, "converting", 1, true)
	opt.Progress = bar.set
	rep, err := convert.Convert(ctx, f, ck, opt)
	bar.done()
	if err != nil {
		return nil, err
	}
	return rep, f.Commit()
}

// findTokenizer loads the tokenizer that was named or else lies beside the weights, nil if there is none.
func (e *env) findTokenizer(src, named string) (*tokenizer.Compiled, error) {
	if named != "" {
		return tokenizer.Load(named)
	}
	dir := src
	if st, err := os.Stat(src); err == nil && !st.IsDir() {
		dir = filepath.Dir(src)
	}
	t, err := tokenizer.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(e.stderr, "bimamba: warning: %s has no tokenizer.json or tokenizer.model, and --tokenizer names none: the model will take token ids, but no text\n", dir)
		return nil, nil
	}
	return t, err
}

// part is a line of the table behind a conversion.
type part struct {
	Name  string  `json:"part"`
	Elems uint64  `json:"weights"`
	Bytes uint64  `json:"bytes"`
	Bits  float64 `json:"bits_per_weight"`
}

// parts sums the tensors up by what they are.
func parts(m *memmap.Manifest) []part {
	names := []string{"projections", "embedding and head", "norms, convolution, A, D, dt", "tokenizer"}
	sum := make([]part, len(names))
	for i := range m.Sections {
		s := &m.Sections[i]
		for j := range s.Tensors {
			t := &s.Tensors[j]
			k := 2
			switch {
			case s.Name == "tokenizer":
				k = 3
			case strings.HasPrefix(t.Name, "in_proj.") || strings.HasPrefix(t.Name, "out_proj."):
				k = 0
			case strings.HasPrefix(t.Name, "embedding.") || strings.HasPrefix(t.Name, "lm_head."):
				k = 1
			}
			n := uint64(1)
			for _, d := range t.Shape {
				n *= d
			}
			sum[k].Bytes += t.Length
			if k == 2 || strings.HasSuffix(t.Name, ".weight") {
				sum[k].Elems += n
			}
		}
	}
	for k := range sum {
		sum[k].Name = names[k]
		if sum[k].Elems > 0 {
			sum[k].Bits = 8 * float64(sum[k].Bytes) / float64(sum[k].Elems)
		}
	}
	return sum
}

func printConversion(w io.Writer, out string, rep *convert.Report, asJSON bool) error {
	ps := parts(rep.Manifest)
	var elems, zeros uint64
	for _, p := range ps {
		elems += p.Elems
	}
	for i := range rep.Manifest.Sections {
		for _, t := range rep.Manifest.Sections[i].Tensors {
			zeros += t.Zeros
		}
	}
	bits := 8 * float64(rep.FileBytes) / float64(elems)
	ratio := float64(rep.SourceBytes) / float64(rep.FileBytes)
	if asJSON {
		return writeJSON(w, struct {
			File        string   `json:"file"`
			FileBytes   int64    `json:"file_bytes"`
			SourceBytes int64    `json:"source_bytes"`
			Ratio       float64  `json:"ratio"`
			Weights     uint64   `json:"weights"`
			Bits        float64  `json:"bits_per_weight"`
			Zeros       uint64   `json:"exact_zeros"`
			Parts       []part   `json:"parts"`
			Warnings    []string `json:"warnings"`
			PeakRSS     int64    `json:"peak_rss_bytes"`
		}{out, rep.FileBytes, rep.SourceBytes, ratio, elems, bits, zeros, ps, append([]string{}, rep.Warnings...), peakRSS()})
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "part\tweights\tbytes\tbits/weight\t")
	for _, p := range ps {
		if p.Bytes == 0 {
			continue
		}
		if p.Elems == 0 {
			fmt.Fprintf(tw, "%s\t\t%d\t\t\n", p.Name, p.Bytes)
			continue
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%.2f\t\n", p.Name, p.Elems, p.Bytes, p.Bits)
	}
	fmt.Fprintf(tw, "file\t%d\t%d\t%.2f\t\n", elems, rep.FileBytes, bits)
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s, %.1f times smaller than the checkpoint's %s\n", out, mega(rep.FileBytes), ratio, mega(rep.SourceBytes))
	if zeros > 0 {
		fmt.Fprintf(w, "%d latent weights were exactly 0 and became +1\n", zeros)
	}
	return nil
}
