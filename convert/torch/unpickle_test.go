package torch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
func le64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

// TestValues checks each instruction that makes data; the pickles are by hand.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		pickle string
		want   any
	}{
		{"N.", nil},
		{"\x88.", true},
		{"\x89.", false},
		{"K\xff.", int64(255)},
		{"M\x01\x02.", int64(513)},
		{"J\xfe\xff\xff\xff.", int64(-2)},
		{"\x8a\x00.", int64(0)},
		{"\x8a\x01\xfe.", int64(-2)},
		{"\x8a\x02\xff\x00.", int64(255)},
		{"\x8a\x08" + le64(1<<63) + ".", int64(-1 << 63)},
		{"\x8a\x09" + le64(0) + "\x01.", object{"int"}},
		{"\x8b" + le32(3) + "\x00\x00\x01.", int64(65536)},
		{"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"X" + le32(2) + "ab.", "ab"},
		{"T" + le32(2) + "ab.", "ab"},
		{"U\x02ab.", "ab"},
		{"\x8c\x02ab.", "ab"},
		{"\x8d" + le64(2) + "ab.", "ab"},
		{"B" + le32(2) + "ab.", []byte("ab")},
		{"C\x02ab.", []byte("ab")},
		{"\x8e" + le64(2) + "ab.", []byte("ab")},
		{"\x96" + le64(2) + "ab.", []byte("ab")},
		{").", tuple(nil)},
		{"K\x01K\x02K\x03\x87.", tuple{int64(1), int64(2), int64(3)}},
		{"K\x01(K\x02K\x03t\x86.", tuple{int64(1), tuple{int64(2), int64(3)}}},
		{"]K\x01a(K\x02K\x03e.", &list{[]any{int64(1), int64(2), int64(3)}}},
		{"(K\x01K\x02l.", &list{[]any{int64(1), int64(2)}}},
		{"\x8f(K\x01\x90.", &list{[]any{int64(1)}}},
		{"(K\x01\x91.", &list{[]any{int64(1)}}},
		{"}K\x01K\x02s(K\x03K\x04u.", &dict{[]any{int64(1), int64(3)}, []any{int64(2), int64(4)}}},
		{"(K\x01K\x02d.", &dict{[]any{int64(1)}, []any{int64(2)}}},
		{"K\x01K\x020.", int64(1)},
		{"K\x01(K\x02K\x031.", int64(1)},
		{"K\x012\x86.", tuple{int64(1), int64(1)}},
		{"K\x05q\x00h\x00\x86.", tuple{int64(5), int64(5)}},
		{"K\x05\x94j" + le32(0) + "\x86.", tuple{int64(5), int64(5)}},
		{"ctorch\nSize\n(K\x02K\x03t\x85R.", tuple{int64(2), int64(3)}},
		{"ctorch\ndevice\nU\x03cpu\x85R.", object{"torch.device"}},
		{"ctorch\nfloat16\n.", global("torch.float16")},
		{"\x8c\x05torch\x8c\x07float16\x93.", global("torch.float16")},
		{"ccollections\nOrderedDict\n]](K\x01K\x02ea\x85R.", &dict{[]any{int64(1)}, []any{int64(2)}}},
		{"ccollections\nOrderedDict\n)R}K\x01K\x02sb.", &dict{}},
		{"ccollections\nOrderedDict\n)\x81.", &dict{}},
	} {
		got, err := unpickle([]byte("\x80\x02" + c.pickle))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %#v, %v, want %#v", c.pickle, got, err, c.want)
		}
	}
}

func TestHostile(t *testing.T) {
	for _, c := range []struct{ name, pickle, want string }{
		{"os.system", "cos\nsystem\nU\x04true\x85R.", "offset 2: refused: the file asks to call os.system,"},
		{"by the stack", "\x8c\x05posix\x8c\x06system\x93.", "offset 17: refused: the file asks to call posix.system,"},
		{"eval", "c__builtin__\neval\n.", "__builtin__.eval"},
		{"control characters", "cos\x1b[2J\nx\n.", "os?[2J.x"},
		{"a long name", "c" + strings.Repeat("x", 5000) + "\nx\n.", "more than 1024 bytes"},
		{"a name without end", "cos", "cut short"},
		{"INST", "(ios\nsystem\n.", "instruction 0x69"},
		{"OBJ", "(o.", "instruction 0x6f"},
		{"NEWOBJ_EX", ")\x92.", "instruction 0x92"},
		{"EXT1", "\x82\x01.", "instruction 0x82"},
		{"PERSID", "Px\n.", "instruction 0x50"},
		{"protocol 0", "\x80\x00N.", "protocol 0"},
		{"protocol 6", "\x80\x06N.", "protocol 6"},
		{"calling a number", "K\x01)R.", "refused: a call of a number"},
		{"calling an element type", "ctorch\nfloat32\n)R.", "refused: a call of torch.float32"},
		{"calling with a list", "ctorch\nSize\n]R.", "refused: a call of torch.Size with a list"},
		{"Size of nothing", "ctorch\nSize\n)R.", "no arguments"},
		{"OrderedDict of a number", "ccollections\nOrderedDict\nK\x01\x85R.", "a list of pairs"},
		{"OrderedDict of numbers", "ccollections\nOrderedDict\n]K\x01a\x85R.", "in place of a pair"},
		{"tensor of nothing", "ctorch._utils\n_rebuild_tensor_v2\n)R.", "fewer than 4"},
		{"tensor of numbers", "ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00K\x00K\x00tR.", "a number, a number, a number, a number in place of"},
		{"storage of nothing", ")Q.", "persistent id that is a tuple"},
		{"storage of another kind", "(U\x06moduleK\x01K\x01K\x01K\x01tQ.", "persistent id"},
		{"storage of numbers", "(U\x07storageK\x01K\x01K\x01K\x01tQ.", "are not a class, a string and a number"},
		{"huge string", "X\xff\xff\xff\xffab.", "4294967295 bytes"},
		{"huge string of 8 bytes", "\x8d" + strings.Repeat("\xff", 8) + "ab.", "18446744073709551615 bytes"},
		{"string past the end", "X\x00\x01\x00\x00ab.", "cut short"},
		{"huge integer", "\x8b\xff\xff\xff\x7f.", "2147483647 bytes"},
		{"huge bytes", "B\xff\xff\xff\xff.", "4294967295 bytes"},
		{"empty stack", "0.", "stack holds"},
		{"nothing", ".", "0 objects on the stack"},
		{"two results", "NN.", "2 objects"},
		{"no mark", "K\x01t.", "no mark"},
		{"a mark as a value", "(\x85.", "takes a mark"},
		{"a mark in the memo", "(q\x00.", "mark is stored"},
		{"a memo entry that is not there", "h\x00.", "never stored"},
		{"a memo entry far away", "Nr\xff\xff\xff\xff.", "4294967295 is stored where 0 is next"},
		{"a key without a value", "}(K\x01u.", "without a value"},
		{"items for a number", "K\x01K\x02a.", "items are put into a number"},
		{"pairs for a list", "](K\x01K\x02u.", "items are put into a list"},
		{"no end", "N", "cut short"},
		{"empty", "", "cut short"},
		{"deep marks", strings.Repeat("(", maxDepth+1), "stack of more than"},
		{"many objects", strings.Repeat("N0", maxObjects+1), "more than 2097152 objects"},
		{"many memo entries", "N" + strings.Repeat("\x94", maxObjects+1), "more than 2097152 memo entries"},
		// One list of 10,000 pairs, made into dict after dict.
		{"amplification", "ccollections\nOrderedDict\nq\x00](" + strings.Repeat("))\x86", 10_000) + "e\x85q\x010](" + strings.Repeat("h\x00h\x01R", 1000), "more than 2097152 objects"},
		{"deep tuples", strings.Repeat("N\x85", 10) + strings.Repeat("\x85", 100_000) + "\x8c", "cut short"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := unpickle([]byte("\x80\x02" + c.pickle))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
		if err != nil && (len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%s: %q", c.name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 300<<20 {
			t.Errorf("%s: %d bytes allocated", c.name, n)
		}
	}
}

// TestSelfReference ends where something walks through what it was given.
func TestSelfReference(t *testing.T) {
	for _, pickle := range []string{
		"]q\x00h\x00a.",                                 // a list that holds itself
		"}q\x00U\x05modelh\x00s.",                       // a dict that holds itself as its model
		"}q\x00U\x0astate_dicth\x00sU\x01xNs.",          //
		"ccollections\nOrderedDict\n]q\x00h\x00a\x85R.", // pairs made of itself
	} {
		v, err := unpickle([]byte("\x80\x02" + pickle))
		if err != nil {
			continue
		}
		if _, err := (&archive{}).stateDict(v, "x"); err == nil {
			t.Errorf("%q is a state dict", pickle)
		}
	}
}

func TestPickleTruncations(t *testing.T) {
	for proto := byte(2); proto <= 5; proto++ {
		b := stateDict(proto, fixture{name: "a", class: "HalfStorage", key: "0", elems: 60, offset: 10, shape: []int64{1, 5, 1, 10}, stride: []int64{50, 10, 10, 1}})
		for n := range len(b) {
			if _, err := unpickle(b[:n]); err == nil {
				t.Errorf("protocol %d: the first %d of %d bytes are taken for a whole pickle", proto, n, len(b))
			}
		}
	}
}

// seeds is pickles for the fuzz tests: the fixtures, and what was once of interest.
func seeds() [][]byte {
	f := fixture{name: "w", class: "HalfStorage", key: "0", elems: 10, shape: []int64{2, 5}, stride: []int64{1, 2}}
	u := fixture{name: "u", class: "UntypedStorage", key: "0", elems: 20, shape: []int64{5}, stride: []int64{2}, dtype: "bfloat16", parameter: true}
	var out [][]byte
	for proto := byte(2); proto <= 5; proto++ {
		out = append(out, stateDict(proto, f, u))
	}
	for _, s := range []string{
		"cos\nsystem\nU\x04true\x85R.", "]q\x00h\x00a.", "(U\x07storageK\x01K\x01K\x01K\x01tQ.", "ccollections\nOrderedDict\n]](K\x01K\x02ea\x85R.",
		"\x8b\x03\x00\x00\x00\x00\x00\x01.", "ctorch\nSize\n(K\x02K\x03t\x85R.",
	} {
		out = append(out, []byte("\x80\x02"+s))
	}
	return out
}

func FuzzUnpickle(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	storage := checkpointOf(f, nil, halves(10))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := unpickle(b)
		if err != nil {
			return
		}
		a, err := openArchive(bytes.NewReader(storage), int64(len(storage)))
		if err != nil {
			t.Fatal(err)
		}
		tensors, err := a.stateDict(v, "x")
		if err != nil {
			return
		}
		for i := range tensors {
			if n := tensors[i].Bytes(); n < 0 || n > 20 {
				t.Fatalf("%s: %d bytes out of a storage of 20", tensors[i].Name, n)
			}
			content(t, &tensors[i])
		}
	})
}

func FuzzZip(f *testing.F) {
	for _, s := range seeds() {
		f.Add(checkpointOf(f, s, halves(10)))
	}
	f.Add(truncatable(f))
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parseBytes(b)
		if err != nil {
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Fatalf("an error of several lines: %q", err)
			}
			return
		}
		for i := range tensors {
			if n := tensors[i].Bytes(); n < 0 || n > int64(len(b)) {
				t.Fatalf("%s: %d bytes out of a file of %d", tensors[i].Name, n, len(b))
			}
			content(t, &tensors[i])
		}
	})
}
