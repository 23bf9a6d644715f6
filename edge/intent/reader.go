package intent

import (
	"strconv"
	"strings"
)

// reader reads the little YAML that PyYAML makes of a list of entities: keys with a scalar, plain or quoted, that may be folded over lines.
type reader struct {
	home   *Home
	entity Entity
	open   bool   // within an entity
	id     string // the domain of the entity's id, in the form that has ids
	key    string // whose value may go on in the next line, "" if none
	indent int    // of key
	value  strings.Builder
}

func (r *reader) line(s string) {
	text := strings.TrimLeft(s, " ")
	indent := len(s) - len(text)
	if r.key != "" && indent > r.indent && text != "" && !isKey(text) { // folded
		if r.value.Len() < maxNames*maxName {
			r.value.WriteByte(' ')
			r.value.WriteString(strings.TrimSpace(text))
		}
		return
	}
	r.flush()
	item, isItem := strings.CutPrefix(text, "- ")
	if isItem {
		inner := strings.TrimLeft(item, " ")
		indent += len(text) - len(inner)
		text = inner
	}
	key, value, found := strings.Cut(text, ":")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !found:
		if text != "" {
			r.end()
			r.place(s)
		}
	case isItem && isField(key):
		r.end()
		r.open = true
		r.start(key, value, indent)
	case value == "" && !isItem && isID(key):
		r.end()
		r.open = true
		r.id, _, _ = strings.Cut(key, ".")
	case indent == 0: // text behind the list
		r.end()
		r.place(s)
	case r.open && isField(key):
		r.start(key, value, indent)
	}
}

func (r *reader) start(key, value string, indent int) {
	r.key, r.indent = key, indent
	r.value.WriteString(value)
}

// flush takes the value that has ended.
func (r *reader) flush() {
	if r.key == "" {
		return
	}
	value := scalar(r.value.String())
	switch r.key {
	case "names":
		r.entity.Names = split(value)
	case "domain":
		r.entity.Domain = value
	case "areas":
		r.entity.Areas = split(value)
	case "state":
		r.entity.State = short(value)
	case "unit_of_measurement":
		r.entity.Unit = short(value)
	}
	r.key = ""
	r.value.Reset()
}

// end takes the entity that has ended.
func (r *reader) end() {
	r.flush()
	if r.entity.Domain == "" || !isWord(r.entity.Domain) {
		r.entity.Domain = r.id
	}
	if len(r.entity.Names) > 0 && len(r.home.Entities) < maxEntities {
		r.home.Entities = append(r.home.Entities, r.entity)
	}
	r.entity, r.open, r.id = Entity{}, false, ""
}

// place reads where the speaker is: "You are in area Kitchen (floor First Floor) and all generic commands ...".
func (r *reader) place(s string) {
	_, rest, ok := strings.Cut(s, "You are in area ")
	if !ok {
		return
	}
	rest, _, ok = strings.Cut(rest, " and all generic commands")
	if !ok || len(rest) > 2*maxName {
		return
	}
	area, floor, ok := strings.Cut(rest, " (floor ")
	r.home.Areas = append(r.home.Areas, split(area)...)
	if ok {
		r.home.Floors = append(r.home.Floors, split(strings.TrimSuffix(floor, ")"))...)
	}
}

// isKey tells whether a line begins a value rather than going on with one. A folded name may have a colon, so only known keys count.
func isKey(s string) bool {
	key, _, ok := strings.Cut(strings.TrimPrefix(s, "- "), ":")
	return ok && (isField(key) || key == "attributes")
}

func isField(key string) bool {
	switch key {
	case "names", "domain", "areas", "state", "unit_of_measurement":
		return true
	}
	return false
}

// short is a text for people, "" if it is too long for one.
func short(s string) string {
	if len(s) > maxName {
		return ""
	}
	return s
}

// isID tells whether s is an entity's id, as "light.kitchen".
func isID(s string) bool {
	domain, id, ok := strings.Cut(s, ".")
	return ok && isWord(domain) && isWord(id)
}

func isWord(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// escapes turns PyYAML's escapes into Go's. It folds with a backslash at the line's end, and one before the next line's leading space.
var escapes = strings.NewReplacer(`\\`, `\\`, `\ \ `, " ", `\ `, "", `\x`, `\u00`, `\_`, "\u00a0", `\/`, "/")

// scalar is the text of a YAML scalar.
func scalar(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] {
		return s
	}
	switch s[0] {
	case '\'':
		return strings.ReplaceAll(s[1:len(s)-1], "''", "'")
	case '"':
		if t, err := strconv.Unquote(`"` + escapes.Replace(s[1:len(s)-1]) + `"`); err == nil {
			return t
		}
		return s[1 : len(s)-1]
	}
	return s
}

// split parts a list of names. A name that holds a comma and a space cannot be told from two.
func split(s string) []string {
	var names []string
	for n := range strings.SplitSeq(s, ", ") {
		if n = strings.TrimSpace(n); n != "" && len(n) <= maxName && len(names) < maxNames {
			names = append(names, n)
		}
	}
	return names
}
