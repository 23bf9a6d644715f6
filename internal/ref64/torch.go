package ref64

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readTorch reads a state dict that torch.save wrote: a zip of one protocol-2 pickle and one file per storage.
func readTorch(path string) (map[string]Tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tensors, err := parseTorch(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tensors, nil
}

func parseTorch(b []byte) (map[string]Tensor, error) {
	archive, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	entries := make(map[string]*zip.File)
	var pickle *zip.File
	for _, f := range archive.File {
		entries[f.Name] = f
		if strings.HasSuffix(f.Name, "/data.pkl") {
			pickle = f
		}
	}
	if pickle == nil {
		return nil, errors.New("no data.pkl: not a file of torch.save")
	}
	// Entries may overlap and tensors may share a storage: what is read is bounded by the size of the file, not by its claims.
	u := &unpickler{entries: entries, prefix: strings.TrimSuffix(pickle.Name, "data.pkl"), left: 4 * len(b)}
	if u.code, err = u.read(pickle); err != nil {
		return nil, err
	}
	tensors, err := u.run()
	if err != nil {
		return nil, fmt.Errorf("%s: byte %d: %w", pickle.Name, u.pos, err)
	}
	return tensors, nil
}

// unpickler runs the few opcodes that a state dict of plain tensors needs. A value is an int, a bool, a string, a global,
// a tuple, a storage, a Tensor, a map[string]Tensor or an orderedDict.
type unpickler struct {
	entries map[string]*zip.File
	prefix  string // of the names in the archive
	code    []byte
	pos     int
	left    int // bytes that may still be read from entries
	stack   []any
	memo    map[int]any
}

type (
	global      string // module and name, with a space between
	tuple       []any
	mark        struct{}
	orderedDict struct{} // the backward hooks, always empty
	storage     struct{ key, dtype string }
)

var storageTypes = map[global]string{
	"torch FloatStorage": "F32", "torch HalfStorage": "F16", "torch BFloat16Storage": "BF16", "torch DoubleStorage": "F64",
}

func (u *unpickler) read(f *zip.File) ([]byte, error) {
	if f.Method != zip.Store {
		return nil, fmt.Errorf("%s is compressed; torch.save stores", f.Name)
	}
	if f.UncompressedSize64 > uint64(u.left) {
		return nil, fmt.Errorf("%s: the archive claims more than it holds", f.Name)
	}
	u.left -= int(f.UncompressedSize64)
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return b, nil
}

func (u *unpickler) take(n int) ([]byte, error) {
	if n < 0 || n > len(u.code)-u.pos {
		return nil, io.ErrUnexpectedEOF
	}
	b := u.code[u.pos : u.pos+n]
	u.pos += n
	return b, nil
}

// uint reads a little-endian integer of n bytes.
func (u *unpickler) uint(n int) (int, error) {
	b, err := u.take(n)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return int(binary.LittleEndian.Uint32(wide[:])), nil
}

func (u *unpickler) line() (string, error) {
	i := bytes.IndexByte(u.code[u.pos:], '\n')
	if i < 0 {
		return "", io.ErrUnexpectedEOF
	}
	b, err := u.take(i + 1)
	return string(b[:max(len(b)-1, 0)]), err
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

// pop takes the last n values off the stack.
func (u *unpickler) pop(n int) ([]any, error) {
	if n > len(u.stack) {
		return nil, errors.New("the stack is empty")
	}
	top := append([]any(nil), u.stack[len(u.stack)-n:]...)
	u.stack = u.stack[:len(u.stack)-n]
	return top, nil
}

// popMark takes what lies above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(mark); ok {
			top, err := u.pop(len(u.stack) - i)
			return top[1:], err
		}
	}
	return nil, errors.New("no mark on the stack")
}

func (u *unpickler) run() (map[string]Tensor, error) {
	u.memo = make(map[int]any)
	for {
		op, err := u.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' { // STOP
			top, err := u.pop(1)
			if err != nil {
				return nil, err
			}
			dict, ok := top[0].(map[string]Tensor)
			if !ok {
				return nil, fmt.Errorf("the pickle holds a %T, not a state dict", top[0])
			}
			return dict, nil
		}
		if err := u.step(op[0]); err != nil {
			return nil, fmt.Errorf("opcode %#x: %w", op[0], err)
		}
	}
}

func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := u.take(1)
		if err == nil && version[0] != 2 {
			err = fmt.Errorf("pickle protocol %d", version[0])
		}
		return err
	case '}': // EMPTY_DICT
		u.push(map[string]Tensor{})
	case ')': // EMPTY_TUPLE
		u.push(tuple{})
	case '(':
		u.push(mark{})
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		u.push(op == 0x88)
	case 'K', 'M', 'J': // BININT1, BININT2, BININT
		n, err := u.uint(map[byte]int{'K': 1, 'M': 2, 'J': 4}[op])
		if err != nil {
			return err
		}
		if op == 'J' {
			n = int(int32(n))
		}
		u.push(n)
	case 'X': // BINUNICODE
		n, err := u.uint(4)
		if err != nil {
			return err
		}
		b, err := u.take(n)
		if err != nil {
			return err
		}
		u.push(string(b))
	case 'c': // GLOBAL
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		u.push(global(module + " " + name))
	case 'q', 'r': // BINPUT, LONG_BINPUT
		slot, err := u.uint(map[byte]int{'q': 1, 'r': 4}[op])
		if err != nil {
			return err
		}
		if len(u.stack) == 0 {
			return errors.New("the stack is empty")
		}
		u.memo[slot] = u.stack[len(u.stack)-1]
	case 'h', 'j': // BINGET, LONG_BINGET
		slot, err := u.uint(map[byte]int{'h': 1, 'j': 4}[op])
		if err != nil {
			return err
		}
		v, ok := u.memo[slot]
		if !ok {
			return fmt.Errorf("memo %d is empty", slot)
		}
		u.push(v)
	case 't': // TUPLE
		items, err := u.popMark()
		if err != nil {
			return err
		}
		u.push(tuple(items))
	case 0x85, 0x86, 0x87: // TUPLE1 .. TUPLE3
		items, err := u.pop(int(op) - 0x84)
		if err != nil {
			return err
		}
		u.push(tuple(items))
	case 'Q': // BINPERSID
		return u.persistent()
	case 'R': // REDUCE
		return u.reduce()
	case 'u': // SETITEMS
		return u.setItems()
	default:
		return errors.New("not an opcode of a plain state dict")
	}
	return nil
}

// persistent turns ('storage', type, key, device, elements) into a storage.
func (u *unpickler) persistent() error {
	top, err := u.pop(1)
	if err != nil {
		return err
	}
	id, _ := top[0].(tuple)
	if len(id) != 5 || id[0] != "storage" {
		return fmt.Errorf("persistent id of type %T is not a storage", top[0])
	}
	kind, _ := id[1].(global)
	key, ok := id[2].(string)
	dtype := storageTypes[kind]
	if dtype == "" || !ok {
		return fmt.Errorf("storage %q of type %q is not known here", key, kind)
	}
	u.push(storage{key, dtype})
	return nil
}

// reduce calls the two functions that a state dict calls: OrderedDict() and _rebuild_tensor_v2(storage, offset, size, stride, ...).
func (u *unpickler) reduce() error {
	top, err := u.pop(2)
	if err != nil {
		return err
	}
	args, _ := top[1].(tuple)
	f, _ := top[0].(global)
	switch {
	case f == "collections OrderedDict" && len(args) == 0:
		u.push(orderedDict{})
		return nil
	case f == "torch._utils _rebuild_tensor_v2" && len(args) == 6:
		t, err := u.tensor(args)
		if err != nil {
			return err
		}
		u.push(t)
		return nil
	}
	return fmt.Errorf("call of %q with %d arguments", f, len(args))
}

func (u *unpickler) tensor(args tuple) (Tensor, error) {
	from, ok := args[0].(storage)
	if !ok {
		return Tensor{}, fmt.Errorf("a tensor of %T, not of a storage", args[0])
	}
	offset, ok := args[1].(int)
	shape, okShape := ints(args[2])
	stride, okStride := ints(args[3])
	if !ok || !okShape || !okStride || len(shape) != len(stride) {
		return Tensor{}, fmt.Errorf("storage %s: offset, size %v and stride %v are not integers of one rank", from.key, shape, stride)
	}
	entry := u.entries[u.prefix+"data/"+from.key]
	if entry == nil {
		return Tensor{}, fmt.Errorf("storage %s is not in the archive", from.key)
	}
	raw, err := u.read(entry)
	if err != nil {
		return Tensor{}, err
	}
	values, err := decode(raw, from.dtype)
	if err != nil {
		return Tensor{}, fmt.Errorf("storage %s: %w", from.key, err)
	}
	n, ok := product(shape, len(values))
	if !ok || offset < 0 || offset > len(values)-n {
		return Tensor{}, fmt.Errorf("storage %s: size %v at %d of %d elements", from.key, shape, offset, len(values))
	}
	contiguous := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && stride[i] != contiguous {
			return Tensor{}, fmt.Errorf("storage %s: stride %v of size %v is not contiguous", from.key, stride, shape)
		}
		contiguous *= shape[i]
	}
	return Tensor{Shape: shape, Data: values[offset : offset+n]}, nil
}

func ints(v any) ([]int, bool) {
	items, ok := v.(tuple)
	out := make([]int, len(items))
	for i, item := range items {
		n, isInt := item.(int)
		out[i], ok = n, ok && isInt
	}
	return out, ok
}

func (u *unpickler) setItems() error {
	items, err := u.popMark()
	if err != nil {
		return err
	}
	if len(u.stack) == 0 || len(items)%2 != 0 {
		return errors.New("no dict, or a key without a value")
	}
	dict, ok := u.stack[len(u.stack)-1].(map[string]Tensor)
	if !ok {
		return errors.New("items are set on something that is no dict")
	}
	for i := 0; i < len(items); i += 2 {
		name, okName := items[i].(string)
		t, okTensor := items[i+1].(Tensor)
		if !okName || !okTensor {
			return fmt.Errorf("item %q is a %T, not a tensor", name, items[i+1])
		}
		dict[name] = t
	}
	return nil
}
