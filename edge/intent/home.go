package intent

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Limits of what ReadHome reads. Home Assistant exposes some hundred entities at the most.
const (
	maxSystem   = 1 << 20 // bytes of the text; what follows is not read
	maxEntities = 2048
	maxNames    = 16  // of an entity or an area
	maxName     = 128 // bytes; longer ones are not taken
)

// Entity is a device or something else that a home lets one ask for.
type Entity struct {
	ID     string   // "light.lamp"; "" if it is not told
	Names  []string // its name, then its aliases, as the home writes them
	Domain string   // "light", "cover", ...; "" if the text does not say
	Areas  []string // its area's name, then that one's aliases; nil if it is in no area
	Floors []string // its area's floor's name, then that one's aliases; nil if it is not told
	Class  string   // Home Assistant's device class; "" for none, or if it is not told
	State  string   // "" in a system text, which tells none since 2025
	Unit   string   // of a state that is a number
}

// Home is what is known of a house. The zero value is one that nothing is known of. It must not change once it has been used.
type Home struct {
	Entities []Entity
	Areas    []string // names and aliases of all areas, sorted
	Floors   []string // names of floors, sorted; Home Assistant tells none but the speaker's
	Whole    bool     // all that there is is listed, even if that is nothing

	once sync.Once
	ix   *index
}

// ReadHome finds the entities, areas and floors in a system text. It reads Home Assistant's static context: YAML of a list with the keys names,
// domain and areas, whose values are joined by a comma and a space (homeassistant/helpers/llm.py), and its form of 2024, a mapping by entity
// ids. What it does not understand, it leaves out.
func ReadHome(system string) *Home {
	h := &Home{}
	r := reader{home: h}
	for line := range strings.Lines(system[:min(len(system), maxSystem)]) {
		r.line(strings.TrimRight(line, "\r\n"))
	}
	r.end()
	for _, e := range h.Entities {
		h.Areas = append(h.Areas, e.Areas...)
	}
	h.Areas = unique(h.Areas)
	h.Floors = unique(h.Floors)
	return h
}

// unique sorts names and drops those that differ in case only.
func unique(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
	})
	return slices.CompactFunc(names, strings.EqualFold)
}

// known tells whether the text lists anything. Of a home without a list nothing can be checked.
func (h *Home) known() bool { return len(h.Entities) > 0 || h.Whole }

// hasDomain tells whether an entity of the domain is in the area, or anywhere if area is "".
func (h *Home) hasDomain(domain, area string) bool {
	return slices.ContainsFunc(h.Entities, func(e Entity) bool {
		return (domain == "" || e.Domain == "" || e.Domain == domain) && (area == "" || spelled(e.Areas, area) != "")
	})
}

// spelled is a name as the home writes it, "" if it is none of names.
func spelled(names []string, name string) string {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n
		}
	}
	return ""
}

// named is the entity with the name, nil if there is none, and the name as the home writes it.
func (h *Home) named(name string) (*Entity, string) {
	for i := range h.Entities {
		if n := spelled(h.Entities[i].Names, name); n != "" {
			return &h.Entities[i], n
		}
	}
	return nil, ""
}
