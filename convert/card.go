package convert

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"bimamba/memmap"
)

// Card is what a checkpoint does not say about itself and a blob has to: what the model is for, how it is prompted, and whose it is.
// It is read from TOML; every field may be left out.
type Card struct {
	Name        string         `toml:"name"`
	Description string         `toml:"description"`
	Kind        memmap.Kind    `toml:"kind"` // base, instruct or intent; base when left out
	License     string         `toml:"license"`
	Data        []string       `toml:"data"` // one line a source, with its licence
	Tasks       []CardTask     `toml:"tasks"`
	Prompt      CardPrompt     `toml:"prompt"`
	Generation  CardGeneration `toml:"generation"`
}

// CardTask is one of a card's tasks.
type CardTask struct {
	Name   string `toml:"name"`
	Prefix string `toml:"prefix"`
	Suffix string `toml:"suffix"`
}

// CardPrompt is a card's prompt table. Tokens are named by their text.
type CardPrompt struct {
	AddBOS           *bool               `toml:"add_bos"` // left out: as the tokenizer's files say
	BOS              string              `toml:"bos"`
	EOS              []string            `toml:"eos"`
	Stop             []string            `toml:"stop"`
	GenerationPrefix string              `toml:"generation_prefix"`
	Turns            map[string]CardTurn `toml:"turns"`
}

// CardTurn is the text around one role's turns.
type CardTurn struct {
	Prefix string `toml:"prefix"`
	Suffix string `toml:"suffix"`
}

// CardGeneration is a card's defaults of sampling; see memmap.Generation.
type CardGeneration struct {
	MaxTokens         uint32  `toml:"max_tokens"`
	Temperature       float32 `toml:"temperature"`
	TopK              uint32  `toml:"top_k"`
	TopP              float32 `toml:"top_p"`
	MinP              float32 `toml:"min_p"`
	RepetitionPenalty float32 `toml:"repetition_penalty"`
}

// defaultCard is the card of a checkpoint that came without one: a base model, greedy.
func defaultCard() *Card {
	return &Card{Kind: memmap.KindBase, Generation: CardGeneration{MaxTokens: 256, TopP: 1, RepetitionPenalty: 1}}
}

// ReadCard reads a card from a TOML file. An unknown key is an error: it is a typing mistake more often than not.
func ReadCard(path string) (*Card, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := parseCard(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseCard(b []byte) (*Card, error) {
	c := defaultCard()
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		var strict *toml.StrictMissingError
		var dec *toml.DecodeError
		switch {
		case errors.As(err, &strict) && len(strict.Errors) > 0:
			row, _ := strict.Errors[0].Position()
			return nil, fmt.Errorf("line %d: %v is not a field of a card", row, strict.Errors[0].Key())
		case errors.As(err, &dec):
			row, col := dec.Position()
			return nil, fmt.Errorf("line %d, column %d: %w", row, col, err)
		}
		return nil, err
	}
	if !slices.Contains([]memmap.Kind{memmap.KindBase, memmap.KindInstruct, memmap.KindIntent}, c.Kind) {
		return nil, fmt.Errorf("kind %q is not base, instruct or intent", c.Kind)
	}
	if c.Kind == memmap.KindIntent && len(c.Tasks) == 0 {
		return nil, errors.New("kind intent needs at least one [[tasks]]")
	}
	for i, t := range c.Tasks {
		if t.Name == "" {
			return nil, fmt.Errorf("tasks[%d] has no name", i)
		}
	}
	for role := range c.Prompt.Turns {
		if !slices.Contains([]string{"system", "user", "assistant", "tool"}, role) {
			return nil, fmt.Errorf("prompt.turns.%s: the roles are system, user, assistant and tool", role)
		}
	}
	return c, nil
}

// apply fills the manifest's fields that the card decides. lookup finds a token by its text.
func (c *Card) apply(m *memmap.Manifest, lookup func(string) (uint32, bool)) error {
	m.Name, m.Kind, m.Generation = c.Name, c.Kind, memmap.Generation(c.Generation)
	m.Provenance.License, m.Provenance.Description, m.Provenance.Data = c.License, c.Description, c.Data
	for _, t := range c.Tasks {
		m.Tasks = append(m.Tasks, memmap.Task(t))
	}
	p := &m.Prompt
	p.Stop, p.GenerationPrefix = c.Prompt.Stop, c.Prompt.GenerationPrefix
	turn := func(role string) memmap.Turn { return memmap.Turn(c.Prompt.Turns[role]) }
	p.Turns = memmap.Turns{System: turn("system"), User: turn("user"), Assistant: turn("assistant"), Tool: turn("tool")}
	id := func(field, text string) (uint32, error) {
		if lookup == nil {
			return 0, fmt.Errorf("card: prompt.%s %q: there is no tokenizer to look it up in", field, text)
		}
		n, ok := lookup(text)
		if !ok {
			return 0, fmt.Errorf("card: prompt.%s %q is no token of the tokenizer", field, text)
		}
		return n, nil
	}
	if c.Prompt.BOS != "" {
		n, err := id("bos", c.Prompt.BOS)
		if err != nil {
			return err
		}
		p.BOSID = int32(n)
	}
	if c.Prompt.EOS != nil {
		p.EOSIDs = nil
		for _, text := range c.Prompt.EOS {
			n, err := id("eos", text)
			if err != nil {
				return err
			}
			p.EOSIDs = append(p.EOSIDs, n)
		}
	}
	if c.Prompt.AddBOS != nil {
		p.AddBOS = *c.Prompt.AddBOS
	}
	if p.AddBOS && p.BOSID < 0 {
		return errors.New("card: prompt.add_bos is true, and neither the card nor the tokenizer names the token: set prompt.bos")
	}
	return nil
}
