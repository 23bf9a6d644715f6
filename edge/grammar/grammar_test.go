package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func compile(t testing.TB, schema string) *Grammar {
	t.Helper()
	g, err := Schema([]byte(schema))
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	return g
}

// accepts gives a text to a grammar byte by byte; each byte has to be in the mask where Accept takes it, and the other way round.
func accepts(t testing.TB, g *Grammar, v *Vocab, text string) bool {
	t.Helper()
	m := g.Start(v)
	for i := range len(text) {
		c := uint32(text[i])
		mask := m.Mask(NoLimit)
		err := m.Accept(c)
		if allowed := mask != nil && has(mask, c); allowed != (err == nil) {
			t.Fatalf("%q: byte %d is allowed: %v, accepted: %v", text, i, allowed, err)
		}
		if err != nil {
			return false
		}
	}
	mask := m.Mask(NoLimit)
	if end := mask != nil && has(mask, 256); end != m.Complete() {
		t.Fatalf("%q: the end is allowed: %v, the text complete: %v", text, end, m.Complete())
	}
	if m.Final() && (!m.Complete() || m.Mask(NoLimit) == nil) {
		t.Fatalf("%q is final but not complete", text)
	}
	return m.Complete()
}

// TestAccept reads texts byte by byte.
func TestAccept(t *testing.T) {
	v := byteVocab()
	for _, c := range []struct{ schema, yes, no string }{
		{`{"type":"string"}`, "\"\"|\"a\"| \"é日😀\"|\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\\uFFFF\"", "a|\"|\"a|  \"\"|\"\n\"|\"\\x\"|\"\\uD83D\"|\"\\uDE00\"|\"\\uD83Dx\"|\"\xc3\"|\"\xff\"|\"\xc0\xaf\"|\"\xed\xa0\x80\"|\"\xf4\x90\x80\x80\"|\"\"\""},
		{`{"type":"integer"}`, "0|-1|7|123456789012345", "00|-0|01|1.0|1e1|+1|1234567890123456|-"},
		{`{"type":"number"}`, "0|-0|-0.5|12.25|1e5|1E-5|1.5e+10|0.123456789012345", "01|.5|1.|1e|1e100|-|0.1234567890123456|NaN"},
		{`{"type":"boolean"}`, "true|false", "True|tru|null"},
		{`{"type":"null"}`, "null", "nul|nulll"},
		{`{"type":["string","null"],"maxLength":2}`, `"ab"|null|""|"éé"|"\ud83d\ude00😀"`, `"abc"|"\ud83d\ude00😀a"|1`},
		{`{"type":"string","minLength":2,"maxLength":3}`, `"ab"|"日本語"`, `"a"|"日"|"abcd"`},
		{`{"type":"string","minLength":2}`, `"ab"|"abcdefgh"`, `"a"|""`},
		{`{"type":"integer","minimum":-12,"maximum":105}`, "-12|-9|0|9|99|105", "-13|-0|106|110|1000|-100|012"},
		{`{"type":"integer","exclusiveMinimum":-12,"exclusiveMaximum":-3}`, "-11|-4", "-12|-3|0|-1|4|-110"},
		{`{"type":"integer","minimum":0.5,"maximum":2.5}`, "1|2", "0|3|-1"},
		{`{"type":"integer","minimum":3}`, "3|30|999999999999999", "2|0|-3|1000000000000000"},
		{`{"type":"integer","minimum":1,"maximum":9223372036854775807}`, "9223372036854775807", "9223372036854775808|0"},
		{`{"type":"number","minimum":-1.5,"maximum":2.25}`, "-1.5|-1.4999|0|0.0|2.25|2.250|2|-0.001|1.9", "-1.51|2.2501|2.26|3|-2|-0|-0.0"},
		{`{"type":"number","exclusiveMinimum":0,"maximum":1}`, "0.1|1|1.0|0.0001", "0|0.0|1.1|-0.1|00.1"},
		{`{"type":"number","minimum":0,"exclusiveMaximum":1}`, "0|0.0|0.999", "1|1.0|-0.1"},
		{`{"type":"number","minimum":1e2,"maximum":1.005e2}`, "100|100.5|100.49", "99.9|100.51|1e2"},
		{`{"type":"number","multipleOf":1,"minimum":2,"maximum":3}`, "2|3", "2.5|2.0"},
		{`{"minimum":5,"exclusiveMinimum":true}`, "5.1|6|999999998.123456", "5|4|5.0"},
		{`{"enum":["a","b\"c",1,2.5,null,true,[1,"x"],{"k":[]}]}`, `"a"|"b\"c"|1|2.5|null|true|[1,"x"]|[1, "x"]|{"k":[]}|{"k": []}`, `"b"|3|false|[1]|{}`},
		{`{"type":"string","enum":["a",1,"ab"]}`, `"a"|"ab"`, `1|"b"`},
		{`{"const":{"a":[1,2]}}`, `{"a":[1,2]}|{"a": [1, 2]}`, `{"a":[2,1]}`},
		{`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"}},"required":["b"]}`,
			`{"a":1,"b":"x","c":null}|{"a": 1, "b": "x"}|{"b":"x"}|{"b":"x","c":null}`, `{}|{"a":1}|{"b":"x","a":1}|{"b":"x",}|{,"b":"x"}|{"b":"x","d":1}|{"b":"x" }|{"b" :"x"}|{"a":1,"c":null}`},
		{`{"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"integer"}}}`, `{}|{"a":1}|{"ab":2}|{"a":1,"ab":2}`, `{"ab":1,"a":2}|{"abc":1}|{"a":1,"a":1}`},
		{`{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"null"}}`, `{}|{"a":1}|{"a":1,"b":null}|{"b":null,"c":null}|{"aa":null}|{"":null}|{"é":null}`,
			`{"a":null}|{"b":null,"a":1}|{"b":1}|{"a":1,"a":null}|{"\u0061":null}|{"b":null,}`},
		{`{"type":"object","additionalProperties":{"type":"integer"}}`, `{}|{"x":1}|{"x":1, "y":2}`, `{"x":"1"}`},
		{`{"type":"object","additionalProperties":false}`, `{}`, `{"a":1}`},
		{`{"type":"object"}`, `{}|{"x":[1,{"y":null}]}`, `[]`},
		{`{"required":["x"]}`, `{"x":1}|{"x":{"z":[]}}`, `{}|{"y":1}`},
		{`{"type":"array","items":{"type":"integer"}}`, `[]|[1]|[1,2]|[1, 2,3]`, `[,]|[1,]|["a"]|[1  ,2]|[`},
		{`{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3}`, `[1,2]|[1,2,3]`, `[]|[1]|[1,2,3,4]`},
		{`{"type":"array","items":{"type":"integer"},"minItems":2}`, `[1,2]|[1,2,3,4,5]`, `[]|[1]`},
		{`{"type":"array","maxItems":0}`, `[]`, `[1]`},
		{`{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}]}`, `[1,"a"]`, `[1]|["a",1]|[1,"a",2]`},
		{`{"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"}}`, `[1]|[1,null,null]`, `[]|[null]`},
		{`{"items":[{"const":1}],"additionalItems":false}`, `[1]`, `[]|[1,1]`},
		{`{"anyOf":[{"type":"integer"},{"type":"string","maxLength":1},{"const":"xyz"}]}`, `1|"x"|"xyz"`, `"xy"|null`},
		{`{"anyOf":[{"type":"object","properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k","x"]},{"type":"object","properties":{"k":{"const":"b"},"y":{"type":"null"}},"required":["k","y"]}]}`,
			`{"k":"a","x":1}|{"k":"b","y":null}`, `{"k":"a","y":null}|{"k":"b","x":1}`},
		{`{"oneOf":[{"type":"integer"},{"type":"null"}]}`, `1|null`, `"x"`},
		{`{"oneOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["b"]}]}`, `{"a":1}|{"b":2}`, `{"a":1,"b":2}|{}`},
		{`{"oneOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"},{"enum":["x","y"]},{"anyOf":[{"type":"integer"},{"type":"boolean"}]}],"$defs":{"k":{"const":"a"},
			"a":{"type":"object","properties":{"k":{"$ref":"#/$defs/k"}},"required":["k"]},"b":{"allOf":[{"$ref":"#/$defs/c"},{"properties":{"k":{"const":"b"}}}]},"c":{"type":"object","required":["k"]}}}`,
			`{"k":"a"}|{"k":"b"}|"x"|7|true`, `{"k":"c"}|"z"|{}|null`},
		{`{"oneOf":[{"const":1},{"enum":[2,3]},{"const":{"a":1}},{"const":{"a":1,"b":2}},{"const":[1]}]}`, `1|2|{"a":1}|{"a":1,"b":2}|[1]`, `4|{}`},
		{`{"prefixItems":[{"type":"integer"},{"$ref":"#/prefixItems/0"}]}`, `[1,2]`, `[1]|[1,"a"]`},
		{`{"type":["integer","null"],"anyOf":[{"type":"integer"},{"const":null}]}`, `1|null`, `"x"`},
		{`{"allOf":[true,{"type":"integer"}]}`, `1`, `"x"`},
		{`{"maximum":-1e16}`, `-10000000000000000|-10000000000000001`, `-1e16|-9999999999999999|0`},
		{`{"maximum":1e300,"minimum":-1e300}`, `0|-1.5e10`, `"x"`},
		{`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"]}}}`,
			`{"v":1,"next":null}|{"v":1,"next":{"v":2,"next":null}}`, `{"v":1}|{"v":1,"next":{}}`},
		{`{"type":"array","items":{"$ref":"#"}}`, `[]|[[],[[]]]`, `[1]|[[]`},
		{`{"allOf":[{"$ref":"#/definitions/a"}],"title":"T","definitions":{"a":{"type":"integer"}}}`, `1`, `"a"`},
		{`{"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"null"}}}]}`, `{"a":1}|{"a":1,"b":null}`, `{}|{"b":null}`},
		{`{"$ref":"#/$defs/a","required":["b"],"properties":{"b":{"type":"null"}},"type":"object","$defs":{"a":{"type":"object","properties":{"a":{"type":"integer"}}}}}`, `{"b":null}|{"b":null,"a":1}`, `{"a":1}`},
		{`{"type":"string","nullable":true}`, `null|"x"`, `1`},
		{`{"type":"string","pattern":"^[a-c]{2,3}$"}`, `"ab"|"abc"|"ccc"`, `"a"|"abcd"|"xab"|""`},
		{`{"pattern":"b+"}`, `"b"|"abba"|"b\n"|"é b \"x\""`, `"a"|""|"é"`},
		{`{"pattern":"^a"}`, `"a"|"axyz"`, `"ba"|""`},
		{`{"pattern":"^\\p{L}+$","maxLength":3}`, `"é"|"日本語"`, `"1"|""|"abcd"`},
		{`{"$ref":"#/%24defs/a~1b","$defs":{"a/b":{"const":1}}}`, `1`, `2`},
		{`{"pattern":"a$"}`, `"a"|"bba"|"aa"`, `"ab"|""`},
		{`{"pattern":"^(?:\"|\\\\|\\n|é|[\\u65e5-\\u65e6])$"}`, `"\""|"\\"|"\n"|"é"|"日"`, `"a"|"\u00e9"|"本"|""|"`},
		{`{"pattern":"(?i)^ok$"}`, `"ok"|"OK"|"oK"`, `"o"|"okk"`},
		{`{"pattern":"^.{3}$"}`, `"abc"|"日本語"`, `"ab"|"a\nb"|"abcd"`},
		{`{"pattern":"a|^b$"}`, `"xax"|"b"`, `"xb"|"c"`},
		{`{"pattern":"^a*$","minLength":2,"maxLength":3}`, `"aa"|"aaa"`, `""|"a"|"aaaa"|"ab"`},
		{`{"format":"date"}`, `"2024-02-28"|"1999-12-31"|"2020-04-30"`, `"2024-02-30"|"2020-04-31"|"2020-13-01"|"20-01-01"|"2020-1-1"`},
		{`{"format":"date-time"}`, `"2024-02-28T12:00:00Z"|"2024-02-28T23:59:59.5+02:00"`, `"2024-02-28 12:00:00Z"|"2024-02-28T24:00:00Z"|"2024-02-28T12:00:00"`},
		{`{"format":"time"}`, `"12:00:00Z"`, `"12:00"`},
		{`{"format":"uuid"}`, `"123e4567-e89b-12d3-a456-426614174000"`, `"123e4567"`},
		{`{"format":"email"}`, `"a.b@example.org"`, `"a"|"a@b"|"@b.c"`},
		{`{"format":"ipv4"}`, `"192.168.0.1"|"0.0.0.0"`, `"256.1.1.1"|"1.1.1"|"01.1.1.1"`},
		{`{"type":"string","format":"unheard-of"}`, `"x"|""`, `1`},
		{`true`, `1|{"a":[]}|null`, `x`},
		{`{"description":"any"}`, `1|{"a":[]}|"s"`, `x`},
		{`{"properties":{"a":false,"b":{"type":"null"}},"additionalProperties":false}`, `{}|{"b":null}`, `{"a":1}|{"a"`},
	} {
		g := compile(t, c.schema)
		for _, text := range strings.Split(c.yes, "|") {
			if !accepts(t, g, v, text) {
				t.Errorf("%s: %s is not accepted", c.schema, text)
			}
			if err := valid(c.schema, text); err != nil && !strings.Contains(c.schema, `"exclusiveMinimum":true`) {
				t.Errorf("%s: %s should not be accepted: %v", c.schema, text, err)
			}
		}
		for _, text := range strings.Split(c.no, "|") {
			if accepts(t, g, v, text) {
				t.Errorf("%s: %s is accepted", c.schema, text)
			}
		}
	}
}

// TestParts reads texts of the grammars that are no schemas.
func TestParts(t *testing.T) {
	v := byteVocab()
	intent := Concat(JSON(), Choice("\n"), Text('\n'))
	tools := []Tool{{"on", json.RawMessage(`{"type":"object","properties":{"area":{"enum":["kitchen","hall"]}},"required":["area"]}`)}, {"off", nil}}
	free, err := Tools(tools, false)
	if err != nil {
		t.Fatal(err)
	}
	must, err := Tools(tools, true)
	if err != nil {
		t.Fatal(err)
	}
	const call = `{"name": "on", "arguments": {"area": "hall"}}`
	for _, c := range []struct {
		name    string
		g       *Grammar
		yes, no []string
	}{
		{"JSON", JSON(), []string{`{}`, ` {"a":[1,{"b":"c"}], "a":null}`, `{"x":{}}`}, []string{``, `[]`, `1`, `{}}`, `{"a" :1}`, "{\n}", `{"a":1,}`}},
		{"deep", JSON(), []string{`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`}, []string{`{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`}},
		{"Choice", Choice("on", "off", "offline"), []string{"on", "off", "offline"}, []string{"", "o", "offl", "onn"}},
		{"Text", Text(), []string{"", "a\n{é😀"}, []string{"\xff", "é"[:1]}},
		{"Text not", Text('\n', '{'), []string{"", "a b"}, []string{"\n", "a{"}},
		{"Concat", intent, []string{"{\"a\":1}\n", "{}\nTurned on."}, []string{"{}", "{}\na\nb", "\n"}},
		{"Alt", Alt(Choice("a", "ab"), Choice("abc"), JSON()), []string{"a", "ab", "abc", "{}"}, []string{"abcd", ""}},
		{"Concat of Alt", Concat(Alt(Text('x'), Choice("xx")), Text()), []string{"", "a", "xx", "axb", "xxx"}, []string{"\xff"}},
		{"Tools", free, []string{call, `{"name": "off", "arguments": {}}`, ``, `Hello {"name"`, ` {"name": "off", "arguments": {}}`, "\n\nHi", " "},
			[]string{`{`, ` {`, "\n{", `{"name":"off","arguments":{}}`, `{"name": "of", "arguments": {}}`, `{"name": "off", "arguments": {"area":"hall"}}`,
				`{"name": "on", "arguments": {}}`, call + "x"}},
		{"Tools required", must, []string{call}, []string{``, `Hello`}},
	} {
		for _, text := range c.yes {
			if !accepts(t, c.g, v, text) {
				t.Errorf("%s: %q is not accepted", c.name, text)
			}
		}
		for _, text := range c.no {
			if accepts(t, c.g, v, text) {
				t.Errorf("%s: %q is accepted", c.name, text)
			}
		}
	}
}

// schemas are what random texts are made for.
var schemas = []string{
	`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"type":"string"},"maxItems":3}},"required":["name","age"],"additionalProperties":false}`,
	`{"type":"object","properties":{"a":{"type":"number","minimum":-1.5,"exclusiveMaximum":3.25},"b":{"type":"number"},"c":{"type":"integer","exclusiveMinimum":-100}},"required":["a","b","c"]}`,
	`{"$defs":{"t":{"type":"object","properties":{"v":{"type":"integer"},"l":{"anyOf":[{"$ref":"#/$defs/t"},{"type":"null"}]},"r":{"anyOf":[{"$ref":"#/$defs/t"},{"type":"null"}]}},"required":["v","l","r"],"additionalProperties":false}},"$ref":"#/$defs/t"}`,
	`{"type":"array","items":{"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"array","items":{"type":"integer"}}]}}`,
	`{"type":"object","additionalProperties":{"type":["string","integer","null"],"maxLength":5,"minimum":7}}`,
	`{"type":"object","properties":{"id":{"type":"string","format":"uuid"},"at":{"type":"string","format":"date-time"},"day":{"type":"string","format":"date"},"mail":{"type":"string","format":"email"}},"required":["id","at"]}`,
	`{"type":"object","properties":{"code":{"type":"string","pattern":"^[A-Z]{2}-[0-9]{3}$"},"w":{"type":"string","pattern":"ab"},"s":{"type":"string","minLength":3,"maxLength":6}},"required":["code","w","s"]}`,
	`{"anyOf":[{"type":"object","properties":{"kind":{"const":"circle"},"r":{"type":"number"}},"required":["kind","r"]},{"type":"object","properties":{"kind":{"const":"square"},"side":{"type":"number"}},"required":["kind","side"]}]}`,
	`{"oneOf":[{"type":"object","properties":{"kind":{"enum":["a","b"]}},"required":["kind"]},{"type":"object","properties":{"kind":{"const":"c"},"x":{}},"required":["kind"]}]}`,
	`{"type":"array","prefixItems":[{"type":"boolean"},{"enum":["x",2,null,{"a":"b"}]}],"items":{"type":"number"},"minItems":3,"maxItems":6}`,
	`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"},"c":{"type":"string"},"d":{"type":"string"},"e":{"type":"string"}}}`,
	`{"type":"object","properties":{"日本":{"type":"string"},"a\"b":{"type":"boolean"}},"required":["日本"],"additionalProperties":true}`,
	`{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string","nullable":true}},"required":["b"]}]}`,
	`{"type":"object","properties":{"deep":{"type":"object","properties":{"deeper":{"type":"array","minItems":1,"items":{"type":"object","properties":{"deepest":{"const":"here"}},"required":["deepest"]}}},"required":["deeper"]}},"required":["deep"]}`,
	`{"type":"string","minLength":70,"maxLength":200}`,
	`{"type":"string","maxLength":3}`,
	`{"type":["number","boolean"],"minimum":0.001,"maximum":0.002}`,
	`{}`,
}

// TestRandom makes texts of random tokens, with and without a limit. With one they have to be complete in time.
func TestRandom(t *testing.T) {
	_, v := defaultVocab(t)
	for _, v := range []*Vocab{v, wordVocab(words...)} {
		for i, schema := range schemas {
			g := compile(t, schema)
			for seed := range uint64(16) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				limit := 1 + r.IntN(60)
				if seed%4 == 0 {
					limit = 400
				}
				text, done := random(t, g, v, r, limit)
				if !done {
					continue // that it is not possible is checked in random
				}
				if err := valid(schema, text); err != nil {
					t.Fatalf("%s: seed %d: %s: %v", schema, seed, text, err)
				}
			}
		}
	}
}

// random makes a text of at most limit tokens, and false if none can be made.
func random(t testing.TB, g *Grammar, v *Vocab, r *rand.Rand, limit int) (string, bool) {
	return finishText(t, g.Start(v), v, r, limit)
}

func finishText(t testing.TB, m *Matcher, v *Vocab, r *rand.Rand, limit int) (string, bool) {
	var text []byte
	for left := limit; left > 0; left-- {
		need := m.Closing()
		mask := m.Mask(left)
		if m.w.work < -maxThreads*maxWays {
			t.Fatalf("%q: a mask took %d steps more than allowed", text, -m.w.work)
		}
		if mask == nil {
			if left == limit && need > limit {
				return "", false
			}
			t.Fatalf("%q: nothing is allowed with %d tokens left, %d needed", text, left, need)
		}
		var ids []uint32
		for id := range uint32(v.size) {
			if has(mask, id) {
				ids = append(ids, id)
			}
		}
		id := ids[r.IntN(len(ids))]
		if err := m.Accept(id); err != nil {
			t.Fatalf("%q: %v, but the mask allows it", text, err)
		}
		if has(v.isEnd, id) {
			break
		}
		text = append(text, v.piece(id)...)
		if m.Final() {
			break
		}
	}
	if !m.Complete() {
		t.Fatalf("%q is not complete after %d tokens", text, limit)
	}
	if !utf8.Valid(text) {
		t.Fatalf("%q is not UTF-8", text)
	}
	return string(text), true
}

// TestMask compares masks with what single tokens do, by trying them all.
func TestMask(t *testing.T) {
	v := wordVocab(words...)
	tools, err := Tools([]Tool{{"name", nil}, {"ab", json.RawMessage(schemas[2])}}, false)
	if err != nil {
		t.Fatal(err)
	}
	grammars := []*Grammar{JSON(), tools, Concat(Text('1'), Choice("12", "1,"), Text())}
	for _, s := range schemas {
		grammars = append(grammars, compile(t, s))
	}
	for i, g := range grammars {
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			m, try := g.Start(v), g.Start(v)
			for range 40 {
				limit := NoLimit
				if r.IntN(2) == 0 {
					limit = 1 + r.IntN(40)
				}
				mask := m.Mask(limit)
				var allowed []uint32
				for id := range uint32(v.size) {
					try.at.copy(&m.at)
					try.ended = m.ended
					want := try.Accept(id) == nil && try.Closing() >= 0 && try.Closing() < limit
					if got := mask != nil && has(mask, id); got != want {
						t.Fatalf("grammar %d, seed %d, at %v, limit %d: token %d, %q, is allowed: %v, not %v", i, seed, m.at, limit, id, v.piece(id), got, want)
					}
					if want && id != 256 {
						allowed = append(allowed, id)
					}
				}
				if len(allowed) == 0 {
					if limit == NoLimit {
						break
					}
					continue
				}
				if err := m.Accept(allowed[r.IntN(len(allowed))]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestClosing: a short text with few tokens left is closed, not given up.
func TestClosing(t *testing.T) {
	v := wordVocab(words...)
	m := JSON().Start(v)
	for _, s := range []string{`{"`, `a`, `":`, `"`, `ab`} {
		id := uint32(s[0])
		for i, w := range words {
			if w == s {
				id = uint32(257 + i)
			}
		}
		if err := m.Accept(id); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.Closing(); n != 2 {
		t.Errorf("%d tokens close a string in an object, not 2", n)
	}
	if m.Mask(1) == nil { // "} is one token, which the bound may not know; then there is nothing to say
		t.Log("with one token left it is given up")
	}
	mask := m.Mask(2)
	if mask == nil || !has(mask, '"') || has(mask, 'a') {
		t.Error("with two tokens left the string has to be closed")
	}
}

// TestEnd: an end is accepted once, where the text is complete.
func TestEnd(t *testing.T) {
	v := byteVocab()
	m := Choice("a", "ab").Start(v)
	if m.Accept(256) == nil || m.Accept('x') == nil || m.Accept(300) == nil {
		t.Error("what does not fit is accepted")
	}
	if err := m.Accept('a'); err != nil || !m.Complete() || m.Final() {
		t.Errorf("a: %v, complete %v, final %v", err, m.Complete(), m.Final())
	}
	if err := m.Accept('b'); err != nil || !m.Final() || !has(m.Mask(1), 256) {
		t.Errorf("ab: %v, final %v", err, m.Final())
	}
	if err := m.Accept(256); err != nil || m.Mask(10) != nil || m.Accept(256) == nil {
		t.Errorf("the end: %v", err)
	}
	m.Reset()
	if m.Complete() || m.Accept('a') != nil {
		t.Error("Reset does not begin again")
	}
}

// TestFewTokens: where there is no token for a text, no way is taken that would need it.
func TestFewTokens(t *testing.T) {
	list := []string{"", `{`, `}`, `"`, `ab`, `:`, `,`, "\xe6\x97", "\xe6\x97\xa5", `[`, `nul`, `null`}
	v := newVocab(len(list), []uint32{0}, func(dst []byte, id uint32) []byte { return append(dst, list[id]...) })
	for _, schema := range []string{`{"type":"integer"}`, `{"type":"boolean"}`, `{"type":"array"}`, `{"const":"é"}`} {
		if m := compile(t, schema).Start(v); m.Mask(NoLimit) != nil || m.Closing() != -1 {
			t.Errorf("%s: something is allowed that can't be ended", schema)
		}
	}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		if text, ok := random(t, JSON(), v, r, 2+r.IntN(40)); !ok || !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON", text)
		}
	}
}

// TestShared follows several texts of one grammar at once.
func TestShared(t *testing.T) {
	v := wordVocab(words...)
	cache := NewCache(2)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 3 {
				g, err := cache.Schema([]byte(schemas[(i+k)%4]))
				if err != nil {
					t.Error(err)
					return
				}
				random(t, g, v, rand.New(rand.NewPCG(uint64(i), uint64(k))), 60)
			}
		})
	}
	wg.Wait()
}
