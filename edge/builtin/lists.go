package builtin

import (
	"slices"
	"strings"
)

// shopping is the list that is meant where none is named.
const shopping = "shopping"

// list is one of items that are still to be done.
type list struct {
	name  string // as it is compared: "shopping"
	items []string
}

// List is a list by its name: "shopping".
type List struct {
	Name  string
	Items []string // in the order in which they were added
}

// Lists is all lists that have items.
func (b *Builtin) Lists() []List {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []List
	for _, l := range b.lists {
		out = append(out, List{l.name, slices.Clone(l.items)})
	}
	return out
}

// find is the list that the slots name, nil if it is not there yet.
func (b *Builtin) find(s slots) (l *list, name string) {
	name = plain(s.text("name"), "list")
	if name == "" {
		name = shopping
	}
	for _, l := range b.lists {
		if l.name == name {
			return l, name
		}
	}
	return nil, name
}

// index is where an item is, -1 if it is not there.
func (l *list) index(item string) int {
	if l == nil {
		return -1
	}
	for _, same := range []func(string) string{strings.ToLower, func(s string) string { return singular(strings.ToLower(s)) }} {
		if i := slices.IndexFunc(l.items, func(s string) bool { return same(s) == same(item) }); i >= 0 {
			return i
		}
	}
	return -1
}

func (b *Builtin) add(s slots) answer {
	item := s.text("item")
	l, name := b.find(s)
	switch {
	case item == "":
		return fail(ErrSlots, "What is to go on the %s list?", name)
	case len(item) > maxText || len(name) > maxName:
		return fail(ErrLimit, "That is too long for a list.")
	case l == nil && len(b.lists) >= maxLists:
		return fail(ErrLimit, "There are %d lists already.", len(b.lists))
	case l != nil && len(l.items) >= maxItems:
		return fail(ErrLimit, "The %s list is full: it has %d items.", name, len(l.items))
	case l != nil && slices.ContainsFunc(l.items, func(s string) bool { return strings.EqualFold(s, item) }):
		return say("%s is on the %s list already.", item, name)
	}
	b.dirty = true
	if l == nil {
		l = &list{name: name}
		b.lists = append(b.lists, l)
		if name != shopping {
			l.items = append(l.items, item)
			return say("There is a %s list now, with %s on it.", name, item)
		}
	}
	l.items = append(l.items, item)
	return say("%s is on the %s list.", item, name)
}

// complete takes an item off a list; done or removed is the same here.
func (b *Builtin) complete(s slots) answer {
	item := s.text("item")
	l, name := b.find(s)
	if item == "" {
		return fail(ErrSlots, "What is to go off the %s list?", name)
	}
	i := l.index(item)
	if i < 0 {
		return fail(ErrNone, "%s is not on the %s list.", item, name)
	}
	item = l.items[i]
	if l.items = slices.Delete(l.items, i, i+1); len(l.items) == 0 {
		b.lists = slices.DeleteFunc(b.lists, func(x *list) bool { return x == l })
	}
	b.dirty = true
	return say("%s is off the %s list.", item, name)
}

// show says the newest items.
func (b *Builtin) show(s slots) answer {
	const most = 5
	l, name := b.find(s)
	if l == nil {
		return say("The %s list is empty.", name)
	}
	n := len(l.items)
	if n <= most {
		return say("On the %s list: %s.", name, join(l.items))
	}
	return say("There are %d items on the %s list. The newest: %s.", n, name, join(l.items[n-most:]))
}
