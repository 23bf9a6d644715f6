package hass

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"bimamba/edge/home"
)

// maxFixtures is the most of a fixtures file that is read, in bytes.
const maxFixtures = 4 << 20

// fixtures is the part of a tests/LANGUAGE/_fixtures.yaml of home-assistant/intents that says what the house is.
type fixtures struct {
	Language string `yaml:"language"`
	Floors   []struct {
		ID   string `yaml:"id"`
		Name string `yaml:"name"`
	} `yaml:"floors"`
	Areas []struct {
		ID    string `yaml:"id"`
		Name  string `yaml:"name"`
		Floor string `yaml:"floor"`
	} `yaml:"areas"`
	Entities []struct {
		ID         string         `yaml:"id"`
		Name       string         `yaml:"name"`
		Area       string         `yaml:"area"`
		Attributes map[string]any `yaml:"attributes"`
	} `yaml:"entities"`
}

// ReadFixtures is the house of a fixtures file of home-assistant/intents, in which that project tests its sentences. IDs that Home Assistant
// itself would not take are mended; a name that is a template ("Trader Joe[']s") is taken without its optional parts, and with them as an alias.
func ReadFixtures(data []byte) (*home.Home, error) {
	if len(data) > maxFixtures {
		return nil, fmt.Errorf("there are more than %d bytes of fixtures", maxFixtures)
	}
	var f fixtures
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	h := &home.Home{Language: f.Language}
	for _, x := range f.Floors {
		name, aliases := template(x.Name)
		h.Floors = append(h.Floors, home.Floor{ID: x.ID, Name: name, Aliases: aliases})
	}
	for _, x := range f.Areas {
		name, aliases := template(x.Name)
		h.Areas = append(h.Areas, home.Area{ID: x.ID, Name: name, Aliases: aliases, Floor: x.Floor})
	}
	for _, x := range f.Entities {
		name, aliases := template(x.Name)
		text := func(k string) string {
			s, _ := x.Attributes[k].(string)
			return home.Clean(s)
		}
		h.Entities = append(h.Entities, home.Entity{ID: slug(x.ID), Name: name, Aliases: aliases, Area: x.Area, DeviceClass: text("device_class"), Unit: text("unit_of_measurement")})
	}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}

// slug is an entity's ID in small letters, with _ for what is none of letters, digits and the dot.
func slug(id string) string {
	return strings.Map(func(r rune) rune {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' {
			return '_'
		}
		return r
	}, strings.ToLower(id))
}

// template is a name without its optional parts in brackets, and, if there are any, the name with them.
func template(s string) (name string, aliases []string) {
	var without strings.Builder
	depth := 0
	for _, r := range s {
		switch {
		case r == '[':
			depth++
		case r == ']' && depth > 0:
			depth--
		case depth == 0:
			without.WriteRune(r)
		}
	}
	name = home.Clean(without.String())
	if with := home.Clean(strings.NewReplacer("[", "", "]", "").Replace(s)); with != name {
		aliases = []string{with}
	}
	return name, aliases
}
