package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"bimamba/memmap"
)

// space is how both formats write a space inside of pieces.
const space = "\u2581"

// gpt2Pattern is the regular expression of GPT-2's splitting, which ByteLevel stands for.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// part is a component of tokenizer.json: a normalizer, pre-tokenizer or decoder.
type part struct {
	Type           string          `json:"type"`
	Normalizers    []part          `json:"normalizers"`
	PreTokenizers  []part          `json:"pretokenizers"`
	Decoders       []part          `json:"decoders"`
	Prepend        string          `json:"prepend"`
	Content        json.RawMessage `json:"content"`
	Pattern        pattern         `json:"pattern"`
	Behavior       string          `json:"behavior"`
	Invert         bool            `json:"invert"`
	AddPrefixSpace *bool           `json:"add_prefix_space"`
	UseRegex       *bool           `json:"use_regex"`
	Replacement    string          `json:"replacement"`
	PrependScheme  string          `json:"prepend_scheme"`
	Split          *bool           `json:"split"`
	Start          int             `json:"start"`
}

type pattern struct {
	String *string
	Regex  *string
}

type tokenizerJSON struct {
	Added []struct {
		ID         uint32 `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer   *part `json:"normalizer"`
	PreTokenizer *part `json:"pre_tokenizer"`
	Decoder      *part `json:"decoder"`
	Model        *struct {
		Type         string            `json:"type"`
		Dropout      float64           `json:"dropout"`
		Unk          *string           `json:"unk_token"`
		SubPrefix    string            `json:"continuing_subword_prefix"`
		WordSuffix   string            `json:"end_of_word_suffix"`
		FuseUnk      bool              `json:"fuse_unk"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Vocab        json.RawMessage   `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
	} `json:"model"`
}

// compileJSON compiles a tokenizer.json.
func compileJSON(raw []byte) (*Compiled, error) {
	var j tokenizerJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	m := j.Model
	switch {
	case m == nil:
		return nil, errors.New("not a tokenizer.json: there is no model")
	case m.Type != "BPE" && m.Type != "":
		return nil, fmt.Errorf("model.type %q: only BPE is supported", m.Type)
	case m.Dropout != 0:
		return nil, fmt.Errorf("model.dropout %v: a tokenizer that draws lots is not supported", m.Dropout)
	case m.SubPrefix != "":
		return nil, fmt.Errorf("model.continuing_subword_prefix %q is not supported", m.SubPrefix)
	case m.WordSuffix != "":
		return nil, fmt.Errorf("model.end_of_word_suffix %q is not supported", m.WordSuffix)
	}
	b := newBuilder()
	b.info.ByteFallback, b.info.IgnoreMerges, b.info.FuseUnknown = m.ByteFallback, m.IgnoreMerges, m.FuseUnk
	if err := b.preTokenizer(j.PreTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if err := b.normalizer(j.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if !b.info.ByteLevel {
		b.info.StripPrefix = strips(j.Decoder)
	}
	var vocab map[string]uint32
	if err := json.Unmarshal(m.Vocab, &vocab); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if err := b.vocabulary(vocab); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if m.Unk != nil {
		id, ok := vocab[*m.Unk]
		if !ok {
			return nil, fmt.Errorf("model.unk_token %q is not in the vocabulary", *m.Unk)
		}
		b.info.UnknownID = int32(id)
	}
	if err := b.mergeList(vocab, m.Merges); err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	for i, a := range j.Added {
		if a.Content == "" {
			return nil, fmt.Errorf("added_tokens[%d] has no content", i)
		}
		text := a.Content
		var flags uint32
		for _, f := range []struct {
			set  bool
			flag uint32
		}{{a.Special, memmap.AddedSpecial}, {a.LStrip, memmap.AddedLStrip}, {a.RStrip, memmap.AddedRStrip}, {a.SingleWord, memmap.AddedSingleWord}, {a.Normalized, memmap.AddedNormalized}} {
			if f.set {
				flags |= f.flag
			}
		}
		if a.Normalized && b.info.Normalizer == memmap.NormalizerNFC {
			text = norm.NFC.String(text)
		}
		if err := b.token(a.ID, a.Content, symbol{bytes: []byte(text), kind: memmap.SymbolAdded}); err != nil {
			return nil, err
		}
		b.added = append(b.added, added{a.ID, flags})
	}
	c, err := b.compile(len(b.symbols))
	if err != nil {
		return nil, err
	}
	c.guessEnds()
	return c, nil
}

// guessEnds names BOS and EOS by their usual spellings, for files without a tokenizer_config.json.
func (c *Compiled) guessEnds() {
	for _, text := range []string{"<s>", "<|begin_of_text|>"} {
		if id, ok := c.ID(text); ok && c.BOSID < 0 {
			c.BOSID = int32(id)
		}
	}
	for _, text := range []string{"</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>"} {
		if id, ok := c.ID(text); ok && !slices.Contains(c.EOSIDs, id) {
			c.EOSIDs = append(c.EOSIDs, id)
		}
	}
}

// flatten opens sequences.
func flatten(p *part, inner func(*part) []part) []part {
	if p == nil {
		return nil
	}
	if p.Type != "Sequence" {
		return []part{*p}
	}
	return inner(p)
}

func isTrue(b *bool, or bool) bool {
	if b == nil {
		return or
	}
	return *b
}

func (b *builder) preTokenizer(p *part) error {
	for _, p := range flatten(p, func(p *part) []part { return p.PreTokenizers }) {
		switch p.Type {
		case "ByteLevel":
			b.info.ByteLevel = true
			if isTrue(p.UseRegex, true) {
				b.info.Split = memmap.SplitGPT2
			}
			if isTrue(p.AddPrefixSpace, true) {
				b.info.Prefix, b.info.PrefixUnless = memmap.PrefixAlways, true
			}
		case "Split":
			if p.Pattern.Regex == nil || *p.Pattern.Regex != gpt2Pattern || p.Behavior != "Isolated" || p.Invert {
				return errors.New("a Split by another expression than GPT-2's is not supported")
			}
			b.info.Split = memmap.SplitGPT2
		case "Metaspace":
			if p.Replacement != space {
				return fmt.Errorf("pre-tokenizer Metaspace with the replacement %q is not supported", p.Replacement)
			}
			scheme := p.PrependScheme
			if scheme == "" {
				scheme = "never"
				if isTrue(p.AddPrefixSpace, true) {
					scheme = "always"
				}
			}
			prefix, ok := map[string]string{"first": memmap.PrefixFirst, "always": memmap.PrefixAlways, "never": ""}[scheme]
			if !ok {
				return fmt.Errorf("pre-tokenizer Metaspace with prepend_scheme %q is not supported", scheme)
			}
			b.info.Prefix, b.info.PrefixUnless = prefix, true
			if isTrue(p.Split, true) {
				b.info.Split = memmap.SplitSpace
			}
		default:
			return fmt.Errorf("%s is not supported", p.Type)
		}
	}
	if b.info.ByteLevel && b.info.ByteFallback {
		return errors.New("ByteLevel together with byte_fallback is not supported")
	}
	return nil
}

func (b *builder) normalizer(p *part) error {
	replaces := b.info.Split == memmap.SplitSpace || b.info.PrefixUnless
	for _, p := range flatten(p, func(p *part) []part { return p.Normalizers }) {
		switch {
		case p.Type == "NFC":
			b.info.Normalizer = memmap.NormalizerNFC
		case p.Type == "Prepend" && p.Prepend == space && !b.info.ByteLevel:
			b.info.Prefix, b.info.PrefixUnless = memmap.PrefixAlways, false
		case p.Type == "Replace" && p.Pattern.String != nil && *p.Pattern.String == " " && string(p.Content) == `"`+space+`"` && !b.info.ByteLevel:
			replaces = true
		default:
			return fmt.Errorf("%s is not supported", p.Type)
		}
	}
	if !b.info.ByteLevel && !replaces {
		return errors.New("a BPE over characters that does not write spaces as U+2581 is not supported")
	}
	return nil
}

// strips tells whether a decoder drops the space in front of a text.
func strips(p *part) bool {
	for _, p := range flatten(p, func(p *part) []part { return p.Decoders }) {
		if p.Type == "Strip" && p.Start > 0 || p.Type == "Metaspace" && p.PrependScheme != "never" {
			return true
		}
	}
	return false
}

// vocabulary adds the tokens of the model.
func (b *builder) vocabulary(vocab map[string]uint32) error {
	if len(vocab) == 0 {
		return errors.New("it is empty")
	}
	fromAlphabet := byteAlphabet()
	taken := make(map[uint32]string, len(vocab))
	for text, id := range vocab {
		if other, ok := taken[id]; ok {
			return fmt.Errorf("tokens %q and %q have one id, %d", min(text, other), max(text, other), id)
		}
		taken[id] = text
		s := symbol{bytes: []byte(text), indexed: true}
		switch {
		case b.info.ByteLevel:
			s.bytes = s.bytes[:0:0]
			for _, r := range text {
				c, ok := fromAlphabet[r]
				if !ok { // not of the alphabet, so no text makes it
					s = symbol{bytes: []byte(text)}
					break
				}
				s.bytes = append(s.bytes, c)
			}
		case b.info.ByteFallback && isByteToken(text):
			c := hexByte(text)
			s = symbol{bytes: []byte{c}, kind: memmap.SymbolByte}
			b.bytes[c] = id
		default:
			s.bytes = []byte(strings.ReplaceAll(text, space, " "))
		}
		if err := b.token(id, text, s); err != nil {
			return err
		}
	}
	if b.info.ByteLevel {
		for r, c := range fromAlphabet {
			if id, ok := vocab[string(r)]; ok {
				b.bytes[c] = id
			}
		}
	}
	return nil
}

// byteAlphabet maps the characters by which byte-level BPE writes bytes to the bytes: printable Latin-1 stands for itself,
// the other bytes for U+0100 and up, in order.
func byteAlphabet() map[rune]byte {
	m := make(map[rune]byte, 256)
	next := rune(256)
	for c := range 256 {
		if c >= '!' && c <= '~' || c >= 0xa1 && c <= 0xac || c >= 0xae {
			m[rune(c)] = byte(c)
		} else {
			m[next] = byte(c)
			next++
		}
	}
	return m
}

// isByteToken tells whether text is of the form <0xAB>.
func isByteToken(text string) bool {
	if len(text) != 6 || !strings.HasPrefix(text, "<0x") || text[5] != '>' {
		return false
	}
	return strings.Trim(text[3:5], "0123456789ABCDEF") == ""
}

func hexByte(text string) byte {
	digit := func(c byte) byte { return byte(strings.IndexByte("0123456789ABCDEF", c)) }
	return digit(text[3])<<4 | digit(text[4])
}

// mergeList adds the merges: "a b", or ["a","b"]; their rank is their place.
func (b *builder) mergeList(vocab map[string]uint32, merges []json.RawMessage) error {
	for i, raw := range merges {
		var pair []string
		var line string
		if json.Unmarshal(raw, &line) == nil {
			left, right, ok := strings.Cut(line, " ")
			if !ok {
				return fmt.Errorf("merge %d, %q, is not two tokens", i, line)
			}
			pair = []string{left, right}
		} else if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
			return fmt.Errorf("merge %d is not two tokens", i)
		}
		var ids [3]uint32
		for k, text := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := vocab[text]
			if !ok {
				return fmt.Errorf("merge %d: %q is not in the vocabulary", i, text)
			}
			ids[k] = id
		}
		b.merges = append(b.merges, merge{ids[0], ids[1], uint32(i), ids[2]})
	}
	return nil
}

// validText refuses what no text can be.
func validText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("token %q is not UTF-8", s)
	}
	return nil
}
