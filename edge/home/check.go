package home

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A Finding is something in a home that an assistant will have trouble with.
type Finding struct {
	Fault bool   `json:"fault"` // nobody can ask for the thing by its name; else it is a hint
	ID    string `json:"id"`    // of the entity or area, "" for the home
	Text  string `json:"text"`
}

// Check finds names that cannot be told apart, and names that will hardly be heard or understood. A home that [Parse] took has no other faults.
func (h *Home) Check() []Finding {
	c := checker{home: h, called: map[string][]int{}}
	if !h.English() {
		c.found = append(c.found, Finding{true, "", fmt.Sprintf("language is %q, and the assistant understands English only: it declines all that is said", h.Language)})
	}
	if len(h.Entities) == 0 {
		c.hint("", "there are no entities: only timers, lists, time and date will work; expose some to Assist in Home Assistant, or write them here")
	}
	c.places()
	for i := range h.Entities {
		c.entity(i)
	}
	c.twins()
	return c.found
}

type checker struct {
	home   *Home
	found  []Finding
	called map[string][]int // indices of entities by each of their names, as they sound
}

func (c *checker) hint(id, format string, args ...any) {
	c.found = append(c.found, Finding{false, id, fmt.Sprintf(format, args...)})
}

// sound is a name as it is compared: case and articles do not matter.
func sound(name string) string {
	s := strings.ToLower(name)
	for _, article := range []string{"the ", "my ", "our "} {
		s = strings.TrimPrefix(s, article)
	}
	return s
}

// places looks at floors and areas: a name is one place's.
func (c *checker) places() {
	owner := map[string]string{}
	look := func(kind, id, name string, aliases []string) {
		for _, n := range append([]string{name}, aliases...) {
			k := sound(n)
			if o := owner[k]; o != "" && o != kind+" "+id {
				c.found = append(c.found, Finding{true, id, fmt.Sprintf("%q is also what %s is called; rename one", n, o)})
				continue
			}
			owner[k] = kind + " " + id
			if why := inaudible(n); why != "" {
				c.hint(id, "%q %s", n, why)
			}
		}
	}
	for i := range c.home.Areas {
		a := &c.home.Areas[i]
		look("area", a.ID, a.Name, a.Aliases)
	}
	for i := range c.home.Floors {
		f := &c.home.Floors[i]
		look("floor", f.ID, f.Name, f.Aliases)
	}
	for i := range c.home.Entities {
		e := &c.home.Entities[i]
		if o := owner[sound(e.Name)]; o != "" {
			c.hint(e.ID, "%q is what %s is called, too; an alias would help", e.Name, o)
		}
	}
}

// inAreas are domains that people speak of by rooms.
var inAreas = []string{"light", "cover", "fan", "climate", "media_player"}

func (c *checker) entity(i int) {
	e := &c.home.Entities[i]
	heard := false
	for _, n := range append([]string{e.Name}, e.Aliases...) {
		k := sound(n)
		if !slices.Contains(c.called[k], i) {
			c.called[k] = append(c.called[k], i)
		}
		heard = heard || inaudible(n) == ""
	}
	if !heard {
		c.hint(e.ID, "%q %s; give it an alias", e.Name, inaudible(e.Name))
	}
	if e.Area == "" && slices.Contains(inAreas, e.Domain()) {
		c.hint(e.ID, "%q is in no area; what is said of a room will leave it out", e.Name)
	}
}

// twins looks for names that several entities have. Sensors of one device often share its name, and are told apart by their classes.
func (c *checker) twins() {
	for i := range c.home.Entities {
		e := &c.home.Entities[i]
		for _, n := range append([]string{e.Name}, e.Aliases...) {
			for _, j := range c.called[sound(n)] {
				o := &c.home.Entities[j]
				if j <= i || o.Domain() != e.Domain() || o.DeviceClass != e.DeviceClass {
					continue
				}
				if o.Area == e.Area {
					c.found = append(c.found, Finding{true, e.ID, fmt.Sprintf("%q is also what %s is called, in the same place; nobody can ask for one of them: rename one", n, o.ID)})
				} else {
					c.hint(e.ID, "%q is also what %s is called; the assistant will ask which one, unless the room is said", n, o.ID)
				}
			}
		}
	}
}

// inaudible says why a name will hardly be heard or understood, "" if it will.
func inaudible(name string) string {
	letters, digits, odd := 0, 0, ""
	for _, r := range name {
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		case odd == "" && !strings.ContainsRune(" '’-&.,", r):
			odd = string(r)
		}
	}
	words := strings.Fields(name)
	switch {
	case odd != "":
		return fmt.Sprintf("has a %q, which nobody says", odd)
	case letters == 0:
		return "has no letters"
	case letters == 1 && digits == 0:
		return "is one letter"
	case digits > 3:
		return "is more a number than a name"
	case len(words) > 6:
		return fmt.Sprintf("has %d words, more than people say", len(words))
	case slices.ContainsFunc(words, unspeakable):
		return "has an abbreviation that is not heard as it is written"
	}
	return ""
}

// unspeakable tells whether a word of three and more letters has no vowel, as "LVGRM".
func unspeakable(word string) bool {
	letters := 0
	for _, r := range strings.ToLower(word) {
		if !unicode.IsLetter(r) || r > unicode.MaxASCII || strings.ContainsRune("aeiouy", r) {
			return false
		}
		letters++
	}
	return letters > 3
}
