package body

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"bimamba/edge/chat"
)

type three struct{}

func (three) Limit() (string, int) { return "things", 3 }

// large is what an element of a few bytes becomes.
type large struct {
	A [40]string
	N List[int, three]
}

// TestList takes arrays up to the limit.
func TestList(t *testing.T) {
	for _, c := range []struct {
		json string
		n    int // -1 for an error
	}{
		{`[]`, 0}, {` [ ] `, 0}, {`null`, 0}, {`[1]`, 1}, {`[1,2,3]`, 3}, {`[[1,2,3,4],{"a":1,"b":[1,2]},"a,b,\",c"]`, 3}, {`["\\",",","]"]`, 3},
		{`[1,2,3,4]`, -1}, {"[1,\n2 , 3\t,[]]", -1}, {`{"a":[1,2,3,4]}`, -2}, {`"a,b,c,d"`, -2},
	} {
		var l List[any, three]
		err := json.Unmarshal([]byte(c.json), &l)
		e, limited := errors.AsType[*chat.Error](err)
		if len(l) != max(c.n, 0) || (err != nil) != (c.n < 0) || limited != (c.n == -1) || limited && (e.Param != "things" || !strings.Contains(e.Message, "more than 3")) {
			t.Errorf("%s: %v, %v", c.json, l, err)
		}
	}
	// Within a struct an error of type says where it is.
	var v struct {
		L List[large, three] `json:"l"`
	}
	if e, ok := errors.AsType[*chat.Error](Unmarshal([]byte(`{"l":[{},{"N":["x"]}]}`), &v)); !ok || e.Param != "l.N" {
		t.Errorf("%v", e)
	}
}

// TestMemory decodes a megabyte of small elements: it takes little more than the body.
func TestMemory(t *testing.T) {
	text := `{"l":[` + strings.Repeat("{},", 350_000) + `{}]}`
	var v struct {
		L List[large, three] `json:"l"`
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader(text))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := Decode(r, &v)
	runtime.ReadMemStats(&after)
	if e, ok := errors.AsType[*chat.Error](err); !ok || e.Param != "l" && e.Param != "things" {
		t.Errorf("%v", err)
	}
	n := (after.TotalAlloc - before.TotalAlloc) >> 20
	if n > 12 { // the body is read into slices that grow
		t.Errorf("a body of %d bytes took %d MB", len(text), n)
	}
	t.Logf("%d MB", n)
}

// TestWaits keeps more than a few from being decoded at once, and no longer than their clients are there.
func TestWaits(t *testing.T) {
	for range cap(decoding) {
		decoding <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	decode := func() {
		var v any
		done <- Decode(httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader("{}")), &v)
	}
	go decode()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a client that has gone waits")
	}
	for range cap(decoding) {
		<-decoding
	}
	ctx = t.Context()
	go decode()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzCount counts what encoding/json does.
func FuzzCount(f *testing.F) {
	for _, s := range []string{`[]`, `[1,[2,3],"a,\"]",{"x":[1,2]}]`, `{"a":1}`, `"\\"`, `[`, `["\`, ` [ null ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []json.RawMessage
		n, err := Count(b, "x", 5)
		if !json.Valid(b) || bytes.TrimSpace(b)[0] != '[' {
			return // arrays alone are counted
		}
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatal(err)
		}
		if (err != nil) != (len(list) > 5) || err == nil && n != len(list) {
			t.Errorf("%q: %d, %v, not %d", b, n, err, len(list))
		}
	})
}
