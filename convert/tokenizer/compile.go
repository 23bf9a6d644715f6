package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"bimamba/memmap"
)

// maxTokens bounds the ids of a source file; the blob's limit of the embedding's rows is the same.
const maxTokens = 1 << 22

// maxMerges bounds the merges; the largest vocabularies in use have 600,000.
const maxMerges = 1 << 23

// symbol is one entry of the tables.
type symbol struct {
	bytes   []byte
	kind    uint8
	indexed bool // can be made of text: stands in the sorted index
}

// merge is one rule: left and right become result, low ranks first.
type merge struct{ left, right, rank, result uint32 }

// added is one added token.
type added struct{ id, flags uint32 }

// builder gathers what the tables are made of.
type builder struct {
	info    memmap.Tokenizer
	symbols []symbol // the tokens by id, then internal symbols
	bytes   [256]uint32
	merges  []merge
	added   []added
	ids     map[string]uint32

	metaspace, replaces, prepends bool // of a tokenizer.json: what writes spaces as U+2581
}

func newBuilder() *builder {
	b := &builder{ids: make(map[string]uint32)}
	for i := range b.bytes {
		b.bytes[i] = memmap.NoSymbol
	}
	b.info.UnknownID = -1
	return b
}

// token sets the token of an id.
func (b *builder) token(id uint32, text string, s symbol) error {
	if id >= maxTokens {
		return fmt.Errorf("token %q has id %d, more than %d", text, id, maxTokens-1)
	}
	for uint32(len(b.symbols)) <= id {
		b.symbols = append(b.symbols, symbol{kind: memmap.SymbolUnused})
	}
	b.symbols[id] = s
	b.ids[text] = id
	return nil
}

// compile makes the tables. Internal symbols have been appended behind size tokens.
func (b *builder) compile(size int) (*Compiled, error) {
	if size == 0 {
		return nil, errors.New("there are no tokens")
	}
	n := len(b.symbols)
	b.info.Size, b.info.Symbols = uint32(size), uint32(n)
	var arena []byte
	offsets := make([]uint32, 0, n+1)
	types := make([]byte, n)
	var sorted []uint32
	for i, s := range b.symbols {
		offsets = append(offsets, uint32(len(arena)))
		arena = append(arena, s.bytes...)
		types[i] = s.kind
		if s.indexed {
			sorted = append(sorted, uint32(i))
		}
	}
	offsets = append(offsets, uint32(len(arena)))
	slices.SortFunc(sorted, func(x, y uint32) int {
		return cmp.Or(bytes.Compare(b.symbols[x].bytes, b.symbols[y].bytes), cmp.Compare(x, y))
	})

	// Of several merges of one pair the last one counts, as in a map.
	slices.SortStableFunc(b.merges, func(x, y merge) int { return cmp.Or(cmp.Compare(x.left, y.left), cmp.Compare(x.right, y.right)) })
	start := make([]uint32, n+1)
	var rows []uint32
	for i, m := range b.merges {
		if i+1 < len(b.merges) && b.merges[i+1].left == m.left && b.merges[i+1].right == m.right {
			continue
		}
		rows = append(rows, m.right, m.rank, m.result)
		start[m.left+1]++
	}
	for i := range n {
		start[i+1] += start[i]
	}
	// Longest first, so that the first match is the longest.
	slices.SortStableFunc(b.added, func(x, y added) int {
		return cmp.Compare(len(b.symbols[y.id].bytes), len(b.symbols[x.id].bytes))
	})
	var adds []uint32
	for _, a := range b.added {
		adds = append(adds, a.id, a.flags)
	}

	c := &Compiled{Info: b.info, BOSID: -1, ids: b.ids}
	u8 := func(name string, v []byte) {
		if len(v) > 0 {
			c.Tables = append(c.Tables, Table{name, memmap.U8, []uint64{uint64(len(v))}, v})
		}
	}
	u32 := func(name string, v []uint32, cols ...uint64) {
		if len(v) == 0 {
			return
		}
		shape := []uint64{uint64(len(v))}
		for _, k := range cols {
			shape = []uint64{uint64(len(v)) / k, k}
		}
		data := make([]byte, 0, 4*len(v))
		for _, x := range v {
			data = binary.LittleEndian.AppendUint32(data, x)
		}
		c.Tables = append(c.Tables, Table{name, memmap.U32, shape, data})
	}
	u32(memmap.TableBytes, b.bytes[:])
	u32(memmap.TableMergeStart, start)
	u32(memmap.TableMerges, rows, 3)
	u32(memmap.TableOffsets, offsets)
	u8(memmap.TableTypes, types)
	u8(memmap.TableArena, arena)
	u32(memmap.TableSorted, sorted)
	u32(memmap.TableAdded, adds, 2)
	return c, nil
}
