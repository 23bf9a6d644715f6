package slot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Activate switches to a version that is whole, or to [Package], as a trial that has to be confirmed within limit. who is named to others meanwhile. It returns when the daemon
// is ready or has failed, which is no error yet: the trial is over then.
func (s *Store) Activate(id string, limit time.Duration, who string) error {
	if len(who) > maxText {
		return fmt.Errorf("who: more than %d bytes", maxText)
	}
	if err := s.whole(id); err != nil {
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
	case named(s.current()) == id:
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
	st, unlock, err := s.locked()
	if err != nil {
		return false, err
	}
	defer unlock()
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
	st, unlock, err := s.locked()
	if err != nil {
		return err
	}
	defer unlock()
	if st.Trial == nil || st.Trial.ID != id {
		return fmt.Errorf("version %s is not on trial: %s", id, s.Why(id))
	}
	// The link is made before the state says so: bin/bimamba may be newer than what is confirmed for a moment, but it ran here. A package's, which may know nothing
	// of trials, does not come there.
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
