package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	rulesVar = "SANDBOX_TEST_RULES"
	probeVar = "SANDBOX_TEST_PROBES"
)

// probes are what a restricted child tries; each has one argument.
var probes = map[string]func(arg string) error{
	"read": func(path string) error { _, err := os.ReadFile(path); return err },
	"list": func(path string) error { _, err := os.ReadDir(path); return err },
	"write": func(path string) error {
		return os.WriteFile(path, []byte("x"), 0o600)
	},
	"rename": func(path string) error {
		from, to, _ := strings.Cut(path, ",")
		return os.Rename(from, to)
	},
	"remove": os.Remove,
	"unnamed": func(dir string) error { // as package atomicfile writes
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, filepath.Join(dir, "unnamed"), unix.AT_SYMLINK_FOLLOW)
	},
	"exec": func(path string) error { return exec.Command(path).Run() },
	"bind": func(address string) error {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false)
		l, err := plain.Listen(context.Background(), "tcp", address)
		if err == nil {
			l.Close()
		}
		return err
	},
	"connect": func(address string) error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	},
	"unix": func(path string) error {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		return l.Close() // which removes the socket
	},
	"threads": func(string) error { // every thread is restricted, also those that wait in a system call
		tasks, err := filepath.Glob("/proc/self/task/*/status")
		if err != nil || len(tasks) < 2 {
			return fmt.Errorf("threads %v: %v", tasks, err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err != nil {
				return err
			}
			if !strings.Contains(string(b), "NoNewPrivs:\t1") {
				return fmt.Errorf("%s has no no_new_privs", task)
			}
		}
		return nil
	},
}

// before are the files that a child opened before it was restricted, by path: those of the probes again and ioctl.
var before = map[string]*os.File{}

func init() {
	probes["again"] = func(path string) error { // as package sensor reads
		b := make([]byte, 1)
		_, err := before[path].ReadAt(b, 0)
		return err
	}
	probes["ioctl"] = func(path string) error {
		_, err := unix.IoctlGetInt(int(before[path].Fd()), unix.RNDGETENTCNT)
		return err
	}
}

// usesCgo says whether this program is linked with cgo.
var usesCgo = func() bool {
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return e == syscall.ENOTSUP
}()

// result is what a child prints.
type result struct {
	Report Report
	Error  string
	Probes []string // "", "refused", or another error
}

func TestMain(m *testing.M) {
	if os.Getenv(rulesVar) == "" {
		code := m.Run()
		if builtIn != "" {
			os.RemoveAll(builtIn)
		}
		os.Exit(code)
	}
	var rules Rules
	var tries [][2]string
	if err := errors.Join(json.Unmarshal([]byte(os.Getenv(rulesVar)), &rules), json.Unmarshal([]byte(os.Getenv(probeVar)), &tries)); err != nil {
		panic(err)
	}
	block := make([]int, 2)
	if err := syscall.Pipe(block); err != nil {
		panic(err)
	}
	for range 4 { // threads of the kernel that exist before
		go func() { syscall.Read(block[0], make([]byte, 1)) }()
	}
	for _, p := range tries {
		if p[0] == "again" || p[0] == "ioctl" {
			f, err := os.Open(p[1])
			if err != nil {
				panic(err)
			}
			before[p[1]] = f
		}
	}
	var res result
	report, err := Restrict(rules)
	res.Report = report
	if err != nil {
		res.Error = err.Error()
	}
	res.Probes = make([]string, len(tries))
	for i, p := range tries {
		err := probes[p[0]](p[1])
		switch {
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EXDEV):
			res.Probes[i] = "refused"
		case err != nil:
			res.Probes[i] = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(res); err != nil {
		panic(err)
	}
	os.Exit(0)
}

var builtIn string // the directory of withoutCgo's program

// withoutCgo is this test as a program that can reach all of its threads; the race detector's cannot.
var withoutCgo = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		return "", err
	}
	builtIn = dir
	exe := filepath.Join(dir, "test")
	cmd := exec.Command("go", "test", "-c", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return exe, nil
})

// child restricts a new process and lets it try.
func child(t *testing.T, rules Rules, tries ...[2]string) result {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skip("the test's own program is not known: ", err)
	}
	if usesCgo {
		if exe, err = withoutCgo(); err != nil {
			t.Skip("this test uses cgo, and there is no building one that does not: ", err)
		}
	}
	r, _ := json.Marshal(rules)
	p, _ := json.Marshal(tries)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), rulesVar+"="+string(r), probeVar+"="+string(p))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skip("the test's own program does not start: ", err)
	}
	var res result
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatalf("the child said %q: %v", out, err)
	}
	return res
}

func needLandlock(t *testing.T, res result) {
	t.Helper()
	if res.Report.ABI == 0 {
		t.Skip(res.Report)
	}
}

// Sensors' files and devices that are open can still be read, and not be opened again.
func TestOpenBefore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "power1_input")
	if err := os.WriteFile(file, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const device = "/dev/urandom"
	res := child(t, Rules{}, [2]string{"again", file}, [2]string{"read", file}, [2]string{"ioctl", device}, [2]string{"read", device})
	needLandlock(t, res)
	if want := []string{"", "refused", "", "refused"}; res.Error != "" || !slices.Equal(res.Probes, want) {
		t.Errorf("%q, %q; want %q", res.Error, res.Probes, want)
	}
}

func TestRestrict(t *testing.T) {
	dir := t.TempDir()
	path := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	for _, d := range []string{"model", "state", "run", "other"} {
		if err := os.Mkdir(path(d), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path(d, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	rules := Rules{Read: []string{path("model"), path("other", "file"), path("missing"), "/proc"}, Write: []string{path("state")}, Sockets: []string{path("run")}}
	tests := []struct {
		probe, arg string
		want       string
		abi        int // that it takes to be refused
	}{
		{"read", path("model", "file"), "", 0},
		{"list", path("model"), "", 0},
		{"write", path("model", "file"), "refused", 1},
		{"write", path("model", "new"), "refused", 1},
		{"remove", path("model", "file"), "refused", 1},
		{"read", path("other", "file"), "", 0},
		{"write", path("other", "file"), "refused", 1},
		{"list", path("other"), "refused", 1},
		{"read", "/etc/passwd", "refused", 1},
		{"write", path("new"), "refused", 1},
		{"write", path("state", "new"), "", 0},
		{"write", path("state", "file"), "", 0},
		{"read", path("state", "new"), "", 0},
		{"rename", path("state", "new") + "," + path("state", "newer"), "", 0},
		{"unnamed", path("state"), "", 0},
		{"rename", path("state", "newer") + "," + path("model", "stolen"), "refused", 1},
		{"remove", path("state", "newer"), "", 0},
		{"write", path("run", "file"), "refused", 1},
		{"unix", path("run", "s"), "", 0},
		{"unix", path("state", "s"), "refused", 1},
		{"exec", "/bin/true", "refused", 1},
		{"bind", "127.0.0.1:0", "refused", 4},
		{"connect", listener.Addr().String(), "refused", 4},
		{"threads", "", "", 0},
	}
	var tries [][2]string
	for _, tt := range tests {
		tries = append(tries, [2]string{tt.probe, tt.arg})
	}
	res := child(t, rules, tries...)
	if res.Error != "" {
		t.Fatal(res.Error)
	}
	needLandlock(t, res)
	t.Log(res.Report)
	for i, tt := range tests {
		if res.Report.ABI < tt.abi {
			continue
		}
		if got := res.Probes[i]; got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.probe, tt.arg, got, tt.want)
		}
	}
	if !slices.Equal(res.Report.Missing, []string{path("missing")}) || !res.Report.NoNewPrivs || res.Report.TCP != (res.Report.ABI >= 4) {
		t.Errorf("report %+v", res.Report)
	}
}

func TestPorts(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	port := uint16(open.Addr().(*net.TCPAddr).Port)
	connect := [2]string{"connect", open.Addr().String()}
	bind := [2]string{"bind", "127.0.0.1:0"}
	for _, tt := range []struct {
		name  string
		rules Rules
		want  []string
	}{
		{"any", Rules{AnyTCP: true}, []string{"", ""}},
		{"connect", Rules{Connect: []uint16{port}}, []string{"", "refused"}},
		{"bind", Rules{Bind: []uint16{0}}, []string{"refused", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := child(t, tt.rules, connect, bind)
			if res.Error != "" {
				t.Fatal(res.Error)
			}
			needLandlock(t, res)
			if res.Report.ABI < 4 {
				t.Skip("TCP takes version 4: ", res.Report)
			}
			if !slices.Equal(res.Probes, tt.want) {
				t.Errorf("%q, want %q", res.Probes, tt.want)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	res := child(t, Rules{Write: []string{filepath.Join(t.TempDir(), "none")}})
	needLandlock(t, result{Report: child(t, Rules{}).Report})
	if !strings.Contains(res.Error, "none: no such file or directory") {
		t.Errorf("a directory to write to that is missing: %q", res.Error)
	}
}

func TestUnavailable(t *testing.T) {
	report := Report{Reason: "a reason", NoNewPrivs: true}
	r := Rules{}
	if got, err := r.unavailable(report); err != nil || got.String() != "files are not restricted: a reason, no new privileges" {
		t.Errorf("%v, %v", got, err)
	}
	r.Require = true
	if _, err := r.unavailable(report); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "a reason") {
		t.Errorf("%v", err)
	}
}
