package torch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Limits of a pickle. A checkpoint of 100 layers makes some 10,000 objects.
const (
	maxPickle  = 64 << 20
	maxObjects = 8 << 20 // pushed on the stack in all
	maxDepth   = 1 << 16 // of the stack
	maxMemo    = 4 << 20
)

// Objects of the machine beside string, int64, float64, bool, nil and []byte.
type (
	mark   struct{}
	global string // module.name
	tuple  []any
	list   struct{ items []any }
	dict   struct{ keys, values []any } // in the order of insertion
	// object is the result of a call that is allowed but means nothing here.
	object struct{ class global }
)

// storage is a persistent id: ('storage', type, key, location, elements).
type storage struct {
	class global
	key   string
	elems int64
}

// view is _rebuild_tensor_v2: a window on a storage.
type view struct {
	storage *storage
	offset  int64 // elements
	shape   []int64
	stride  []int64
}

// unpickler is a machine for the part of pickle (protocols 2 to 5) that state dicts need. It builds data and calls nothing: a global is a
// name, and a call of one that is not in the list of calls below is refused.
type unpickler struct {
	b     []byte
	pos   int
	stack []any
	memo  map[uint64]any
	n     int // objects pushed
}

// unpickle decodes b. An error names the offset.
func unpickle(b []byte) (any, error) {
	if len(b) > maxPickle {
		return nil, fmt.Errorf("pickle of %d bytes, more than %d", len(b), maxPickle)
	}
	u := &unpickler{b: b, memo: make(map[uint64]any)}
	for {
		at := u.pos
		v, done, err := u.step()
		if err != nil {
			return nil, fmt.Errorf("pickle, offset %d: %w", at, err)
		}
		if done {
			return v, nil
		}
	}
}

var errShort = errors.New("the pickle ends in the middle of an instruction: cut short")

func (u *unpickler) take(n int) ([]byte, error) {
	if n < 0 || n > len(u.b)-u.pos {
		return nil, errShort
	}
	b := u.b[u.pos : u.pos+n]
	u.pos += n
	return b, nil
}

// uint reads a little-endian integer of n bytes.
func (u *unpickler) uint(n int) (uint64, error) {
	b, err := u.take(n)
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// counted reads bytes whose length stands before them in n bytes.
func (u *unpickler) counted(n int) ([]byte, error) {
	size, err := u.uint(n)
	if err != nil {
		return nil, err
	}
	if size > uint64(len(u.b)-u.pos) {
		return nil, errShort
	}
	return u.take(int(size))
}

// line reads up to a newline.
func (u *unpickler) line() (string, error) {
	for i := u.pos; i < len(u.b); i++ {
		if u.b[i] == '\n' {
			s := string(u.b[u.pos:i])
			u.pos = i + 1
			return s, nil
		}
	}
	return "", errShort
}

func (u *unpickler) push(v any) error {
	if u.n++; u.n > maxObjects {
		return fmt.Errorf("more than %d objects: not a state dict", maxObjects)
	}
	if len(u.stack) >= maxDepth {
		return fmt.Errorf("a stack of more than %d objects: not a state dict", maxDepth)
	}
	u.stack = append(u.stack, v)
	return nil
}

func (u *unpickler) pop() (any, error) {
	if len(u.stack) == 0 {
		return nil, errors.New("an instruction takes from an empty stack")
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

// popMark takes everything above the last mark.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(mark); ok {
			items := append([]any(nil), u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("there is no mark on the stack")
}

func (u *unpickler) popN(n int) (tuple, error) {
	if n > len(u.stack) {
		return nil, errors.New("an instruction takes from an empty stack")
	}
	t := append(tuple(nil), u.stack[len(u.stack)-n:]...)
	u.stack = u.stack[:len(u.stack)-n]
	return t, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 {
		return nil, errors.New("an instruction looks at an empty stack")
	}
	return u.stack[len(u.stack)-1], nil
}

func (u *unpickler) put(key uint64) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	if len(u.memo) >= maxMemo {
		return fmt.Errorf("more than %d memo entries", maxMemo)
	}
	u.memo[key] = v
	return nil
}

func (u *unpickler) get(key uint64) error {
	v, ok := u.memo[key]
	if !ok {
		return fmt.Errorf("memo entry %d was never stored", key)
	}
	return u.push(v)
}

// step runs one instruction (pickletools.py of CPython lists them).
func (u *unpickler) step() (result any, done bool, err error) {
	b, err := u.take(1)
	if err != nil {
		return nil, false, err
	}
	switch op := b[0]; op {
	case '.': // STOP
		v, err := u.pop()
		return v, true, err
	case 0x80: // PROTO
		v, err := u.uint(1)
		if err == nil && (v < 2 || v > 5) {
			err = fmt.Errorf("pickle protocol %d: 2 to 5 are read", v)
		}
		return nil, false, err
	case 0x95: // FRAME
		_, err = u.uint(8)
	case '(': // MARK
		err = u.push(mark{})
	case '0': // POP
		_, err = u.pop()
	case '1': // POP_MARK
		_, err = u.popMark()
	case '2': // DUP
		var v any
		if v, err = u.top(); err == nil {
			err = u.push(v)
		}
	case 'N': // NONE
		err = u.push(nil)
	case 0x88: // NEWTRUE
		err = u.push(true)
	case 0x89: // NEWFALSE
		err = u.push(false)
	case 'K', 'M', 'J', 0x8a, 'G': // numbers
		err = u.number(op)
	case 'X', 0x8c, 0x8d, 'U', 'T', 'C', 'B', 0x8e: // strings and bytes
		err = u.text(op)
	case ')', 't', 0x85, 0x86, 0x87, ']', '}', 'l', 'd': // containers
		err = u.container(op)
	case 'a', 'e', 's', 'u': // APPEND, APPENDS, SETITEM, SETITEMS
		err = u.fill(op)
	case 'q', 'r', 0x94, 'h', 'j': // memo
		err = u.remember(op)
	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		err = u.global(op)
	case 'R', 0x81, 'b', 'Q': // REDUCE, NEWOBJ, BUILD, BINPERSID
		err = u.call(op)
	default:
		err = fmt.Errorf("instruction %#02x is not one that a state dict needs", op)
	}
	return nil, false, err
}

func (u *unpickler) number(op byte) error {
	switch op {
	case 'K': // BININT1
		v, err := u.uint(1)
		return errors.Join(err, u.push(int64(v)))
	case 'M': // BININT2
		v, err := u.uint(2)
		return errors.Join(err, u.push(int64(v)))
	case 'J': // BININT
		v, err := u.uint(4)
		return errors.Join(err, u.push(int64(int32(v))))
	case 'G': // BINFLOAT, big-endian
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	}
	b, err := u.counted(1) // LONG1, two's complement
	if err != nil {
		return err
	}
	if len(b) > 8 {
		return fmt.Errorf("an integer of %d bytes", len(b))
	}
	var v int64
	for i, x := range b {
		v |= int64(x) << (8 * i)
	}
	if n := len(b); n > 0 && n < 8 && b[n-1]&0x80 != 0 {
		v -= 1 << (8 * n)
	}
	return u.push(v)
}

func (u *unpickler) text(op byte) error {
	width := map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8, 'U': 1, 'T': 4, 'C': 1, 'B': 4, 0x8e: 8}[op]
	b, err := u.counted(width)
	if err != nil {
		return err
	}
	if op == 'C' || op == 'B' || op == 0x8e {
		return u.push(b)
	}
	return u.push(string(b))
}

func (u *unpickler) container(op byte) error {
	switch op {
	case ')':
		return u.push(tuple{})
	case 0x85, 0x86, 0x87:
		t, err := u.popN(int(op - 0x84))
		if err != nil {
			return err
		}
		return u.push(t)
	case ']':
		return u.push(&list{})
	case '}':
		return u.push(&dict{})
	}
	items, err := u.popMark()
	if err != nil {
		return err
	}
	switch op {
	case 't':
		return u.push(tuple(items))
	case 'l':
		return u.push(&list{items})
	}
	d := &dict{}
	if err := d.add(items); err != nil {
		return err
	}
	return u.push(d)
}

func (d *dict) add(pairs []any) error {
	if len(pairs)%2 != 0 {
		return errors.New("a dict has a key without a value")
	}
	for i := 0; i < len(pairs); i += 2 {
		d.keys = append(d.keys, pairs[i])
		d.values = append(d.values, pairs[i+1])
	}
	return nil
}

// get finds the value of a string key, the last one set.
func (d *dict) get(key string) (any, bool) {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == key {
			return d.values[i], true
		}
	}
	return nil, false
}

func (u *unpickler) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a':
		items, err = u.popN(1)
	case 's':
		items, err = u.popN(2)
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	target, err := u.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *list:
		if op == 'a' || op == 'e' {
			t.items = append(t.items, items...)
			return nil
		}
	case *dict:
		if op == 's' || op == 'u' {
			return t.add(items)
		}
	}
	return fmt.Errorf("instruction %q puts items into a %T", op, target)
}

func (u *unpickler) remember(op byte) error {
	switch op {
	case 0x94: // MEMOIZE
		return u.put(uint64(len(u.memo)))
	case 'q', 'h':
		key, err := u.uint(1)
		if err != nil {
			return err
		}
		if op == 'q' {
			return u.put(key)
		}
		return u.get(key)
	}
	key, err := u.uint(4)
	if err != nil {
		return err
	}
	if op == 'r' {
		return u.put(key)
	}
	return u.get(key)
}

// calls is what may be called, and with what result; nil stands for an object without a meaning here.
var calls = map[global]func(args tuple) (any, error){
	"collections.OrderedDict":               orderedDict,
	"torch._utils._rebuild_tensor":          rebuildTensor,
	"torch._utils._rebuild_tensor_v2":       rebuildTensor,
	"torch._utils._rebuild_parameter":       firstArgument,
	"torch.nn.parameter.Parameter":          firstArgument,
	"torch.Size":                            firstArgument,
	"torch.device":                          nil,
	"torch.serialization._get_layout":       nil,
	"torch._tensor._rebuild_from_type_v2":   nil,
	"torch._utils._rebuild_device_tensor":   nil,
	"torch._utils._rebuild_meta_tensor":     nil,
	"numpy.core.multiarray.scalar":          nil,
	"numpy._core.multiarray.scalar":         nil,
	"numpy.dtype":                           nil,
	"_codecs.encode":                        nil,
	"argparse.Namespace":                    nil,
	"collections.defaultdict":               nil,
	"torch._utils._rebuild_parameter_state": nil,
}

func orderedDict(args tuple) (any, error) {
	d := &dict{}
	if len(args) == 1 { // a list of pairs
		if l, ok := args[0].(*list); ok {
			for _, it := range l.items {
				if p, ok := it.(tuple); ok && len(p) == 2 {
					d.keys, d.values = append(d.keys, p[0]), append(d.values, p[1])
				}
			}
		}
	}
	return d, nil
}

func firstArgument(args tuple) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("a call without arguments")
	}
	return args[0], nil
}

// rebuildTensor is _rebuild_tensor_v2(storage, storage_offset, size, stride, ...).
func rebuildTensor(args tuple) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("a tensor with %d arguments, fewer than 4", len(args))
	}
	st, ok1 := args[0].(*storage)
	off, ok2 := args[1].(int64)
	shape, ok3 := ints(args[2])
	stride, ok4 := ints(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(stride) {
		return nil, errors.New("a tensor whose arguments are not storage, offset, size and stride")
	}
	return &view{st, off, shape, stride}, nil
}

func ints(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok {
		return nil, false
	}
	out := make([]int64, len(t))
	for i, x := range t {
		if out[i], ok = x.(int64); !ok {
			return nil, false
		}
	}
	return out, true
}

func (u *unpickler) global(op byte) error {
	var module, name string
	var err error
	if op == 'c' {
		if module, err = u.line(); err != nil {
			return err
		}
		if name, err = u.line(); err != nil {
			return err
		}
	} else {
		t, err := u.popN(2)
		if err != nil {
			return err
		}
		var ok1, ok2 bool
		module, ok1 = t[0].(string)
		name, ok2 = t[1].(string)
		if !ok1 || !ok2 {
			return errors.New("a global whose name is no string")
		}
	}
	g := global(module + "." + name)
	if _, ok := calls[g]; ok {
		return u.push(g)
	}
	// Types are named, not called: storages and element types.
	if module == "torch" && (strings.HasSuffix(name, "Storage") || isTorchType(name)) || module == "torch.storage" && strings.HasSuffix(name, "Storage") {
		return u.push(g)
	}
	return fmt.Errorf("the file asks for %q, which a state dict has no use for; refused, as it could be code: use a checkpoint of plain tensors (safetensors, or torch.save of a state_dict)", g)
}

func isTorchType(name string) bool {
	switch name {
	case "float32", "float", "float16", "half", "bfloat16", "float64", "double", "int8", "uint8", "int16", "int32", "int64", "long", "bool", "strided":
		return true
	}
	return false
}

func (u *unpickler) call(op byte) error {
	switch op {
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		st, err := newStorage(id)
		if err != nil {
			return err
		}
		return u.push(st)
	case 'b': // BUILD: attributes, such as OrderedDict's _metadata, mean nothing here
		_, err := u.pop()
		if err == nil {
			_, err = u.top()
		}
		return err
	}
	t, err := u.popN(2)
	if err != nil {
		return err
	}
	g, ok1 := t[0].(global)
	args, ok2 := t[1].(tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("a call of a %T", t[0])
	}
	f, ok := calls[g]
	if !ok {
		return fmt.Errorf("the file calls %q; refused", g)
	}
	if f == nil {
		return u.push(object{g})
	}
	v, err := f(args)
	if err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	return u.push(v)
}

// newStorage reads a persistent id.
func newStorage(id any) (*storage, error) {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil, errors.New("a persistent id that is no storage")
	}
	class, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	elems, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 || elems < 0 {
		return nil, errors.New("a storage without type, key or size")
	}
	return &storage{class, key, elems}, nil
}
