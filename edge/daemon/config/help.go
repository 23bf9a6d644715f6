package config

import (
	"fmt"
	"strings"
)

const helpWidth = 92

// Help describes the program's options, grouped.
func Help() string {
	var b strings.Builder
	b.WriteString(`bimambad - serve a Bi-Mamba model over HTTP

Usage:
  bimambad [OPTION]...
  bimambad check [--json] [OPTION]...
  bimambad sample-config

The daemon answers on the protocols of OpenAI and Ollama, and on Wyoming's if it is told where.
It reads its options from flags, from the environment and from a TOML file, in this order of
precedence: an option foo_bar is the flag --foo-bar, the variable BIMAMBAD_FOO_BAR and the key
foo_bar. "check" reads the same, says where each value came from, and exits with 1 if something
is wrong; nothing is served. "sample-config" prints a file with all options.

Options that may be given several times are lists: in the environment their values are separated
by commas, in TOML they are ["one", "two"]; a list of higher precedence replaces the others.
TIME is a number with a unit (300ms, 90s, 5m, 1h30m), SIZE likewise (64KiB, 256MB). A switch is
--foo or --foo=false.
SIGHUP reads everything again; options marked * change only when the daemon is started again.
`)
	group := ""
	for i := range options {
		o := &options[i]
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		line := "  --" + o.flag()
		switch {
		case o.arg != "":
			line += " " + o.arg
		case o.def == "true":
			line += "=false"
		}
		if o.isList() {
			line += " ..."
		}
		if !o.live {
			line += " *"
		}
		b.WriteString(line + "\n")
		text := o.help
		if o.def != "" {
			text += " Default: " + o.def + "."
		}
		wrap(&b, "        ", text)
	}
	b.WriteString(`
Other:
  -h, --help
        Print this.
  --version
        Print the version.

Files:
  /etc/bimamba/bimambad.toml
        The configuration.
  /etc/bimamba/home.toml
        The rooms and devices of a home.
  /etc/bimamba/tuning.json
        What doctor --tune measured of this board.
  /usr/share/bimamba/default.bimamba
        The default model.
  /var/lib/bimamba
        Snapshots and the token, as the service has it ($STATE_DIRECTORY).

Examples:
  bimambad --model 780m.bimamba --listen unix:/run/bimamba/bimambad.sock
  bimambad --listen 127.0.0.1:11434 --listen '[::1]:11434' --sessions 4
  BIMAMBAD_MODEL=780m.bimamba bimambad check --json
`)
	return b.String()
}

// Sample is a configuration file with every option in a comment, with its default.
func Sample() string {
	var b strings.Builder
	b.WriteString("# Configuration of bimambad. Every line that starts with # and a key shows a default.\n" +
		"# A flag --foo-bar and a variable BIMAMBAD_FOO_BAR go before foo_bar here.\n" +
		"# `bimambad check` reads this file and says what holds.\n" +
		"# A reload applies changes, but for options marked *, which need a restart.\n")
	c := Default()
	group := ""
	for i := range options {
		o := &options[i]
		if o.name == "config" {
			continue
		}
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n# %s\n", group)
		}
		b.WriteByte('\n')
		mark := ""
		if !o.live {
			mark = "* "
		}
		wrap(&b, "# ", mark+o.help)
		b.WriteString("#" + o.tomlLine(c) + "\n")
	}
	return b.String()
}

// wrap writes text in lines of at most helpWidth, each with the indent.
func wrap(b *strings.Builder, indent, text string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > helpWidth && len(line) > len(indent) {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
