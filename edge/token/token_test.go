package token_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"bimamba/convert/tokenizer"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// neox compiles the tokenizer of GPT-NeoX.
func neox(t testing.TB) *tokenizer.Compiled {
	t.Helper()
	path := gunzip(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	c, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStream gives the text of a continuation in whole characters, wherever its tokens are cut.
func TestStream(t *testing.T) {
	tok := load(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	text := "naïve 日本語 🙂🙂 ok, ½ ﷽ 𝔘𝔫𝔦"
	ids := tok.Encode(nil, text)
	s := tok.NewStream()
	var got strings.Builder
	for _, id := range ids {
		piece := s.Next(id)
		if !utf8.ValidString(piece) || strings.ContainsRune(piece, utf8.RuneError) {
			t.Fatalf("the piece %q is not whole", piece)
		}
		got.WriteString(piece)
	}
	got.WriteString(s.Flush())
	if got.String() != text {
		t.Errorf("%q came back as %q", text, got.String())
	}

	// Half a character at the end, and in the middle.
	emoji := tok.Encode(nil, "🙂")
	s = tok.NewStream()
	out := s.Next(emoji[0])
	if len(emoji) < 2 || out != "" {
		t.Fatalf("the first of %d tokens of a character gave %q", len(emoji), out)
	}
	if out = s.Next(tok.Encode(nil, "a")[0]); out != "\ufffda" {
		t.Errorf("half a character and a letter gave %q", out)
	}
	s.Next(emoji[0])
	if out = s.Flush() + s.Flush(); out != "\ufffd" {
		t.Errorf("half a character at the end gave %q", out)
	}
}

// TestID finds tokens by their text.
func TestID(t *testing.T) {
	tok := load(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	for _, text := range []string{"<|endoftext|>", "hello", " hello", "  "} {
		id, ok := tok.ID(text)
		if !ok || string(tok.AppendPiece(nil, id)) != text || !slices.Equal(tok.Encode(nil, text), []uint32{id}) {
			t.Errorf("%q: %d %t", text, id, ok)
		}
	}
	for _, text := range []string{"", "hello world", "<|endoftext|"} {
		if id, ok := tok.ID(text); ok {
			t.Errorf("%q is token %d", text, id)
		}
	}
}

// TestInvalidUTF8 keeps the bytes of what is not UTF-8 in a byte-level tokenizer.
func TestInvalidUTF8(t *testing.T) {
	tok := load(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	text := "a\xe6\x97 b\x80" // NeoX has no token for bytes that UTF-8 never uses; those are dropped
	var b []byte
	for _, id := range tok.Encode(nil, text) {
		b = tok.AppendPiece(b, id)
	}
	if string(b) != text {
		t.Errorf("%q became %q", text, b)
	}
	if got := tok.Decode(tok.Encode(nil, "\xe6\x97")); got != "\ufffd" {
		t.Errorf("the beginning of a character is shown as %q", got)
	}
}

// raced says that the race detector is on, with which a sync.Pool forgets some of what it is given.
var raced bool

// TestOpenDefault opens the mapped tables of the default model on next to no heap.
func TestOpenDefault(t *testing.T) {
	blob := testmodel.Default(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tok, err := token.Open(blob)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4096 {
		t.Errorf("opening allocated %d bytes", n)
	}
	if got := tok.Decode(tok.Encode(nil, "turn on the light")); got != "turn on the light" {
		t.Errorf("text came back as %q", got)
	}
	ids := make([]uint32, 0, 64)
	tok.Encode(ids, "turn on the kitchen lights")
	if n := testing.AllocsPerRun(100, func() { tok.Encode(ids, "turn on the kitchen lights") }); n > 2 && !raced {
		t.Errorf("%v allocations an Encode", n)
	}
}

// TestConcurrent encodes on several goroutines at a time.
func TestConcurrent(t *testing.T) {
	tok := load(t, "../../testdata/gpt-neox-20b.tokenizer.json.gz")
	text := strings.Repeat("The quick brown fox. ", 50)
	want := tok.Encode(nil, text)
	done := make(chan bool)
	for range 4 {
		go func() { done <- slices.Equal(tok.Encode(nil, text), want) }()
	}
	for range 4 {
		if !<-done {
			t.Error("a concurrent Encode differs")
		}
	}
}

// TestBadTables refuses tables that do not fit.
func TestBadTables(t *testing.T) {
	c := neox(t)
	for _, x := range []struct {
		name   string
		change func(info *memmap.Tokenizer, tables map[string][]byte)
	}{
		{"size", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Size = i.Symbols + 1 }},
		{"no size", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Size = 0 }},
		{"symbols", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Symbols++ }},
		{"unknown", func(i *memmap.Tokenizer, _ map[string][]byte) { i.UnknownID = int32(i.Size) }},
		{"split", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Split = "gpt9" }},
		{"prefix", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Prefix = "x" }},
		{"normalizer", func(i *memmap.Tokenizer, _ map[string][]byte) { i.Normalizer = "nfkc" }},
		{"arena", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableArena] = m[memmap.TableArena][1:] }},
		{"no offsets", func(_ *memmap.Tokenizer, m map[string][]byte) { delete(m, memmap.TableOffsets) }},
		{"odd offsets", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableOffsets] = m[memmap.TableOffsets][:7] }},
		{"falling offsets", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableOffsets][5] = 0xff }},
		{"types", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableTypes][3] = 99 }},
		{"internal type", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableTypes][3] = memmap.SymbolInternal }},
		{"bytes", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableBytes][3] = 1 }},
		{"sorted", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableSorted][3] = 1 }},
		{"merges", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableMerges][3] = 1 }},
		{"merge rows", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableMerges] = m[memmap.TableMerges][4:] }},
		{"merge_start", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableMergeStart][0] = 1 }},
		{"added", func(_ *memmap.Tokenizer, m map[string][]byte) { m[memmap.TableAdded][3] = 1 }},
	} {
		info := c.Info
		tables := make(map[string][]byte)
		for _, tab := range c.Tables {
			tables[tab.Name] = bytes.Clone(tab.Data)
		}
		x.change(&info, tables)
		if _, err := token.New(&info, func(name string) ([]byte, error) { return tables[name], nil }); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error is %v", x.name, err)
		}
	}
}

// FuzzTables builds tables from bytes; what New accepts has to work on any text.
func FuzzTables(f *testing.F) {
	// A tokenizer of the letters a, b, the merge ab, an added token and an internal symbol.
	u32 := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	byteTable := make([]uint32, 256)
	for i := range byteTable {
		byteTable[i] = memmap.NoSymbol
	}
	byteTable['a'], byteTable['b'] = 0, 1
	f.Add(u32(0, 1, 2, 4, 7, 8), []byte{0, 0, 0, 3, 6}, []byte("ababa<x>c"), u32(0, 1, 2, 4), u32(0, 1, 1, 1, 1, 1), u32(1, 0, 2), u32(3, 1), u32(byteTable...), uint8(3), "abab<x> c")
	f.Add(u32(0, 1, 2, 4, 7, 8), []byte{0, 0, 0, 3, 6}, []byte("ababa<x>c"), u32(0, 1, 2, 4), u32(0, 1, 1, 1, 1, 1), u32(1, 0, 2), u32(3, 31), u32(byteTable...), uint8(0xfc), " ab c<x>c")
	f.Fuzz(func(t *testing.T, offsets, types, arena, sorted, starts, merges, added, byteTable []byte, flags uint8, text string) {
		info := memmap.Tokenizer{
			Size: uint32(max(0, len(types)-1)), Symbols: uint32(len(types)), UnknownID: -1, ByteLevel: flags&1 != 0, FuseUnknown: flags&2 != 0, ByteFallback: flags&4 != 0,
			IgnoreMerges: flags&8 != 0, TrimSpaces: flags&16 != 0, StripPrefix: flags&32 != 0, PrefixUnless: flags&64 != 0,
			Split: []string{"", "gpt2", "space"}[int(flags)%3], Prefix: []string{"", "text", "first", "always", "normalized"}[int(flags>>1)%5],
		}
		if flags&128 != 0 {
			info.Normalizer, info.UnknownID = "nfc", 0
		}
		tables := map[string][]byte{
			memmap.TableOffsets: offsets, memmap.TableTypes: types, memmap.TableArena: arena, memmap.TableSorted: sorted, memmap.TableMergeStart: starts,
			memmap.TableMerges: merges, memmap.TableAdded: added, memmap.TableBytes: byteTable,
		}
		tok, err := token.New(&info, func(name string) ([]byte, error) { return tables[name], nil })
		if err != nil {
			return
		}
		ids := tok.Encode(nil, text)
		tok.EncodePlain(nil, text)
		tok.ID(text)
		s := tok.NewTextStream()
		var streamed strings.Builder
		for _, id := range ids {
			if int(id) >= tok.Size() {
				t.Fatalf("token %d of %d", id, tok.Size())
			}
			streamed.WriteString(s.Next(id))
			if !utf8.ValidString(streamed.String()) {
				t.Fatal("the stream gave what is not UTF-8")
			}
			tok.IsSpecial(id)
		}
		streamed.WriteString(s.Flush())
		if got, want := streamed.String(), tok.Decode(ids); got != want || !utf8.ValidString(want) {
			t.Fatalf("%v: the stream gave %q, Decode %q", ids, got, want)
		}
	})
}

// FuzzRoundTrip gives back the bytes of any text: the default model's tokenizer has a token for every byte and no normalizer.
func FuzzRoundTrip(f *testing.F) {
	tok, err := token.Open(testmodel.Default(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("The  quick\n\nbrown \u00a0 fox's 12 ½ 日本 🙂 <|endoftext|>")
	f.Add("a\xffb \xe6\x97 \x00")
	f.Fuzz(func(t *testing.T, text string) {
		var got []byte
		for _, id := range tok.Encode(nil, text) {
			got = tok.AppendPiece(got, id)
		}
		if string(got) != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}
