package slot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeService is a daemon that starts with what is current.
type fakeService struct {
	store    *Store
	serves   string                    // the version that runs, "" for the package's
	runs     bool                      //
	watched  bool                      // the timer runs
	starting func(id string) (ok bool) // whether a version's daemon starts; nil: all do
	reloads  int
}

func (f *fakeService) Stop() error   { f.runs = false; return nil }
func (f *fakeService) Reload() error { f.reloads++; return nil }
func (f *fakeService) Watch(on bool) { f.watched = on }

// Restart starts what is current. One that fails is followed by ExecStopPost= and, by Restart=, by another start.
func (f *fakeService) Restart() error {
	id := f.store.current()
	if f.starting != nil && !f.starting(id) {
		if err := f.store.Failed("exit-code"); err != nil {
			return err
		}
		f.serves, f.runs = f.store.current(), true
		return errors.New("job failed")
	}
	f.serves, f.runs = id, true
	return nil
}

// clock is a board's, that of the kernel.
type clock struct {
	boot string
	up   time.Duration
}

// newStore is a store in a folder of its own.
func newStore(t testing.TB, root string) (*Store, *fakeService, *clock) {
	t.Helper()
	f := &fakeService{}
	s := Open(root, f)
	f.store = s
	c := &clock{"boot-1", time.Minute}
	s.now = func() (string, time.Duration, error) { return c.boot, c.up, nil }
	return s, f, c
}

// pattern is bytes that differ by seed.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// content is a version's files.
type content map[string][]byte

func (c content) manifest(t testing.TB, label string) *Manifest {
	t.Helper()
	m := &Manifest{Version: 1, Label: label}
	for name, b := range c {
		f, err := NewFile(name, name == CLI || name == Daemon, bytes.NewReader(b), int64(len(b)), nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, *f)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

// installPackage is a package's daemon.
func installPackage(t testing.TB, s *Store) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(s.root, "usr/bin"), 0o755))
	must(t, os.WriteFile(s.packagedPath(Daemon), pattern(99, 100), 0o755))
}

// small is a version that takes no time to write.
func small(seed uint64) content { return content{CLI: pattern(seed, 30), Model: pattern(seed, 20)} }

// version is one with a model whose first half all of them have.
func version(seed uint64) content {
	return content{CLI: pattern(seed, 3000), Daemon: pattern(seed+100, 2000), Model: append(pattern(7, 1<<20), pattern(seed, 1<<20)...)}
}

// place puts a whole version into the store as Receive would leave it.
func place(t testing.TB, s *Store, c content, label string) string {
	t.Helper()
	m := c.manifest(t, label)
	dir := s.disk.path(filepath.Join("versions", m.ID()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c[manifestFile] = m.encode()
	for name, b := range c {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	delete(c, manifestFile)
	return m.ID()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settled makes a version the confirmed one.
func settled(t testing.TB, s *Store, c content, label string) string {
	t.Helper()
	id := place(t, s, c, label)
	must(t, s.Activate(id, time.Minute, "test"))
	must(t, s.Confirm(id))
	return id
}

func trial(t testing.TB, s *Store) *Trial {
	t.Helper()
	st, err := s.load()
	must(t, err)
	return st.Trial
}

func TestTrial(t *testing.T) {
	s, service, clock := newStore(t, t.TempDir())
	a := settled(t, s, version(1), "a")
	if service.serves != a || trial(t, s) != nil || service.watched {
		t.Fatalf("%s serves after %s was confirmed; watched %v", service.serves, a, service.watched)
	}
	b := place(t, s, version(2), "b")
	for _, tt := range []struct {
		name string
		end  func() error
		runs bool
	}{
		{"rollback", func() error { return s.Rollback("", "test") }, true},
		{"watchdog", func() error { return s.Failed("watchdog") }, false},
		{"expired", func() error { clock.up += time.Hour; return s.Expire() }, true},
		{"clock of the past, another boot", func() error { clock.boot, clock.up = "boot-2", 0; return s.BootCheck() }, false},
		{"another boot, without a boot check", func() error { clock.boot, clock.up = "boot-3", 0; return s.Expire() }, true},
	} {
		must(t, s.Activate(b, time.Minute, "test"))
		if tr := trial(t, s); service.serves != b || tr == nil || tr.Previous != a || !service.watched {
			t.Fatalf("%s: on trial %v, serves %s", tt.name, tr, service.serves)
		}
		reloads := service.reloads
		must(t, tt.end())
		if s.current() != a || trial(t, s) != nil || tt.runs && service.serves != a || !tt.runs && service.reloads == reloads {
			t.Errorf("%s: %s is current, %s serves, trial %v", tt.name, s.current(), service.serves, trial(t, s))
		}
		if last := s.Last(); !strings.Contains(last, b+" rolled back to "+a) {
			t.Errorf("%s: the log ends with %s", tt.name, last)
		}
		if err := s.Confirm(b); err == nil || !strings.Contains(err.Error(), "is not on trial") || !strings.Contains(err.Error(), "rolled back") {
			t.Errorf("%s: confirming it then gave %v", tt.name, err)
		}
	}

	// What does not end a trial.
	must(t, s.Activate(b, time.Minute, "test"))
	must(t, s.Failed("success"))
	must(t, s.Expire())
	must(t, s.BootCheck())
	if trial(t, s) == nil || s.current() != b {
		t.Error("the trial ended by a good end of the daemon, before its time, or by a boot check of its own boot")
	}
	if err := s.Activate(a, time.Minute, "other"); err == nil || !strings.Contains(err.Error(), "on trial already, by test") {
		t.Errorf("a second trial gave %v", err)
	}
	if err := s.Rollback(a, "test"); !errors.Is(err, ErrNoTrial) || trial(t, s) == nil {
		t.Errorf("a rollback of another version gave %v", err)
	}
	must(t, s.Confirm(b))
	if previous, err := s.Previous(); err != nil || previous != a {
		t.Errorf("a rollback would lead to %s, %v", previous, err)
	}
	if got, err := os.ReadFile(s.disk.path(program)); err != nil || !bytes.Equal(got, version(2)[CLI]) {
		t.Errorf("the program that rolls back is not the confirmed one: %v", err)
	}
	if err := s.Rollback("", "test"); err == nil || !strings.Contains(err.Error(), "no such trial") {
		t.Errorf("a rollback without a trial gave %v", err)
	}
	must(t, s.Failed("watchdog"))
	if s.current() != b {
		t.Error("a confirmed version was rolled back")
	}
}

// TestFirst: without a version before it, what a package installed serves again.
func TestFirst(t *testing.T) {
	s, service, _ := newStore(t, t.TempDir())
	must(t, s.BootCheck())
	if _, err := os.Stat(s.disk.dir); err == nil {
		t.Error("a boot check made files")
	}
	a := place(t, s, version(1), "a")
	service.starting = func(id string) bool { return id != a }
	must(t, s.Activate(a, time.Minute, "test"))
	if s.current() != "" || trial(t, s) != nil || !service.runs || service.serves != "" {
		t.Errorf("%s is current, %s serves", s.current(), service.serves)
	}
	if err := s.Activate("0123456789abcdef", time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "is not here") {
		t.Errorf("a version that is not here gave %v", err)
	}
	if err := s.Activate("../../etc", time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "is no version") {
		t.Errorf("a path gave %v", err)
	}
}

// TestPackage goes from what was deployed to what a package installed, and back.
func TestPackage(t *testing.T) {
	s, service, clock := newStore(t, t.TempDir())
	installed := func() *VersionStatus {
		st, err := s.Status("test")
		must(t, err)
		if i := slices.IndexFunc(st.Versions, func(v VersionStatus) bool { return v.ID == Package }); i >= 0 {
			return &st.Versions[i]
		}
		return nil
	}
	a := settled(t, s, version(1), "a")
	if installed() != nil {
		t.Error("a package is there that nobody installed")
	}
	if err := s.Activate(Package, time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "no package installed a daemon here") || service.serves != a {
		t.Errorf("without a package: %v, and %s serves", err, service.serves)
	}
	installPackage(t, s)
	if v := installed(); v == nil || !v.Whole || v.Size != 100 {
		t.Errorf("%+v", v)
	}
	previous := func(want string) {
		t.Helper()
		if got, err := s.Previous(); err != nil || got != want {
			t.Errorf("a rollback would lead to %q, %v, and %q is right", got, err, want)
		}
	}
	previous(Package) // there was nothing before a
	b := settled(t, s, version(2), "b")
	previous(a)
	for name, end := range map[string]func() error{
		"rollback": func() error { return s.Rollback(Package, "test") },
		"watchdog": func() error { return s.Failed("watchdog") },
		"expired":  func() error { clock.up += time.Hour; return s.Expire() },
		"a start":  func() error { clock.boot, clock.up = clock.boot+"+", 0; return s.BootCheck() },
	} {
		must(t, s.Activate(Package, time.Minute, "test"))
		if tr := trial(t, s); s.current() != "" || service.serves != "" || tr.ID != Package || tr.Previous != b {
			t.Errorf("%s: %q is current, %q serves, %+v", name, s.current(), service.serves, tr)
		}
		must(t, end())
		if s.current() != b || trial(t, s) != nil || !strings.Contains(s.Why(Package), "rolled back to "+b) {
			t.Errorf("%s: %q is current, %+v; %s", name, s.current(), trial(t, s), s.Last())
		}
	}
	must(t, s.Activate(Package, time.Minute, "test"))
	must(t, s.Confirm(Package))
	if _, id, err := s.Current(); err != nil || id != Package || s.Path(Daemon) != s.packagedPath(Daemon) {
		t.Errorf("%s is current, %v, its daemon is %s", id, err, s.Path(Daemon))
	}
	if got, err := os.ReadFile(s.disk.path(program)); err != nil || !bytes.Equal(got, version(2)[CLI]) {
		t.Errorf("the program that rolls back is not that of b: %v", err)
	}
	must(t, s.Failed("watchdog"))
	must(t, s.BootCheck())
	if err := s.Activate(Package, time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "package is current already") {
		t.Errorf("a second time: %v", err)
	}
	previous(b)
	if removed, err := s.Prune(1); err != nil || !slices.Equal(removed, []string{a}) {
		t.Errorf("%v are removed, %v", removed, err)
	}
	must(t, s.Activate(b, time.Minute, "test"))
	must(t, s.Confirm(b))
	previous(Package)
	must(t, os.Remove(s.packagedPath(Daemon)))
	previous("")
}

var errCut = errors.New("power cut")

// TestPowerCut ends every change after each of its steps, and boots. A version that is whole has to be current: the new one only if it was confirmed.
func TestPowerCut(t *testing.T) {
	type board struct {
		*Store
		service *fakeService
		clock   *clock
		a, b, c string // a is confirmed, as was c before it; b is there, and a package
	}
	onTrial := func(x *board) error { return x.Activate(x.b, time.Minute, "test") }
	packageOnTrial := func(x *board) error { return x.Activate(Package, time.Minute, "test") }
	prepare := func(t *testing.T, first bool) *board {
		x := &board{}
		x.Store, x.service, x.clock = newStore(t, t.TempDir())
		installPackage(t, x.Store)
		if !first {
			x.c = settled(t, x.Store, small(3), "c")
			x.a = settled(t, x.Store, small(1), "a")
		}
		x.b = place(t, x.Store, small(2), "b")
		return x
	}
	settledPackage := func(x *board) error { return errors.Join(packageOnTrial(x), x.Confirm(Package)) }
	for _, tt := range []struct {
		name  string
		first bool
		setup func(x *board) error
		do    func(x *board) error
	}{
		{"activate", false, nil, func(x *board) error { return x.Activate(x.b, time.Minute, "test") }},
		{"activate the first", true, nil, func(x *board) error { return x.Activate(x.b, time.Minute, "test") }},
		{"activate the one before", false, nil, func(x *board) error { return x.Activate(x.c, time.Minute, "test") }},
		{"confirm", false, onTrial, func(x *board) error { return x.Confirm(x.b) }},
		{"confirm the first", true, onTrial, func(x *board) error { return x.Confirm(x.b) }},
		{"roll back", false, onTrial, func(x *board) error { return x.Rollback("", "test") }},
		{"roll back the first", true, onTrial, func(x *board) error { return x.Rollback("", "test") }},
		{"fail", false, onTrial, func(x *board) error { return x.Failed("signal") }},
		{"activate the package", false, nil, packageOnTrial},
		{"confirm the package", false, packageOnTrial, func(x *board) error { return x.Confirm(Package) }},
		{"roll the package back", false, packageOnTrial, func(x *board) error { return x.Rollback("", "test") }},
		{"the package fails", false, packageOnTrial, func(x *board) error { return x.Failed("watchdog") }},
		{"activate behind the package", false, settledPackage, onTrial},
		{"confirm behind the package", false, func(x *board) error { return errors.Join(settledPackage(x), onTrial(x)) }, func(x *board) error { return x.Confirm(x.b) }},
		{"prune", false, nil, func(x *board) error { _, err := x.Prune(1); return err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for cut := 0; ; cut++ {
				x := prepare(t, tt.first)
				if tt.setup != nil {
					must(t, tt.setup(x))
				}
				n, where := 0, "the end"
				x.disk.step = func(op, path string) error {
					if n++; n > cut {
						if n == cut+1 {
							where = op + " " + path
						}
						return errCut
					}
					return nil
				}
				err := tt.do(x)
				x.disk.step = nil
				x.clock.boot, x.clock.up = "boot-2", time.Second
				if berr := x.BootCheck(); berr != nil {
					t.Fatalf("cut before step %d, %s: the boot check: %v", cut, where, berr)
				}
				st, lerr := x.load()
				must(t, lerr)
				now := x.current()
				switch {
				case st.Trial != nil:
					t.Errorf("cut before step %d, %s: a trial goes on", cut, where)
				case !(now == "" && tt.first) && !slices.Contains(st.Confirmed, named(now)):
					t.Errorf("cut before step %d, %s: %s is current and was never confirmed", cut, where, named(now))
				case now != "":
					if _, err := x.manifest(now); err != nil {
						t.Errorf("cut before step %d, %s: %v", cut, where, err)
					}
				}
				// Whatever is left over, the next deployment goes through.
				if now != x.b {
					id := settled(t, x.Store, small(2), "b")
					if x.current() != id || x.service.serves != id {
						t.Errorf("cut before step %d, %s: the next deployment left %s", cut, where, x.current())
					}
				}
				if n <= cut { // it came to its end
					if err != nil {
						t.Errorf("without a cut: %v", err)
					}
					if cut == 0 {
						t.Error("it took no steps")
					}
					t.Logf("%d steps", n)
					return
				}
				if err == nil && (tt.name == "confirm" && now != x.b || tt.name == "confirm the package" && now != "") {
					t.Errorf("cut before step %d, %s: it was confirmed, and rolled back", cut, where)
				}
			}
		})
	}
}

// TestOrder: what a name leads to is on disk before the name, and the name before the next step.
func TestOrder(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	var steps []string
	s.disk.step = func(op, path string) error { steps = append(steps, op+" "+path); return nil }
	settled(t, s, version(1), "a")
	b := place(t, s, version(2), "b")
	must(t, s.Activate(b, time.Minute, "test"))
	must(t, s.Rollback("", "test"))
	renames := 0
	for i, step := range steps {
		op, path, _ := strings.Cut(step, " ")
		next := ""
		if i+1 < len(steps) {
			next = steps[i+1]
		}
		switch op {
		case "write":
			if next != "sync "+path {
				t.Errorf("%s is followed by %s", step, next)
			}
		case "rename", "symlink", "remove":
			renames++
			if next != "sync "+filepath.Dir(path) {
				t.Errorf("%s is followed by %s", step, next)
			}
		}
	}
	if renames < 10 {
		t.Errorf("%d names changed: %s", renames, strings.Join(steps, "\n"))
	}
}

// TestFullDisk: a rollback needs no space. Every step that takes some fails.
func TestFullDisk(t *testing.T) {
	s, service, _ := newStore(t, t.TempDir())
	a := settled(t, s, version(1), "a")
	b := place(t, s, version(2), "b")
	must(t, s.Activate(b, time.Minute, "test"))
	s.disk.step = func(op, path string) error {
		switch op {
		case "write", "symlink", "mkdir", "create", "link":
			return &fs.PathError{Op: op, Path: path, Err: errFull}
		}
		return nil
	}
	must(t, s.Rollback("", "test"))
	if s.current() != a || trial(t, s) != nil || service.serves != a {
		t.Errorf("%s is current, trial %v", s.current(), trial(t, s))
	}
	// And a trial that cannot be written down does not begin.
	if err := s.Activate(b, time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a trial on a full disk gave %v", err)
	}
	if s.current() != a || trial(t, s) != nil || service.serves != a || !service.runs {
		t.Errorf("%s is current, trial %v, %s serves", s.current(), trial(t, s), service.serves)
	}
}

func TestMend(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	a := settled(t, s, version(1), "a")
	b := settled(t, s, version(2), "b")
	must(t, os.Truncate(s.Path(Model), 5))
	must(t, s.BootCheck())
	if s.current() != a {
		t.Errorf("%s is current, a=%s b=%s", s.current(), a, b)
	}
	if last := s.Last(); !strings.Contains(last, b+" is damaged") {
		t.Error(last)
	}
}

func TestPrune(t *testing.T) {
	s, _, _ := newStore(t, t.TempDir())
	var ids []string
	for i := range uint64(5) {
		ids = append(ids, settled(t, s, small(10+i), fmt.Sprint(i)))
	}
	never := place(t, s, small(99), "never confirmed")
	removed, err := s.Prune(3)
	must(t, err)
	slices.Sort(removed)
	want := append(slices.Clone(ids[:2]), never)
	slices.Sort(want)
	if !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
	if _, err := s.Prune(0); err != nil {
		t.Fatal(err)
	}
	if got := s.versions(); len(got) != 2 || s.current() != ids[4] || !slices.Contains(got, ids[3]) {
		t.Errorf("%v are left", got)
	}
}

// TestBadState: a state that is damaged is named, nothing changes by it, and a boot makes it anew. One of a later program is left alone.
func TestBadState(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"confirmed":["../x"]}`, `{"version":1,"trial":{"id":"x"}}`, strings.Repeat(" ", maxState+1)} {
		s, service, _ := newStore(t, t.TempDir())
		a := settled(t, s, small(1), "a")
		b := place(t, s, small(2), "b")
		must(t, os.WriteFile(s.disk.path(stateFile), []byte(text), 0o644))
		for _, err := range []error{s.Activate(b, time.Minute, "test"), s.Confirm(a), s.Expire(), s.Failed("watchdog")} {
			if err == nil || !strings.Contains(err.Error(), "state.json") {
				t.Errorf("%.30q: %v", text, err)
			}
		}
		err := s.BootCheck()
		if s.current() != a {
			t.Errorf("%.30q: %s is current", text, s.current())
		}
		if strings.Contains(text, "2") {
			if left, _ := os.ReadFile(s.disk.path(stateFile)); err == nil || string(left) != text {
				t.Errorf("%.30q: %v, %s is left", text, err, left)
			}
			continue
		}
		must(t, err)
		must(t, s.Activate(b, time.Minute, "test"))
		if service.serves != b || trial(t, s).Previous != a {
			t.Errorf("%.30q: %s serves, %+v", text, service.serves, trial(t, s))
		}
	}
}

// TestBadStateOnTrial: what is on trial when the state is lost is not taken for confirmed.
func TestBadStateOnTrial(t *testing.T) {
	for _, undo := range []bool{true, false} { // whether the state of before is still there
		s, _, clock := newStore(t, t.TempDir())
		z := settled(t, s, small(3), "z")
		a := settled(t, s, small(1), "a")
		must(t, s.Activate(place(t, s, small(2), "b"), time.Minute, "test"))
		must(t, os.WriteFile(s.disk.path(stateFile), nil, 0o644))
		want := []string{a}
		if undo {
			want = []string{z, a}
		} else {
			must(t, os.WriteFile(s.disk.path(undoState), []byte("x"), 0o644))
		}
		clock.boot = "boot-2"
		must(t, s.BootCheck())
		st, err := s.load()
		must(t, err)
		if s.current() != a || st.Trial != nil || !slices.Equal(st.Confirmed, want) || !strings.Contains(s.Last(), "made anew") {
			t.Errorf("%s is current, %+v, %s", s.current(), st, s.Last())
		}
	}
}

func TestStatus(t *testing.T) {
	s, _, clock := newStore(t, t.TempDir())
	st, err := s.Status("test")
	must(t, err)
	if st.Current != "" || st.Base != nil || len(st.Versions) != 0 {
		t.Errorf("of nothing: %+v", st)
	}
	must(t, os.MkdirAll(filepath.Join(s.root, "usr/bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.root, "usr/bin/bimambad"), pattern(1, 100), 0o755))
	if st, err = s.Status("test"); err != nil || st.Base == nil || st.Base.File(Daemon) == nil || st.Base.Validate() != nil {
		t.Errorf("of a package: %+v, %v", st, err)
	}
	a := settled(t, s, version(1), "a")
	b := place(t, s, version(2), "b")
	must(t, s.Activate(b, time.Minute, "me@here"))
	clock.up += 20 * time.Second
	unlock, err := s.lockSession("you@there")
	must(t, err)
	defer unlock()
	st, err = s.Status("test")
	must(t, err)
	if st.Current != b || st.Previous != a || st.Trial.Who != "me@here" || st.Left != 40 || st.Busy != "you@there" || st.Base.ID() != b || len(st.Versions) != 3 {
		t.Errorf("%+v", st)
	}
}
