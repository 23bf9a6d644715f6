package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile is the largest configuration file; the sample with every option has a tenth of it.
const maxFile = 64 << 10

// readTOML reads a configuration file: keys with scalars and lists of strings, no tables.
func readTOML(path string, readFile func(string) ([]byte, error)) ([]setting, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; a configuration file has at most %d", path, len(data), maxFile)
	}
	keys, err := tomlKeys(path, data)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := toml.Unmarshal(data, &values); err != nil {
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, column := d.Position()
			return nil, fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var settings []setting
	var errs []error
	for _, k := range keys {
		o := find(k.name)
		if o == nil || o.name == "config" {
			errs = append(errs, fmt.Errorf("%s: there is no key %s%s", k.where, k.name, suggest(k.name, func(o *option) string { return o.name }, "")))
			continue
		}
		texts, err := o.tomlTexts(values[k.name])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", k.where, o.name, err))
			continue
		}
		settings = append(settings, setting{o, texts, origin{fromFile, k.where}})
	}
	return settings, errors.Join(errs...)
}

// tomlKey is a key of the file.
type tomlKey struct {
	name  string
	where string // FILE:LINE:COLUMN
}

// tomlKeys finds the keys with their places, which the decoded values no longer have, and refuses tables and dotted keys.
func tomlKeys(path string, data []byte) ([]tomlKey, error) {
	var p unstable.Parser
	p.Reset(data)
	var keys []tomlKey
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.Comment {
			continue
		}
		it := e.Key()
		it.Next()
		first := it.Node()
		at := p.Shape(first.Raw).Start
		where := fmt.Sprintf("%s:%d:%d", path, at.Line, at.Column)
		if e.Kind != unstable.KeyValue || it.Next() {
			return nil, fmt.Errorf("%s: there are no tables and no dotted keys; every option stands by itself, as `sessions = 2`", where)
		}
		keys = append(keys, tomlKey{string(first.Data), where})
	}
	if err := p.Error(); err != nil {
		return keys, nil // the decoder finds the same fault, and says where
	}
	return keys, nil
}

// tomlTexts is a decoded value as set takes it. Its type has to be the option's.
func (o *option) tomlTexts(v any) ([]string, error) {
	if s, ok := v.(string); ok && o.zero != "" && s == o.zero {
		return []string{s}, nil
	}
	switch o.field(new(Config)).(type) {
	case *int:
		if n, ok := v.(int64); ok {
			return []string{strconv.FormatInt(n, 10)}, nil
		}
	case *float64:
		switch n := v.(type) {
		case int64:
			return []string{strconv.FormatInt(n, 10)}, nil
		case float64:
			return []string{strconv.FormatFloat(n, 'g', -1, 64)}, nil
		}
	case *bool:
		if b, ok := v.(bool); ok {
			return []string{strconv.FormatBool(b)}, nil
		}
	case *Bytes:
		switch n := v.(type) {
		case int64:
			return []string{strconv.FormatInt(n, 10)}, nil
		case string:
			return []string{n}, nil
		}
	case *[]Address, *[]Persona, *[]string, *[]Key:
		if list, ok := v.([]any); ok {
			texts := make([]string, len(list))
			for i, e := range list {
				s, ok := e.(string)
				if !ok {
					return nil, fmt.Errorf("element %d is %s; write %s", i+1, tomlType(e), o.tomlExample())
				}
				texts[i] = s
			}
			return texts, nil
		}
	default:
		if s, ok := v.(string); ok {
			return []string{s}, nil
		}
	}
	return nil, fmt.Errorf("the value is %s; write %s", tomlType(v), o.tomlExample())
}

// tomlType names a decoded value's type.
func tomlType(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

// tomlExample is the option as a line of TOML.
func (o *option) tomlExample() string {
	c := Default()
	if o.isList() && o.def == "" {
		return o.name + ` = ["` + o.arg + `"]`
	}
	return o.tomlLine(c)
}

// tomlLine is the option with its value in c as a line of TOML.
func (o *option) tomlLine(c *Config) string {
	texts := o.texts(c)
	switch o.field(c).(type) {
	case *[]Address, *[]Persona, *[]string, *[]Key:
		for i := range texts {
			texts[i] = quoteTOML(texts[i])
		}
		return o.name + " = [" + strings.Join(texts, ", ") + "]"
	case *int, *float64:
		if texts[0] != o.zero {
			return o.name + " = " + texts[0]
		}
	case *bool:
		return o.name + " = " + texts[0]
	}
	return o.name + " = " + quoteTOML(texts[0])
}

// quoteTOML is a literal string if that can be; option values have no control characters.
func quoteTOML(s string) string {
	if strings.ContainsAny(s, `"\`) && !strings.ContainsRune(s, '\'') {
		return "'" + s + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
