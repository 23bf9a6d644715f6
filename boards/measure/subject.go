package measure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/memmap"
)

// subject is what is measured: a model that can be loaded, read prompts and answer them.
type subject interface {
	drop() bool                               // asks the kernel to forget the file; false if there is none to forget
	open() error                              // maps the file, reserves memory, starts threads
	first() error                             // one token, which reads every weight
	prefill(ctx context.Context) (int, error) // reads some tokens of prompts, and says how many
	answer(ctx context.Context, token func()) (prompt int, err error)
	close() error
}

// asker is a model behind its file. It computes as package engine does, without its queue, so that each token can be timed.
type asker struct {
	cfg    *Config
	file   *memmap.File
	engine *engine.Engine

	prompts [][]uint32
	all     []uint32 // the prompts, one behind the other, over and over
	next    int      // prompt
	at      int      // in all
	ids     []uint32 // of the answer
	tail    []byte   // the end of its text, where the model has stop strings
	max     int      // tokens of an answer
	logits  []float32
	sampler *sample.Sampler
}

func (a *asker) drop() bool {
	if a.cfg.Path == "" {
		return false
	}
	f, err := os.Open(a.cfg.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) == nil
}

func (a *asker) open() error {
	f, err := a.cfg.Open()
	if err != nil {
		return err
	}
	e, err := engine.Open(f, engine.Options{Model: a.cfg.Model})
	if err != nil {
		f.Close()
		return err
	}
	a.file, a.engine = f, e
	return nil
}

func (a *asker) close() error {
	if a.engine == nil {
		return nil
	}
	err := errors.Join(a.engine.Close(), a.file.Close())
	a.engine, a.file = nil, nil
	return err
}

// prepare turns the prompts into tokens, of the model that is open.
func (a *asker) prepare() (Prompts, error) {
	m, p := a.engine.Manifest(), Prompts{Source: "built-in"}
	texts := a.cfg.Prompts
	if len(texts) > 0 {
		p.Source = "file"
	} else {
		texts = builtIn(m.Kind)
	}
	vocab := int(m.Model.VocabSize)
	if a.engine.Tokens == nil {
		if a.cfg.Prompts != nil || a.cfg.Task != "" {
			return p, engine.ErrNoTokenizer
		}
		p.Source = "token ids"
		a.prompts = numbers(vocab)
	} else {
		vocab = a.engine.Tokens.Size()
		if m.Kind == memmap.KindIntent {
			p.Task = a.cfg.Task
			if p.Task == "" {
				p.Task = m.Tasks[0].Name
			}
		} else if a.cfg.Task != "" {
			return p, fmt.Errorf("--task %s: the model is of kind %s, which has no tasks", a.cfg.Task, m.Kind)
		}
		for i, text := range texts {
			ids, err := a.encode(text, p.Task)
			if err != nil {
				return p, err
			}
			if len(ids) == 0 {
				return p, fmt.Errorf("prompt %d has no token", i+1)
			}
			a.prompts = append(a.prompts, ids)
		}
	}
	sum := sha256.New()
	for _, ids := range a.prompts {
		a.all = append(a.all, ids...)
	}
	binary.Write(sum, binary.LittleEndian, a.all)
	p.Count, p.Tokens, p.SHA256 = len(a.prompts), len(a.all), hex.EncodeToString(sum.Sum(nil))
	for once := slices.Clone(a.all); len(a.all) < promptTokens; {
		a.all = append(a.all, once...)
	}

	def := a.engine.Defaults()
	if a.max = a.cfg.MaxTokens; a.max == 0 {
		a.max = longest
		if def.MaxTokens > 0 {
			a.max = min(a.max, def.MaxTokens)
		}
	}
	a.logits = make([]float32, m.Model.VocabSize)
	a.ids = make([]uint32, 0, a.max)
	def.Sample.Seed = 1
	a.sampler = sample.New(def.Sample, vocab)
	return p, nil
}

const (
	longest      = 128 // tokens of an answer, where the model has no end of its own
	promptTokens = 512 // of the prompts of the prefill phase
)

// encode is a prompt as the model's kind asks for.
func (a *asker) encode(text, task string) ([]uint32, error) {
	m := a.engine.Manifest()
	switch m.Kind {
	case memmap.KindIntent:
		wrapped, err := a.engine.TaskPrompt(task, text)
		if err != nil {
			return nil, fmt.Errorf("--task: %w", err)
		}
		return a.engine.Encode(wrapped)
	case memmap.KindInstruct:
		turn := m.Prompt.Turns.User
		ids, err := a.engine.EncodePart(a.engine.BOS(), turn.Prefix, true, true)
		if err == nil {
			ids, err = a.engine.EncodePart(ids, text, turn.Prefix == "", false) // of a user: its special tokens are text
		}
		if err == nil {
			ids, err = a.engine.EncodePart(ids, turn.Suffix+m.Prompt.GenerationPrefix, false, true)
		}
		return ids, err
	}
	return a.engine.Encode(text)
}

// numbers is prompts for a model without a tokenizer.
func numbers(vocab int) [][]uint32 {
	out := make([][]uint32, 8)
	for i := range out {
		for j := range 16 + 4*i {
			out[i] = append(out[i], uint32((i*7919+j*104729+13)%vocab))
		}
	}
	return out
}

func (a *asker) first() error {
	s := a.engine.Model.Session(0)
	s.Reset()
	return s.Step(0, make([]float32, a.engine.Model.Hyper().VocabSize))
}

func (a *asker) prefill(ctx context.Context) (int, error) {
	s := a.engine.Model.Session(0)
	if a.at >= promptTokens {
		a.at = 0
	}
	if a.at == 0 {
		s.Reset()
	}
	n := min(a.engine.Model.Options().Batch, promptTokens-a.at)
	err := s.Prefill(ctx, a.all[a.at:a.at+n], nil)
	a.at += n
	return n, err
}

func (a *asker) answer(ctx context.Context, token func()) (int, error) {
	a.at = 0 // the session's state is another now
	prompt := a.prompts[a.next]
	a.next = (a.next + 1) % len(a.prompts)
	s, p := a.engine.Model.Session(0), &a.engine.Manifest().Prompt
	s.Reset()
	if err := s.Prefill(ctx, prompt, a.logits); err != nil {
		return 0, err
	}
	a.ids, a.tail = a.ids[:0], a.tail[:0]
	for {
		id, err := a.sampler.Next(a.logits, prompt, a.ids, nil)
		if err != nil {
			return 0, err
		}
		if slices.Contains(p.EOSIDs, id) {
			return len(prompt), nil
		}
		a.ids = append(a.ids, id)
		token()
		if len(a.ids) == a.max || a.stopped(id, p.Stop) {
			return len(prompt), nil
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := s.Step(id, a.logits); err != nil {
			return 0, err
		}
	}
}

// stopped tells whether a stop string ends with token id.
func (a *asker) stopped(id uint32, stop []string) bool {
	if len(stop) == 0 || a.engine.Tokens == nil {
		return false
	}
	a.tail = append(a.tail, a.engine.Bytes(id)...)
	return slices.ContainsFunc(stop, func(s string) bool { return bytes.Contains(a.tail, []byte(s)) })
}

// describe is the model that is open.
func (a *asker) describe() Model {
	m := a.engine.Manifest()
	id := a.file.ID()
	f := a.engine.Model.Footprint()
	out := Model{
		Name: m.Name, ID: hex.EncodeToString(id[:]), Kind: string(m.Kind), Bytes: a.file.Size(), Moves: f.Traffic().Total(),
		Parts: parts(&f),
	}
	if s := a.engine.Model.Storage(); s.Layers > 0 {
		out.Storage = &Storage{s.Layers, s.Bytes, s.Buffered, s.Unlocked}
	}
	if out.Name == "" {
		out.Name, out.Unnamed = a.cfg.Name, true
	}
	return out
}

func parts(f *model.Footprint) Parts {
	return Parts{
		Weights: f.Weights - f.Streamed, Head: f.Head, Tokenizer: f.Tokenizer, Padding: f.File - f.Weights - f.Head - f.Tokenizer,
		States: f.State() * f.States, Logits: f.Logits * f.States, Workspace: f.Workspace + f.Shared, Buffers: f.Buffers,
	}
}

// options is how the model that is open was opened.
func (a *asker) options(p Prompts) Options {
	o := a.engine.Model.Options()
	return Options{
		Threads: o.Threads, Decode: o.Decode, Precision: o.Precision.String(), State: o.State.String(), Memory: o.Memory, MaxTokens: a.max, Prompts: p,
		Duration: a.cfg.Duration.Seconds(), Repeat: a.cfg.Repeat, Soak: a.cfg.Soak.Seconds(),
	}
}
