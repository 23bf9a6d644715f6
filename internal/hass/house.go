package hass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bimamba/edge/home"
)

// text is a string of Home Assistant's: null, and what an integration put there in place of one, is "".
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	return nil
}

// flag is true or false; anything else is false.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = string(b) == "true"
	return nil
}

type (
	config struct {
		Language text `json:"language"`
		State    text `json:"state"`
	}
	floorEntry struct {
		ID      text   `json:"floor_id"`
		Name    text   `json:"name"`
		Aliases []text `json:"aliases"`
	}
	areaEntry struct {
		ID      text   `json:"area_id"`
		Name    text   `json:"name"`
		Aliases []text `json:"aliases"`
		Floor   text   `json:"floor_id"`
	}
	deviceEntry struct {
		ID   text `json:"id"`
		Area text `json:"area_id"`
	}
	entityEntry struct {
		ID                  text   `json:"entity_id"`
		Name                text   `json:"name"`
		OriginalName        text   `json:"original_name"`
		Aliases             []text `json:"aliases"` // null stands for the name in versions from 2026 on
		Area                text   `json:"area_id"`
		Device              text   `json:"device_id"`
		DeviceClass         text   `json:"device_class"`
		OriginalDeviceClass text   `json:"original_device_class"`
		Unit                text   `json:"unit_of_measurement"`
		Disabled            text   `json:"disabled_by"`
		Hidden              text   `json:"hidden_by"`
		Category            text   `json:"entity_category"`
	}
	state struct {
		ID         text `json:"entity_id"`
		Attributes struct {
			Name        text `json:"friendly_name"`
			DeviceClass text `json:"device_class"`
			Unit        text `json:"unit_of_measurement"`
		} `json:"attributes"`
	}
	exposed struct {
		Entities map[string]struct {
			Conversation *flag `json:"conversation"`
		} `json:"exposed_entities"`
	}
	exposeNew struct {
		ExposeNew flag `json:"expose_new"`
	}
)

// ErrStarting is what Home returns while Home Assistant starts: half of the house is not there yet.
var ErrStarting = errors.New("Home Assistant is still starting; try again in a minute")

// Home reads the house: floors, areas, and the entities that are exposed to Assist, with aliases. The notes say what was left out or mended.
func (c *Client) Home(ctx context.Context) (h *home.Home, notes []string, err error) {
	var r registries
	for _, x := range []struct {
		command string
		result  any
	}{
		{"get_config", &r.config},
		{"config/floor_registry/list", &r.floors},
		{"config/area_registry/list", &r.areas},
		{"config/device_registry/list", &r.devices},
		{"get_states", &r.states},
		{"homeassistant/expose_entity/list", &r.exposed},
	} {
		if err := c.call(ctx, map[string]any{"type": x.command}, x.result); err != nil {
			return nil, nil, err
		}
		if s := r.config.State; s != "" && s != "RUNNING" {
			return nil, nil, ErrStarting
		}
	}
	var fresh exposeNew
	if err := c.call(ctx, map[string]any{"type": "homeassistant/expose_new_entities/get", "assistant": "conversation"}, &fresh); err != nil {
		return nil, nil, err
	}
	r.exposeNew = bool(fresh.ExposeNew)
	// The registry's list has no aliases; get_entries has all of an entry, for those that are asked for.
	if ids := r.candidates(); len(ids) > 0 {
		if err := c.call(ctx, map[string]any{"type": "config/entity_registry/get_entries", "entity_ids": ids}, &r.entities); err != nil {
			return nil, nil, err
		}
	}
	h, notes = r.home()
	if err := h.Validate(); err != nil {
		return nil, notes, fmt.Errorf("the house of Home Assistant: %w", err)
	}
	return h, notes, nil
}

// registries is what Home Assistant says of a house.
type registries struct {
	config    config
	floors    []floorEntry
	areas     []areaEntry
	devices   []deviceEntry
	states    []state
	exposed   exposed
	exposeNew bool                    // entities that nobody decided on are exposed if they are of the usual kinds
	entities  map[string]*entityEntry // nil for what has no entry
}

// candidates is the IDs of entities that may be exposed, sorted.
func (r *registries) candidates() []string {
	var ids []string
	for i := range r.states {
		id := string(r.states[i].ID)
		if x := r.exposed.Entities[id].Conversation; x != nil && bool(*x) || x == nil && r.exposeNew {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Home Assistant decides on the exposure of an entity when its own agent first asks; until then these are exposed
// (homeassistant/components/homeassistant/exposed_entities.py).
var (
	usualDomains = []string{"climate", "cover", "fan", "humidifier", "light", "media_player", "scene", "switch", "todo", "vacuum", "water_heater"}
	usualClasses = map[string][]string{
		"binary_sensor": {"door", "garage_door", "lock", "motion", "opening", "presence", "window"},
		"sensor":        {"aqi", "carbon_monoxide", "carbon_dioxide", "humidity", "pm10", "pm25", "temperature", "volatile_organic_compounds"},
	}
)

// isExposed tells whether Assist may speak of an entity.
func (r *registries) isExposed(e *home.Entity, entry *entityEntry) bool {
	if x := r.exposed.Entities[e.ID].Conversation; x != nil {
		return bool(*x)
	}
	if !r.exposeNew || entry != nil && (entry.Category != "" || entry.Hidden != "") {
		return false
	}
	return slices.Contains(usualDomains, e.Domain()) || slices.Contains(usualClasses[e.Domain()], e.DeviceClass)
}

// home puts the house together, in the order of IDs, so that the same house is the same file.
func (r *registries) home() (*home.Home, []string) {
	b := builder{home: &home.Home{Language: language(string(r.config.Language))}}
	for _, f := range r.floors {
		if id, name, aliases, ok := b.named("floor", f.ID, f.Name, f.Aliases); ok {
			b.home.Floors = append(b.home.Floors, home.Floor{ID: id, Name: name, Aliases: aliases})
		}
	}
	for _, a := range r.areas {
		if id, name, aliases, ok := b.named("area", a.ID, a.Name, a.Aliases); ok {
			floor := string(a.Floor)
			if b.home.Floor(floor) == nil {
				floor = ""
			}
			b.home.Areas = append(b.home.Areas, home.Area{ID: id, Name: name, Aliases: aliases, Floor: floor})
		}
	}
	devices := map[text]text{}
	for _, d := range r.devices {
		devices[d.ID] = d.Area
	}
	areas := map[string]bool{}
	for _, a := range b.home.Areas {
		areas[a.ID] = true
	}
	states := map[string]*state{}
	for i := range r.states {
		states[string(r.states[i].ID)] = &r.states[i]
	}
	for _, id := range r.candidates() {
		st, entry := states[id], r.entities[id]
		if entry == nil {
			entry = &entityEntry{}
		}
		e := home.Entity{ID: id, DeviceClass: first(st.Attributes.DeviceClass, entry.DeviceClass, entry.OriginalDeviceClass), Unit: first(st.Attributes.Unit, entry.Unit)}
		if entry.Disabled != "" || !r.isExposed(&e, entry) {
			continue
		}
		var ok bool
		if _, e.Name, e.Aliases, ok = b.named("entity", text(id), text(first(st.Attributes.Name, entry.Name, entry.OriginalName)), entry.Aliases); !ok {
			continue
		}
		if err := (&home.Home{Language: b.home.Language, Entities: []home.Entity{e}}).Validate(); err != nil {
			b.notes = append(b.notes, fmt.Sprintf("an entity is left out: %v", err))
			continue
		}
		if area := first(entry.Area, devices[entry.Device]); areas[area] {
			e.Area = area
		}
		b.home.Entities = append(b.home.Entities, e)
	}
	slices.SortFunc(b.home.Floors, func(x, y home.Floor) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(b.home.Areas, func(x, y home.Area) int { return strings.Compare(x.ID, y.ID) })
	return b.home, b.notes
}

// first is the first text that is not empty once it is clean.
func first(texts ...text) string {
	for _, t := range texts {
		if s := home.Clean(string(t)); s != "" {
			return s
		}
	}
	return ""
}

// language is the tag if it looks like one: it is no reason to be without a home.
func language(tag string) string {
	if h := (&home.Home{Language: tag}); h.Validate() == nil {
		return tag
	}
	return "en"
}

// builder puts a home together and takes down what does not fit.
type builder struct {
	home  *home.Home
	notes []string
	seen  map[string]bool
}

// named checks and cleans what has an ID and a name. Aliases lose those that say nothing new, and are sorted: Home Assistant keeps them as a set.
func (b *builder) named(kind string, rawID, rawName text, rawAliases []text) (id, name string, aliases []string, ok bool) {
	id, name = string(rawID), home.Clean(string(rawName))
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	switch {
	case id == "" || home.Clean(id) != id || strings.Contains(id, " "):
		b.notes = append(b.notes, fmt.Sprintf("an ID of Home Assistant's is none, and its %s is left out: %q", kind, home.Clean(id)))
		return "", "", nil, false
	case b.seen[kind+"\x00"+id]:
		return "", "", nil, false
	case name == "":
		b.notes = append(b.notes, fmt.Sprintf("%s %s is left out: it has no name", kind, id))
		return "", "", nil, false
	}
	b.seen[kind+"\x00"+id] = true
	set := map[string]string{}
	for _, a := range rawAliases {
		s := home.Clean(string(a))
		if s == "" || strings.EqualFold(s, name) {
			continue
		}
		if k := strings.ToLower(s); set[k] == "" || s < set[k] {
			set[k] = s
		}
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if len(aliases) == home.MaxAliases {
			b.notes = append(b.notes, fmt.Sprintf("%s %s: %d aliases beyond %d are left out", kind, id, len(set)-len(aliases), home.MaxAliases))
			break
		}
		aliases = append(aliases, set[k])
	}
	return id, name, aliases, true
}
