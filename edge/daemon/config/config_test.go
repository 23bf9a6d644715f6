package config

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/edge/model"
)

// files is a file system of names and contents.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	s, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(s), nil
}

const etc = "/etc/bimamba/bimambad.toml"

func TestDefaults(t *testing.T) {
	c, err := Load(nil, nil, files{}.read)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Model: "/usr/share/bimamba/default.bimamba", Sessions: 2, Checkpoints: 8, Precision: model.LUT16, State: model.StateF16,
		Listen: []Address{{"tcp", "127.0.0.1:11434"}}, Auth: AuthAuto, MDNS: MDNSAuto,
		MaxTokens: 512, MaxTokensLimit: 4096, MaxPrompt: 65536, Queue: 32, RequestTimeout: 5 * time.Minute,
		MaxBody: 1e6, MaxHeader: 16384, MaxConnections: 512, ReadTimeout: 10 * time.Second,
		StateMaxBytes: 256e6, StateMaxFiles: 64, DrainTimeout: 4 * time.Second,
		Tuning: "/etc/bimamba/tuning.json", Sensor: "auto", Home: "/etc/bimamba/home.toml", WyomingMode: WyomingIntent,
		MQTTTopic: "bimamba", MQTTDiscovery: "homeassistant", ActionTTL: time.Minute,
		Metrics: true, Page: true, LogLevel: slog.LevelInfo, LogFormat: LogText, Sandbox: SandboxAuto,
		lookup: etc, origins: map[string]origin{},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("defaults:\n%+v\nwant\n%+v", c, want)
	}
}

func TestPrecedence(t *testing.T) {
	fsys := files{
		etc:                "sessions = 3\nqueue = 5\nmax_prompt = 100\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nmodel = \"file.bimamba\"\n",
		"other.toml":       "# nothing but this\nthreads = 7\nidle_exit = \"5m\"\nstate_max_bytes = 1000\nrate = 2\nmetrics = false\n",
		"/c/bimambad.toml": "threads = 2",
	}
	for _, tt := range []struct {
		name      string
		args, env []string
		option    string
		value     string
		origin    string
	}{
		{"default", nil, nil, "checkpoints", "8", "default"},
		{"file", nil, nil, "sessions", "3", etc + ":1:1"},
		{"file list", nil, nil, "listen", "127.0.0.1:1 127.0.0.1:2", etc + ":4:1"},
		{"env over file", nil, []string{"BIMAMBAD_SESSIONS=4"}, "sessions", "4", "BIMAMBAD_SESSIONS"},
		{"model by environment", nil, []string{"BIMAMBAD_MODEL=env.bimamba"}, "model", "env.bimamba", "BIMAMBAD_MODEL"},
		{"empty env", nil, []string{"BIMAMBAD_SESSIONS="}, "sessions", "3", etc + ":1:1"},
		{"first of two in env", nil, []string{"BIMAMBAD_SESSIONS=4", "BIMAMBAD_SESSIONS=5"}, "sessions", "4", "BIMAMBAD_SESSIONS"},
		{"flag over env", []string{"--sessions", "5"}, []string{"BIMAMBAD_SESSIONS=4"}, "sessions", "5", "--sessions"},
		{"flag with =", []string{"--max-prompt=9"}, nil, "max_prompt", "9", "--max-prompt"},
		{"last flag", []string{"--queue", "1", "--queue", "2"}, nil, "queue", "2", "--queue"},
		{"list of flags replaces", []string{"--listen", "[::1]:80", "--listen=unix:/s"}, nil, "listen", "[::1]:80 unix:/s", "--listen"},
		{"list in env", nil, []string{"BIMAMBAD_LISTEN=[::1]:1,unix:@a"}, "listen", "[::1]:1 unix:@a", "BIMAMBAD_LISTEN"},
		{"config by flag", []string{"--config", "other.toml"}, nil, "threads", "7", "other.toml:2:1"},
		{"config by env", nil, []string{"BIMAMBAD_CONFIG=other.toml"}, "idle_exit", "5m", "other.toml:3:1"},
		{"config by systemd", nil, []string{"CONFIGURATION_DIRECTORY=/c:/d"}, "threads", "2", "/c/bimambad.toml:1:1"},
		{"size without a unit", []string{"--config", "other.toml"}, nil, "state_max_bytes", "1KB", "other.toml:4:1"},
		{"whole number as a float", []string{"--config", "other.toml"}, nil, "rate", "2", "other.toml:5:1"},
		{"false", []string{"--config", "other.toml"}, nil, "metrics", "false", "other.toml:6:1"},
		{"switch", []string{"--tls-self-signed", "--state-dir", "/s"}, nil, "tls_self_signed", "true", "--tls-self-signed"},
		{"switch off", []string{"--page=no"}, nil, "page", "false", "--page"},
		{"zero's name", []string{"--threads", "auto"}, []string{"BIMAMBAD_THREADS=3"}, "threads", "auto", "--threads"},
		{"zero", []string{"--idle-exit", "0"}, nil, "idle_exit", "never", "--idle-exit"},
		{"state directory", nil, []string{"STATE_DIRECTORY=/var/lib/bimamba:/x"}, "state_dir", "/var/lib/bimamba", "STATE_DIRECTORY"},
		{"home", nil, nil, "home", "/etc/bimamba/home.toml", "default"},
		{"home by systemd", nil, []string{"CONFIGURATION_DIRECTORY=/c:/d"}, "home", "/c/home.toml", "default"},
		{"home", []string{"--home", "/h.toml"}, nil, "home", "/h.toml", "--home"},
		{"wyoming", []string{"--wyoming", ":10500", "--wyoming", "unix:/w"}, nil, "wyoming", ":10500 unix:/w", "--wyoming"},
		{"token file", nil, []string{"STATE_DIRECTORY=/var/lib/bimamba"}, "token_file", "/var/lib/bimamba/token", "state_dir"},
		{"no state directory", []string{"--state-dir", ""}, []string{"STATE_DIRECTORY=/var/lib/bimamba"}, "state_dir", "", "--state-dir"},
		{"personas", []string{"--persona", "a=x", "--persona", "b-1=y=z"}, nil, "persona", "a=x b-1=y=z", "--persona"},
		{"level", []string{"--log-level", "debug"}, nil, "log_level", "debug", "--log-level"},
		{"precision", []string{"--precision", "fast", "--state", "f32"}, nil, "precision", "fast", "--precision"},
		{"origins", []string{"--cors-origin", "http://localhost:3000", "--cors-origin=*"}, nil, "cors_origin", "http://localhost:3000 *", "--cors-origin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.args, tt.env, fsys.read)
			if err != nil {
				t.Fatal(err)
			}
			sources := c.Sources()
			s := sources[slices.IndexFunc(sources, func(s Source) bool { return s.Name == tt.option })]
			if got := strings.Join(s.Values, " "); got != tt.value || s.Origin != tt.origin {
				t.Errorf("%s = %q from %s, want %q from %s", tt.option, got, s.Origin, tt.value, tt.origin)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name      string
		args, env []string
		file      string
		want      []string // each line of the error, or its start
	}{
		{"flag range", []string{"--sessions", "0"}, nil, "", []string{"--sessions 0: is not within 1 and 1024"}},
		{"env range", nil, []string{"BIMAMBAD_SESSIONS=0"}, "", []string{"BIMAMBAD_SESSIONS=0: is not within 1 and 1024"}},
		{"file range", nil, nil, "# c\n\n  sessions = 0", []string{etc + ":3:3: sessions = 0: is not within 1 and 1024"}},
		{"all at once", []string{"--queue", "x"}, []string{"BIMAMBAD_BATCH=-"}, "sessions = \"2\"", []string{
			etc + ":1:1: sessions: the value is a string; write sessions = 2", "BIMAMBAD_BATCH=-: is no whole number, and not auto", "--queue x: is no whole number"}},
		{"unknown flag", []string{"--sesions", "2"}, nil, "", []string{"--sesions: there is no such option; did you mean --sessions?"}},
		{"underscores", []string{"--max_tokens", "2"}, nil, "", []string{"--max_tokens: there is no such option; did you mean --max-tokens?"}},
		{"one hyphen", []string{"-sessions", "2"}, nil, "", []string{`"-sessions" is no option; options start with --`}},
		{"argument", []string{"serve"}, nil, "", []string{`"serve" is no option`}},
		{"no value", []string{"--sessions"}, nil, "", []string{"--sessions needs a value: --sessions N"}},
		{"unknown variable", nil, []string{"BIMAMBAD_SESION=1"}, "", []string{"BIMAMBAD_SESION: there is no such option; did you mean BIMAMBAD_SESSIONS?"}},
		{"lower-case variable", nil, []string{"BIMAMBAD_sessions=1"}, "", []string{"BIMAMBAD_sessions: there is no such option"}},
		{"unknown key", nil, nil, "sessions = 2\nmax-tokens = 3", []string{etc + ":2:1: there is no key max-tokens; did you mean max_tokens?"}},
		{"far from any key", nil, nil, "frobnicate = 3", []string{etc + ":1:1: there is no key frobnicate; --help lists them"}},
		{"config in config", nil, nil, "config = 'x'", []string{etc + ":1:1: there is no key config"}},
		{"table", nil, nil, "[server]\nlisten = []", []string{etc + ":1:2: there are no tables"}},
		{"dotted key", nil, nil, "tls.cert = 'x'", []string{etc + ":1:1: there are no tables and no dotted keys"}},
		{"syntax", nil, nil, "sessions = 2\nqueue = = 3", []string{etc + ":2:9: toml: "}},
		{"twice", nil, nil, "queue = 2\nqueue = 3", []string{etc + ":2:1: toml: "}},
		{"no UTF-8", nil, nil, "model = \"\xff\"", []string{etc + ":1:"}},
		{"bool", nil, nil, "page = 1", []string{etc + ":1:1: page: the value is a whole number; write page = true"}},
		{"fraction", nil, nil, "queue = 1.5", []string{etc + ":1:1: queue: the value is a number with a fraction; write queue = 32"}},
		{"time without unit", nil, nil, "request_timeout = 30", []string{etc + ":1:1: request_timeout: the value is a whole number; write request_timeout = \"5m\""}},
		{"string for a list", nil, nil, "listen = ':1'", []string{etc + ":1:1: listen: the value is a string; write listen = [\"127.0.0.1:11434\"]"}},
		{"list of numbers", nil, nil, "persona = ['a=b', 1]", []string{etc + ":1:1: persona: element 2 is a whole number; write persona = [\"NAME=FILE\"]"}},
		{"list for a string", nil, nil, "model = ['a']", []string{etc + ":1:1: model: the value is a list; write model = \"/usr"}},
		{"date", nil, nil, "model = 2026-01-01", []string{etc + ":1:1: model: the value is a date or time"}},
		{"inline table", nil, nil, "model = {a = 1}", []string{etc + ":1:1: model: the value is a table"}},
		{"too large", nil, nil, strings.Repeat("#", maxFile+1), []string{etc + " has 65537 bytes"}},
		{"named but missing", []string{"--config", "none.toml"}, nil, "", []string{"the configuration file: open none.toml: file does not exist"}},
		{"wyoming without a token", []string{"--wyoming", ":10500", "--auth=always"}, []string{"STATE_DIRECTORY=/s"}, "", []string{"--wyoming :10500: the protocol has no token, and auth is always"}},
		{"two targets", []string{"--mqtt=mqtt://a", "--webhook=http://a"}, nil, "", []string{"--webhook http://a: mqtt is set, too, and an action is done in one place"}},
		{"a password of nobody's", []string{"--mqtt=mqtt://a", "--mqtt-password-file=/p"}, nil, "", []string{"--mqtt-password-file /p: is for mqtt_user, which is not set"}},
		{"a token for nothing", []string{"--webhook-token-file=/p"}, nil, "", []string{"--webhook-token-file /p: is for webhook, which is not set"}},
		{"wyoming mode", []string{"--wyoming-mode=both"}, nil, "", []string{"--wyoming-mode both: is not intent or handle"}},
		{"no number", []string{"--rate", "much"}, nil, "", []string{"--rate much: is no number, and not off"}},
		{"NaN", []string{"--rate", "NaN"}, nil, "", []string{"--rate NaN: is not within 0.001 and 1000000, and not off"}},
		{"time", []string{"--read-timeout", "10"}, nil, "", []string{"--read-timeout 10: is no time; write a number and ms, s, m or h"}},
		{"time range", []string{"--drain-timeout", "5s"}, nil, "", []string{"--drain-timeout 5s: is not within 0s and 4.5s"}},
		{"size range", []string{"--max-body", "2GiB"}, nil, "", []string{"--max-body 2GiB: is not within 1KiB and 1GiB"}},
		{"switch value", []string{"--page=maybe"}, nil, "", []string{"--page maybe: is not true or false"}},
		{"config twice said", []string{"--config", "a\nb"}, nil, "", []string{"--config a", "b: has a control character in it"}},
		{"choice", []string{"--auth", "often"}, nil, "", []string{"--auth often: is not auto, always or never"}},
		{"level", []string{"--log-level", "INFO+2"}, nil, "", []string{"--log-level INFO+2: is not debug, info, warn or error"}},
		{"precision", []string{"--precision", "high"}, nil, "", []string{`--precision high: precision "high" is not lut16`}},
		{"state", []string{"--state", "f8"}, nil, "", []string{`--state f8: state "f8" is not f16 or f32`}},
		{"NUL", []string{"--model", "a\x00b"}, nil, "", []string{"--model a\x00b: has a control character in it"}},
		{"no model", []string{"--model="}, nil, "", []string{"--model : there has to be a model"}},
		{"limit", []string{"--max-tokens", "9000"}, nil, "", []string{"--max-tokens 9000: is more than max_tokens_limit, 4096"}},
		{"certificate alone", []string{"--tls-cert", "c"}, nil, "", []string{"--tls-cert c: tls_cert and tls_key go together"}},
		{"key alone", nil, []string{"BIMAMBAD_TLS_KEY=k"}, "", []string{"BIMAMBAD_TLS_KEY=k: tls_cert and tls_key go together"}},
		{"two certificates", []string{"--tls-self-signed", "--tls-cert=c", "--tls-key=k", "--state-dir=/s"}, nil, "",
			[]string{"--tls-self-signed true: goes without tls_cert"}},
		{"nowhere to keep it", []string{"--tls-self-signed"}, nil, "", []string{"--tls-self-signed true: needs state_dir"}},
		{"no address", nil, nil, "listen = []", []string{etc + ":1:1: listen = : there has to be an address"}},
		{"open without a token", []string{"--listen", "127.0.0.1:1", "--listen", ":80"}, nil, "",
			[]string{"--listen 127.0.0.1:1,:80: :80 is reachable from other machines and needs a token"}},
		{"always without a token", []string{"--auth", "always"}, nil, "", []string{"--auth always: needs a token"}},
		{"persona twice", []string{"--persona", "a=x", "--persona", "a=y"}, nil, "", []string{"--persona a=x,a=y: there are two of the name a"}},
		{"persona's name", []string{"--persona", "A=x"}, nil, "", []string{`--persona A=x: name "A" is not 1 to 64 of a-z`}},
		{"persona's file", []string{"--persona", "ok=f", "--persona", "a"}, nil, "", []string{`--persona ok=f,a: "a": is not NAME=FILE`}},
		{"limits without a sensor", []string{"--sensor=off", "--max-watts=5", "--calibration=c"}, []string{"BIMAMBAD_MAX_TEMP=70"}, "", []string{
			"--max-watts 5: needs a sensor of power", "BIMAMBAD_MAX_TEMP=70: needs a sensor of temperature", "--calibration c: is for a sensor of power"}},
		{"watts", nil, nil, "max_watts = 0.01", []string{etc + ":1:1: max_watts = 0.01: is not within 0.1 and 10000, and not off"}},
		{"temperature", []string{"--max-temp", "inf"}, nil, "", []string{"--max-temp +Inf: is not within 20 and 150, and not off"}},
		{"origin", []string{"--cors-origin", "http://h/path"}, nil, "", []string{"--cors-origin http://h/path: is no origin"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.args, tt.env, files{etc: tt.file}.read)
			if err == nil {
				t.Fatalf("no error, but %+v", c)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d: %v", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]error{"-h": ErrHelp, "--help": ErrHelp, "--version": ErrVersion} {
		if _, err := Load([]string{"--queue", "1", arg}, nil, files{}.read); !errors.Is(err, want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	help := Help()
	for i := range options {
		if o := &options[i]; !strings.Contains(help, "\n  --"+o.flag()) || o.help == "" || o.group == "" || (o.arg == "") != o.isSwitch() {
			t.Errorf("%s is not described", o.name)
		}
	}
	for _, line := range strings.Split(help+Sample(), "\n") {
		if len(line) > 100 || line != strings.TrimRight(line, " ") {
			t.Errorf("line %q", line)
		}
	}
}

func TestAuthAllowed(t *testing.T) {
	for _, args := range [][]string{
		{"--listen", ":80", "--token-file", "/t"},
		{"--listen", ":80", "--state-dir", "/s"},
		{"--listen", ":80", "--auth", "never"},
		{"--listen", "unix:/s", "--listen", "[::1]:80", "--listen", "localhost:80", "--listen", "127.8.8.8:80"},
	} {
		if _, err := Load(args, nil, files{}.read); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	c, err := Load([]string{"--threads", "2"}, []string{"BIMAMBAD_BATCH=3", "STATE_DIRECTORY=/s"}, files{etc: "listen = [':80']"}.read)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"threads": "--threads", "batch": "BIMAMBAD_BATCH", "listen": etc + ":1:1", "state_dir": "STATE_DIRECTORY", "token_file": "state_dir", "queue": "",
	} {
		if got := c.Origin(name); got != want {
			t.Errorf("%s is from %q, not %q", name, got, want)
		}
	}
}

// TestSample reads the sample as it is and with every default uncommented.
func TestSample(t *testing.T) {
	want := Default()
	for _, text := range []string{Sample(), uncommented()} {
		c, err := Load(nil, nil, files{etc: text}.read)
		if err != nil {
			t.Fatal(err)
		}
		if changed, restart := want.Diff(c); changed != nil || restart != nil {
			t.Errorf("the sample differs from the defaults in %v and %v", changed, restart)
		}
	}
	for i := range options {
		if o := &options[i]; o.name != "config" && !strings.Contains(uncommented(), "\n"+o.name+" = ") {
			t.Errorf("%s is not in the sample", o.name)
		}
	}
}

// uncommented is the sample with its lines of options turned on.
func uncommented() string {
	lines := strings.Split(Sample(), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			lines[i] = line[1:]
		}
	}
	return strings.Join(lines, "\n")
}

func TestDiff(t *testing.T) {
	load := func(args ...string) *Config {
		c, err := Load(args, nil, files{}.read)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := load("--model", "a", "--listen", "127.0.0.1:1", "--sandbox", "off")
	b := load("--model", "b", "--listen", "127.0.0.1:2", "--sessions", "3", "--persona", "p=f")
	changed, restart := a.Diff(b)
	if !slices.Equal(changed, []string{"model", "persona", "sessions"}) || !slices.Equal(restart, []string{"listen", "sandbox"}) {
		t.Errorf("%v and %v", changed, restart)
	}
	kept := a.Keep(b)
	if changed, restart := kept.Diff(b); changed != nil || !slices.Equal(restart, []string{"listen", "sandbox"}) {
		t.Errorf("kept differs from next in %v and %v", changed, restart)
	}
	if kept.Listen[0].Addr != "127.0.0.1:1" || kept.Sessions != 3 || kept.origins["listen"].where != "--listen" || b.Listen[0].Addr != "127.0.0.1:2" {
		t.Errorf("kept %+v", kept)
	}
	if changed, restart := a.Diff(a); changed != nil || restart != nil {
		t.Errorf("%v and %v of nothing", changed, restart)
	}
}

func TestWriteSources(t *testing.T) {
	c, err := Load([]string{"--persona", "a=x", "--persona", "b=y"}, nil, files{etc: "queue = 3"}.read)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteSources(&b, c.Sources()); err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, line := range strings.Split(b.String(), "\n") {
		fields = append(fields, strings.Join(strings.Fields(line), "|"))
	}
	for _, want := range []string{"persona|a=x,|b=y|--persona", "queue|3|" + etc + ":1:1", "cors_origin|-|default"} {
		if !slices.Contains(fields, want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestDirs(t *testing.T) {
	c, err := Load([]string{"--model", "/m/a", "--persona", "p=/p/q", "--tls-cert=/t/c", "--tls-key=/t/k", "--listen=unix:/run/b/s", "--listen=unix:@x", "--wyoming=unix:/run/w/s", "--home=/h/home.toml"},
		[]string{"STATE_DIRECTORY=/s"}, files{etc: ""}.read)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ReadDirs(); !slices.Equal(got, []string{"/etc/bimamba", "/h", "/m", "/p", "/t"}) {
		t.Errorf("read %v", got)
	}
	dir := t.TempDir()
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/links", 0o755), os.WriteFile(dir+"/blob", nil, 0o644), os.Symlink("../blob", dir+"/links/default")); err != nil {
		t.Fatal(err)
	}
	link, err := Load([]string{"--model", dir + "/links/default"}, nil, files{}.read)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := link.ReadDirs(), []string{dir, dir + "/links", "/etc/bimamba"}; !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("read %v, want %v", got, want)
	}
	if got := c.WriteDirs(); !slices.Equal(got, []string{"/s"}) {
		t.Errorf("write %v", got)
	}
	if got := c.SocketDirs(); !slices.Equal(got, []string{"/run/b", "/run/w"}) {
		t.Errorf("sockets %v", got)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// FuzzTOML reads any file; what it accepts holds after it is written down again.
func FuzzTOML(f *testing.F) {
	f.Add([]byte(Sample()))
	f.Add([]byte(uncommented()))
	f.Add([]byte("listen = ['unix:/a', \"[::1]:0\"]\nrate = 1e3\nmax_body = '2MiB'\npersona = ['a=b']"))
	f.Add([]byte("[a]\nb.c = {d = [[1979-05-27]]}\n"))
	f.Add([]byte("sessions = 0x10\nqueue = 1_000\nidle_exit = \"1h30m\"\nlog_level = '''warn'''"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLoaded(t, nil, files{etc: string(data)})
	})
}

// FuzzEnv reads any value of any variable.
func FuzzEnv(f *testing.F) {
	f.Add("BIMAMBAD_LISTEN", "unix:/a,[::1]:0,:1")
	f.Add("BIMAMBAD_PERSONA", "a=b,c=d")
	f.Add("BIMAMBAD_MAX_BODY", "1 MiB")
	f.Add("BIMAMBAD_RATE", "1e-2")
	f.Add("BIMAMBAD_CORS_ORIGIN", "http://[::1]:80")
	f.Add("STATE_DIRECTORY", "a:b")
	f.Add("STATE_DIRECTORY", "\x7f")
	f.Fuzz(func(t *testing.T, name, value string) {
		checkLoaded(t, []string{name + "=" + value}, files{})
	})
}

func checkLoaded(t *testing.T, env []string, fsys files) {
	c, err := Load(nil, env, fsys.read)
	if err != nil {
		return
	}
	var args []string
	for i := range options {
		for _, v := range options[i].texts(c) {
			if options[i].name != "config" {
				args = append(args, "--"+options[i].flag()+"="+v)
			}
		}
	}
	again, err := Load(args, nil, files{}.read)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if changed, restart := c.Diff(again); changed != nil || restart != nil {
		t.Fatalf("%q differs in %v and %v", args, changed, restart)
	}
}
