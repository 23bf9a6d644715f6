package tokenizer

import (
	"bytes"
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

// part is a component of tokenizer.json: a normalizer, pre-tokenizer, post-processor or decoder.
type part struct {
	Type           string          `json:"type"`
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
	Stop           int             `json:"stop"`
	Single         json.RawMessage `json:"single"`
}

type pattern struct {
	String *string
	Regex  *string
}

// component is a part, or a Sequence of parts. A Sequence in a Sequence is not supported.
type component struct {
	part
	Normalizers   parts `json:"normalizers"`
	PreTokenizers parts `json:"pretokenizers"`
	Processors    parts `json:"processors"`
	Decoders      parts `json:"decoders"`
}

type parts []part

// maxParts bounds a Sequence.
const maxParts = 64

// UnmarshalJSON reads at most maxParts.
func (p *parts) UnmarshalJSON(raw []byte) error {
	return array(raw, maxParts, func(_ int, d *json.Decoder) error {
		var x part
		err := d.Decode(&x)
		*p = append(*p, x)
		return err
	})
}

// list is the parts of a component that may be missing.
func (c *component) list() []part {
	switch {
	case c == nil:
		return nil
	case c.Type != "Sequence":
		return []part{c.part}
	}
	return slices.Concat(c.Normalizers, c.PreTokenizers, c.Processors, c.Decoders)
}

// replaces tells whether p turns one string into another.
func (p part) replaces(from, to string) bool {
	var content string
	return p.Type == "Replace" && p.Pattern.String != nil && *p.Pattern.String == from && json.Unmarshal(p.Content, &content) == nil && content == to
}

// tokenizerJSON leaves its long lists as they stand: what is in them is bounded while it is read.
type tokenizerJSON struct {
	Added         json.RawMessage `json:"added_tokens"`
	Normalizer    *component      `json:"normalizer"`
	PreTokenizer  *component      `json:"pre_tokenizer"`
	PostProcessor *component      `json:"post_processor"`
	Decoder       *component      `json:"decoder"`
	Model         *struct {
		Type         string          `json:"type"`
		Dropout      float64         `json:"dropout"`
		Unk          *string         `json:"unk_token"`
		SubPrefix    string          `json:"continuing_subword_prefix"`
		WordSuffix   string          `json:"end_of_word_suffix"`
		FuseUnk      bool            `json:"fuse_unk"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
	} `json:"model"`
}

// array calls fn for every element of a JSON array, of which there may be limit; fn has to decode it.
func array(raw []byte, limit int, fn func(i int, d *json.Decoder) error) error {
	return elements(raw, '[', limit, func(i int, _ string, d *json.Decoder) error { return fn(i, d) })
}

// elements calls fn for every element of a JSON array, or of an object with its key. Null, and what is missing, has none.
func elements(raw []byte, open json.Delim, limit int, fn func(i int, key string, d *json.Decoder) error) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != open {
		return fmt.Errorf("it does not begin with %v", open)
	}
	for i := 0; d.More(); i++ {
		if i == limit {
			return fmt.Errorf("more than %d elements", limit)
		}
		var key string
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			key, _ = t.(string)
		}
		if err := fn(i, key, d); err != nil {
			return err
		}
	}
	return nil
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
	if err := b.decoder(j.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	vocab := make(map[string]uint32)
	err := elements(m.Vocab, '{', maxTokens, func(_ int, text string, d *json.Decoder) error {
		var id uint32
		err := d.Decode(&id)
		vocab[text] = id
		return err
	})
	if err == nil {
		err = b.vocabulary(vocab)
	}
	if err != nil {
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
	if err := b.addedTokens(j.Added); err != nil {
		return nil, fmt.Errorf("added_tokens%w", err)
	}
	c, err := b.compile(len(b.symbols))
	if err != nil {
		return nil, err
	}
	c.guessEnds()
	if err := c.postProcessor(j.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	return c, nil
}

// addedTokens adds the tokens that are found in text as a whole. Its errors begin with the index.
func (b *builder) addedTokens(raw json.RawMessage) error {
	return array(raw, maxTokens, func(i int, d *json.Decoder) error {
		var a struct {
			ID         uint32 `json:"id"`
			Content    string `json:"content"`
			SingleWord bool   `json:"single_word"`
			LStrip     bool   `json:"lstrip"`
			RStrip     bool   `json:"rstrip"`
			Normalized bool   `json:"normalized"`
			Special    bool   `json:"special"`
		}
		if err := d.Decode(&a); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		id, known := b.ids[a.Content]
		taken := int64(a.ID) < int64(len(b.symbols)) && b.symbols[a.ID].kind != memmap.SymbolUnused
		switch {
		case a.Content == "":
			return fmt.Errorf("[%d] has no content", i)
		case known && id != a.ID:
			return fmt.Errorf("[%d]: %q has id %d, but also %d", i, a.Content, a.ID, id)
		case !known && taken:
			return fmt.Errorf("[%d]: %q has id %d, which is another token's", i, a.Content, a.ID)
		case a.Normalized && (a.LStrip || a.RStrip) && !b.info.ByteLevel:
			return fmt.Errorf("[%d]: %q is normalized and has lstrip or rstrip, which is supported with ByteLevel only", i, a.Content)
		case a.Normalized && b.metaspace && strings.Contains(a.Content, space):
			return fmt.Errorf("[%d]: %q is normalized and has U+2581, which is not supported together with Metaspace", i, a.Content)
		}
		var flags uint32
		for _, f := range []struct {
			set  bool
			flag uint32
		}{{a.Special, memmap.AddedSpecial}, {a.LStrip, memmap.AddedLStrip}, {a.RStrip, memmap.AddedRStrip}, {a.SingleWord, memmap.AddedSingleWord}, {a.Normalized, memmap.AddedNormalized}} {
			if f.set {
				flags |= f.flag
			}
		}
		text := a.Content
		if a.Normalized {
			text = b.normalize(text)
		}
		b.added = append(b.added, added{a.ID, flags})
		return b.token(a.ID, a.Content, symbol{bytes: []byte(text), kind: memmap.SymbolAdded})
	})
}

// normalize does to the text of an added token what is done to text before the token is looked for.
func (b *builder) normalize(text string) string {
	if b.replaces {
		text = strings.ReplaceAll(text, space, " ")
	}
	if b.info.Normalizer == memmap.NormalizerNFC {
		text = norm.NFC.String(text)
	}
	if b.prepends {
		b.info.Prefix = memmap.PrefixNormalized // so that it is there before this token is looked for
		text = " " + text
	}
	return text
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

// postProcessor takes the token that is put in front of a text for BOS; whether it is put there is tokenizer_config.json's to say. What is put behind a text is of no use to a model that continues it.
func (c *Compiled) postProcessor(p *component) error {
	for _, p := range p.list() {
		switch p.Type {
		case "ByteLevel": // offsets only
		case "TemplateProcessing":
			var front []string
			text := false
			err := array(p.Single, maxParts, func(_ int, d *json.Decoder) error {
				var piece struct {
					SpecialToken *struct {
						ID string `json:"id"`
					}
				}
				err := d.Decode(&piece)
				if piece.SpecialToken == nil {
					text = true
				} else if !text {
					front = append(front, piece.SpecialToken.ID)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("single: %w", err)
			}
			switch len(front) {
			case 0:
			case 1:
				id, ok := c.ID(front[0])
				if !ok {
					return fmt.Errorf("%q is not in the tokenizer", front[0])
				}
				c.BOSID = int32(id)
			default:
				return fmt.Errorf("%d tokens in front of a text are not supported; one is", len(front))
			}
		default:
			return fmt.Errorf("%s is not supported", p.Type)
		}
	}
	return nil
}

func isTrue(b *bool, or bool) bool {
	if b == nil {
		return or
	}
	return *b
}

func (b *builder) preTokenizer(c *component) error {
	list := c.list()
	for i, p := range list {
		switch p.Type {
		case "ByteLevel":
			if b.info.ByteLevel {
				return errors.New("a ByteLevel that stands twice is not supported")
			}
			b.info.ByteLevel = true
			if isTrue(p.UseRegex, true) {
				b.info.Split = memmap.SplitGPT2
			}
			if isTrue(p.AddPrefixSpace, true) {
				if i > 0 {
					return errors.New("a ByteLevel with add_prefix_space behind a Split, which puts a space in front of every word, is not supported")
				}
				b.info.Prefix, b.info.PrefixUnless = memmap.PrefixAlways, true
			}
		case "Split":
			if p.Pattern.Regex == nil || *p.Pattern.Regex != gpt2Pattern || p.Behavior != "Isolated" || p.Invert {
				return errors.New("a Split by another expression than GPT-2's is not supported")
			}
			if i > 0 || len(list) == 1 || list[1].Type != "ByteLevel" {
				return errors.New("a Split that is not right in front of a ByteLevel is not supported")
			}
			b.info.Split = memmap.SplitGPT2
		case "Metaspace":
			if len(list) > 1 {
				return errors.New("a Metaspace together with others is not supported")
			}
			if p.Replacement != space {
				return fmt.Errorf("a Metaspace with the replacement %q is not supported", p.Replacement)
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
				return fmt.Errorf("a Metaspace with prepend_scheme %q is not supported", scheme)
			}
			b.metaspace, b.info.Prefix, b.info.PrefixUnless = true, prefix, true
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

func (b *builder) normalizer(c *component) error {
	for _, p := range c.list() {
		switch {
		case p.Type == "NFC":
			b.info.Normalizer = memmap.NormalizerNFC
		case p.Type == "Prepend" && p.Prepend == space && !b.info.ByteLevel && !b.prepends:
			if b.info.Prefix != "" {
				return errors.New("a Prepend together with a pre_tokenizer that puts a space in front is not supported")
			}
			b.prepends, b.info.Prefix, b.info.PrefixUnless = true, memmap.PrefixAlways, false
		case p.replaces(" ", space) && !b.info.ByteLevel:
			b.replaces = true
		default:
			return fmt.Errorf("%s is not supported", p.Type)
		}
	}
	if !b.info.ByteLevel && !b.replaces && !b.metaspace {
		return errors.New("a BPE over characters that does not write spaces as U+2581 is not supported")
	}
	return nil
}

// decoder looks whether the space in front of a text is dropped. What else the known ones do, decoding does anyway;
// but where Metaspace drops all spaces of the first token, this drops one, so that a text comes back as it was.
func (b *builder) decoder(c *component) error {
	for _, p := range c.list() {
		switch {
		case p.Type == "ByteLevel" && b.info.ByteLevel, p.Type == "ByteFallback", p.Type == "Fuse", p.replaces(space, " "):
		case p.Type == "Strip" && string(p.Content) == `" "` && p.Start <= 1 && p.Stop == 0:
			b.info.StripPrefix = p.Start == 1
		case p.Type == "Metaspace" && p.Replacement == space:
			b.info.StripPrefix = p.PrependScheme != "never" && isTrue(p.AddPrefixSpace, true)
		case p.Type == "Strip" || p.Type == "Metaspace" || p.Type == "Replace":
			return fmt.Errorf("this %s is not supported", p.Type)
		default:
			return fmt.Errorf("%s is not supported", p.Type)
		}
	}
	return nil
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
			s.indexed = !strings.Contains(text, " ") // no text has a space, once they are written as U+2581
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
	if b.info.ByteFallback {
		missing := 0
		for _, id := range b.bytes {
			if id == memmap.NoSymbol {
				missing++
			}
		}
		if missing > 0 && missing < 256 {
			return fmt.Errorf("byte_fallback is set, but %d of the 256 tokens <0x00> to <0xFF> are missing", missing)
		}
		b.info.ByteFallback = missing == 0
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
func (b *builder) mergeList(vocab map[string]uint32, raw json.RawMessage) error {
	return array(raw, maxMerges, func(i int, d *json.Decoder) error {
		var m mergeLine
		if err := d.Decode(&m); err != nil {
			return fmt.Errorf("merge %d: %w", i, err)
		}
		var ids [3]uint32
		for k, text := range []string{m[0], m[1], m[0] + m[1]} {
			id, ok := vocab[text]
			if !ok {
				return fmt.Errorf("merge %d: %q is not in the vocabulary", i, text)
			}
			if k < 2 && b.symbols[id].kind == memmap.SymbolByte {
				return fmt.Errorf("merge %d of the byte token %q is not supported", i, text)
			}
			ids[k] = id
		}
		b.merges = append(b.merges, merge{ids[0], ids[1], uint32(i), ids[2]})
		return nil
	})
}

// mergeLine is the two texts of a merge.
type mergeLine [2]string

// UnmarshalJSON reads either form.
func (m *mergeLine) UnmarshalJSON(raw []byte) error {
	var line string
	if json.Unmarshal(raw, &line) == nil {
		left, right, ok := strings.Cut(line, " ")
		if !ok {
			return fmt.Errorf("%q is not two tokens", line)
		}
		*m = mergeLine{left, right}
		return nil
	}
	n := 0
	err := array(raw, len(m), func(i int, d *json.Decoder) error {
		n++
		return d.Decode(&m[i])
	})
	if err != nil || n < len(m) {
		return errors.New("it is not two tokens")
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
