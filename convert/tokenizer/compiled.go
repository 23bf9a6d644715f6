package tokenizer

import "bimamba/memmap"

// Compiled is a tokenizer as the tables of a blob.
type Compiled struct {
	Info   memmap.Tokenizer
	Tables []Table
	AddBOS bool
	BOSID  int32 // -1: none
	EOSIDs []uint32
	Files  []string // paths that it was made from
}

// Table is one table, little-endian.
type Table struct {
	Name  string
	DType memmap.DType
	Shape []uint64
	Data  []byte
}

// ID finds a token by its text.
func (c *Compiled) ID(text string) (uint32, bool) { return 0, false }
