package wyoming

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// golden is events as they are written.
var golden = []struct {
	kind    string
	data    any
	payload string
	want    string
}{
	{"describe", nil, "", `{"type":"describe","version":"1.9.0"}` + "\n"},
	{"ping", spoken{}, "", `{"type":"ping","version":"1.9.0"}` + "\n"},
	{
		"transcript", utterance{"turn on the lamp", "en", session{Conversation: "01J"}}, "",
		`{"type":"transcript","version":"1.9.0","data_length":79}` + "\n" + `{"text":"turn on the lamp","language":"en","context":{"conversation_id":"01J"}}`,
	},
	{
		"intent", Intent{Name: "HassLightSet", Entities: []Entity{{"brightness", 40}, {"name", "küche <1>"}}}, "",
		`{"type":"intent","version":"1.9.0","data_length":106}` + "\n" +
			`{"name":"HassLightSet","entities":[{"name":"brightness","value":40},{"name":"name","value":"küche <1>"}]}`,
	},
	{
		"audio-chunk", audioData{Format: Format{16000, 2, 1}}, "\x00\n{}",
		`{"type":"audio-chunk","version":"1.9.0","data_length":37,"payload_length":4}` + "\n" + `{"rate":16000,"width":2,"channels":1}` + "\x00\n{}",
	},
	{"audio-chunk", nil, "pcm", `{"type":"audio-chunk","version":"1.9.0","payload_length":3}` + "\n" + "pcm"},
}

func encode(t testing.TB, kind string, data any, payload string) []byte {
	t.Helper()
	e, err := NewEvent(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	if payload != "" {
		e.Payload = []byte(payload)
	}
	b, err := Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	var all []byte
	for _, g := range golden {
		b := encode(t, g.kind, g.data, g.payload)
		if string(b) != g.want {
			t.Errorf("%s:\n%s\nwant\n%s", g.kind, b, g.want)
		}
		all = append(all, b...)
	}
	// In whatever parts they come, the same events are read.
	for split := range len(all) + 1 {
		r := NewReader(io.MultiReader(bytes.NewReader(all[:split]), bytes.NewReader(all[split:])), Limits{})
		checkGolden(t, r)
	}
	checkGolden(t, NewReader(iotest.OneByteReader(bytes.NewReader(all)), Limits{}))
	checkGolden(t, NewReader(iotest.DataErrReader(bytes.NewReader(all)), Limits{}))
	// Cut anywhere, they end in the middle or between two.
	ends := map[int]bool{0: true}
	for n, rest := 0, golden; len(rest) > 0; rest = rest[1:] {
		n += len(encode(t, rest[0].kind, rest[0].data, rest[0].payload))
		ends[n] = true
	}
	for n := range all {
		r := NewReader(bytes.NewReader(all[:n]), Limits{})
		var err error
		for err == nil {
			_, err = r.Read()
		}
		want := io.ErrUnexpectedEOF
		if ends[n] {
			want = io.EOF
		}
		if err != want {
			t.Fatalf("after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func checkGolden(t *testing.T, r *Reader) {
	t.Helper()
	for _, g := range golden {
		e, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := NewEvent(g.kind, g.data)
		if e.Type != g.kind || string(e.Data) != string(want.Data) || string(e.Payload) != g.payload {
			t.Fatalf("%s: %s %s %q", g.kind, e.Type, e.Data, e.Payload)
		}
	}
	if e, err := r.Read(); err != io.EOF {
		t.Fatalf("behind the last event: %v, %v", e, err)
	}
}

// TestRead is what other writers may write, and what is refused.
func TestRead(t *testing.T) {
	limits := Limits{Header: 400, Data: 50, Payload: 20}
	for _, tt := range []struct {
		name, in string
		data     string // of the first event, as JSON
		payload  string
		err      string // in part
	}{
		{"inline data", `{"type":"t","data":{"a":1}}` + "\n", `{"a":1}`, "", ""},
		{"data behind", `{"data_length": 7, "type": "t"}` + "\n" + `{"a":1}`, `{"a":1}`, "", ""},
		{"both, that behind wins", `{"type":"t","data":{"a":1,"b":{"c":2}},"data_length":13}` + "\n" + `{"b":3,"d":4}`, `{"a":1,"b":3,"d":4}`, "", ""},
		{"nulls", `{"type":"t","data":null,"data_length":null,"payload_length":null}` + "\n", "", "", ""},
		{"zeros", `{"type":"t","data_length":0,"payload_length":0}` + "\n", "", "", ""},
		{"unknown fields", `{"type":"t","version":[1],"x":{"type":"u"},"data":{"y":null}}` + "\n", `{"y":null}`, "", ""},
		{"carriage return", `{"type":"t"}` + "\r\n", "", "", ""},
		{"payload with lines", `{"type":"t","payload_length":3}` + "\n\n{\n", "", "\n{\n", ""},
		{"long line", `{"type":"t","x":"` + strings.Repeat("x", 380) + `"}` + "\n", "", "", ""},
		{"a line too long", `{"type":"t","x":"` + strings.Repeat("x", 381) + `"}` + "\n", "", "", "longer than 400 bytes"},
		{"no end of the line", strings.Repeat("x", 10000), "", "", "longer than 400 bytes"},
		{"empty line", "\n", "", "", "no JSON"},
		{"no JSON", "GET / HTTP/1.1\r\n", "", "", "no JSON"},
		{"no object", "[1]\n", "", "", "is a JSON array"},
		{"null", "null\n", "", "", "no type"},
		{"no type", `{"data":{}}` + "\n", "", "", "no type"},
		{"empty type", `{"type":""}` + "\n", "", "", "no type"},
		{"type of another kind", `{"type":1}` + "\n", "", "", "type is a JSON number"},
		{"data is no object", `{"type":"t","data":[]}` + "\n", "", "", "is a JSON array"},
		{"data behind is no object", `{"type":"t","data_length":4}` + "\n" + "null", "", "", "is null"},
		{"data behind is no JSON", `{"type":"t","data_length":3}` + "\n" + `{"a`, "", "", "no JSON"},
		{"much data", `{"type":"t","data_length":51}` + "\n", "", "", "51 bytes of data"},
		{"much payload", `{"type":"t","payload_length":21}` + "\n", "", "", "21 bytes of payload"},
		{"endless", `{"type":"t","payload_length":9223372036854775807}` + "\n", "", "", "bytes of payload"},
		{"negative", `{"type":"t","data_length":-1}` + "\n", "", "", "-1 bytes of data"},
		{"half a byte", `{"type":"t","data_length":1.5}` + "\n", "", "", "data_length is a JSON number"},
		{"deep", `{"type":"t","data":` + strings.Repeat("[", 300) + "\n", "", "", "no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := NewReader(strings.NewReader(tt.in), limits).Read()
			if tt.err != "" {
				if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v; want %q", err, tt.err)
				}
				return
			}
			if err != nil || e.Type != "t" || string(e.Data) != tt.data || string(e.Payload) != tt.payload {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	r := NewReader(strings.NewReader(`{"type":"t","payload_length":9}`+"\n"+`{"type":"u"`+"}\n"), Limits{Skip: true})
	if e, err := r.Read(); err != nil || e.Payload != nil {
		t.Errorf("a payload is kept: %v, %v", e, err)
	}
	if e, err := r.Read(); err == nil {
		t.Errorf("the payload was not read past: %v", e)
	}
}

// FuzzRead reads anything. What is an event is the same when it is written and read again, and was within the limits.
func FuzzRead(f *testing.F) {
	for _, g := range golden {
		f.Add(encode(f, g.kind, g.data, g.payload))
	}
	f.Add([]byte(`{"type":"t","data":{"a":1,"b":{"c":2}},"data_length":13}` + "\n" + `{"b":3,"d":4}` + `{"type":"u"}` + "\n"))
	f.Add([]byte("{\"type\":\"\xff\",\"data\":{\"\\ud800\":1e400},\"payload_length\":2}\n\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		limits := Limits{Header: 300, Data: 200, Payload: 100}
		r, skip := NewReader(bytes.NewReader(in), limits), NewReader(bytes.NewReader(in), Limits{300, 200, 100, true})
		for {
			e, err := r.Read()
			s, skipErr := skip.Read()
			if (err == nil) != (skipErr == nil) {
				t.Fatalf("%v, and %v where payloads are skipped", err, skipErr)
			}
			if err != nil {
				return
			}
			if s.Type != e.Type || !bytes.Equal(s.Data, e.Data) || s.Payload != nil {
				t.Fatalf("%+v and %+v", e, s)
			}
			if len(e.Data) > 500 || len(e.Payload) > 100 {
				t.Fatalf("%d bytes of data, %d of payload", len(e.Data), len(e.Payload))
			}
			b, err := Append(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			again, err := NewReader(bytes.NewReader(b), Limits{}).Read()
			if err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			if again.Type != e.Type || !bytes.Equal(again.Payload, e.Payload) || !reflect.DeepEqual(fields(t, e), fields(t, again)) {
				t.Fatalf("%+v, and again %+v", e, again)
			}
		}
	})
}

func fields(t *testing.T, e *Event) []string {
	var m map[string]json.RawMessage
	if err := e.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(m))
}
