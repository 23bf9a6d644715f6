package memmap

//go:generate go tool -modfile=../tools/go.mod msgp -o=tokenizer_gen.go -tests=false -io=false -file=tokenizer.go

// Tokenizer says how the tables of the section "tokenizer" turn text into token ids (FORMAT.md, section 6).
type Tokenizer struct {
	Size         uint32 `msg:"size"`          // token ids; at most Model.VocabSize
	Symbols      uint32 `msg:"symbols"`       // entries of the tables: the tokens, and symbols that only occur inside of words
	Normalizer   string `msg:"normalizer"`    // "" or "nfc"
	Split        string `msg:"split"`         // how text is cut into words: "" not at all, "gpt2", or "space" (before every space)
	Prefix       string `msg:"prefix"`        // where a space is put in front: "" nowhere, "text", "normalized", "first" or "always"; see the Prefix constants
	PrefixUnless bool   `msg:"prefix_unless"` // not where a space stands already
	TrimSpaces   bool   `msg:"trim_spaces"`   // outer spaces are dropped and runs of them become one
	ByteFallback bool   `msg:"byte_fallback"` // characters without a token become byte tokens
	ByteLevel    bool   `msg:"byte_level"`    // words are bytes, not characters
	IgnoreMerges bool   `msg:"ignore_merges"` // a word that is a token is that token
	FuseUnknown  bool   `msg:"fuse_unknown"`  // adjacent unknown characters are one unknown token
	UnknownID    int32  `msg:"unknown_id"`    // -1: there is none, unknown characters are dropped
	StripPrefix  bool   `msg:"strip_prefix"`  // decoding a whole text drops its first space
}

// Values of Tokenizer.Split, Prefix and Normalizer.
const (
	SplitGPT2        = "gpt2"
	SplitSpace       = "space"
	PrefixText       = "text"       // in front of a whole text, before added tokens are looked for
	PrefixNormalized = "normalized" // in front of every stretch in which AddedNormalized tokens are looked for
	PrefixFirst      = "first"      // in front of what begins the text, if that is no added token
	PrefixAlways     = "always"     // in front of every stretch between added tokens
	NormalizerNFC    = "nfc"
	TokenizerTable   = "tokenizer" // name of the section
)

// Names of the tables in section "tokenizer". All but the first are u32 or u8 as FORMAT.md says; an empty one is left out.
const (
	TableArena      = "arena"       // u8: the bytes of all symbols
	TableOffsets    = "offsets"     // u32 (symbols+1): where each begins
	TableTypes      = "types"       // u8 (symbols)
	TableBytes      = "bytes"       // u32 (256): the symbol of each byte, NoSymbol for none
	TableSorted     = "sorted"      // u32: the symbols of the model's vocabulary by their bytes
	TableMergeStart = "merge_start" // u32 (symbols+1): where the merges of a left symbol begin
	TableMerges     = "merges"      // u32 (n, 3): right symbol, rank, result; sorted by right
	TableAdded      = "added"       // u32 (n, 2): token, flags
)

// NoSymbol stands for a missing symbol in TableBytes.
const NoSymbol = 0xffffffff

// Types of symbols.
const (
	SymbolNormal   = iota
	SymbolByte     // one byte of ByteFallback
	SymbolControl  // stands for no text
	SymbolAdded    // found in text as a whole; its bytes are its text
	SymbolUnknown  // UnknownID
	SymbolUnused   // an id without a token
	SymbolInternal // no token: a character that only occurs inside of tokens
	numSymbolTypes
)

// NumSymbolTypes bounds TableTypes.
const NumSymbolTypes = numSymbolTypes

// Flags of added tokens.
const (
	AddedSpecial    = 1 << iota // does not stand for text of a user
	AddedLStrip                 // takes the white space on its left
	AddedRStrip                 // takes the white space on its right
	AddedSingleWord             // only where no word goes on at either side
	AddedNormalized             // is looked for behind the normalizer
)
