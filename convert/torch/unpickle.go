package torch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Limits of a pickle. A state dict needs some 30 objects a tensor, and a stack of 2000: picklers write dicts in batches.
const (
	maxObjects = 2 << 20 // made in all
	maxDepth   = 1 << 16 // of the stack
	maxString  = 1 << 20 // bytes
)

// Objects of the machine, beside string, int64, float64, bool, nil and []byte.
type (
	mark  struct{}
	tuple []any
	list  struct{ items []any }
	dict  struct{ keys, values []any } // in the order of insertion; a key that is set again stands twice
	// object is the result of a call that is allowed but means nothing here.
	object struct{ class global }
)

// get finds the value of a string key, the last one set; nil if there is none.
func (d *dict) get(key string) any {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == key {
			return d.values[i]
		}
	}
	return nil
}

func (d *dict) hasTensors() bool {
	for _, v := range d.values {
		if _, ok := v.(*view); ok {
			return true
		}
	}
	return false
}

// kind names an object for messages.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case *dict:
		return "a dict"
	case *list:
		return "a list"
	case tuple:
		return "a tuple"
	case *view:
		return "a tensor"
	case *storage:
		return "a storage"
	case global:
		return string(v)
	case object:
		return "an object of " + string(v.class)
	case mark:
		return "a mark"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	}
	return "a number"
}

// unpickler is a machine for the part of pickle (protocols 2 to 5) that state dicts need. Python's pickletools describes the instructions.
type unpickler struct {
	b       []byte
	pos     int
	stack   []any
	memo    []any // picklers number the entries from 0 on without gaps
	objects int
}

// unpickle decodes b. An error names the offset.
func unpickle(b []byte) (any, error) {
	u := &unpickler{b: b}
	for {
		at := u.pos
		done, err := u.step()
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", at, err)
		}
		if done {
			return u.stack[0], nil
		}
	}
}

// step runs one instruction. After the last one, the result is all that is on the stack.
func (u *unpickler) step() (done bool, err error) {
	b, err := u.take(1)
	if err != nil {
		return false, err
	}
	switch op := b[0]; op {
	case '.': // STOP
		if len(u.stack) != 1 {
			return false, fmt.Errorf("the pickle ends with %d objects on the stack, not 1: damaged", len(u.stack))
		}
		return true, nil
	case 0x80: // PROTO
		v, err := u.uint(1)
		if err == nil && (v < 2 || v > 5) {
			err = fmt.Errorf("pickle protocol %d; 2 to 5 are read", v)
		}
		return false, err
	case 0x95: // FRAME
		_, err = u.uint(8)
	case '(': // MARK
		err = u.push(mark{})
	case '0': // POP
		_, err = u.pop(1)
	case '1': // POP_MARK
		_, err = u.popMark()
	case '2': // DUP
		var v any
		if v, err = u.top(); err == nil {
			err = u.push(v)
		}
	case 'N': // NONE
		err = u.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		err = u.push(op == 0x88)
	case 'K', 'M', 'J', 0x8a, 0x8b, 'G':
		err = u.number(op)
	case 'X', 0x8c, 0x8d, 'U', 'T', 'C', 'B', 0x8e, 0x96:
		err = u.text(op)
	case ')', 't', 0x85, 0x86, 0x87, ']', '}', 'l', 'd', 0x8f, 0x91:
		err = u.container(op)
	case 'a', 'e', 's', 'u', 0x90:
		err = u.fill(op)
	case 'q', 'r', 0x94, 'h', 'j':
		err = u.remember(op)
	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		err = u.global(op)
	case 'R', 0x81: // REDUCE, NEWOBJ
		err = u.call()
	case 'b': // BUILD sets attributes, such as OrderedDict's _metadata; they mean nothing here
		if _, err = u.pop(1); err == nil {
			_, err = u.top()
		}
	case 'Q': // BINPERSID
		err = u.persistent()
	default:
		err = fmt.Errorf("refused: pickle instruction %#02x is not one that a state dict needs", op)
	}
	return false, err
}

var errShort = errors.New("the pickle ends in the middle of an instruction: cut short; copy the file again")

func (u *unpickler) take(n int) ([]byte, error) {
	if n > len(u.b)-u.pos {
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

// counted reads bytes whose number stands before them in n bytes.
func (u *unpickler) counted(n int) ([]byte, error) {
	size, err := u.uint(n)
	if err != nil {
		return nil, err
	}
	if size > maxString {
		return nil, fmt.Errorf("a string of %d bytes, more than %d: damaged, or not a state dict", size, maxString)
	}
	return u.take(int(size))
}

// line reads up to a newline.
func (u *unpickler) line() (string, error) {
	rest := u.b[u.pos:min(len(u.b), u.pos+maxGlobal+1)]
	for i, c := range rest {
		if c == '\n' {
			u.pos += i + 1
			return string(rest[:i]), nil
		}
	}
	if len(rest) > maxGlobal {
		return "", fmt.Errorf("a name of more than %d bytes", maxGlobal)
	}
	return "", errShort
}

// charge counts n objects.
func (u *unpickler) charge(n int) error {
	if u.objects += n; u.objects > maxObjects {
		return fmt.Errorf("more than %d objects: not a state dict", maxObjects)
	}
	return nil
}

func (u *unpickler) push(v any) error {
	if err := u.charge(1); err != nil {
		return err
	}
	if len(u.stack) >= maxDepth {
		return fmt.Errorf("a stack of more than %d objects: not a state dict", maxDepth)
	}
	u.stack = append(u.stack, v)
	return nil
}

var errEmpty = errors.New("an instruction takes more than the stack holds: damaged")

// top is the object on top of the stack.
func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 {
		return nil, errEmpty
	}
	return u.stack[len(u.stack)-1], nil
}

// pop takes the top n objects. They are good until the next push.
func (u *unpickler) pop(n int) ([]any, error) {
	if n > len(u.stack) {
		return nil, errEmpty
	}
	items := u.stack[len(u.stack)-n:]
	for _, v := range items {
		if _, ok := v.(mark); ok {
			return nil, errors.New("an instruction takes a mark: damaged")
		}
	}
	u.stack = u.stack[:len(u.stack)-n]
	return items, nil
}

// popMark takes everything above the last mark, and the mark. The objects are good until the next push.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(mark); ok {
			items := u.stack[i+1:]
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("there is no mark on the stack: damaged")
}

func (u *unpickler) number(op byte) error {
	var n uint64
	var err error
	switch op {
	case 'K': // BININT1
		n, err = u.uint(1)
	case 'M': // BININT2
		n, err = u.uint(2)
	case 'J': // BININT
		n, err = u.uint(4)
		n = uint64(int32(n))
	case 'G': // BINFLOAT
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 0x8a, 0x8b: // LONG1, LONG4: two's complement
		b, err := u.counted(map[byte]int{0x8a: 1, 0x8b: 4}[op])
		if err != nil {
			return err
		}
		if len(b) > 8 {
			return u.push(object{"int"}) // seeds and the like; nothing that is read here is so large
		}
		var full [8]byte
		if len(b) > 0 && b[len(b)-1] >= 0x80 {
			full = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		copy(full[:], b)
		n = binary.LittleEndian.Uint64(full[:])
	}
	if err != nil {
		return err
	}
	return u.push(int64(n))
}

func (u *unpickler) text(op byte) error {
	var b []byte
	var err error
	switch op {
	case 'X', 'T', 'B': // BINUNICODE, BINSTRING, BINBYTES
		b, err = u.counted(4)
	case 0x8c, 'U', 'C': // SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES
		b, err = u.counted(1)
	case 0x8d, 0x8e, 0x96: // BINUNICODE8, BINBYTES8, BYTEARRAY8
		b, err = u.counted(8)
	}
	if err != nil {
		return err
	}
	switch op {
	case 'B', 'C', 0x8e, 0x96:
		return u.push(b)
	}
	return u.push(string(b))
}

func (u *unpickler) container(op byte) error {
	var items []any
	var err error
	switch op {
	case ')': // EMPTY_TUPLE
		return u.push(tuple(nil))
	case ']', 0x8f: // EMPTY_LIST, EMPTY_SET
		return u.push(&list{})
	case '}': // EMPTY_DICT
		return u.push(&dict{})
	case 0x85, 0x86, 0x87: // TUPLE1 to TUPLE3
		items, err = u.pop(int(op - 0x84))
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	switch op {
	case 'd': // DICT
		d := &dict{}
		if err := d.add(items); err != nil {
			return err
		}
		return u.push(d)
	case 'l', 0x91: // LIST, FROZENSET
		return u.push(&list{append([]any(nil), items...)})
	}
	return u.push(append(tuple(nil), items...)) // TUPLE
}

func (d *dict) add(pairs []any) error {
	if len(pairs)%2 != 0 {
		return errors.New("a dict has a key without a value: damaged")
	}
	for i := 0; i < len(pairs); i += 2 {
		d.keys = append(d.keys, pairs[i])
		d.values = append(d.values, pairs[i+1])
	}
	return nil
}

// fill puts objects into the container below them.
func (u *unpickler) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a': // APPEND
		items, err = u.pop(1)
	case 's': // SETITEM
		items, err = u.pop(2)
	default: // APPENDS, SETITEMS, ADDITEMS
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	target, err := u.top()
	if err != nil {
		return err
	}
	pairs := op == 's' || op == 'u'
	switch t := target.(type) {
	case *list:
		if !pairs {
			t.items = append(t.items, items...)
			return nil
		}
	case *dict:
		if pairs {
			return t.add(items)
		}
	}
	return fmt.Errorf("items are put into %s: damaged", kind(target))
}

// remember stores the top of the stack in the memo, or fetches from it.
func (u *unpickler) remember(op byte) error {
	n, err := uint64(len(u.memo)), error(nil)
	switch op {
	case 'q', 'h': // BINPUT, BINGET
		n, err = u.uint(1)
	case 'r', 'j': // LONG_BINPUT, LONG_BINGET
		n, err = u.uint(4)
	}
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' {
		if n >= uint64(len(u.memo)) {
			return fmt.Errorf("memo entry %d was never stored: damaged", n)
		}
		return u.push(u.memo[n])
	}
	v, err := u.top()
	switch {
	case err != nil:
		return err
	case v == mark{}:
		return errors.New("a mark is stored in the memo: damaged")
	case n < uint64(len(u.memo)):
		u.memo[n] = v
	case n > uint64(len(u.memo)):
		return fmt.Errorf("memo entry %d is stored where %d is next: damaged, or written by an unknown program", n, len(u.memo))
	case n >= maxObjects:
		return fmt.Errorf("more than %d memo entries: not a state dict", maxObjects)
	default:
		u.memo = append(u.memo, v)
	}
	return nil
}

// global pushes the name of a class or function, if it is one that a state dict needs.
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
		t, err := u.pop(2)
		if err != nil {
			return err
		}
		var ok1, ok2 bool
		module, ok1 = t[0].(string)
		name, ok2 = t[1].(string)
		if !ok1 || !ok2 {
			return fmt.Errorf("a name made of %s and %s: damaged", kind(t[0]), kind(t[1]))
		}
	}
	g := global(module + "." + name)
	if !g.allowed() {
		return fmt.Errorf("refused: the file asks to call %s, which a state dict does not need and which could be any program; "+
			"use safetensors, or a file of torch.save(model.state_dict(), ...)", printable(string(g)))
	}
	return u.push(g)
}

// printable is s for a message: no control characters, not too long.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
