package chat

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"bimamba/edge/engine"
	snapshot "bimamba/edge/state"
	"bimamba/memmap"
)

// names are those that the model goes by, without what follows a colon.
func (l *Local) isName(s string) bool {
	return s == "" || s == "default" || s == l.name || s == l.e.Manifest().Name
}

// Find is Service.Find.
func (l *Local) Find(name string) (Info, error) {
	base, tag, _ := strings.Cut(name, ":")
	if _, ok := l.personas[base]; ok && (tag == "" || tag == "latest") {
		base, tag = "", base
	}
	if !l.isName(base) {
		return Info{}, Errorf(NotFound, "model", "model %q not found; there is %s", name, l.name)
	}
	if tag == "" || tag == "latest" {
		return l.info("", ""), nil
	}
	if p, ok := l.personas[tag]; ok {
		info := l.info(tag, "")
		info.System = p.system
		return info, nil
	}
	if slices.ContainsFunc(l.e.Manifest().Tasks, func(t memmap.Task) bool { return t.Name == tag }) {
		return l.info("", tag), nil
	}
	return Info{}, Errorf(NotFound, "model", "model %q not found; %s has no persona or task %q", name, l.name, tag)
}

// Models is Service.Models.
func (l *Local) Models() []Info {
	list := []Info{l.info("", "")}
	for _, t := range l.e.Manifest().Tasks {
		list = append(list, l.info("", t.Name))
	}
	names := make([]string, 0, len(l.personas))
	for name := range l.personas {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		info := l.info(name, "")
		info.System = l.personas[name].system
		list = append(list, info)
	}
	return list
}

// info describes the model under one of its names.
func (l *Local) info(persona, task string) Info {
	m := l.e.Manifest()
	id := l.e.Model.Blob().ID()
	f := l.e.Model.Footprint()
	info := Info{
		Name: l.name, Kind: string(m.Kind), Tools: m.Kind == memmap.KindInstruct, Task: task, Persona: persona,
		Digest: hex.EncodeToString(id[:]), Size: l.e.Model.Blob().Size(), Resident: f.Total(), Modified: l.modified(),
		Family: m.Model.Family, Parameters: parameters(m), Quantization: quantization(m),
		License: m.Provenance.License, Description: m.Provenance.Description,
		MaxPrompt: l.opt.MaxPrompt, Defaults: l.e.Defaults(), VocabSize: int(m.Model.VocabSize), DModel: int(m.Model.DModel), Layer: int(m.Model.NLayer),
	}
	switch {
	case persona != "":
		info.Name += ":" + persona
	case task != "":
		info.Name += ":" + task
	}
	switch m.Kind {
	case memmap.KindIntent:
		if info.Task == "" && len(m.Tasks) > 0 {
			info.Task = m.Tasks[0].Name
		}
		info.Tools = info.Task == homeTask
		info.Turns = "The last user message goes to the task " + info.Task + ". Messages before it are not read."
	case memmap.KindInstruct:
		info.Turns = turnTable(&m.Prompt)
	default:
		info.Turns = "A base model: it was taught no turns, so a chat is a plain transcript that it continues.\n" + turnTable(&transcript)
	}
	return info
}

// turnTable shows a prompt table to people.
func turnTable(p *memmap.Prompt) string {
	var b strings.Builder
	for _, t := range []struct {
		role string
		turn memmap.Turn
	}{{"system", p.Turns.System}, {"user", p.Turns.User}, {"assistant", p.Turns.Assistant}, {"tool", p.Turns.Tool}} {
		fmt.Fprintf(&b, "%s: %q text %q\n", t.role, t.turn.Prefix, t.turn.Suffix)
	}
	fmt.Fprintf(&b, "answer: %q\n", p.GenerationPrefix)
	return b.String()
}

// modified is when the blob was written, as far as the file system knows.
func (l *Local) modified() time.Time {
	if s, err := os.Stat(l.e.Model.Blob().Name()); err == nil {
		return s.ModTime()
	}
	return time.Unix(0, 0)
}

// parameters is how many weights the tensors hold.
func parameters(m *memmap.Manifest) (n int64) {
	for i := range m.Sections {
		if m.Sections[i].Name == memmap.TokenizerTable {
			continue
		}
		for j := range m.Sections[i].Tensors {
			size := int64(1)
			for _, d := range m.Sections[i].Tensors[j].Shape {
				size *= int64(d)
			}
			n += size
		}
	}
	return n
}

// quantization is the type of the projections.
func quantization(m *memmap.Manifest) string {
	for i := range m.Sections {
		for j := range m.Sections[i].Tensors {
			if t := &m.Sections[i].Tensors[j]; t.Name == "in_proj.weight" {
				if t.DType == memmap.B1 {
					return "1bit"
				}
				return string(t.DType)
			}
		}
	}
	return ""
}

// Persona serves the snapshot that r holds under a name: a system prompt that is never computed again.
func (l *Local) Persona(name string, r io.Reader) error {
	if err := snapshot.CheckName(name); err != nil {
		return err
	}
	if l.isName(name) || slices.ContainsFunc(l.e.Manifest().Tasks, func(t memmap.Task) bool { return t.Name == name }) {
		return fmt.Errorf("persona %s: the model or a task of it is called so; give it another name", name)
	}
	if l.e.Manifest().Kind == memmap.KindIntent {
		return fmt.Errorf("persona %s: an intent model reads no system prompt", name)
	}
	if _, ok := l.personas[name]; ok {
		return fmt.Errorf("persona %s is given twice", name)
	}
	var header snapshot.Header
	ids, err := l.e.Import("", true, func(want snapshot.Expect, to *snapshot.Snapshot) error {
		err := snapshot.Read(r, want, to)
		header = to.Header
		return err
	})
	if err != nil {
		return fmt.Errorf("persona %s: %w", name, err)
	}
	l.personas[name] = &persona{ids, header.System}
	return nil
}

// Bake computes a system prompt and gives fn its snapshot.
func (l *Local) Bake(ctx context.Context, name, system string, fn func(*snapshot.Snapshot) error) error {
	if l.e.Manifest().Kind == memmap.KindIntent {
		return Errorf(Unsupported, "", "%s is an intent model: it reads no system prompt, so there is nothing to bake", l.name)
	}
	enc := newEncoder(l.e)
	list := spans(turnsOf(l.e.Manifest()), []Message{{Role: System, Text: system}})
	if err := enc.encode(ctx, list[:len(list)-1]); err != nil { // without the beginning of an answer
		return err
	}
	const session = "bake"
	req := engine.Request{Prompt: enc.ids, Sample: l.e.Defaults().Sample, Name: session}
	if _, err := l.e.Generate(ctx, req, nil); err != nil {
		return err
	}
	return l.e.Export(session, func(s *snapshot.Snapshot) error {
		s.Persona, s.System, s.Created = name, system, time.Now().Unix()
		return fn(s)
	})
}
