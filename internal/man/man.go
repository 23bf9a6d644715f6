package man

import (
	"fmt"
	"strings"
)

// Page is what a page's head and foot say.
type Page struct {
	Name    string // without the section: "bimamba-plan"
	Section int
	Date    string // 2006-01-02
	Source  string // "bimamba 1.0"
	Manual  string // "Bi-Mamba manual"
}

// writer collects a page.
type writer struct{ strings.Builder }

func newWriter(p Page, summary string) *writer {
	w := &writer{}
	fmt.Fprintf(w, ".TH %s %d %s %s %s\n", quote(strings.ToUpper(p.Name)), p.Section, quote(p.Date), quote(p.Source), quote(p.Manual))
	w.WriteString(".nh\n.ad l\n") // options and paths stay whole
	w.section("name")
	w.line(escape(p.Name) + ` \- ` + escape(summary))
	return w
}

// line is a line of input that is no request, whatever it begins with.
func (w *writer) line(escaped string) {
	if strings.HasPrefix(escaped, ".") || strings.HasPrefix(escaped, "'") {
		escaped = `\&` + escaped
	}
	w.WriteString(escaped + "\n")
}

func (w *writer) section(title string)    { w.WriteString(".SH " + quote(strings.ToUpper(title)) + "\n") }
func (w *writer) subsection(title string) { w.WriteString(".SS " + quote(title) + "\n") }

// item is a tagged paragraph. The tag is escaped already.
func (w *writer) item(tag, text string) {
	w.WriteString(".TP\n")
	w.line(tag)
	w.line(breakable(escape(text)))
}

// text is paragraphs with an empty line between; lines of one that all begin with a space stay as they are.
func (w *writer) text(s string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(s), "\n\n") {
		lines := strings.Split(strings.Trim(paragraph, "\n"), "\n")
		if i > 0 {
			w.WriteString(".PP\n")
		}
		if strings.HasPrefix(lines[0], " ") {
			w.verbatim(lines)
			continue
		}
		for _, l := range lines {
			w.line(breakable(escape(strings.TrimSpace(l))))
		}
	}
}

// breakable lets a line end after each comma of a word that may be longer than a line.
func breakable(escaped string) string {
	words := strings.Split(escaped, " ")
	for i, word := range words {
		if len(word) > 60 {
			words[i] = strings.ReplaceAll(word, ",", `,\:`)
		}
	}
	return strings.Join(words, " ")
}

// verbatim is lines as they are.
func (w *writer) verbatim(lines []string) {
	w.WriteString(".nf\n.RS 4\n")
	for _, l := range lines {
		w.line(escape(strings.TrimSpace(l)))
	}
	w.WriteString(".RE\n.fi\n")
}

// escape makes text stand for itself. Each - is one that can be copied into a shell, and not a hyphen.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`).Replace(s)
}

func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

// quote is an argument of a request.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
