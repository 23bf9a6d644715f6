package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bimamba/edge/model"
	"bimamba/memmap"
)

func (e *env) inspectCmd() *cobra.Command {
	var asJSON, tensors bool
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a .bimamba file holds",
		Long: `Inspect prints the manifest of FILE: hyperparameters, kind, prompt format, sections, provenance, and the memory that the model takes.

It reads the manifest only; "bimamba verify" checks the weights.`,
		Example: "  bimamba inspect default\n  bimamba inspect m.bimamba --tensors\n  bimamba inspect m.bimamba --json",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := openBlob(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if asJSON {
				return writeJSON(e.stdout, inspectJSON(f))
			}
			return inspect(e.stdout, f, tensors)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	c.Flags().BoolVar(&tensors, "tensors", false, "list every tensor")
	return c
}

// number is a float that JSON may not be able to say.
func number(v float32) any {
	if v-v != 0 {
		return fmt.Sprint(v)
	}
	return v
}

func inspectJSON(f *memmap.File) any {
	type tensorJSON struct {
		Name   string   `json:"name"`
		DType  string   `json:"dtype"`
		Layout string   `json:"layout,omitempty"`
		Quant  string   `json:"quant,omitempty"`
		Shape  []uint64 `json:"shape"`
		Offset uint64   `json:"offset"`
		Length uint64   `json:"length"`
		SHA256 string   `json:"sha256"`
		Zeros  uint64   `json:"zeros,omitempty"`
	}
	type sectionJSON struct {
		Name    string       `json:"name"`
		Offset  uint64       `json:"offset"`
		Length  uint64       `json:"length"`
		Tensors []tensorJSON `json:"tensors"`
	}
	m := f.Manifest()
	h := &m.Model
	var sections []sectionJSON
	for i := range m.Sections {
		s := &m.Sections[i]
		j := sectionJSON{Name: s.Name, Offset: s.Offset, Length: s.Length}
		for _, t := range s.Tensors {
			j.Tensors = append(j.Tensors, tensorJSON{t.Name, string(t.DType), t.Layout, string(t.Quant), t.Shape, t.Offset, t.Length, hex.EncodeToString(t.SHA256[:]), t.Zeros})
		}
		sections = append(sections, j)
	}
	var sources []map[string]any
	for _, s := range m.Provenance.Sources {
		sources = append(sources, map[string]any{"name": s.Name, "length": s.Length, "sha256": hex.EncodeToString(s.SHA256[:])})
	}
	turn := func(t memmap.Turn) map[string]string {
		return map[string]string{"prefix": t.Prefix, "suffix": t.Suffix}
	}
	var tasks []map[string]string
	for _, t := range m.Tasks {
		tasks = append(tasks, map[string]string{"name": t.Name, "prefix": t.Prefix, "suffix": t.Suffix})
	}
	major, minor := f.Version()
	fp := model.NewFootprint(m, model.Options{})
	id := f.ID()
	var tok any
	if m.Tokenizer != nil {
		tok = m.Tokenizer
	}
	return map[string]any{
		"format": fmt.Sprintf("%d.%d", major, minor), "id": hex.EncodeToString(id[:]), "file_bytes": f.Size(), "name": m.Name, "kind": m.Kind, "tasks": tasks,
		"model": map[string]any{
			"family": h.Family, "d_model": h.DModel, "n_layer": h.NLayer, "d_inner": h.DInner, "headdim": h.HeadDim, "nheads": h.NHeads, "d_state": h.DState,
			"ngroups": h.NGroups, "d_conv": h.DConv, "vocab_size": h.VocabSize, "norm_eps": h.NormEps, "gated_norm_groups": h.GatedNormGroups,
			"dt_min": number(h.DtMin), "dt_max": number(h.DtMax), "tie_embeddings": h.TieEmbeddings,
		},
		"prompt": map[string]any{
			"add_bos": m.Prompt.AddBOS, "bos_id": m.Prompt.BOSID, "eos_ids": m.Prompt.EOSIDs, "stop": m.Prompt.Stop, "generation_prefix": m.Prompt.GenerationPrefix,
			"turns": map[string]any{"system": turn(m.Prompt.Turns.System), "user": turn(m.Prompt.Turns.User), "assistant": turn(m.Prompt.Turns.Assistant), "tool": turn(m.Prompt.Turns.Tool)},
		},
		"generation": map[string]any{
			"max_tokens": m.Generation.MaxTokens, "temperature": m.Generation.Temperature, "top_k": m.Generation.TopK, "top_p": m.Generation.TopP,
			"min_p": m.Generation.MinP, "repetition_penalty": m.Generation.RepetitionPenalty,
		},
		"tokenizer": tok,
		"sections":  sections,
		"provenance": map[string]any{
			"converter": m.Provenance.Converter, "options": m.Provenance.Options, "sources": sources, "license": m.Provenance.License,
			"description": m.Provenance.Description, "data": m.Provenance.Data,
		},
		"footprint": map[string]int64{
			"weights": fp.Weights, "head": fp.Head, "tokenizer": fp.Tokenizer, "state": fp.State(), "workspace": fp.Workspace, "total": fp.Total(), "traffic_per_token": fp.Traffic().Total(),
		},
	}
}

func inspect(out io.Writer, f *memmap.File, tensors bool) error {
	m := f.Manifest()
	h := &m.Model
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	major, minor := f.Version()
	id := f.ID()
	if m.Name != "" {
		line("name", "%s", m.Name)
	}
	line("file", "%s, %s, format %d.%d", f.Name(), mega(f.Size()), major, minor)
	line("id", "%x", id)
	line("kind", "%s", m.Kind)
	if len(m.Tasks) > 0 {
		names := make([]string, len(m.Tasks))
		for i, t := range m.Tasks {
			names[i] = t.Name
		}
		line("tasks", "%s", strings.Join(names, ", "))
	}
	line("family", "%s", h.Family)
	line("shape", "d_model %d, %d layers, d_inner %d, %d heads of %d, d_state %d, %d groups, d_conv %d", h.DModel, h.NLayer, h.DInner, h.NHeads, h.HeadDim, h.DState, h.NGroups, h.DConv)
	tie := "tied to the head"
	if !h.TieEmbeddings {
		tie = "head apart"
	}
	rows := "rows"
	if t, ok := embedding(f); ok {
		rows += " of " + string(t.DType)
	}
	line("embedding", "%d %s, %s", h.VocabSize, rows, tie)
	line("norms", "eps %g, gated norm in %d groups, dt within [%g, %g]", h.NormEps, h.GatedNormGroups, h.DtMin, h.DtMax)
	if t := m.Tokenizer; t != nil {
		line("tokenizer", "%d tokens", t.Size)
	} else {
		line("tokenizer", "none: token ids only")
	}
	line("prompt", "add_bos %t, bos_id %d, eos_ids %v, stop %q", m.Prompt.AddBOS, m.Prompt.BOSID, m.Prompt.EOSIDs, m.Prompt.Stop)
	if err := w.Flush(); err != nil {
		return err
	}

	fp := model.NewFootprint(m, model.Options{})
	fmt.Fprintf(out, "\nmemory, one session\n")
	for _, r := range []struct {
		name string
		n    int64
	}{{"layers (mapped)", fp.Weights}, {"embedding and head (mapped)", fp.Head}, {"tokenizer (mapped)", fp.Tokenizer}, {"state", fp.State()}, {"workspace", fp.Workspace + fp.Shared}, {"total", fp.Total()}, {"moved per token", fp.Traffic().Total()}} {
		fmt.Fprintf(w, "  %s\t%s\n", r.name, mega(r.n))
	}
	if err := w.Flush(); err != nil {
		return err
	}

	p := &m.Provenance
	fmt.Fprintf(out, "\nprovenance\n")
	fmt.Fprintf(w, "  converter\t%s %s\n", p.Converter, strings.Join(p.Options, " "))
	for _, s := range p.Sources {
		fmt.Fprintf(w, "  source\t%s, %d bytes, sha256 %x\n", s.Name, s.Length, s.SHA256)
	}
	if p.License != "" {
		fmt.Fprintf(w, "  licence\t%s\n", firstLine(p.License))
	}
	for _, d := range p.Data {
		fmt.Fprintf(w, "  data\t%s\n", d)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !tensors {
		return nil
	}
	fmt.Fprintln(out)
	fmt.Fprintln(w, "tensor\tdtype\tlayout\tquant\tshape\toffset\tbytes\tzeros")
	for i := range m.Sections {
		s := &m.Sections[i]
		for _, t := range s.Tensors {
			fmt.Fprintf(w, "%s.%s\t%s\t%s\t%s\t%v\t%d\t%d\t%d\n", s.Name, t.Name, t.DType, t.Layout, t.Quant, t.Shape, t.Offset, t.Length, t.Zeros)
		}
	}
	return w.Flush()
}

// embedding is the embedding's matrix, which the manifest alone does not promise.
func embedding(f *memmap.File) (*memmap.Tensor, bool) {
	s, ok := f.Section("io")
	if !ok {
		return nil, false
	}
	return s.Tensor("embedding.weight")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
