package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bimamba/edge/internal/edit"
)

// flag and env are the option's other names.
func (o *option) flag() string { return strings.ReplaceAll(o.name, "_", "-") }
func (o *option) env() string  { return envPrefix + strings.ToUpper(o.name) }

const envPrefix = "BIMAMBAD_"

// parseFlags reads --name VALUE, --name=VALUE and, for switches, --name. A list's flags make one setting; of others given twice the last holds.
func parseFlags(args []string) ([]setting, error) {
	var settings []setting
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch arg {
		case "-h", "--help":
			return nil, ErrHelp
		case "--version":
			return nil, ErrVersion
		}
		name, value, given := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !strings.HasPrefix(arg, "--") || name == "" {
			return nil, fmt.Errorf("%q is no option; options start with --, and --help lists them", arg)
		}
		o := find(strings.ReplaceAll(name, "-", "_"))
		if o == nil || o.flag() != name {
			return nil, fmt.Errorf("--%s: there is no such option%s", name, suggest(name, (*option).flag, "--"))
		}
		switch {
		case given:
		case o.isSwitch():
			value = "true"
		case i+1 == len(args):
			return nil, fmt.Errorf("--%s needs a value: --%s %s", name, name, o.arg)
		default:
			i++
			value = args[i]
		}
		at := slices.IndexFunc(settings, func(s setting) bool { return s.option == o })
		switch {
		case at < 0:
			settings = append(settings, setting{o, []string{value}, origin{fromFlag, "--" + name}})
		case o.isList():
			settings[at].values = append(settings[at].values, value)
		default:
			settings[at].values[0] = value
		}
	}
	return settings, nil
}

// parseEnv finds options in the environment; a list's values are separated by commas, and an empty variable counts as none.
// vars is the environment as a map, of variables given twice the first, as os.Getenv has it.
func parseEnv(env []string) (settings []setting, vars map[string]string, err error) {
	vars = map[string]string{}
	var errs []error
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		if _, twice := vars[key]; twice {
			continue
		}
		vars[key] = value
		name, ours := strings.CutPrefix(key, envPrefix)
		if !ours || value == "" {
			continue
		}
		o := find(strings.ToLower(name))
		if o == nil || o.env() != key {
			errs = append(errs, fmt.Errorf("%s: there is no such option%s", key, suggest(key, (*option).env, "")))
			continue
		}
		values := []string{value}
		if o.isList() {
			values = strings.Split(value, ",")
		}
		settings = append(settings, setting{o, values, origin{fromEnv, key}})
	}
	return settings, vars, errors.Join(errs...)
}

// suggest is a hint at the option whose name, in one of its forms, is nearest to the one that was given.
func suggest(given string, form func(*option) string, prefix string) string {
	best, distance := "", 4
	for i := range options {
		name := form(&options[i])
		if d := edit.Distance(given, name, distance-1); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return "; --help lists them"
	}
	return "; did you mean " + prefix + best + "?"
}
