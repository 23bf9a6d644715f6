package home

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a home. Home Assistant's largest known installations have some thousand entities, of which some hundred are exposed to voice.
const (
	MaxEntities = 20_000
	MaxAreas    = 2_000
	MaxFloors   = 200
	MaxAliases  = 64  // of an entity, an area or a floor
	MaxName     = 128 // bytes of a name, an alias or an ID
)

// A Home is a house as its inhabitants speak of it. Its entities are what they may ask for; whatever is not in it cannot be switched.
type Home struct {
	Language string   `toml:"language"`          // BCP 47, "en" or "en-GB"
	Confirm  []string `toml:"confirm,omitempty"` // what is asked about before it is done, beside doors, locks and alarms: entities' IDs, or "script.*" for a whole domain
	Floors   []Floor  `toml:"floor,omitempty"`
	Areas    []Area   `toml:"area,omitempty"`
	Entities []Entity `toml:"entity,omitempty"`
}

// A Floor is a storey, or another group of areas.
type Floor struct {
	ID      string   `toml:"id"`
	Name    string   `toml:"name"`
	Aliases []string `toml:"aliases,omitempty"` // other names
}

// An Area is a room, or another part of a house.
type Area struct {
	ID      string   `toml:"id"`
	Name    string   `toml:"name"`
	Aliases []string `toml:"aliases,omitempty"` // other names
	Floor   string   `toml:"floor,omitempty"`   // a floor's ID; "" for none
}

// An Entity is a device, or something else that can be asked for: a scene, a list, a person.
type Entity struct {
	ID          string   `toml:"id"` // DOMAIN.OBJECT, as "light.kitchen_ceiling"
	Name        string   `toml:"name"`
	Aliases     []string `toml:"aliases,omitempty"`      // other names
	Area        string   `toml:"area,omitempty"`         // an area's ID; "" for none
	DeviceClass string   `toml:"device_class,omitempty"` // Home Assistant's, as "curtain" or "temperature"; "" for none
	Unit        string   `toml:"unit,omitempty"`         // of a state that is a number, as "°C"; "" for none
}

// Domain is what kind of thing the entity is, as "light": its ID up to the dot.
func (e *Entity) Domain() string {
	domain, _, _ := strings.Cut(e.ID, ".")
	return domain
}

// Area is the area with the ID, nil if there is none.
func (h *Home) Area(id string) *Area {
	for i := range h.Areas {
		if h.Areas[i].ID == id {
			return &h.Areas[i]
		}
	}
	return nil
}

// Floor is the floor with the ID, nil if there is none.
func (h *Home) Floor(id string) *Floor {
	for i := range h.Floors {
		if h.Floors[i].ID == id {
			return &h.Floors[i]
		}
	}
	return nil
}

// A fault is what is wrong with one table of a home.
type fault struct {
	table string // "floor", "area", "entity"; "language" or "confirm" for that key; "" for the whole
	index int    // among the tables of its kind
	err   error
}

func (f *fault) Error() string {
	if f.table == "" || f.key() {
		return f.err.Error()
	}
	return fmt.Sprintf("%s %d: %v", f.table, f.index+1, f.err)
}

// key tells whether the fault is of a key outside of all tables.
func (f *fault) key() bool { return f.table == "language" || f.table == "confirm" }

// Validate checks what [Parse] promises: limits, unique IDs, areas and floors that exist, and names that are clean (see [Clean]).
// It returns the first fault.
func (h *Home) Validate() error {
	if f := h.validate(); f != nil {
		return f
	}
	return nil
}

func (h *Home) validate() *fault {
	if !languageTag(h.Language) {
		return &fault{"language", 0, fmt.Errorf("language %q is no language tag; write \"en\" or \"en-GB\"", h.Language)}
	}
	for _, l := range []struct {
		what      string
		n, atMost int
	}{{"floors", len(h.Floors), MaxFloors}, {"areas", len(h.Areas), MaxAreas}, {"entities", len(h.Entities), MaxEntities}} {
		if l.n > l.atMost {
			return &fault{"", 0, fmt.Errorf("there are %d %s; a home has at most %d", l.n, l.what, l.atMost)}
		}
	}
	if len(h.Confirm) > MaxEntities {
		return &fault{"confirm", 0, fmt.Errorf("confirm has %d lines; a home has at most %d entities", len(h.Confirm), MaxEntities)}
	}
	for _, s := range h.Confirm { // an entity that is not there is no fault: the home changes
		if domain, whole := strings.CutSuffix(s, ".*"); !(whole && word(domain)) && !entityID(s) {
			return &fault{"confirm", 0, fmt.Errorf("confirm has %q; write an entity's ID, or \"script.*\" for all of a domain", s)}
		}
	}
	floors, areas, entities := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range h.Floors {
		f := &h.Floors[i]
		if err := thing(floors, f.ID, f.Name, f.Aliases); err != nil {
			return &fault{"floor", i, err}
		}
	}
	for i := range h.Areas {
		a := &h.Areas[i]
		err := thing(areas, a.ID, a.Name, a.Aliases)
		if err == nil && a.Floor != "" && !floors[a.Floor] {
			err = fmt.Errorf("%s: there is no floor with the id %q", a.ID, a.Floor)
		}
		if err != nil {
			return &fault{"area", i, err}
		}
	}
	for i := range h.Entities {
		if err := h.Entities[i].validate(entities, areas); err != nil {
			return &fault{"entity", i, err}
		}
	}
	return nil
}

func (e *Entity) validate(entities, areas map[string]bool) error {
	if !entityID(e.ID) {
		return fmt.Errorf("id %q is no entity's ID; write DOMAIN.OBJECT in small letters, digits and _, as \"light.kitchen\"", e.ID)
	}
	if err := thing(entities, e.ID, e.Name, e.Aliases); err != nil {
		return err
	}
	if e.Area != "" && !areas[e.Area] {
		return fmt.Errorf("%s: there is no area with the id %q", e.ID, e.Area)
	}
	if e.DeviceClass != "" && !word(e.DeviceClass) {
		return fmt.Errorf("%s: device_class %q is none of Home Assistant's; write small letters, digits and _", e.ID, e.DeviceClass)
	}
	if e.Unit != "" && Clean(e.Unit) != e.Unit {
		return fmt.Errorf("%s: unit %q is no unit", e.ID, e.Unit)
	}
	return nil
}

// thing checks what floors, areas and entities have in common, and notes the ID.
func thing(seen map[string]bool, id, name string, aliases []string) error {
	switch {
	case id == "":
		return fmt.Errorf("there is no id")
	case Clean(id) != id || strings.ContainsRune(id, ' '):
		return fmt.Errorf("id %q has spaces or control characters, or more than %d bytes", id, MaxName)
	case seen[id]:
		return fmt.Errorf("id %q is there twice", id)
	case name == "":
		return fmt.Errorf("%s: there is no name", id)
	case Clean(name) != name:
		return fmt.Errorf("%s: name %q has spaces at an end, two in a row or control characters, or more than %d bytes", id, name, MaxName)
	case len(aliases) > MaxAliases:
		return fmt.Errorf("%s: there are %d aliases; at most %d can be", id, len(aliases), MaxAliases)
	}
	for _, a := range aliases {
		if a == "" || Clean(a) != a {
			return fmt.Errorf("%s: alias %q is empty, has spaces at an end, two in a row or control characters, or more than %d bytes", id, a, MaxName)
		}
	}
	seen[id] = true
	return nil
}

// Clean is a name without what cannot be said: control and invisible characters and bytes that are no UTF-8 become spaces, spaces become one,
// and what is beyond [MaxName] bytes is cut off.
func Clean(name string) string {
	if len(name) > 16*MaxName {
		name = name[:16*MaxName]
	}
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if len(name) > MaxName {
		cut := MaxName
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = strings.TrimRight(name[:cut], " ")
	}
	return name
}

// languageTag tells whether s looks like a BCP 47 tag: letters, then letters and digits after hyphens.
func languageTag(s string) bool {
	if len(s) < 2 || len(s) > 35 {
		return false
	}
	for i, part := range strings.Split(s, "-") {
		if part == "" || len(part) > 8 {
			return false
		}
		for _, c := range []byte(part) {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			if !letter && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}

// entityID tells whether s has the form DOMAIN.OBJECT.
func entityID(s string) bool {
	domain, object, ok := strings.Cut(s, ".")
	return ok && len(s) <= MaxName && word(domain) && word(object)
}

// word tells whether s is one of Home Assistant's words: small letters, digits and _.
func word(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
