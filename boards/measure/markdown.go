package measure

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Markdown writes the report for people.
func (r *Report) Markdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# %s\n", markdown(r.title()))
	for _, s := range r.warnings() {
		fmt.Fprintf(b, "\n**%s**\n", markdown(s))
	}
	for _, s := range r.sections() {
		fmt.Fprintf(b, "\n## %s\n", markdown(s.title))
		for _, n := range s.notes {
			fmt.Fprintf(b, "\n%s\n", markdown(n))
		}
		if len(s.rows) > 0 {
			b.WriteByte('\n')
			writeTable(b, s.head, s.rows, markdown)
		}
	}
	return b.Flush()
}

// writeTable writes a table in Markdown; without a head its first line is empty. cell makes Markdown of a cell.
func writeTable(b *bufio.Writer, head []string, rows [][]string, cell func(string) string) {
	if head == nil {
		head = make([]string, len(rows[0]))
	}
	line := func(cells []string) {
		for _, c := range cells {
			fmt.Fprintf(b, "| %s ", cell(c))
		}
		b.WriteString("|\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
}

// escaper keeps what Markdown and the HTML in it would take for their own.
var escaper = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "#", `\#`)

func markdown(s string) string { return escaper.Replace(s) }
