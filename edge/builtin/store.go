package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf8"
)

const (
	fileName = "builtin.json"
	badName  = "damaged.json"
	version  = 1
	maxFile  = 4 << 20 // more than what the limits allow
	stepped  = 2 * time.Second
)

// stored is the file.
type stored struct {
	Version int           `json:"version"`
	Boot    string        `json:"boot"` // of the machine that wrote it,
	At      time.Duration `json:"at"`   // when, since it was started, in nanoseconds,
	Wall    time.Time     `json:"wall"` // and by its clock
	Timers  []storedTimer `json:"timers"`
	Lists   []storedList  `json:"lists"`
}

type storedTimer struct {
	Name    string        `json:"name,omitempty"`
	Area    string        `json:"area,omitempty"`
	Command string        `json:"command,omitempty"`
	Total   time.Duration `json:"total"`
	Left    time.Duration `json:"left"` // when the file was written; negative if it is over and nobody has heard of it
	Paused  bool          `json:"paused,omitempty"`
	Until   *time.Time    `json:"until,omitempty"` // of a timer of an earlier start
	Most    time.Duration `json:"most,omitempty"`
}

type storedList struct {
	Name  string   `json:"name"`
	Items []string `json:"items"`
}

// offset is what the wall's clock is ahead of the time since the machine was started.
func (c *clock) offset() time.Duration { return time.Duration(c.wall().UnixNano()) - c.boot() }

// step looks whether the wall's clock was set. The file then holds the wrong time, and timers of an earlier start move.
func (b *Builtin) step() {
	offset := b.clock.offset()
	if d := offset - b.offset; d > -stepped && d < stepped {
		return
	}
	b.offset = offset
	for _, t := range b.timers {
		if !t.until.IsZero() && !t.paused && !t.told {
			t.place(b.clock)
		}
		b.dirty = true
	}
}

// place lets a timer of an earlier start end by the wall's clock. However wrong that is, there is no more left than there was.
func (t *timer) place(c *clock) {
	left := max(min(t.until.Sub(c.wall()), t.most), -maxLength)
	t.end = c.boot() + left
}

// save writes the file. Nothing but a change gets it written.
func (b *Builtin) save() error {
	if b.dir == nil {
		b.dirty = false
		return nil
	}
	now := b.clock.boot()
	s := stored{Version: version, Boot: b.clock.id, At: now, Wall: b.clock.wall().Round(0).UTC(), Timers: []storedTimer{}, Lists: []storedList{}}
	for _, t := range b.timers {
		st := storedTimer{t.name, t.area, t.command, t.total, max(t.remaining(now), -maxLength), t.paused, nil, 0}
		if !t.until.IsZero() {
			st.Until, st.Most = &t.until, t.most
		}
		s.Timers = append(s.Timers, st)
	}
	for _, l := range b.lists {
		s.Lists = append(s.Lists, storedList{l.name, l.items})
	}
	data, err := json.Marshal(&s)
	if err == nil {
		err = b.dir.Write(fileName, append(data, '\n'))
	}
	if err != nil {
		b.log.Error("timers and lists are not saved", "error", err.Error())
		return err
	}
	b.dirty = false
	return nil
}

// load takes up the file.
func (b *Builtin) load() error {
	data, err := b.dir.Read(fileName, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s *stored
	if err == nil {
		s, err = decode(data)
	}
	if err != nil { // an assistant that does not start helps nobody
		b.log.Error("timers and lists cannot be read: starting without", "file", fileName, "kept_as", badName, "error", err.Error())
		return b.dir.Rename(fileName, badName)
	}
	same := s.Boot == b.clock.id && s.Boot != "" && s.At <= b.clock.boot()
	for _, st := range s.Timers {
		t := &timer{name: st.Name, area: st.Area, command: st.Command, total: st.Total, paused: st.Paused, left: max(st.Left, 0)}
		if st.Until != nil {
			t.until, t.most = *st.Until, st.Most
		}
		switch {
		case t.paused:
			t.until = time.Time{}
		case same && t.until.IsZero():
			t.end = s.At + st.Left
		default:
			if t.until.IsZero() {
				t.until, t.most = s.Wall.Add(st.Left), st.Left
			}
			t.place(b.clock)
		}
		b.timers = append(b.timers, t)
	}
	for _, l := range s.Lists {
		b.lists = append(b.lists, &list{l.Name, l.Items})
	}
	return nil
}

// decode reads a file and holds it to the limits.
func decode(data []byte) (*stored, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	s := new(stored)
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more behind its JSON")
	}
	if s.Version != version {
		return nil, fmt.Errorf("version %d: this program reads %d", s.Version, version)
	}
	if s.At < 0 || len(s.Timers) > maxTimers || len(s.Lists) > maxLists {
		return nil, fmt.Errorf("at %d ns, %d timers, %d lists: out of range", s.At, len(s.Timers), len(s.Lists))
	}
	for i, t := range s.Timers {
		if !text(t.Name, 0, maxName) || !text(t.Area, 0, maxName) || !text(t.Command, 0, maxText) || t.Total < time.Second || t.Total > maxLength ||
			t.Left > maxLength || t.Left < -maxLength || t.Most > maxLength || t.Most < -maxLength {
			return nil, fmt.Errorf("timer %d: out of range", i+1)
		}
	}
	seen := map[string]bool{}
	for i, l := range s.Lists {
		if !text(l.Name, 1, maxName) || seen[l.Name] || len(l.Items) == 0 || len(l.Items) > maxItems {
			return nil, fmt.Errorf("list %d: out of range", i+1)
		}
		seen[l.Name] = true
		for j, item := range l.Items {
			if !text(item, 1, maxText) {
				return nil, fmt.Errorf("list %d, item %d: out of range", i+1, j+1)
			}
		}
	}
	return s, nil
}

func text(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s)
}
