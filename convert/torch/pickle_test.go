package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
)

// pickler writes pickles as Python's does, instruction by instruction.
type pickler struct {
	bytes.Buffer
	proto byte
	memo  map[string]int // of globals
	n     int
}

func newPickler(proto byte) *pickler {
	p := &pickler{proto: proto, memo: make(map[string]int)}
	p.Write([]byte{0x80, proto})
	if proto >= 4 { // FRAME; its length is only a hint
		p.WriteByte(0x95)
		p.Write(make([]byte, 8))
	}
	return p
}

// put stores the top of the stack in the memo.
func (p *pickler) put() int {
	switch {
	case p.proto >= 4:
		p.WriteByte(0x94)
	case p.n < 256:
		p.Write([]byte{'q', byte(p.n)})
	default:
		p.WriteByte('r')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.n)))
	}
	p.n++
	return p.n - 1
}

func (p *pickler) get(i int) {
	if i < 256 {
		p.Write([]byte{'h', byte(i)})
		return
	}
	p.WriteByte('j')
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(i)))
}

func (p *pickler) str(s string) {
	if p.proto >= 4 && len(s) < 256 {
		p.Write([]byte{0x8c, byte(len(s))})
	} else {
		p.WriteByte('X')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	}
	p.WriteString(s)
	p.put()
}

func (p *pickler) int(v int64) {
	switch {
	case v >= 0 && v < 256:
		p.Write([]byte{'K', byte(v)})
	case v >= 0 && v < 65536:
		p.WriteByte('M')
		p.Write(binary.LittleEndian.AppendUint16(nil, uint16(v)))
	case v == int64(int32(v)):
		p.WriteByte('J')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(v)))
	default:
		p.Write([]byte{0x8a, 8})
		p.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	}
}

func (p *pickler) ints(v []int64) {
	if len(v) == 0 {
		p.WriteByte(')')
		return
	}
	if len(v) > 3 {
		p.WriteByte('(')
	}
	for _, x := range v {
		p.int(x)
	}
	if len(v) > 3 {
		p.WriteByte('t')
	} else {
		p.WriteByte(byte(0x84 + len(v)))
	}
	p.put()
}

func (p *pickler) global(module, name string) {
	if i, ok := p.memo[module+"."+name]; ok {
		p.get(i)
		return
	}
	if p.proto >= 4 {
		p.str(module)
		p.str(name)
		p.WriteByte(0x93)
	} else {
		p.WriteString("c" + module + "\n" + name + "\n")
	}
	p.memo[module+"."+name] = p.put()
}

func (p *pickler) orderedDict() {
	p.global("collections", "OrderedDict")
	p.WriteString(")R")
	p.put()
}

// fixture is a tensor to be pickled.
type fixture struct {
	name, class, key string // class without its module, such as HalfStorage
	elems            int64  // of the storage
	offset           int64
	shape, stride    []int64
	dtype            string // of an untyped storage, such as uint16
	parameter        bool
}

func (p *pickler) tensor(f fixture) {
	if f.parameter {
		p.global("torch._utils", "_rebuild_parameter")
		p.WriteByte('(')
	}
	if f.dtype != "" {
		p.global("torch._utils", "_rebuild_tensor_v3")
	} else {
		p.global("torch._utils", "_rebuild_tensor_v2")
	}
	p.WriteString("((")
	p.str("storage")
	if f.class == "UntypedStorage" {
		p.global("torch.storage", f.class)
	} else {
		p.global("torch", f.class)
	}
	p.str(f.key)
	p.str("cpu")
	p.int(f.elems)
	p.WriteByte('t')
	p.put()
	p.WriteByte('Q')
	p.int(f.offset)
	p.ints(f.shape)
	p.ints(f.stride)
	p.WriteByte(0x89)
	p.orderedDict()
	if f.dtype != "" {
		p.global("torch", f.dtype)
	}
	p.WriteByte('t')
	p.put()
	p.WriteByte('R')
	p.put()
	if f.parameter {
		p.WriteByte(0x88)
		p.orderedDict()
		p.WriteByte('t')
		p.put()
		p.WriteByte('R')
		p.put()
	}
}

// items writes what stands between the braces of a dict.
func (p *pickler) items(tensors []fixture) {
	p.WriteByte('(')
	for _, f := range tensors {
		p.str(f.name)
		p.tensor(f)
	}
	p.WriteByte('u')
}

// stateDict is a whole pickle: an OrderedDict with the attribute _metadata, as model.state_dict() is.
func stateDict(proto byte, tensors ...fixture) []byte {
	p := newPickler(proto)
	p.orderedDict()
	p.items(tensors)
	p.WriteByte('}')
	p.put()
	p.str("_metadata")
	p.orderedDict()
	p.WriteString("sb.") // SETITEM, BUILD, STOP
	return p.Bytes()
}

// entry is a file in an archive.
type entry struct {
	name   string
	data   []byte
	method uint16
}

// archiveOf writes entries with the names' prefix x/ as torch.save does: stored, one behind the other.
func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		var f io.Writer
		var err error
		if e.method == zip.Store {
			f, err = w.CreateRaw(&zip.FileHeader{Name: "x/" + e.name, CRC32: crc32.ChecksumIEEE(e.data), CompressedSize64: uint64(len(e.data)), UncompressedSize64: uint64(len(e.data))})
		} else {
			f, err = w.CreateHeader(&zip.FileHeader{Name: "x/" + e.name, Method: e.method})
		}
		if err == nil {
			_, err = f.Write(e.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkpointOf is an archive of a pickle and storages, the first one under the key 0.
func checkpointOf(t testing.TB, pickle []byte, storages ...[]byte) []byte {
	entries := []entry{{name: "data.pkl", data: pickle}, {name: "byteorder", data: []byte("little")}}
	for i, s := range storages {
		entries = append(entries, entry{name: fmt.Sprint("data/", i), data: s})
	}
	return archiveOf(t, append(entries, entry{name: "version", data: []byte("3\n")})...)
}

// halves is n elements of 2 bytes, which count up.
func halves(n int) []byte {
	b := make([]byte, 0, 2*n)
	for i := range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(i))
	}
	return b
}
