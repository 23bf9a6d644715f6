package torch

import (
	"errors"
	"fmt"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// maxGlobal is the longest module or name that is looked at.
const maxGlobal = 1 << 10

// maxKey is the longest key of a storage.
const maxKey = 64

// global is the name of a class, a function or an element type, with its module: a name, nothing that could be called.
type global string

// classes is the types of storages; they are named in persistent ids.
var classes = map[global]memmap.DType{
	"torch.FloatStorage":           memmap.F32,
	"torch.HalfStorage":            memmap.F16,
	"torch.BFloat16Storage":        memmap.BF16,
	"torch.DoubleStorage":          source.F64,
	"torch.LongStorage":            source.I64,
	"torch.IntStorage":             source.I32,
	"torch.ShortStorage":           source.I16,
	"torch.CharStorage":            memmap.I8,
	"torch.ByteStorage":            memmap.U8,
	"torch.BoolStorage":            source.Bool,
	"torch.storage.UntypedStorage": memmap.U8, // bytes; the tensor names its element type
}

// dtypes is the element types; they stand in tensors of untyped storages, and beside tensors.
var dtypes = map[global]memmap.DType{
	"torch.float32":       memmap.F32,
	"torch.float16":       memmap.F16,
	"torch.bfloat16":      memmap.BF16,
	"torch.float64":       source.F64,
	"torch.int64":         source.I64,
	"torch.int32":         source.I32,
	"torch.int16":         source.I16,
	"torch.int8":          memmap.I8,
	"torch.uint64":        source.U64,
	"torch.uint32":        memmap.U32,
	"torch.uint16":        source.U16,
	"torch.uint8":         memmap.U8,
	"torch.bool":          source.Bool,
	"torch.float8_e4m3fn": source.F8E4M3,
	"torch.float8_e5m2":   source.F8E5M2,
}

// calls is what a pickle may call, and what stands here in place of the result.
var calls = map[global]func(u *unpickler, args tuple) (any, error){
	"collections.OrderedDict":                    orderedDict,
	"torch._utils._rebuild_tensor":               rebuildTensor,
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_tensor_v3":            rebuildTensorV3,
	"torch._utils._rebuild_parameter":            firstArgument,
	"torch._utils._rebuild_parameter_with_state": firstArgument,
	"torch.Size":   firstArgument,
	"torch.device": func(*unpickler, tuple) (any, error) { return object{"torch.device"}, nil },
}

func (g global) allowed() bool {
	_, isClass := classes[g]
	_, isDType := dtypes[g]
	_, isCall := calls[g]
	return isClass || isDType || isCall
}

// call replaces a function and its arguments by the result.
func (u *unpickler) call() error {
	t, err := u.pop(2)
	if err != nil {
		return err
	}
	g, ok1 := t[0].(global)
	args, ok2 := t[1].(tuple)
	f := calls[g]
	if !ok1 || !ok2 || f == nil {
		return fmt.Errorf("refused: a call of %s with %s", kind(t[0]), kind(t[1]))
	}
	v, err := f(u, args)
	if err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	return u.push(v)
}

// persistent replaces a persistent id by the storage that it means.
func (u *unpickler) persistent() error {
	id, err := u.pop(1)
	if err != nil {
		return err
	}
	t, ok := id[0].(tuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return fmt.Errorf("a persistent id that is %s, not ('storage', type, key, location, size): damaged", kind(id[0]))
	}
	class, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	elems, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 || elems < 0 {
		return errors.New("a storage whose type, key and size are not a class, a string and a number: damaged")
	}
	if _, ok := classes[class]; !ok {
		return fmt.Errorf("a storage of type %s, which is none", class)
	}
	if len(key) > maxKey || printable(key) != key {
		return fmt.Errorf("a storage with the key %.80q; torch.save numbers them", key)
	}
	return u.push(&storage{class, key, elems})
}

func orderedDict(u *unpickler, args tuple) (any, error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	pairs, ok := args[0].(*list)
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("%d arguments, the first one %s; none or a list of pairs is expected", len(args), kind(args[0]))
	}
	if err := u.charge(len(pairs.items)); err != nil {
		return nil, err // one list can be the argument of many calls
	}
	for _, it := range pairs.items {
		pair, _ := it.(tuple)
		if l, ok := it.(*list); ok {
			pair = l.items
		}
		if len(pair) != 2 {
			return nil, fmt.Errorf("%s in place of a pair", kind(it))
		}
		d.keys, d.values = append(d.keys, pair[0]), append(d.values, pair[1])
	}
	return d, nil
}

func firstArgument(_ *unpickler, args tuple) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("no arguments")
	}
	return args[0], nil
}

// rebuildTensor is _rebuild_tensor_v2(storage, storage_offset, size, stride, ...).
func rebuildTensor(u *unpickler, args tuple) (any, error) {
	v, err := newView(u, args)
	if err == nil && v.storage.class == "torch.storage.UntypedStorage" {
		return nil, errors.New("an untyped storage, and nothing names the type of the elements")
	}
	return v, err
}

// rebuildTensorV3 is _rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, ...).
func rebuildTensorV3(u *unpickler, args tuple) (any, error) {
	v, err := newView(u, args)
	if err != nil {
		return nil, err
	}
	if len(args) < 7 {
		return nil, fmt.Errorf("%d arguments, fewer than 7", len(args))
	}
	g, ok := args[6].(global)
	if v.dtype = dtypes[g]; !ok || v.dtype == "" {
		return nil, fmt.Errorf("%s in place of an element type", kind(args[6]))
	}
	return v, nil
}

func newView(u *unpickler, args tuple) (*view, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("%d arguments, fewer than 4", len(args))
	}
	st, ok1 := args[0].(*storage)
	off, ok2 := args[1].(int64)
	shape, ok3 := ints(args[2])
	stride, ok4 := ints(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(stride) {
		return nil, fmt.Errorf("%s, %s, %s, %s in place of storage, offset, size and stride", kind(args[0]), kind(args[1]), kind(args[2]), kind(args[3]))
	}
	if err := u.charge(8); err != nil {
		return nil, err // a view is as large as some numbers
	}
	return &view{storage: st, dtype: classes[st.class], offset: off, shape: shape, stride: stride}, nil
}

// ints is a tuple of integers, of no more than a tensor has dimensions.
func ints(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > source.MaxDims {
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
