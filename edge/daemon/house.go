package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
)

// house is the home that is spoken of, as its file has it.
type house struct {
	log   *slog.Logger
	every time.Duration // lookEvery

	mu     sync.Mutex
	path   string
	now    *home.Home // never nil
	read   time.Time  // when, zero if there was no file
	looked time.Time
	stamp  stamp
	fault  error // of the file that is there, while an older one holds
}

// stamp is what tells a file from the one that was there before.
type stamp struct {
	info fs.FileInfo // nil: none
	time time.Time
	size int64
}

func (s stamp) same(t stamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return os.SameFile(s.info, t.info) && s.time.Equal(t.time) && s.size == t.size
}

func newStamp(info fs.FileInfo) stamp { return stamp{info, info.ModTime(), info.Size()} }

// lookEvery is how often the file is looked at, at the most.
const lookEvery = time.Second

// set puts the home of a configuration in place, as readHome has read it.
func (h *house) set(c *config.Config, next *home.Home, st stamp) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.path, h.looked = c.Home, time.Now()
	h.take(next, st)
}

// readHome reads the home of a configuration. A file that nobody named may be missing.
func readHome(c *config.Config) (*home.Home, stamp, error) {
	empty := &home.Home{Language: "en"}
	if c.Home == "" {
		return empty, stamp{}, nil
	}
	info, err := os.Stat(c.Home)
	if errors.Is(err, fs.ErrNotExist) && c.Origin("home") == "" {
		return empty, stamp{}, nil
	}
	if err != nil {
		return nil, stamp{}, err
	}
	next, err := home.Read(c.Home)
	return next, newStamp(info), err
}

// take puts a home in place. The lock is held.
func (h *house) take(next *home.Home, st stamp) {
	h.now, h.stamp, h.fault, h.read = next, st, nil, time.Time{}
	if st.info == nil {
		h.log.Warn("there is no home: nothing but what needs no device can be asked for; `bimamba home sync` makes one", "file", h.path)
		return
	}
	h.read = time.Now()
	if !next.English() {
		h.log.Warn("the home's language is not English, which is all that the model understands: it declines all that is said", "file", h.path, "language", next.Language)
	}
	h.log.Info("home", "file", h.path, "language", next.Language, "floors", len(next.Floors), "areas", len(next.Areas), "entities", len(next.Entities))
}

// home is the home as it is now. If the file has changed it is read again; one that cannot be read leaves the home as it was.
func (h *house) home() *home.Home {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.path == "" || time.Since(h.looked) < h.every {
		return h.now
	}
	h.looked = time.Now()
	info, err := os.Stat(h.path)
	var st stamp
	switch {
	case err == nil:
		st = newStamp(info)
	case h.stamp.info == nil && errors.Is(err, fs.ErrNotExist): // there was none, and there is none
		return h.now
	}
	if err == nil && st.same(h.stamp) {
		return h.now
	}
	h.stamp = st // not again before it changes
	var next *home.Home
	if err == nil {
		next, err = home.Read(h.path)
	}
	if err != nil {
		if h.fault == nil || h.fault.Error() != err.Error() {
			h.log.Error("the home stays as it was", "error", err.Error())
		}
		h.fault = err
		return h.now
	}
	h.take(next, st)
	return h.now
}

// statusHome is what /status says of the home.
type statusHome struct {
	File     string  `json:"file"`
	Read     *string `json:"read"` // when; null: there is no file
	Language string  `json:"language"`
	Floors   int     `json:"floors"`
	Areas    int     `json:"areas"`
	Entities int     `json:"entities"`
	Fault    string  `json:"error,omitempty"` // of the file that is there now, while the one before holds
}

func (h *house) status() *statusHome {
	now := h.home()
	h.mu.Lock()
	defer h.mu.Unlock()
	out := &statusHome{File: h.path, Language: now.Language, Floors: len(now.Floors), Areas: len(now.Areas), Entities: len(now.Entities)}
	if !h.read.IsZero() {
		read := h.read.UTC().Format(time.RFC3339)
		out.Read = &read
	}
	if h.fault != nil {
		out.Fault = h.fault.Error()
	}
	return out
}
