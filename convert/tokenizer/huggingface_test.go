package tokenizer_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
)

// object is a JSON object under construction.
type object = map[string]any

// alphabet is the 256 characters by which byte-level BPE writes bytes, in the order of the bytes.
func alphabet() (out [256]string) {
	next := 256
	for c := range 256 {
		if c >= 33 && c <= 126 || c >= 161 && c <= 172 || c >= 174 {
			out[c] = string(rune(c))
		} else {
			out[c] = string(rune(next))
			next++
		}
	}
	return out
}

// byteLevel is a small byte-level tokenizer.json with the given merges, written in the alphabet.
func byteLevel(merges ...string) object {
	vocab := object{"<|end|>": 0}
	for _, s := range alphabet() {
		vocab[s] = len(vocab)
	}
	for _, m := range merges {
		if joined := strings.ReplaceAll(m, " ", ""); vocab[joined] == nil {
			vocab[joined] = len(vocab)
		}
	}
	return object{
		"added_tokens":  []any{object{"id": 0, "content": "<|end|>", "special": true}, object{"id": len(vocab), "content": "ab<x>", "normalized": true}},
		"normalizer":    nil,
		"pre_tokenizer": object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
		"decoder":       object{"type": "ByteLevel"},
		"model":         object{"type": "BPE", "vocab": vocab, "merges": merges},
	}
}

var someMerges = []string{"a b", "Ġ t", "Ġt h", "Ġth e", "h e", "l l", "1 2", "ab ab", "Ġ Ġ", "ĠĠ ĠĠ", "Ã ©", "ab c", "' s", "Ċ Ċ"}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gpt2 is GPT-2's splitting with Go's regular expressions; the look-ahead is done by hand.
var gpt2 = regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\v\x{85}\p{Z}\p{L}\p{N}]+)`)
var spaces = regexp.MustCompile(`^[\s\v\x{85}\p{Z}]+`)

func splitGPT2(s string) (words []string) {
	for s != "" {
		w := gpt2.FindString(s)
		if w == "" {
			w = spaces.FindString(s)
			if r := []rune(w); len(w) < len(s) && len(r) > 1 {
				w = string(r[:len(r)-1])
			}
		}
		words, s = append(words, w), s[len(w):]
	}
	return words
}

// encode is byte-level BPE done plainly: the merge of the lowest rank, the leftmost of equals.
func encodeByteLevel(j object, text string) (ids []uint32) {
	model := j["model"].(object)
	vocab, merges := model["vocab"].(object), model["merges"].([]string)
	letters := alphabet()
	for _, word := range splitGPT2(text) {
		var parts []string
		for _, c := range []byte(word) {
			parts = append(parts, letters[c])
		}
		for {
			best, at := len(merges), 0
			for i := range len(parts) - 1 {
				if k := slices.Index(merges, parts[i]+" "+parts[i+1]); k >= 0 && k < best {
					best, at = k, i
				}
			}
			if best == len(merges) {
				break
			}
			parts[at] += parts[at+1]
			parts = slices.Delete(parts, at+1, at+2)
		}
		for _, p := range parts {
			ids = append(ids, uint32(vocab[p].(int)))
		}
	}
	return ids
}

// TestByteLevel compares with the plain algorithm on random texts.
func TestByteLevel(t *testing.T) {
	j := byteLevel(someMerges...)
	_, tok := load(t, write(t, "tokenizer.json", marshal(t, j)))
	r := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"a", "b", "ab", "abab", " the", "the", " ", "  ", "   ", "\n", "\n\n", "\t", "12", "3", "'s", "'S", "'ll", "é", "日本", "🙂", "!?", "\u00a0", "\u2003", "c", "\u0301", "½", "_"}
	for range 3000 {
		var b strings.Builder
		for range r.IntN(16) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		text := b.String()
		if got, want := tok.Encode(nil, text), encodeByteLevel(j, text); !slices.Equal(got, want) {
			t.Fatalf("%q (%q): tokens %v, not %v", text, splitGPT2(text), got, want)
		}
		if got := tok.Decode(tok.Encode(nil, text)); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	}
}

func ids(tok *token.Tokenizer, texts ...string) (out []uint32) {
	for _, s := range texts {
		out = tok.Encode(out, s)
	}
	return out
}

// TestAddedTokens are found in text as their flags say.
func TestAddedTokens(t *testing.T) {
	j := byteLevel(someMerges...)
	n := len(j["model"].(object)["vocab"].(object))
	j["added_tokens"] = []any{
		object{"id": 0, "content": "<|end|>", "special": true},
		object{"id": n, "content": "<l>", "lstrip": true},
		object{"id": n + 1, "content": "<r>", "rstrip": true},
		object{"id": n + 2, "content": "word", "single_word": true},
		object{"id": n + 3, "content": "<l>>", "special": true},
	}
	c, tok := load(t, write(t, "tokenizer.json", marshal(t, j)))
	if int(c.Info.Size) != n+4 {
		t.Fatalf("%d tokens, not %d", c.Info.Size, n+4)
	}
	k := uint32(n)
	for _, x := range []struct {
		text string
		want []uint32
	}{
		{"a<|end|>b", slices.Concat(ids(tok, "a"), []uint32{0}, ids(tok, "b"))},
		{"a  <l> b", slices.Concat(ids(tok, "a"), []uint32{k}, ids(tok, " b"))},
		{"a <r> \n b", slices.Concat(ids(tok, "a "), []uint32{k + 1}, ids(tok, "b"))},
		{"a word b", slices.Concat(ids(tok, "a "), []uint32{k + 2}, ids(tok, " b"))},
		{"word!", slices.Concat([]uint32{k + 2}, ids(tok, "!"))},
		{"<l>>", []uint32{k + 3}}, // the longest
		{"<|end|><|end|>", []uint32{0, 0}},
	} {
		if got := tok.Encode(nil, x.text); !slices.Equal(got, x.want) {
			t.Errorf("%q: tokens %v, not %v", x.text, got, x.want)
		}
	}
	for _, text := range []string{"swords", "word_"} {
		if slices.Contains(tok.Encode(nil, text), k+2) {
			t.Errorf("%q holds the single word", text)
		}
	}
	if slices.Contains(tok.EncodePlain(nil, "a<|end|>b"), 0) {
		t.Error("EncodePlain recognises a special token")
	}
	if !tok.IsSpecial(0) || tok.IsSpecial(k) {
		t.Error("IsSpecial is wrong")
	}
}

// TestNFC composes text, and added tokens that want it.
func TestNFC(t *testing.T) {
	j := byteLevel(someMerges...)
	j["normalizer"] = object{"type": "NFC"}
	_, tok := load(t, write(t, "tokenizer.json", marshal(t, j)))
	if !slices.Equal(tok.Encode(nil, "e\u0301"), tok.Encode(nil, "é")) {
		t.Error("e and its accent are not composed")
	}
}

// TestOptions are those of a byte-level tokenizer.
func TestOptions(t *testing.T) {
	j := byteLevel(someMerges...)
	_, plain := load(t, write(t, "tokenizer.json", marshal(t, j)))
	j["pre_tokenizer"].(object)["add_prefix_space"] = true
	_, tok := load(t, write(t, "tokenizer.json", marshal(t, j)))
	for _, text := range []string{"the", " the"} {
		if got, want := tok.Encode(nil, text), plain.Encode(nil, " the"); !slices.Equal(got, want) {
			t.Errorf("add_prefix_space: %q gives %v, not %v", text, got, want)
		}
	}

	// A whole word of the vocabulary that no merge makes.
	j = byteLevel(someMerges...)
	model := j["model"].(object)
	model["vocab"].(object)["xyz"] = len(model["vocab"].(object)) + 1
	model["ignore_merges"] = true
	_, tok = load(t, write(t, "tokenizer.json", marshal(t, j)))
	if got := tok.Encode(nil, "xyz"); len(got) != 1 {
		t.Errorf("ignore_merges: xyz gives %v", got)
	}

	// Merges as pairs are the same.
	j = byteLevel(someMerges...)
	var pairs []any
	for _, m := range someMerges {
		l, r, _ := strings.Cut(m, " ")
		pairs = append(pairs, []string{l, r})
	}
	j["model"].(object)["merges"] = pairs
	_, tok = load(t, write(t, "tokenizer.json", marshal(t, j)))
	if text := "abab the 12 é"; !slices.Equal(tok.Encode(nil, text), plain.Encode(nil, text)) {
		t.Error("merges as pairs differ from merges as strings")
	}
}

// llamaJSON is LLaMA's form of a tokenizer.json, for the pieces of llamaLike without those that JSON does not have.
func llamaJSON(pre, norm any) object {
	s := llamaLike()
	vocab := object{}
	scores := map[string]float32{}
	for i, p := range s.pieces {
		if p.kind != userDefined {
			vocab[p.text] = i
		}
		if p.kind == normal {
			scores[p.text] = p.score
		}
	}
	type merge struct {
		text  string
		score float32
	}
	var list []merge
	for text, score := range scores {
		for i := range text {
			if i > 0 && vocab[text[:i]] != nil && vocab[text[i:]] != nil {
				list = append(list, merge{text[:i] + " " + text[i:], score})
			}
		}
	}
	slices.SortFunc(list, func(a, b merge) int {
		if a.score != b.score {
			return int(b.score - a.score)
		}
		return strings.Compare(a.text, b.text)
	})
	var merges []string
	for _, m := range list {
		merges = append(merges, m.text)
	}
	return object{
		"added_tokens":  []any{object{"id": 0, "content": "<unk>", "special": true}, object{"id": 1, "content": "<s>", "special": true}, object{"id": 2, "content": "</s>", "special": true}},
		"normalizer":    norm,
		"pre_tokenizer": pre,
		"decoder": object{"type": "Sequence", "decoders": []any{object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "},
			object{"type": "ByteFallback"}, object{"type": "Fuse"}, object{"type": "Strip", "content": " ", "start": 1, "stop": 0}}},
		"model": object{"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>"},
	}
}

// TestLlamaJSON gives what the same model gives as tokenizer.model, on text without ties of scores.
func TestLlamaJSON(t *testing.T) {
	_, sp := load(t, write(t, "tokenizer.model", llamaLike().marshal()))
	prepend := object{"type": "Sequence", "normalizers": []any{object{"type": "Prepend", "prepend": "▁"}, object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}}}
	c, tok := load(t, write(t, "tokenizer.json", marshal(t, llamaJSON(nil, prepend))))
	if c.AddBOS || c.BOSID != 1 {
		t.Errorf("BOS is %t, %d: without tokenizer_config.json it is off", c.AddBOS, c.BOSID)
	}
	for _, text := range []string{"ab cd", "the the", "  éa", "日", "aaaa\n"} {
		if got, want := tok.Encode(nil, text), sp.Encode(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q: tokens %v, not %v", text, got, want)
		}
		if got := tok.Decode(tok.Encode(nil, text)); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	if got := tok.Encode(nil, "<s>ab"); got[0] != 1 {
		t.Errorf("<s> in a tokenizer.json is the token: %v", got)
	}
	// Metaspace cuts words at spaces and puts one in front once, or before every stretch.
	for scheme, want := range map[string]string{"first": "the", "always": " the", "never": "the"} {
		_, tok := load(t, write(t, "tokenizer.json", marshal(t, llamaJSON(object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true}, nil))))
		got := tok.Encode(nil, "<s>the")[1:]
		var bare []uint32
		_, never := load(t, write(t, "tokenizer.json", marshal(t, llamaJSON(object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}, nil))))
		if bare = never.Encode(nil, want); !slices.Equal(got, bare) {
			t.Errorf("Metaspace %s: %v, not %v", scheme, got, bare)
		}
	}
}

// TestConfig takes BOS and EOS from tokenizer_config.json.
func TestConfig(t *testing.T) {
	path := write(t, "tokenizer.model", llamaLike().marshal())
	config := filepath.Join(filepath.Dir(path), "tokenizer_config.json")
	for _, c := range []struct {
		text   string
		addBOS bool
		bos    int32
		eos    []uint32
		err    string
	}{
		{`{"add_bos_token": false}`, false, 1, []uint32{2}, ""},
		{`{"bos_token": {"content": "</s>"}, "eos_token": "<s>"}`, true, 2, []uint32{1}, ""},
		{`{"bos_token": null, "eos_token": null}`, false, -1, nil, ""},
		{`{"bos_token": "nope"}`, false, 0, nil, `bos_token "nope" is not in the tokenizer`},
		{`{"bos_token": 7}`, false, 0, nil, "bos_token is no token"},
		{`[`, false, 0, nil, "tokenizer_config.json"},
	} {
		if err := os.WriteFile(config, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := tokenizer.Load(filepath.Dir(path))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: the error is %v", c.text, err)
			}
			continue
		}
		if err != nil || got.AddBOS != c.addBOS || got.BOSID != c.bos || !slices.Equal(got.EOSIDs, c.eos) || len(got.Files) != 2 {
			t.Errorf("%s: BOS %t %d, EOS %v, files %v, %v", c.text, got.AddBOS, got.BOSID, got.EOSIDs, got.Files, err)
		}
	}
}

// gpt2Split is GPT-2's splitting as a Split.
func gpt2Split() object {
	return object{"type": "Split", "behavior": "Isolated", "pattern": object{"Regex": `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`}}
}

// template is a post-processor that puts tokens around the text, which is "".
func template(pieces ...string) object {
	var single []any
	for _, p := range pieces {
		if p == "" {
			single = append(single, object{"Sequence": object{"id": "A", "type_id": 0}})
		} else {
			single = append(single, object{"SpecialToken": object{"id": p, "type_id": 0}})
		}
	}
	return object{"type": "TemplateProcessing", "single": single}
}

// TestPostProcessor takes BOS from what is put in front of a text.
func TestPostProcessor(t *testing.T) {
	for _, c := range []struct {
		name   string
		post   any
		addBOS bool
		bos    int32
	}{
		{"none", nil, false, 1},
		{"offsets only", object{"type": "ByteLevel"}, false, 1},
		{"in front", template("<s>", ""), false, 1},
		{"in front and behind", object{"type": "Sequence", "processors": []any{object{"type": "ByteLevel"}, template("</s>", "", "<s>")}}, false, 2},
		{"behind", template("", "</s>"), false, 1},
	} {
		j := llamaJSON(object{"type": "Metaspace", "replacement": "▁"}, nil)
		j["post_processor"] = c.post
		got, err := tokenizer.Load(write(t, "tokenizer.json", append([]byte("\n"), marshal(t, j)...)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got.AddBOS != c.addBOS || got.BOSID != c.bos {
			t.Errorf("%s: BOS %t %d", c.name, got.AddBOS, got.BOSID)
		}
	}
}

// TestCharsRefused names what is not supported of a BPE over characters.
func TestCharsRefused(t *testing.T) {
	metaspace := object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
	for _, c := range []struct {
		want   string
		change func(j, model object)
	}{
		{"1 of the 256 tokens", func(j, m object) { delete(m["vocab"].(object), "<0x41>") }},
		{"byte token", func(j, m object) {
			vocab := m["vocab"].(object)
			vocab["<0x41><0x42>"] = len(vocab)
			m["merges"] = []any{[]string{"<0x41>", "<0x42>"}}
		}},
		{"supported with ByteLevel only", func(j, m object) {
			j["added_tokens"] = []any{object{"id": 1000, "content": "<x>", "normalized": true, "lstrip": true}}
		}},
		{"U+2581", func(j, m object) {
			j["added_tokens"] = []any{object{"id": 1000, "content": "▁x", "normalized": true}}
		}},
		{"a Prepend together", func(j, m object) { j["normalizer"] = object{"type": "Prepend", "prepend": "▁"} }},
	} {
		j := llamaJSON(metaspace, nil)
		c.change(j, j["model"].(object))
		_, err := tokenizer.Load(write(t, "tokenizer.json", marshal(t, j)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v; it has to say %q", err, c.want)
		}
	}
}

// TestJSONRefused names what is not supported.
func TestJSONRefused(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(j, model object)
	}{
		{"model.type", func(j, m object) { m["type"] = "Unigram" }},
		{"model.dropout", func(j, m object) { m["dropout"] = 0.1 }},
		{"continuing_subword_prefix", func(j, m object) { m["continuing_subword_prefix"] = "##" }},
		{"end_of_word_suffix", func(j, m object) { m["end_of_word_suffix"] = "</w>" }},
		{"BertNormalizer", func(j, m object) { j["normalizer"] = object{"type": "BertNormalizer"} }},
		{"Whitespace", func(j, m object) { j["pre_tokenizer"] = object{"type": "Whitespace"} }},
		{"stands twice", func(j, m object) {
			j["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{object{"type": "ByteLevel"}, object{"type": "ByteLevel"}}}
		}},
		{"right in front of a ByteLevel", func(j, m object) {
			j["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{j["pre_tokenizer"], gpt2Split()}}
		}},
		{"behind a Split", func(j, m object) {
			j["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{gpt2Split(), object{"type": "ByteLevel", "add_prefix_space": true}}}
		}},
		{"a Metaspace together with others", func(j, m object) {
			j["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{j["pre_tokenizer"], object{"type": "Metaspace", "replacement": "▁"}}}
		}},
		{"Sequence is not supported", func(j, m object) {
			j["normalizer"] = object{"type": "Sequence", "normalizers": []any{object{"type": "Sequence", "normalizers": []any{}}}}
		}},
		{"more than 64", func(j, m object) {
			j["normalizer"] = object{"type": "Sequence", "normalizers": slices.Repeat([]any{object{"type": "NFC"}}, 65)}
		}},
		{"decoder: WordPiece", func(j, m object) { j["decoder"] = object{"type": "WordPiece"} }},
		{"this Strip", func(j, m object) { j["decoder"] = object{"type": "Strip", "content": " ", "start": 2} }},
		{"RobertaProcessing", func(j, m object) { j["post_processor"] = object{"type": "RobertaProcessing"} }},
		{"2 tokens in front", func(j, m object) { j["post_processor"] = template("<|end|>", "<|end|>", "") }},
		{`"<s>" is not in the tokenizer`, func(j, m object) { j["post_processor"] = template("<s>", "") }},
		{"added_tokens[0]: \"a\" has id 3, but also", func(j, m object) { j["added_tokens"] = []any{object{"id": 3, "content": "a"}} }},
		{"another token's", func(j, m object) { j["added_tokens"] = []any{object{"id": 3, "content": "zz"}} }},
		{"begin with [", func(j, m object) { j["added_tokens"] = object{} }},
		{"begin with {", func(j, m object) { m["vocab"] = []any{} }},
		{"another expression", func(j, m object) {
			j["pre_tokenizer"] = object{"type": "Split", "pattern": object{"Regex": "x"}, "behavior": "Isolated"}
		}},
		{"spaces as U+2581", func(j, m object) { j["pre_tokenizer"] = nil }},
		{"unk_token", func(j, m object) { m["unk_token"] = "<nope>" }},
		{`"zz" is not in the vocabulary`, func(j, m object) { m["merges"] = []string{"zz a"} }},
		{"not two tokens", func(j, m object) { m["merges"] = []string{"ab"} }},
		{"one id", func(j, m object) { m["vocab"].(object)["zz"] = 5 }},
		{"more than", func(j, m object) { m["vocab"].(object)["zz"] = 1 << 30 }},
		{"model.vocab", func(j, m object) { m["vocab"] = 7 }},
		{"it is empty", func(j, m object) { m["vocab"] = object{} }},
		{"no content", func(j, m object) { j["added_tokens"] = []any{object{"id": 3}} }},
		{"there is no model", func(j, m object) { delete(j, "model") }},
		{"byte_fallback", func(j, m object) { m["byte_fallback"] = true }},
	} {
		j := byteLevel(someMerges...)
		c.change(j, j["model"].(object))
		_, err := tokenizer.Load(write(t, "tokenizer.json", marshal(t, j)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v; it has to say %q", err, c.want)
		}
	}
	for _, text := range []string{"", "{", "[]", "null", "\x00"} {
		if _, err := tokenizer.Load(write(t, "tokenizer.json", []byte(text))); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add(marshal(f, byteLevel(someMerges...)), "ab the <|end|>")
	f.Add(marshal(f, llamaJSON(object{"type": "Metaspace", "replacement": "▁"}, nil)), " the é")
	f.Add([]byte(`{"model":{"vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}`), "a")
	f.Fuzz(func(t *testing.T, b []byte, text string) { fuzz(t, "tokenizer.json", b, text) })
}
