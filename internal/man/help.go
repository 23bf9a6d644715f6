package man

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Help is a program's help text in its parts.
type Help struct {
	Name    string // of the program
	Summary string
	Text    string // paragraphs that stand before the groups
	Groups  []Group
}

// Group is a heading and what stands below it.
type Group struct {
	Title   string
	Entries []Entry
}

// Entry is a line of two spaces, and the text below it of eight, as one paragraph.
type Entry struct{ Head, Text string }

var heading = regexp.MustCompile(`^([A-Z][A-Za-z ]*):$`)

// ParseHelp reads a help text: "NAME - SUMMARY" first, then paragraphs, and groups of entries, each under a heading that ends with a colon.
func ParseHelp(text string) (*Help, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	h := &Help{}
	var ok bool
	if h.Name, h.Summary, ok = strings.Cut(lines[0], " - "); !ok {
		return nil, fmt.Errorf("line 1: %q is not NAME - SUMMARY", lines[0])
	}
	var group *Group
	for i, line := range lines[1:] {
		text := strings.TrimSpace(line)
		m := heading.FindStringSubmatch(line)
		switch {
		case m != nil:
			h.Groups = append(h.Groups, Group{Title: m[1]})
			group = &h.Groups[len(h.Groups)-1]
		case line == "":
			if group == nil || len(group.Entries) > 0 {
				group = nil
				h.Text += "\n"
			}
		case group == nil && line[0] != ' ':
			h.Text += line + "\n"
		case group != nil && strings.HasPrefix(line, "        ") && len(group.Entries) > 0:
			e := &group.Entries[len(group.Entries)-1]
			e.Text = strings.TrimSpace(e.Text + " " + text)
		case group != nil && strings.HasPrefix(line, "  "):
			group.Entries = append(group.Entries, Entry{Head: text})
		default:
			return nil, fmt.Errorf("line %d: %q belongs to no group", i+2, line)
		}
	}
	h.Text = strings.TrimSpace(regexp.MustCompile(`\n{3,}`).ReplaceAllString(h.Text, "\n\n"))
	return h, nil
}

// take removes the group of a title.
func (h *Help) take(title string) Group {
	for i, g := range h.Groups {
		if g.Title == title {
			h.Groups = append(h.Groups[:i:i], h.Groups[i+1:]...)
			return g
		}
	}
	return Group{}
}

// Program is the page of a program by its help text: Usage becomes the synopsis, Files and Examples sections, and every other group options.
func Program(text string, p Page, exit string, see []string) (string, error) {
	h, err := ParseHelp(text)
	if err != nil {
		return "", err
	}
	usage, files, examples := h.take("Usage"), h.take("Files"), h.take("Examples")
	p.Name = h.Name
	w := newWriter(p, h.Summary)
	w.section("synopsis")
	for i, e := range usage.Entries {
		if i > 0 {
			w.WriteString(".br\n")
		}
		program, rest, _ := strings.Cut(e.Head, " ")
		w.line(bold(program) + " " + escape(rest))
	}
	w.section("description")
	w.text(h.Text)
	w.section("options")
	for _, g := range h.Groups {
		w.subsection(g.Title)
		for _, e := range g.Entries {
			w.item(option(e.Head), e.Text)
		}
	}
	w.section("files")
	for _, e := range files.Entries {
		w.item(italic(e.Head), e.Text)
	}
	w.section("examples")
	var lines []string
	for _, e := range examples.Entries {
		lines = append(lines, e.Head)
	}
	w.verbatim(lines)
	w.section("exit status")
	w.text(exit)
	w.references(see)
	return w.String(), nil
}

// option is an entry's head with the flag in bold and its value in italics.
func option(head string) string {
	flag, value, _ := strings.Cut(head, " ")
	if flag == "-h," { // another name follows
		return bold(head)
	}
	flag, set, switched := strings.Cut(flag, "=")
	tag := bold(flag)
	if switched {
		tag += bold("=" + set)
	}
	if value != "" {
		tag += " " + italic(value)
	}
	return tag
}

// File is what a page says of a configuration file beside its keys.
type File struct {
	Summary string
	Path    string
	Text    string   // paragraphs
	NoKey   []string // flags that are no keys of the file
	Example []string // lines
	See     []string
}

// Config is the page of a program's configuration file, by the program's help text: each option --foo-bar is a key foo_bar.
func Config(text string, p Page, f File) (string, error) {
	h, err := ParseHelp(text)
	if err != nil {
		return "", err
	}
	for _, title := range []string{"Usage", "Files", "Examples", "Other"} {
		h.take(title)
	}
	w := newWriter(p, f.Summary)
	w.section("synopsis")
	w.line(italic(f.Path))
	w.section("description")
	w.text(f.Text)
	w.section("keys")
	for _, g := range h.Groups {
		w.subsection(g.Title)
		for _, e := range g.Entries {
			flag, value, _ := strings.Cut(e.Head, " ")
			flag, _, _ = strings.Cut(flag, "=")
			if slices.Contains(f.NoKey, flag) {
				continue
			}
			if value == "" || value == "*" { // a switch
				value = strings.TrimSpace("true|false " + value)
			}
			w.item(bold(strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_"))+" = "+italic(value), e.Text)
		}
	}
	w.section("examples")
	w.verbatim(f.Example)
	w.references(f.See)
	return w.String(), nil
}
