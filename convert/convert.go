package convert

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bimamba/convert/family"
	"bimamba/convert/source"
	"bimamba/convert/tokenizer"
	"bimamba/memmap"
)

// Proj chooses the form of in_proj and out_proj.
type Proj string

// Forms of the projections.
const (
	ProjAuto Proj = "auto" // 1bit for Bi-Mamba, keep for full precision
	ProjKeep Proj = "keep" // the checkpoint's own element type
	ProjInt8 Proj = "int8" // 8 bit, one scale a row
	Proj1Bit Proj = "1bit" // 1 bit; on full precision this is post-training binarization
)

// Head chooses the form of embedding and head.
type Head string

// Forms of embedding and head.
const (
	HeadKeep Head = "keep" // the checkpoint's own element type
	HeadF16  Head = "f16"
	HeadInt8 Head = "int8" // 8 bit, one scale a row
	HeadInt4 Head = "int4" // 4 bit, one binary16 scale for 32 columns of a row
)

// Checkpoint is an opened checkpoint.
type Checkpoint interface {
	Config() []byte                           // config.json
	Names() []string                          // of the tensors, sorted
	Tensor(name string) (source.Tensor, bool) //
	Files() []string                          // paths, for the provenance
}

// Options of Convert. The zero value of Proj and Head means ProjAuto and HeadInt8.
type Options struct {
	Proj      Proj
	Head      Head
	Tokenizer *tokenizer.Compiled // nil: the blob has none, and no text command works on it
	Card      *Card               // nil: kind base
	Converter string              // program and version, for the provenance

	// Progress, if not nil, is told the bytes of the tensors written so far and in all.
	Progress func(done, total int64)
}

// Target is where a blob is written: an empty file.
type Target interface {
	io.WriterAt
	Truncate(size int64) error
}

// Report says what a conversion did.
type Report struct {
	Manifest    *memmap.Manifest
	FileBytes   int64
	SourceBytes int64 // of the tensors that were used, in the checkpoint's own element types
	Warnings    []string
}

// Convert writes the blob of checkpoint c to w. An error names the file and the tensor that were at fault;
// w then holds no blob.
func Convert(ctx context.Context, w Target, c Checkpoint, opt Options) (*Report, error) {
	if opt.Proj == "" {
		opt.Proj = ProjAuto
	}
	if opt.Head == "" {
		opt.Head = HeadInt8
	}
	if opt.Card == nil {
		opt.Card = defaultCard()
	}
	p, err := newPlan(c, opt)
	if err != nil {
		return nil, err
	}
	if err := p.describe(c, opt); err != nil {
		return nil, err
	}
	bw, err := memmap.NewWriter(w, p.manifest)
	if err != nil {
		return nil, err
	}
	var done, total int64
	for i := range p.manifest.Sections {
		for j := range p.manifest.Sections[i].Tensors {
			total += int64(p.manifest.Sections[i].Tensors[j].Length)
		}
	}
	for _, o := range p.outputs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tw, err := bw.Tensor(o.section, o.tensor)
		if err != nil {
			return nil, err
		}
		count := func(n int) {
			done += int64(n)
			if opt.Progress != nil {
				opt.Progress(done, total)
			}
		}
		if err := o.emit(ctx, &countingWriter{tw, count}); err != nil {
			return nil, err
		}
	}
	p.setZeros()
	if err := w.Truncate(bw.Size()); err != nil {
		return nil, err
	}
	if err := bw.Finish(); err != nil {
		return nil, err
	}
	return &Report{Manifest: p.manifest, FileBytes: bw.Size(), SourceBytes: p.sourceBytes, Warnings: p.warnings}, nil
}

type countingWriter struct {
	w     io.Writer
	count func(int)
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.count(n)
	return n, err
}

// describe fills what of the manifest is not tensors.
func (p *plan) describe(c Checkpoint, opt Options) error {
	m := p.manifest
	m.Prompt.BOSID = -1
	var lookup func(string) (uint32, bool)
	if t := opt.Tokenizer; t != nil {
		m.Tokenizer = &t.Info
		m.Prompt.AddBOS, m.Prompt.BOSID, m.Prompt.EOSIDs = t.AddBOS, t.BOSID, t.EOSIDs
		lookup = t.ID
	}
	if err := opt.Card.apply(m, lookup); err != nil {
		return err
	}
	m.Provenance.Converter = opt.Converter
	m.Provenance.Options = []string{"--proj=" + string(opt.Proj), "--head=" + string(opt.Head)}
	files := c.Files()
	if opt.Tokenizer != nil {
		files = append(files[:len(files):len(files)], opt.Tokenizer.Files...)
	}
	for _, path := range files {
		s, err := describeFile(path)
		if err != nil {
			return err
		}
		m.Provenance.Sources = append(m.Provenance.Sources, s)
	}
	return nil
}

func describeFile(path string) (memmap.SourceFile, error) {
	s := memmap.SourceFile{Name: filepath.Base(path)}
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	s.Length = uint64(n)
	h.Sum(s.SHA256[:0])
	return s, nil
}

// parse reads the family's description and checks the tokenizer's size against it.
func parse(c Checkpoint, opt Options) (*family.Spec, error) {
	spec, err := family.Parse(c.Config(), func(name string) bool { _, ok := c.Tensor(name); return ok })
	if err != nil {
		return nil, err
	}
	if err := spec.Model.Validate(); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if t := opt.Tokenizer; t != nil && t.Info.Size > spec.Model.VocabSize {
		return nil, fmt.Errorf("the tokenizer has %d tokens, more than the %d rows of the embedding: it belongs to another model; name the right one with --tokenizer", t.Info.Size, spec.Model.VocabSize)
	}
	return spec, nil
}
