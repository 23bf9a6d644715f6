package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bimamba/edge/model"
)

// Values of [Config.Auth].
const (
	AuthAuto   = "auto"   // a token beyond loopback and Unix sockets
	AuthAlways = "always" // a token everywhere
	AuthNever  = "never"
)

// Values of [Config.MDNS].
const (
	MDNSAuto = "auto" // if other machines reach an address
	MDNSOn   = "on"   // at any TCP address
	MDNSOff  = "off"
)

// Values of [Config.WyomingMode].
const (
	WyomingIntent = "intent" // clients get intents, to do themselves
	WyomingHandle = "handle" // the daemon does them
)

// Values of [Config.LogFormat].
const (
	LogText = "text"
	LogJSON = "json"
)

// Values of [Config.Sandbox].
const (
	SandboxAuto    = "auto"    // as much as the kernel has
	SandboxOff     = "off"     // nothing
	SandboxRequire = "require" // or the daemon does not start
)

// SensorOff is the [Config.Sensor] that reads none.
const SensorOff = "off"

const (
	defaultModel = "/usr/share/bimamba/default.bimamba"
	defaultDir   = "/etc/bimamba" // of the configuration file, without $CONFIGURATION_DIRECTORY
	fileName     = "bimambad.toml"
	defaultHome  = defaultDir + "/home.toml" // or of the same name there
)

// ErrHelp and ErrVersion are what [Load] returns where --help (-h) and --version are among the arguments.
var (
	ErrHelp    = errors.New("help was asked for")
	ErrVersion = errors.New("the version was asked for")
)

// Config is the daemon's configuration. The comments of its fields are short; the table in options.go has the whole description.
type Config struct {
	File string // the configuration file, "" if none was read

	Model       string // the blob to serve
	VerifyKey   []Key  // public keys or their files, one of which has to have signed the blob; none is no check
	Persona     []Persona
	Sessions    int             // sequences at a time
	Checkpoints int             // prefix states that are kept
	Threads     int             // workers; 0 is as many as are of use
	Tuning      string          // a file of package tuning; a default that is missing is none
	Precision   model.Precision // arithmetic of the matrices
	State       model.State     // type of recurrent states
	Batch       int             // tokens that share a pass over the weights; 0 is [model.DefaultBatch], or fewer with Memory
	Memory      Bytes           // that the process may take; 0 is all that the model is

	Listen        []Address // addresses to open; sockets that systemd passes come instead of them
	Auth          string    // who has to show the token: AuthAuto, AuthAlways or AuthNever
	MDNS          string    // MDNSAuto, MDNSOn or MDNSOff
	TokenFile     string    // "" only where nobody needs a token
	CORSOrigin    []string  // origins of foreign pages that may call, "*" any
	TLSCert       string    // with TLSKey: PEM files
	TLSKey        string
	TLSSelfSigned bool // a certificate of the daemon's own, kept in StateDir

	Home        string    // what package home reads; "" is an empty one, and so is a default that is missing
	Wyoming     []Address // to serve that protocol at, beside sockets that systemd passes for it; none is off
	WyomingMode string    // WyomingIntent or WyomingHandle

	MQTT             string        // the broker that gets actions, mqtt:// or mqtts://; "" is none
	MQTTUser         string        //
	MQTTPasswordFile string        //
	MQTTCAFile       string        // certificates to trust instead of the system's
	MQTTTopic        string        // the beginning of all topics
	MQTTDiscovery    string        // the topic where Home Assistant is told of the board; "" is none
	Webhook          string        // the URL that gets actions; "" is none
	WebhookTokenFile string        //
	WebhookCAFile    string        // certificates to trust instead of the system's
	ActionTTL        time.Duration // how long an action may wait for its target

	MaxTokens      int           // tokens of an answer where the request does not say
	MaxTokensLimit int           // most that a request may ask for
	MaxPrompt      int           // tokens
	Queue          int           // requests that wait for a session
	RequestTimeout time.Duration // of a request, waiting included

	MaxBody        Bytes         // of a request
	MaxHeader      Bytes         // of a request
	MaxConnections int           // at a time
	Rate           float64       // requests a second from one peer; 0 is off
	ReadTimeout    time.Duration // for a request to arrive

	StateDir      string // "" is no snapshots
	StateMaxBytes Bytes  // of all snapshots
	StateMaxFiles int

	IdleExit     time.Duration // 0 is never
	DrainTimeout time.Duration // for requests in flight when the daemon stops

	Sensor        string  // of power: [sensor.Auto], SensorOff, a name of sensor.Find's, or an INA chip
	Calibration   string  // a file of a sensor.Calibration, "" for none
	MaxWatts      float64 // 0 is no limit, of each
	MaxTemp       float64 // °C
	MaxTokensPerS float64 // of answers

	Metrics   bool
	Page      bool
	LogLevel  slog.Level
	LogFormat string // LogText or LogJSON
	Sandbox   string // SandboxAuto, SandboxOff or SandboxRequire

	lookup  string            // the configuration file, also if there is none yet
	origins map[string]origin // where an option's value came from, by its name; none is the default
}

// TLS says whether TCP connections are encrypted.
func (c *Config) TLS() bool { return c.TLSSelfSigned || c.TLSCert != "" }

// Default is the configuration without flags, environment and file.
func Default() *Config {
	c := &Config{origins: map[string]origin{}}
	for i := range options {
		o := &options[i]
		if err := o.set(c, o.defaults()); err != nil {
			panic(fmt.Sprintf("config: the default of %s: %v", o.name, err))
		}
	}
	return c
}

// Load reads flags, environment ("NAME=VALUE") and the configuration file, checks all of it, and returns every fault that it finds, one a line.
// readFile is os.ReadFile outside of tests. A file that nobody named may be missing.
func Load(args, env []string, readFile func(string) ([]byte, error)) (*Config, error) {
	flags, err := parseFlags(args)
	if err != nil {
		return nil, err
	}
	variables, vars, err := parseEnv(env)
	errs := []error{err}
	c := Default()
	if dir := firstDir(vars["STATE_DIRECTORY"]); dir != "" {
		errs = append(errs, c.apply(setting{find("state_dir"), []string{dir}, origin{fromSystemd, "STATE_DIRECTORY"}}))
	}

	named := slices.ContainsFunc(flags, isFile) || slices.ContainsFunc(variables, isFile)
	dir := firstDir(vars["CONFIGURATION_DIRECTORY"])
	if dir == "" {
		dir = defaultDir
	}
	if !named {
		c.File = filepath.Join(dir, fileName)
	}
	for _, s := range append(variables, flags...) { // where the file is, before it is read
		if isFile(s) {
			errs = append(errs, c.apply(s))
		}
	}
	c.lookup = c.File
	if c.File != "" {
		settings, err := readTOML(c.File, readFile)
		switch {
		case !named && errors.Is(err, fs.ErrNotExist):
			c.File = ""
		case err != nil:
			errs = append(errs, err)
		}
		for _, s := range settings {
			errs = append(errs, c.apply(s))
		}
	}
	for _, s := range append(variables, flags...) {
		if !isFile(s) {
			errs = append(errs, c.apply(s))
		}
	}
	if c.TokenFile == "" && c.StateDir != "" {
		c.TokenFile = filepath.Join(c.StateDir, "token")
		c.origins["token_file"] = origin{fromSystemd, "state_dir"}
	}
	if _, given := c.origins["home"]; !given {
		c.Home = filepath.Join(dir, filepath.Base(defaultHome))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func isFile(s setting) bool { return s.option.name == "config" }

// firstDir is the first of the directories in a variable of systemd's.
func firstDir(list string) string {
	dir, _, _ := strings.Cut(list, ":")
	return dir
}

// apply gives an option a value.
func (c *Config) apply(s setting) error {
	c.origins[s.option.name] = s.origin
	if err := s.option.set(c, s.values); err != nil {
		return fmt.Errorf("%s: %w", s.origin.quote(s.option, strings.Join(s.values, ",")), err)
	}
	return nil
}

// Validate checks every option's range and what options say about one another. Its errors name where a value came from.
func (c *Config) Validate() error {
	var errs []error
	fail := func(name, format string, args ...any) {
		o := find(name)
		errs = append(errs, fmt.Errorf("%s: %s", c.origins[name].quote(o, strings.Join(o.texts(c), ",")), fmt.Sprintf(format, args...)))
	}
	for i := range options {
		o := &options[i]
		if err := o.check(c); err != nil {
			fail(o.name, "%v", err)
		}
	}
	if c.Model == "" {
		fail("model", "there has to be a model; name a .bimamba file")
	}
	if c.MaxTokens > c.MaxTokensLimit {
		fail("max_tokens", "is more than max_tokens_limit, %d", c.MaxTokensLimit)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		name := "tls_cert"
		if c.TLSCert == "" {
			name = "tls_key"
		}
		fail(name, "tls_cert and tls_key go together; set both or none")
	}
	if c.TLSSelfSigned && c.TLSCert != "" {
		fail("tls_self_signed", "goes without tls_cert; drop one of them")
	}
	if c.TLSSelfSigned && c.StateDir == "" {
		fail("tls_self_signed", "needs state_dir to keep the certificate in")
	}
	if c.Sensor == SensorOff {
		if c.MaxWatts > 0 {
			fail("max_watts", "needs a sensor of power, and sensor is off")
		}
		if c.MaxTemp > 0 {
			fail("max_temp", "needs a sensor of temperature, and sensor is off")
		}
		if c.Calibration != "" {
			fail("calibration", "is for a sensor of power, and sensor is off")
		}
	}
	if len(c.Wyoming) > 0 && c.Auth == AuthAlways {
		fail("wyoming", "the protocol has no token, and auth is always; drop one of them")
	}
	if c.MQTT != "" && c.Webhook != "" {
		fail("webhook", "mqtt is set, too, and an action is done in one place; drop one of them")
	}
	for _, o := range []struct{ name, value, of, target string }{
		{"mqtt_user", c.MQTTUser, "mqtt", c.MQTT}, {"mqtt_password_file", c.MQTTPasswordFile, "mqtt_user", c.MQTTUser}, {"mqtt_ca_file", c.MQTTCAFile, "mqtt", c.MQTT},
		{"webhook_token_file", c.WebhookTokenFile, "webhook", c.Webhook}, {"webhook_ca_file", c.WebhookCAFile, "webhook", c.Webhook},
	} {
		if o.value != "" && o.target == "" {
			fail(o.name, "is for %s, which is not set", o.of)
		}
	}
	if len(c.Listen) == 0 {
		fail("listen", "there has to be an address to listen on")
	}
	if c.TokenFile == "" {
		open := slices.IndexFunc(c.Listen, func(a Address) bool { return !a.Local() })
		switch {
		case c.Auth == AuthAlways:
			fail("auth", "needs a token, and there is nowhere to keep it; set token_file or state_dir")
		case c.Auth == AuthAuto && open >= 0:
			fail("listen", "%s is reachable from other machines and needs a token, which has nowhere to be kept; set token_file or state_dir", c.Listen[open])
		}
	}
	seen := map[string]bool{}
	for _, p := range c.Persona {
		if seen[p.Name] {
			fail("persona", "there are two of the name %s", p.Name)
		}
		seen[p.Name] = true
	}
	return errors.Join(errs...)
}
