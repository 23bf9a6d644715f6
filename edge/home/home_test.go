package home

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const small = `language = "en-GB"

[[floor]]
id = "up"
name = "Upstairs"
aliases = ["first floor"]

[[area]]
id = "bedroom"
name = "Bedroom"
floor = "up"

[[entity]]
id = "light.lamp"
name = "Anna's lamp"
area = "bedroom"

[[entity]]
id = "sensor.outside"
name = "Outside"
device_class = "temperature"
unit = "°C"
`

func TestParse(t *testing.T) {
	h, err := Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	want := &Home{Language: "en-GB", Floors: []Floor{{ID: "up", Name: "Upstairs", Aliases: []string{"first floor"}}}, Areas: []Area{{ID: "bedroom", Name: "Bedroom", Floor: "up"}},
		Entities: []Entity{{ID: "light.lamp", Name: "Anna's lamp", Area: "bedroom"}, {ID: "sensor.outside", Name: "Outside", DeviceClass: "temperature", Unit: "°C"}}}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("%+v", h)
	}
	if d := h.Entities[0].Domain(); d != "light" {
		t.Errorf("domain %s", d)
	}
	if h.Area("bedroom") != &h.Areas[0] || h.Area("attic") != nil || h.Floor("up") != &h.Floors[0] || h.Floor("") != nil {
		t.Error("Area and Floor")
	}
	b, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%v\n%s", err, b)
	}
	if empty, err := Parse(nil); err != nil || empty.Language != "en" || len(empty.Entities) != 0 {
		t.Errorf("an empty home: %+v, %v", empty, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"language = ", "line 1, column "},
		{"\n[[entitty]]\nid = \"light.a\"\n", "line 2, column 3: there is no key entitty"},
		{"[[entity]]\nid = \"light.a\"\nname = \"A\"\nroom = \"b\"\n", "line 4, column 1: there is no key entity.room"},
		{"[[entity]]\nid = 5\n", "line 2, column 6: "},
		{"# c\nlanguage = \"English, please\"\n", `line 2: language "English, please" is no language tag`},
		{"[[entity]]\nid = \"light.a\"\nname = \"A\"\n\n[[entity]]\nid = \"light.a\"\nname = \"B\"\n", `line 5: id "light.a" is there twice`},
		{"[[entity]]\nid = \"light\"\nname = \"A\"\n", `line 1: id "light" is no entity's ID; write DOMAIN.OBJECT`},
		{"[[entity]]\nid = \"Light.a\"\nname = \"A\"\n", "is no entity's ID"},
		{"[[entity]]\nid = \"light.a\"\n", "line 1: light.a: there is no name"},
		{"[[entity]]\nid = \"light.a\"\nname = \"A\"\narea = \"attic\"\n", `line 1: light.a: there is no area with the id "attic"`},
		{"[[area]]\nid = \"a\"\nname = \"A\"\nfloor = \"up\"\n", `line 1: a: there is no floor with the id "up"`},
		{"[[area]]\nname = \"A\"\n", "line 1: there is no id"},
		{"[[floor]]\nid = \"a b\"\nname = \"A\"\n", "has spaces"},
		{"[[floor]]\nid = \"a\"\nname = \" A\"\n", "has spaces at an end"},
		{"[[floor]]\nid = \"a\"\nname = \"A\"\naliases = [\"\"]\n", `alias "" is empty`},
		{"[[entity]]\nid = \"light.a\"\nname = \"A\"\ndevice_class = \"Odd one\"\n", "device_class"},
		{"[[entity]]\nid = \"light.a\"\nname = \"A\"\nunit = \" %\"\n", "unit"},
		{"floor = [{id = \"a\", name = \"A\"}, {id = \"a\", name = \"B\"}]\n", `floor 2: id "a" is there twice`},
		{"[[floor]]\nid = \"a\"\nname = \"" + strings.Repeat("a", MaxName+1) + "\"\n", "more than 128 bytes"},
		{strings.Repeat("#", MaxFile+1), "there are more than 4194304 bytes"},
	} {
		_, err := Parse([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %v; want %s", c.in, err, c.want)
		}
	}
	many := &Home{Language: "en", Entities: make([]Entity, MaxEntities+1)}
	if _, err := many.Marshal(); err == nil || !strings.Contains(err.Error(), "a home has at most 20000") {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home.toml")
	if _, err := Read(path); !os.IsNotExist(err) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), path+": line 1") {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err != nil {
		t.Error(err)
	}
}

// large is a home with n lights, a hundred to an area.
func large(n int) *Home {
	h := &Home{Language: "en", Floors: []Floor{{ID: "ground", Name: "Ground floor"}}}
	for i := range n {
		area := fmt.Sprintf("area_%d", i/100)
		if i%100 == 0 {
			h.Areas = append(h.Areas, Area{ID: area, Name: fmt.Sprintf("Hall %d", i/100), Floor: "ground"})
		}
		h.Entities = append(h.Entities, Entity{ID: fmt.Sprintf("light.lamp_number_%d", i), Name: fmt.Sprintf("Reading lamp number %d", i), Aliases: []string{fmt.Sprintf("Lamp at seat %d", i)}, Area: area})
	}
	return h
}

// TestLarge: 10,000 entities fit.
func TestLarge(t *testing.T) {
	h := large(10_000)
	b, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > MaxFile/2 {
		t.Errorf("%d bytes leave no room for longer names", len(b))
	}
	again, err := Parse(b)
	if err != nil || !reflect.DeepEqual(h, again) {
		t.Error("it does not come back: ", err)
	}
}

func BenchmarkParse(b *testing.B) {
	data, err := large(1000).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{" a  b\t\n", "a b"}, {"a\x00b\u200bc", "a b c"}, {"caf\xe9", "caf"}, {"Küche", "Küche"}, {"\u202e", ""},
		{strings.Repeat("é", 100), strings.Repeat("é", 64)}, {strings.Repeat("a", 127) + " b", strings.Repeat("a", 127)},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("%q: %q; want %q", c.in, got, c.want)
		}
		if again := Clean(c.want); again != c.want {
			t.Errorf("%q is not clean: %q", c.want, again)
		}
	}
}

func TestCheck(t *testing.T) {
	h, err := Parse([]byte(`
[[area]]
id = "kitchen"
name = "Kitchen"
[[area]]
id = "bath"
name = "Bath"
aliases = ["the kitchen"]
[[entity]]
id = "light.a"
name = "Lamp"
area = "kitchen"
[[entity]]
id = "light.b"
name = "The lamp"
area = "kitchen"
[[entity]]
id = "light.c"
name = "lamp"
area = "bath"
[[entity]]
id = "switch.lamp"
name = "Lamp"
[[entity]]
id = "sensor.a"
name = "Phone"
device_class = "battery"
[[entity]]
id = "binary_sensor.a"
name = "Phone"
[[entity]]
id = "light.d"
name = "0x00158d0001 (2)"
[[entity]]
id = "light.e"
name = "LVNGRM strip"
aliases = ["sofa light"]
area = "bath"
[[entity]]
id = "fan.kitchen"
name = "Kitchen"
area = "kitchen"
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range h.Check() {
		kind := "hint"
		if f.Fault {
			kind = "fault"
		}
		got = append(got, kind+" "+f.ID+" "+f.Text)
	}
	want := []string{
		`fault bath "the kitchen" is also what area kitchen is called; rename one`,
		`hint fan.kitchen "Kitchen" is what area kitchen is called, too; an alias would help`,
		`hint light.d "0x00158d0001 (2)" has a "(", which nobody says; give it an alias`,
		`hint light.d "0x00158d0001 (2)" is in no area; what is said of a room will leave it out`,
		`fault light.a "Lamp" is also what light.b is called, in the same place; nobody can ask for one of them: rename one`,
		`hint light.a "Lamp" is also what light.c is called; the assistant will ask which one, unless the room is said`,
		`hint light.b "The lamp" is also what light.c is called; the assistant will ask which one, unless the room is said`,
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("beyond: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("%s\nwant %s", got[i], want[i])
		}
	}
	if found := (&Home{Language: "en"}).Check(); len(found) != 1 || found[0].Fault {
		t.Errorf("an empty home: %v", found)
	}
}

func TestInaudible(t *testing.T) {
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"Kitchen lamp", true}, {"TV", true}, {"Anna's lamp", true}, {"Lamp 2", true}, {"Küche", true}, {"PM2.5", true}, {"Bath & shower", true},
		{"X", false}, {"12", false}, {"lamp_2", false}, {"0x0123abcd", false}, {"KCHN lamp", false}, {"a lamp that has much too long a name", false},
	} {
		if why := inaudible(c.name); (why == "") != c.ok {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("floor = [{id = \"a\", name = \"A\"}]"))
	f.Add([]byte("[[entity]]\nid = \"light.a\"\nname = \"A\"\narea = \"x\"\n"))
	f.Add([]byte("language = \"\"\"de\"\"\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Parse(data)
		if err != nil {
			return
		}
		h.Check()
		b, err := h.Marshal()
		if err != nil {
			t.Fatalf("what was parsed is not written: %v", err)
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if b2, _ := again.Marshal(); string(b2) != string(b) {
			t.Fatalf("%s\nis then\n%s", b, b2)
		}
	})
}
