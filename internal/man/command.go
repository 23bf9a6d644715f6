package man

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is the page of a command. Exit is what its exit statuses mean, see the pages it refers to, as "bimambad(8)".
func Command(c *cobra.Command, p Page, exit string, see []string) string {
	w := newWriter(p, lowerFirst(c.Short))
	w.section("synopsis")
	w.line(synopsis(c))
	w.section("description")
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	w.text(long)

	if commands := visible(c); len(commands) > 0 {
		w.section("commands")
		for _, sub := range commands {
			w.item(bold(sub.Use), sub.Short+".")
		}
	}
	var flags []*pflag.Flag
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			flags = append(flags, f)
		}
	})
	if len(flags) > 0 {
		w.section("options")
		for _, f := range flags {
			kind, usage := pflag.UnquoteUsage(f)
			tag := bold("--" + f.Name)
			if f.Shorthand != "" {
				tag = bold("-"+f.Shorthand) + ", " + tag
			}
			if kind != "" {
				tag += " " + italic(kind)
			}
			if shown(f) {
				usage += fmt.Sprintf(" (default %s)", f.DefValue)
			}
			w.item(tag, usage)
		}
	}
	if c.Example != "" {
		w.section("examples")
		w.verbatim(strings.Split(c.Example, "\n"))
	}
	w.section("exit status")
	w.text(exit)
	w.references(see)
	return w.String()
}

// visible is the commands of a command that a page lists.
func visible(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			out = append(out, sub)
		}
	}
	return out
}

// shown says whether a flag's default is worth a word.
func shown(f *pflag.Flag) bool {
	switch f.DefValue {
	case "", "0", "false", "[]", "0s":
		return false
	}
	return !strings.Contains(f.Usage, "(default")
}

// synopsis is the command's path and what follows its name in cobra's Use.
func synopsis(c *cobra.Command) string {
	tag := bold(c.CommandPath())
	_, arguments, ok := strings.Cut(c.Use, " ")
	switch {
	case ok:
		tag += " " + escape(arguments)
	case len(visible(c)) > 0:
		tag += " " + italic("COMMAND")
	}
	return tag + " [" + italic("OPTION") + "]..."
}

func (w *writer) references(see []string) {
	if len(see) == 0 {
		return
	}
	w.section("see also")
	var parts []string
	for _, s := range see {
		name, section, _ := strings.Cut(s, "(")
		parts = append(parts, bold(name)+"("+section)
	}
	w.line(strings.Join(parts, ", "))
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
