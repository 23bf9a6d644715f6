package slot

import (
	"errors"
	"os"
	"slices"
)

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
	st, unlock, err := s.locked()
	if err != nil {
		return false, err
	}
	defer unlock()
	to := ""
	for _, c := range slices.Backward(st.Confirmed) {
		if s.whole(c) == nil {
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
