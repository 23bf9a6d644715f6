package memmap

//go:generate go tool -modfile=../tools/go.mod msgp -o=tokenizer_gen.go -tests=false -io=false -file=tokenizer.go

// Tokenizer describes the tables of the section "tokenizer" (FORMAT.md, "Tokenizer tables").
type Tokenizer struct {
	Size uint32 `msg:"size"` // number of token ids; at most Model.VocabSize
}
