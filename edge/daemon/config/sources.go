package config

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"bimamba/memmap/sign"
)

// originKind is where values come from, in rising precedence.
type originKind int

const (
	fromDefault originKind = iota
	fromSystemd            // or from an option that systemd set
	fromFile
	fromEnv
	fromFlag
)

// origin is where one value came from.
type origin struct {
	kind  originKind
	where string // the flag, the variable, FILE:LINE:COLUMN, or the option that the value follows from
}

// quote is a value as it was written, for errors.
func (g origin) quote(o *option, value string) string {
	switch g.kind {
	case fromFlag:
		return fmt.Sprintf("--%s %s", o.flag(), value)
	case fromEnv:
		return fmt.Sprintf("%s=%s", o.env(), value)
	case fromFile:
		return fmt.Sprintf("%s: %s = %s", g.where, o.name, value)
	default:
		return fmt.Sprintf("%s = %s", o.name, value)
	}
}

func (g origin) String() string {
	if g.kind == fromDefault {
		return "default"
	}
	return g.where
}

// setting is an option that was given values somewhere.
type setting struct {
	option *option
	values []string
	origin origin
}

// Source says what an option's value is and where it came from.
type Source struct {
	Name   string   `json:"name"`   // as in TOML
	Values []string `json:"values"` // one, or any number for a list
	Origin string   `json:"origin"` // a flag, a variable, FILE:LINE:COLUMN, the option that it follows from, or "default"
	Reload bool     `json:"reload"` // a reload applies a change
}

// Sources are the values of all options in the table's order.
func (c *Config) Sources() []Source {
	sources := make([]Source, len(options))
	for i := range options {
		o := &options[i]
		sources[i] = Source{o.name, append([]string{}, o.texts(c)...), c.origins[o.name].String(), o.live}
	}
	return sources
}

// Origin is where the value of an option came from, by its name in TOML, as in [Source]; "" is the default.
func (c *Config) Origin(name string) string {
	if g := c.origins[name]; g.kind != fromDefault {
		return g.String()
	}
	return ""
}

// WriteSources prints sources as a table.
func WriteSources(w io.Writer, sources []Source) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range sources {
		value := strings.Join(s.Values, ", ")
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, value, s.Origin)
	}
	return t.Flush()
}

// Diff names the options in which next differs from c: those that a reload applies, and those that keep their old value until the daemon is started again.
func (c *Config) Diff(next *Config) (changed, needsRestart []string) {
	for i := range options {
		o := &options[i]
		switch {
		case o.name == "config" || slices.Equal(o.texts(c), o.texts(next)):
		case o.live:
			changed = append(changed, o.name)
		default:
			needsRestart = append(needsRestart, o.name)
		}
	}
	return changed, needsRestart
}

// Keep is next with the values of c where a change needs a restart, and of other options by their names: what holds after a reload.
func (c *Config) Keep(next *Config, others ...string) *Config {
	kept := *next
	kept.origins = map[string]origin{}
	for i := range options {
		o := &options[i]
		kept.origins[o.name] = next.origins[o.name]
		if o.live && !slices.Contains(others, o.name) || o.name == "config" {
			continue
		}
		kept.origins[o.name] = c.origins[o.name]
		if err := o.set(&kept, o.texts(c)); err != nil {
			panic(fmt.Sprintf("config: %s does not read its own text: %v", o.name, err))
		}
	}
	return &kept
}

// ReadDirs are the directories of the files that the daemon reads, now and at a reload: of the model, its tuning, the home, the personas, the configuration file and the certificate,
// and of those that they are symbolic links to.
func (c *Config) ReadDirs() []string {
	files := []string{c.Model, c.Tuning, c.Home, c.lookup, c.TLSCert, c.TLSKey}
	for _, k := range c.VerifyKey {
		if _, err := sign.ParsePublicKey(string(k)); err != nil {
			files = append(files, string(k))
		}
	}
	for _, p := range c.Persona {
		files = append(files, p.File)
	}
	for _, f := range files {
		if target, err := filepath.EvalSymlinks(f); err == nil && f != "" {
			files = append(files, target)
		}
	}
	return dirs(files)
}

// WriteDirs are the directories that the daemon writes to: of the snapshots and of the token.
func (c *Config) WriteDirs() []string {
	list := dirs([]string{c.TokenFile})
	if c.StateDir != "" {
		list = append(list, c.StateDir)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// SocketDirs are the directories of the Unix sockets that the daemon opens and, at its end, removes.
func (c *Config) SocketDirs() []string {
	var files []string
	for _, a := range slices.Concat(c.Listen, c.Wyoming) {
		if a.Network == "unix" && a.Addr[0] == '/' {
			files = append(files, a.Addr)
		}
	}
	return dirs(files)
}

func dirs(files []string) []string {
	var list []string
	for _, f := range files {
		if f != "" {
			list = append(list, filepath.Dir(f))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
