package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/internal/durable"
	"bimamba/internal/boottime"
)

// clock is two of them: the wall's, which may be wrong and jumps when it is set right, and the time since the machine was started, which only grows.
type clock struct {
	wall func() time.Time
	boot func() time.Duration
	id   string // of the time since the machine was started; "": unknown, as good as started just now
}

func systemClock() *clock {
	id, _ := boottime.ID()
	return &clock{wall: time.Now, boot: boottime.Now, id: id}
}

const (
	fileSuffix = ".action"
	maxFile    = maxMessage + 1024
	maxTTL     = 366 * 24 * time.Hour
)

// stored is an entry's file: the checksum of the JSON behind it (CRC-32C, eight hexadecimal digits), a space, the JSON.
type stored struct {
	Boot    string        `json:"boot"`
	At      time.Duration `json:"at"` // since the machine was started, nanoseconds
	TTL     time.Duration `json:"ttl"`
	Late    bool          `json:"late"`
	Message *Message      `json:"message"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(s *stored) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return withSum(b), nil
}

func withSum(b []byte) []byte { return fmt.Appendf(nil, "%08x %s", crc32.Checksum(b, castagnoli), b) }

func decode(b []byte) (*stored, error) {
	sum, text, ok := bytes.Cut(b, []byte{' '})
	if !ok || len(sum) != 8 || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return nil, errors.New("its checksum is wrong")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	d.UseNumber() // numbers as they were
	s := new(stored)
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more behind its JSON")
	}
	if s.Message == nil || s.TTL <= 0 || s.TTL > maxTTL || s.At < 0 {
		return nil, errors.New("it has no message or no times")
	}
	// Again, whatever wrote it.
	if _, err := newMessage(s.Message.action(), s.Message.Time, s.TTL); err != nil {
		return nil, err
	}
	return s, nil
}

// store is the folder of a spool: a file for each action, whose names are in order.
type store struct {
	dir   *durable.Dir
	clock *clock
	last  uint64 // number of the last file
}

func openStoreDir(path string, c *clock) (*store, error) {
	dir, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	return &store{dir: dir, clock: c}, nil
}

func openStore(files durable.Files, c *clock) (*store, error) {
	dir, err := durable.On(files)
	if err != nil {
		return nil, err
	}
	return &store{dir: dir, clock: c}, nil
}

func (s *store) close() error { return s.dir.Close() }

func (s *store) encode(e *entry) ([]byte, error) {
	return encode(&stored{s.clock.id, e.at, e.ttl, e.late, e.m})
}

func (s *store) write(e *entry) error {
	b, err := s.encode(e)
	if err != nil {
		return err
	}
	s.last++ // also after an error: the file may be there
	name := fmt.Sprintf("%016x%s", s.last, fileSuffix)
	if err := s.dir.Write(name, b); err != nil {
		if rerr := s.dir.Remove(name); rerr != nil { // or it would be done although its asker hears that it is not
			return fmt.Errorf("%w; it may be done later all the same: %w", err, rerr)
		}
		return err
	}
	e.file = name
	return nil
}

func (s *store) remove(file string) error { return s.dir.Remove(file) }

// load reads all that waits, in order. reboot is what waits no more, because the machine was started anew and nobody knows how old it is. Files that cannot be read are removed: an action that
// is not done is better than one that was not asked for.
func (s *store) load(log *slog.Logger) (wait, reboot []*entry, err error) {
	names, err := s.dir.Names()
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	size := 0
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(name, fileSuffix), 16, 64)
		if err != nil || fmt.Sprintf("%016x%s", number, fileSuffix) != name || number == 1<<64-1 {
			continue // not ours
		}
		s.last = max(s.last, number)
		e, err := s.read(name)
		if err == nil && (len(wait)+len(reboot) >= maxWaiting || size+e.size > maxBytes) {
			err = ErrFull
		}
		if err == nil && seen[e.m.ID] {
			err = errors.New("its action is in another file, too")
		}
		if err != nil {
			log.Error("an action that waited is dropped", "file", name, "error", err.Error())
			if err := s.dir.Remove(name); err != nil {
				return nil, nil, err
			}
			continue
		}
		seen[e.m.ID] = true
		size += e.size
		if e.at < 0 {
			reboot = append(reboot, e)
		} else {
			wait = append(wait, e)
		}
	}
	return wait, reboot, nil
}

// read makes an entry of a file. Its time is negative if its age is unknown and it must not be late.
func (s *store) read(name string) (*entry, error) {
	b, err := s.dir.Read(name, maxFile)
	if err != nil {
		return nil, err
	}
	f, err := decode(b)
	if err != nil {
		return nil, err
	}
	e := newEntry(f.Message)
	e.late, e.at, e.ttl, e.file = f.Late, f.At, f.TTL, name
	close(e.wait)
	now := s.clock.boot()
	switch {
	case f.Boot == s.clock.id && f.Boot != "":
		e.at = min(e.at, now)
	case f.Late: // the wall's clock is good enough for it; one that is behind makes it young again
		e.at = now - max(0, s.clock.wall().Sub(f.Message.Time))
		if e.at < 0 { // older than this boot
			e.ttl += e.at
			e.at = 0
		}
	default:
		e.at = -1
	}
	return e, nil
}
