package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// state is state.json.
type state struct {
	Version   int      `json:"version"`   // 1
	Confirmed []string `json:"confirmed"` // the latest last; each once
	Trial     *Trial   `json:"trial"`
}

// Trial is a version that is to be confirmed.
type Trial struct {
	ID       string  `json:"id"`
	Previous string  `json:"previous"` // "": [Package]
	Boot     string  `json:"boot_id"`
	Deadline float64 `json:"deadline_s"` // since boot
	Who      string  `json:"who"`
}

// Left is how long the trial may still take; false if it began in another boot.
func (t *Trial) left(boot string, up time.Duration) (time.Duration, bool) {
	return time.Duration(t.Deadline*float64(time.Second)) - up, t.Boot == boot
}

// load reads the state; none is an empty one.
func (s *Store) load() (*state, error) {
	st, err := s.read(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{Version: 1}, nil
	}
	return st, err
}

// errState says that a state is damaged, and not one of a later program.
var errState = errors.New("damaged; the next boot, or `bimamba slot boot`, makes it anew")

func (s *Store) read(name string) (*state, error) {
	path := s.disk.path(name)
	h, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxState {
		return nil, fmt.Errorf("%s: %w: it has more than %d bytes", path, errState, maxState)
	}
	st := new(state)
	if err := json.Unmarshal(b, st); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, errState, err)
	}
	if st.Version != 1 {
		return nil, fmt.Errorf("%s: version %d; this program knows 1", path, st.Version)
	}
	ids := slices.Clone(st.Confirmed)
	if t := st.Trial; t != nil {
		ids = append(ids, t.ID)
		if t.Previous != "" {
			ids = append(ids, t.Previous)
		}
	}
	for _, id := range ids {
		if id != Package && !validID(id) {
			return nil, fmt.Errorf("%s: %w: %.40q is no version", path, errState, id)
		}
	}
	return st, nil
}

func (st *state) encode() []byte {
	b, err := json.Marshal(st)
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(b, '\n')
}

func readLimited(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes; there are at most %d", path, st.Size(), limit)
	}
	return os.ReadFile(path)
}

// lockState waits for its turn to change the state. It is never held while the daemon starts or stops: the service's own commands take it.
func (s *Store) lockState() (unlock func(), err error) {
	if err := s.disk.mkdir("."); err != nil {
		return nil, err
	}
	return s.disk.flock("state.lock", "", true)
}

// locked reads the state and keeps it from others until unlock.
func (s *Store) locked() (st *state, unlock func(), err error) {
	unlock, err = s.lockState()
	if err != nil {
		return nil, nil, err
	}
	st, err = s.load()
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return st, unlock, nil
}
