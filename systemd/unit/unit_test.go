package unit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var defaultModel = Params{Mapped: 5_500_000, Arena: 20_000_000}

// parse reads a unit file (systemd.syntax(7)) into its assignments, as "Section.Name", and fails at a line that is none.
func parse(t *testing.T, name, text string) map[string][]string {
	t.Helper()
	section := ""
	values := map[string][]string{}
	header, assignment := regexp.MustCompile(`^\[([A-Z][a-z]+)\]$`), regexp.MustCompile(`^([A-Z][A-Za-z]+)=(\S.*)?$`)
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if m := header.FindStringSubmatch(line); m != nil {
			section = m[1]
			continue
		}
		m := assignment.FindStringSubmatch(line)
		if m == nil || section == "" || strings.TrimSpace(line) != line {
			t.Errorf("%s:%d: %q is no assignment in a section", name, i+1, line)
			continue
		}
		values[section+"."+m[1]] = append(values[section+"."+m[1]], m[2])
	}
	if !strings.HasSuffix(text, "\n") || strings.Contains(text, "\n\n\n") {
		t.Errorf("%s: its last line does not end, or two lines are empty", name)
	}
	return values
}

func TestLines(t *testing.T) {
	for name, text := range map[string]string{
		"service": Service(defaultModel), "service without limits": Service(Params{}), "notify-reload": Service(Params{NotifyReload: true}),
		"socket": Socket(), "slice": Slice(defaultModel), "slice without limits": Slice(Params{}), "memory": Memory(defaultModel), "sensors": Sensors(), "voice": Voice(), "home": Home(),
	} {
		for key, v := range parse(t, name, text) {
			many := []string{"Unit.ConditionPathExists", "Service.SystemCallFilter", "Service.DeviceAllow", "Socket.ListenStream"}
			if len(v) > 1 && !slices.Contains(many, key) {
				t.Errorf("%s: %s is assigned %d times", name, key, len(v))
			}
		}
	}
}

func TestService(t *testing.T) {
	p := Params{Exec: "/opt/b", Mapped: 1000, Arena: 200, Heap: 40, NotifyReload: true}
	v := parse(t, "service", Service(p))
	for key, want := range map[string]string{
		"Service.Type": "notify-reload", "Service.ExecReload": "", "Service.ExecStart": "/opt/b", "Service.Environment": "GOMEMLIMIT=40",
		"Service.MemoryMin": "1210", "Service.MemoryMax": strconv.Itoa(2400 + 40 + overhead), "Service.Slice": "bimamba.slice", "Service.StateDirectoryMode": "0700",
		"Service.MemorySwapMax": "0",
	} {
		if got := strings.Join(v[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	v = parse(t, "service", Service(Params{}))
	for key, want := range map[string]string{
		"Service.Type": "notify", "Service.ExecReload": "/bin/kill -HUP $MAINPID", "Service.ExecStart": "/usr/bin/bimambad", "Service.Environment": "GOMEMLIMIT=67108864",
		"Service.MemoryMin": "", "Service.MemoryMax": "", "Service.Slice": "",
	} {
		if got := strings.Join(v[key], " "); got != want {
			t.Errorf("without limits: %s=%s, want %s", key, got, want)
		}
	}
}

// TestOneModel: with a limit of memory there is room for one model, and the right to lock it.
func TestOneModel(t *testing.T) {
	p := defaultModel
	p.OneModel = true
	v := parse(t, "service", Service(p))
	if got, want := strings.Join(v["Service.MemoryMax"], " "), strconv.FormatInt(p.Mapped+p.Arena+DefaultHeap+overhead, 10); got != want {
		t.Errorf("MemoryMax=%s, want %s", got, want)
	}
	for _, v := range []map[string][]string{v, parse(t, "memory", Memory(p))} {
		if got, want := strings.Join(v["Service.LimitMEMLOCK"], " "), strconv.FormatInt(p.Mapped, 10); got != want {
			t.Errorf("LimitMEMLOCK=%s, want %s", got, want)
		}
	}
}

// TestMemory is the drop-in, which says what the service made for the same model says, and the slice, which protects no less.
func TestMemory(t *testing.T) {
	service, memory := parse(t, "service", Service(defaultModel)), parse(t, "memory", Memory(defaultModel))
	if len(memory) != 4 {
		t.Errorf("the drop-in assigns %v", memory)
	}
	for key, v := range memory {
		if !slices.Equal(service[key], v) {
			t.Errorf("%s=%v in the drop-in, %v in the service", key, v, service[key])
		}
	}
	if slice := parse(t, "slice", Slice(defaultModel)); !slices.Equal(slice["Slice.MemoryMin"], memory["Service.MemoryMin"]) {
		t.Errorf("the slice's MemoryMin=%v", slice["Slice.MemoryMin"])
	}
}

func TestFiles(t *testing.T) {
	for _, f := range Files(defaultModel) {
		if !filepath.IsAbs(f.Path) || f.Mode != 0o644 || f.Text == "" {
			t.Errorf("%+v", f)
		}
	}
	for name, f := range map[string]struct {
		text   string
		fields int // at least
	}{"sysusers": {Sysusers(), 3}, "tmpfiles": {Tmpfiles(), 6}} {
		for _, line := range strings.Split(strings.TrimSpace(f.text), "\n") {
			if len(strings.Fields(line)) < f.fields {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

// TestHome lets systemd read the service that keeps the home, which is no more open than the daemon.
func TestHome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bimamba-home.service")
	text := strings.Replace(Home(), "/usr/bin/bimamba ", "/bin/true ", 1) // verify looks for the program
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, "verify", "--man=no", path); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold=20", path); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if v := parse(t, "home", Home()); !strings.Contains(strings.Join(v["Service.ExecStart"], ""), "/usr/bin/bimamba home sync --ha ${HA} --token-file ${CREDENTIALS_DIRECTORY}/token") {
		t.Errorf("ExecStart=%v", v["Service.ExecStart"])
	}
}

// TestSysusers lets the program that reads the file say what it would do.
func TestSysusers(t *testing.T) {
	if _, err := exec.LookPath("systemd-sysusers"); err != nil {
		t.Skip("systemd-sysusers is not here")
	}
	root := t.TempDir()
	path := filepath.Join(root, "bimamba.conf")
	if err := os.WriteFile(path, []byte(Sysusers()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-sysusers", "--dry-run", "--root="+root, path).CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") {
		t.Skip("systemd-sysusers has no --dry-run")
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"user 'bimamba'", "group 'i2c'", "group 'video'"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}

// install writes the service with its friends where systemd's tools can read them.
func install(t *testing.T, p Params, sensors bool) (service string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("bimambad.socket", Socket())
	write("bimamba.slice", Slice(p))
	if sensors {
		write("bimambad.service.d/sensors.conf", Sensors())
	}
	return write("bimambad.service", Service(p))
}

// analyze runs systemd-analyze, and skips the test where there is none that can do this.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not here")
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") || strings.Contains(string(out), "Unknown command") {
		t.Skipf("systemd-analyze is too old: %s", out)
	}
	return string(out), err
}

func TestVerify(t *testing.T) {
	p := defaultModel
	p.Exec = "/bin/true" // verify looks for the program
	for _, sensors := range []bool{false, true} {
		service := install(t, p, sensors)
		dir := filepath.Dir(service)
		out, err := analyze(t, "verify", "--man=no", service, filepath.Join(dir, "bimambad.socket"), filepath.Join(dir, "bimamba.slice"))
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("sensors %v: %v: %s", sensors, err, out)
		}
	}
}

func TestSecurity(t *testing.T) {
	for _, tt := range []struct {
		name      string
		sensors   bool
		threshold string // in tenths
	}{{"plain", false, "20"}, {"sensors", true, "25"}} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold="+tt.threshold, install(t, defaultModel, tt.sensors))
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if err != nil || !strings.Contains(out, "Overall exposure level") {
				t.Fatalf("%v: %s", err, out)
			}
			t.Log(lines[len(lines)-1])
			if devices := strings.Contains(out, "✗ PrivateDevices="); devices != tt.sensors {
				t.Errorf("devices are open: %v", devices)
			}
		})
	}
}
