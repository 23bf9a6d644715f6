package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/edge/daemon/config"
	"bimamba/internal/cli"
	"bimamba/internal/man"
	"bimamba/systemd/deb"
)

// manual is the pages of both programs and of the configuration file, by their file names.
func (p *product) manual() (map[string]string, error) {
	page := man.Page{Section: 1, Date: p.time.Format("2006-01-02"), Source: "bimamba " + p.version, Manual: "Bi-Mamba Edge"}
	const exit = "0 on success, 1 for a failure, 2 for a wrong call, 130 if it was interrupted."
	pages := map[string]string{}
	var add func(c *cobra.Command, above string) string
	add = func(c *cobra.Command, above string) string {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		var see []string
		if above != "" {
			see = append(see, above+"(1)")
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				see = append(see, add(sub, name)+"(1)")
			}
		}
		page.Name = name
		pages[name+".1"] = man.Command(c, page, exit, append(see, "bimambad(8)"))
		return name
	}
	add(cli.Root(), "")

	var err error
	page.Name, page.Section = "bimambad", 8
	pages["bimambad.8"], err = man.Program(config.Help(), page, `0 after a stop that was asked for, 1 for a failure, 2 for a wrong call or configuration.`,
		[]string{"bimambad.toml(5)", "bimamba(1)", "systemd.exec(5)"})
	if err != nil {
		return nil, fmt.Errorf("the daemon's help: %w", err)
	}
	page.Name, page.Section = "bimambad.toml", 5
	pages["bimambad.toml.5"], err = man.Config(config.Help(), page, man.File{
		Summary: "configuration of bimambad",
		Path:    "/etc/bimamba/bimambad.toml",
		Text: `The daemon bimambad reads this file, in TOML, at its start, and again at SIGHUP, as "systemctl reload bimambad" sends it. Keys that are not here have their defaults.
A flag --foo-bar and a variable BIMAMBAD_FOO_BAR go before a key foo_bar. The file may be missing.

Keys marked * change only when the daemon is started again. Lists are ["one", "two"]. TIME is a string of a number with a unit ("300ms", "90s", "5m", "1h30m"), SIZE likewise
("64KiB", "256MB").

"bimambad check" says what holds and where each value comes from. A reload of a file that is wrong changes nothing, and the log names the line.`,
		NoKey:   []string{"--config"},
		Example: []string{`# Answer the local network, four requests at a time, and end after ten minutes without one.`, `listen = [":11434"]`, `sessions = 4`, `idle_exit = "10m"`},
		See:     []string{"bimambad(8)"},
	})
	return pages, err
}

// completions is the files that shells complete bimamba with.
func completions() ([]deb.File, error) {
	root := cli.Root()
	var out []deb.File
	for _, s := range []struct {
		path string
		gen  func(io.Writer) error
	}{
		{"/usr/share/bash-completion/completions/bimamba", func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		{"/usr/share/zsh/vendor-completions/_bimamba", root.GenZshCompletion},
		{"/usr/share/fish/vendor_completions.d/bimamba.fish", func(w io.Writer) error { return root.GenFishCompletion(w, true) }},
	} {
		var b bytes.Buffer
		if err := s.gen(&b); err != nil {
			return nil, err
		}
		out = append(out, deb.File{Path: s.path, Mode: 0o644, Data: b.Bytes()})
	}
	return out, nil
}

// changelog is the newest section of CHANGELOG.md as Debian's changelog of one entry.
func (p *product) changelog(markdown string) (string, error) {
	_, rest, ok := strings.Cut("\n"+markdown, "\n## ")
	if !ok {
		return "", fmt.Errorf("CHANGELOG.md has no section")
	}
	newest, _, _ := strings.Cut(rest, "\n## ")
	var items []string
	for _, line := range strings.Split(newest, "\n")[1:] {
		switch text, isItem := strings.CutPrefix(line, "- "); {
		case isItem:
			items = append(items, text)
		case strings.HasPrefix(line, "  ") && len(items) > 0:
			items[len(items)-1] += " " + strings.TrimSpace(line)
		}
	}
	if len(items) == 0 {
		return "", fmt.Errorf("the newest section of CHANGELOG.md has no items")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "bimamba (%s) stable; urgency=medium\n\n", p.debVersion())
	for _, item := range items {
		line := "  *"
		for _, word := range strings.Fields(strings.ReplaceAll(item, "`", "")) {
			if len(line)+1+len(word) > 79 && len(strings.TrimSpace(line)) > 1 {
				b.WriteString(line + "\n")
				line = "   "
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\n -- %s  %s\n", p.maintainer, p.time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	return b.String(), nil
}
