package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is where the store lies on a board.
const Dir = "/opt/bimamba"

// Incoming is the beginning of the names of programs that are on their way to bin/bimamba. A deployer's session removes those that others left.
const Incoming = Dir + "/bin/incoming"

const (
	manifestFile = "manifest.json"
	offerFile    = "offer.json"
	stateFile    = "state.json"
	undoState    = "state.undo"
	current      = "current"
	none         = "none" // what is current while no version is: drop-ins that change nothing
	undoCurrent  = "current.undo"
	program      = "bin/bimamba"
	logFile      = "log"

	maxConfirmed = 64      // that the state remembers
	maxLog       = 1 << 16 // bytes
	maxState     = 1 << 16
)

// Service is the daemon's service, as far as a switch needs it.
type Service interface {
	Stop() error    // ends the daemon; one that does not run is fine
	Restart() error // reads the units' files again and starts the daemon with them; returns when it is ready, or is not going to be
	Reload() error  // reads the units' files again: for the start that is under way
	Watch(on bool)  // starts or stops the timer that calls [Store.Expire]
}

// Store is the folder of versions of a board. Its methods may be called by several processes at a time.
type Store struct {
	disk    disk
	root    string
	service Service
	now     func() (boot string, up time.Duration, err error)
	verity  verity
}

// Open is the store of the system below root, "/" on the board itself. Nothing needs to be there yet.
func Open(root string, s Service) *Store {
	return &Store{disk: disk{dir: filepath.Join(root, Dir)}, root: root, service: s, now: uptime, verity: kernelVerity}
}

// uptime is the boot's id and the time since then, with what the board slept: both are the kernel's, and do not depend on a clock that was set.
func uptime() (boot string, up time.Duration, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, err
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return "", 0, err
	}
	return strings.TrimSpace(string(b)), time.Duration(ts.Nano()), nil
}

// state is state.json.
type state struct {
	Version   int      `json:"version"`   // 1
	Confirmed []string `json:"confirmed"` // the latest last; each once
	Trial     *Trial   `json:"trial"`
}

// Trial is a version that is to be confirmed.
type Trial struct {
	ID       string  `json:"id"`
	Previous string  `json:"previous"` // "": what a package installed
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
		if !validID(id) {
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

// current is the version that is current, "" if none is.
func (s *Store) current() string {
	target, err := os.Readlink(s.disk.path(current))
	if err != nil {
		return ""
	}
	if id := filepath.Base(target); validID(id) {
		return id
	}
	return ""
}

// manifest reads the manifest of a version that is whole.
func (s *Store) manifest(id string) (*Manifest, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%.40q is no version: 16 hexadecimal digits; `bimamba slot status` lists them", id)
	}
	b, err := readLimited(s.disk.path(filepath.Join("versions", id, manifestFile)), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("version %s is not here, or not whole; `bimamba slot status` lists those that are", id)
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", id, err)
	}
	for _, f := range m.Files {
		st, err := os.Stat(s.disk.path(filepath.Join("versions", id, f.Name)))
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", id, err)
		}
		if st.Size() != f.Size {
			return nil, fmt.Errorf("version %s: %s has %d bytes and should have %d", id, f.Name, st.Size(), f.Size)
		}
	}
	return m, nil
}

// lockState waits for its turn to change the state. It is never held while the daemon starts or stops: the service's own commands take it.
func (s *Store) lockState() (unlock func(), err error) {
	if err := s.disk.mkdir("."); err != nil {
		return nil, err
	}
	return s.disk.flock("state.lock", "", true)
}

// target is what current leads to for id.
func target(id string) string {
	if id == "" {
		return none
	}
	return filepath.Join("versions", id)
}

// point makes id current, durably; "" makes none current.
func (s *Store) point(id string) error {
	if err := s.disk.symlink(target(id), current+".new"); err != nil {
		return err
	}
	return s.disk.rename(current+".new", current)
}

// Activate switches to a version that is whole, as a trial that has to be confirmed within limit. who is named to others meanwhile. It returns when the daemon
// is ready or has failed, which is no error yet: the trial is over then.
func (s *Store) Activate(id string, limit time.Duration, who string) error {
	if len(who) > maxText {
		return fmt.Errorf("who: more than %d bytes", maxText)
	}
	if _, err := s.manifest(id); err != nil {
		return err
	}
	if err := s.mayActivate(id); err != nil {
		return err
	}
	// The old daemon ends before there is a trial, so that its end cannot be taken for the new one's.
	if err := s.service.Stop(); err != nil {
		return fmt.Errorf("stopping the daemon: %w", err)
	}
	err := s.begin(id, limit, who)
	if err == nil {
		s.service.Watch(true)
	}
	restart := s.service.Restart()
	if err == nil && restart != nil {
		s.log("%s did not start: %v", id, restart)
	}
	return err
}

// mayActivate says why id cannot be tried now.
func (s *Store) mayActivate(id string) error {
	st, err := s.load()
	switch {
	case err != nil:
		return err
	case st.Trial != nil:
		return fmt.Errorf("version %s is on trial already, by %s: wait for its end, or `bimamba slot rollback`", st.Trial.ID, st.Trial.Who)
	case s.current() == id:
		return fmt.Errorf("version %s is current already", id)
	}
	return nil
}

// begin records a trial and switches.
func (s *Store) begin(id string, limit time.Duration, who string) error {
	boot, up, err := s.now()
	if err != nil {
		return err
	}
	unlock, err := s.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.mayActivate(id); err != nil { // somebody else's turn came first
		return err
	}
	st, err := s.load()
	if err != nil {
		return err
	}
	old := s.current()
	if err := s.disk.write(undoState, st.encode(), 0o644); err != nil {
		return full(err)
	}
	if err := s.disk.symlink(target(old), undoCurrent); err != nil {
		return full(err)
	}
	st.Trial = &Trial{id, old, boot, (up + limit).Seconds(), who}
	if err := s.disk.replace(stateFile, st.encode(), 0o644); err != nil {
		return full(err)
	}
	if err := s.point(id); err != nil {
		return errors.Join(full(err), s.undo(st))
	}
	s.log("%s on trial for %v, by %s; before it %s", id, limit, who, orPackage(old))
	return nil
}

// undo ends a trial in the version before it. The state is locked. Doing it again after it was cut off is right.
func (s *Store) undo(st *state) error {
	old := st.Trial.Previous
	if s.current() != old {
		var err error
		if link, _ := os.Readlink(s.disk.path(undoCurrent)); link == target(old) {
			err = s.disk.rename(undoCurrent, current)
		} else {
			err = s.point(old)
		}
		if err != nil {
			return err
		}
	}
	st.Trial = nil
	if b, err := readLimited(s.disk.path(undoState), maxState); err == nil && string(b) == string(st.encode()) {
		return s.disk.rename(undoState, stateFile)
	}
	return s.disk.replace(stateFile, st.encode(), 0o644)
}

// rollBack ends the trial, if there is one for which when holds, and tells whether there was.
func (s *Store) rollBack(reason string, when func(*Trial) bool) (bool, error) {
	if st, err := s.load(); err == nil && st.Trial == nil {
		return false, nil // nothing is written, and no lock is made, where nothing is to be done: at each boot
	}
	unlock, err := s.lockState()
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return false, err
	}
	if st.Trial == nil || !when(st.Trial) {
		return false, nil
	}
	id, old := st.Trial.ID, st.Trial.Previous
	if err := s.undo(st); err != nil {
		return false, fmt.Errorf("back to %s: %w", orPackage(old), err)
	}
	s.log("%s rolled back to %s: %s", id, orPackage(old), reason)
	return true, nil
}

func always(*Trial) bool { return true }

// Confirm ends the trial of id well: it stays.
func (s *Store) Confirm(id string) error {
	unlock, err := s.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return err
	}
	if st.Trial == nil || st.Trial.ID != id {
		return fmt.Errorf("version %s is not on trial: %s", id, s.Why(id))
	}
	// The link is made before the state says so: bin/bimamba may be newer than what is confirmed for a moment, but it ran here.
	if _, err := os.Stat(s.disk.path(filepath.Join("versions", id, CLI))); err == nil {
		if err := s.install(filepath.Join("versions", id, CLI)); err != nil {
			return full(err)
		}
	}
	st.Confirmed = append(slices.DeleteFunc(st.Confirmed, func(c string) bool { return c == id }), id)
	st.Confirmed = st.Confirmed[max(0, len(st.Confirmed)-maxConfirmed):]
	st.Trial = nil
	if err := s.disk.replace(stateFile, st.encode(), 0o644); err != nil {
		return full(err)
	}
	s.log("%s confirmed", id)
	s.service.Watch(false)
	// Of no use any more, and harmless: they count with a trial alone.
	return errors.Join(s.disk.remove(undoState), s.disk.remove(undoCurrent))
}

// install makes a file of a version the program that rolls back.
func (s *Store) install(from string) error {
	if err := s.disk.mkdir(filepath.Dir(program)); err != nil {
		return err
	}
	if err := s.disk.link(from, program+".new"); err != nil {
		return err
	}
	return s.disk.rename(program+".new", program)
}

// ErrNoTrial says that there is nothing to roll back.
var ErrNoTrial = errors.New("no such trial")

// Rollback ends the trial, if it is of id or id is "", in the version before it and starts that. Without such a trial the error is an ErrNoTrial.
func (s *Store) Rollback(id, reason string) error {
	done, err := s.expel(reason, func(t *Trial) bool { return id == "" || t.ID == id })
	if err == nil && !done {
		err = fmt.Errorf("%w; the last that happened: %s", ErrNoTrial, s.Last())
	}
	return err
}

// Expire rolls a trial back whose time is over: its deployer has gone.
func (s *Store) Expire() error {
	boot, up, err := s.now()
	if err != nil {
		return err
	}
	_, err = s.expel("nobody confirmed it in time", func(t *Trial) bool {
		left, same := t.left(boot, up)
		return !same || left <= 0
	})
	return err
}

// expel rolls back while the daemon may be running.
func (s *Store) expel(reason string, when func(*Trial) bool) (bool, error) {
	st, err := s.load()
	if err != nil {
		return false, err
	}
	if st.Trial == nil {
		s.service.Watch(false)
		return false, nil
	}
	if !when(st.Trial) {
		return false, nil
	}
	// What runs is on trial, so that its end counts as a failure if it ends badly: that comes to the same.
	stop := s.service.Stop()
	done, err := s.rollBack(reason, when)
	if stop != nil {
		s.log("stopping the daemon: %v", stop)
	}
	if err != nil {
		return false, err
	}
	s.service.Watch(false)
	if err := s.service.Restart(); err != nil {
		return done, fmt.Errorf("rolled back, but the daemon does not start: %w", err)
	}
	return true, nil // also if Failed was faster
}

// Failed is what the service calls when the daemon has ended, with systemd's $SERVICE_RESULT. On trial, a bad end rolls back; systemd then starts what was before.
func (s *Store) Failed(result string) error {
	if result == "success" {
		return nil
	}
	done, err := s.rollBack("the daemon ended: "+result, always)
	if err != nil || !done {
		return err
	}
	s.service.Watch(false)
	return s.service.Reload()
}

// BootCheck is what runs before the daemon's first start after a boot: a trial of an earlier boot is rolled back, a state that is damaged is made anew, and a
// current version that is not whole gives way to the latest that is.
func (s *Store) BootCheck() error {
	boot, _, err := s.now()
	if err != nil {
		return err
	}
	done, err := s.rollBack("the board was started again before it was confirmed", func(t *Trial) bool { return t.Boot != boot })
	if errors.Is(err, errState) {
		done, err = true, s.repair()
	}
	if err != nil {
		return err
	}
	mended, err := s.mend()
	if err == nil && (done || mended) {
		err = s.service.Reload()
	}
	return err
}

// repair makes a damaged state anew, of what else is there. If there may have been a trial it ends in the version before it.
func (s *Store) repair() error {
	unlock, err := s.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	_, bad := s.load()
	if !errors.Is(bad, errState) {
		return bad
	}
	if _, err := os.Lstat(s.disk.path(undoCurrent)); err == nil { // there is one while there is a trial
		if err := s.disk.rename(undoCurrent, current); err != nil {
			return err
		}
	}
	st, err := s.read(undoState)
	if err != nil {
		st = &state{Version: 1}
	}
	st.Trial = nil
	if now := s.current(); now != "" {
		st.Confirmed = append(slices.DeleteFunc(st.Confirmed, func(c string) bool { return c == now }), now)
	}
	if err := s.disk.replace(stateFile, st.encode(), 0o644); err != nil {
		return err
	}
	s.log("the state is made anew, with %s: %v", orPackage(s.current()), bad)
	return nil
}

// mend replaces a current version that is not whole, as after a damage to the file system.
func (s *Store) mend() (bool, error) {
	if link, err := os.Readlink(s.disk.path(current)); err != nil || link == none {
		return false, nil
	}
	id := s.current()
	_, bad := s.manifest(id)
	if bad == nil {
		return false, nil
	}
	unlock, err := s.lockState()
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return false, err
	}
	to := ""
	for _, c := range slices.Backward(st.Confirmed) {
		if _, err := s.manifest(c); err == nil {
			to = c
			break
		}
	}
	if err := s.point(to); err != nil {
		return false, err
	}
	s.log("%s is damaged, %s in its place: %v", orPackage(id), orPackage(to), bad)
	return true, nil
}

// Previous is the version that was confirmed before the current one, "" if there is none.
func (s *Store) Previous() (string, error) {
	st, err := s.load()
	if err != nil {
		return "", err
	}
	now := s.current()
	for _, c := range slices.Backward(st.Confirmed) {
		if _, err := s.manifest(c); err == nil && c != now {
			return c, nil
		}
	}
	return "", nil
}

// Prune removes versions until keep of them are left: never the current one, that of a rollback, or one on trial.
func (s *Store) Prune(keep int) ([]string, error) {
	unlock, err := s.lockState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return nil, err
	}
	previous, err := s.Previous()
	if err != nil {
		return nil, err
	}
	stays := map[string]bool{s.current(): true, previous: true}
	if t := st.Trial; t != nil {
		stays[t.ID], stays[t.Previous] = true, true
	}
	delete(stays, "")
	for _, c := range slices.Backward(st.Confirmed) {
		if len(stays) < keep {
			stays[c] = true
		}
	}
	var removed []string
	for _, id := range s.versions() {
		if _, err := os.Stat(s.disk.path(filepath.Join("versions", id, manifestFile))); err != nil || stays[id] {
			continue // what is not whole is the next deployment's to use or to remove
		}
		if err := s.drop(id); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	if len(removed) > 0 {
		s.log("removed %s", strings.Join(removed, " "))
	}
	return removed, nil
}

// drop removes a version, first of all what makes it whole.
func (s *Store) drop(id string) error {
	dir := filepath.Join("versions", id)
	if err := s.disk.remove(filepath.Join(dir, manifestFile)); err != nil {
		return err
	}
	return s.disk.removeAll(dir)
}

// versions is the names of all versions, whole or not.
func (s *Store) versions() (ids []string) {
	entries, _ := os.ReadDir(s.disk.path("versions"))
	for _, e := range entries {
		if validID(e.Name()) && e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

func orPackage(id string) string {
	if id == "" {
		return "what the package installed"
	}
	return id
}

// log adds a line to the log. That it cannot is no reason not to do what it tells of.
func (s *Store) log(format string, a ...any) {
	path := s.disk.path(logFile)
	_, up, _ := s.now()
	line := fmt.Sprintf("%s, %d s after boot: %s\n", time.Now().UTC().Format(time.RFC3339), int64(up.Seconds()), strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", "; "))
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if b, err := os.ReadFile(path); err == nil {
			b = b[len(b)/2:]
			s.disk.replace(logFile, b[strings.IndexByte(string(b), '\n')+1:], 0o644)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(line)
	f.Sync()
}

// Log is the log, from the earliest line that is kept.
func (s *Store) Log() (string, error) {
	b, err := readLimited(s.disk.path(logFile), 2*maxLog)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// Why is why id is not on trial any more: the log's last line about its end, or else its last line.
func (s *Store) Why(id string) string {
	text, _ := s.Log()
	if i := strings.LastIndex(text, id+" rolled back"); i >= 0 {
		line, _, _ := strings.Cut(text[i:], "\n")
		return line
	}
	return s.Last()
}

// Last is the last line of the log, or says that there is none.
func (s *Store) Last() string {
	text, _ := s.Log()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "nothing was deployed here yet"
}
