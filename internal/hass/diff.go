package hass

import (
	"fmt"
	"reflect"
	"strings"

	"bimamba/edge/home"
)

// A Diff is what has changed from one home to another, by IDs in the order of the homes.
type Diff struct {
	Language bool    `json:"language"`
	Floors   Changes `json:"floors"`
	Areas    Changes `json:"areas"`
	Entities Changes `json:"entities"`
}

// Changes is what has changed among things of one kind.
type Changes struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"` // in a name, an alias, a place, a class or a unit
}

// Compare finds what has changed. A nil home is one with nothing in it.
func Compare(before, after *home.Home) Diff {
	if before == nil {
		before = &home.Home{Language: after.Language}
	}
	return Diff{
		Language: before.Language != after.Language,
		Floors:   compare(before.Floors, after.Floors, func(f *home.Floor) string { return f.ID }),
		Areas:    compare(before.Areas, after.Areas, func(a *home.Area) string { return a.ID }),
		Entities: compare(before.Entities, after.Entities, func(e *home.Entity) string { return e.ID }),
	}
}

func compare[T any](before, after []T, id func(*T) string) Changes {
	c := Changes{[]string{}, []string{}, []string{}} // lists in JSON, also when they are empty
	was := map[string]*T{}
	for i := range before {
		was[id(&before[i])] = &before[i]
	}
	is := map[string]bool{}
	for i := range after {
		k := id(&after[i])
		is[k] = true
		switch old, ok := was[k]; {
		case !ok:
			c.Added = append(c.Added, k)
		case !reflect.DeepEqual(*old, after[i]):
			c.Changed = append(c.Changed, k)
		}
	}
	for i := range before {
		if k := id(&before[i]); !is[k] {
			c.Removed = append(c.Removed, k)
		}
	}
	return c
}

// String is the change in a line, as "+3 entities, -1 area, 2 entities changed"; "nothing changed" for none.
func (d Diff) String() string {
	var parts []string
	for _, k := range []struct {
		c         Changes
		one, many string
	}{{d.Floors, "floor", "floors"}, {d.Areas, "area", "areas"}, {d.Entities, "entity", "entities"}} {
		say := func(format string, n int) {
			if n == 1 {
				parts = append(parts, fmt.Sprintf(format, n, k.one))
			} else if n > 1 {
				parts = append(parts, fmt.Sprintf(format, n, k.many))
			}
		}
		say("+%d %s", len(k.c.Added))
		say("-%d %s", len(k.c.Removed))
		say("%d %s changed", len(k.c.Changed))
	}
	if d.Language {
		parts = append(parts, "another language")
	}
	if len(parts) == 0 {
		return "nothing changed"
	}
	return strings.Join(parts, ", ")
}
