package config

import (
	"math"

	"bimamba/boards/sensor"
	"bimamba/boards/tuning"
)

// option is one line of the table. Flags, environment, TOML keys, help and the sample file are made of it.
type option struct {
	name    string // as in TOML
	group   string // heading in the help
	arg     string // what the value is called in the help; "" for a switch
	def     string // as set takes it; a list has one element or none
	help    string
	min     float64 // of numbers; seconds of a time, bytes of a size
	max     float64
	zero    string   // what 0 is called, where it means something special
	choices []string // of strings
	live    bool     // a reload applies it
	field   func(*Config) any
}

// Upper ends of ranges. They keep a slip of the finger from being taken for a wish; none is a limit of the code.
const (
	maxSessions = 1024
	maxLength   = 1 << 24 // tokens
	day         = 24 * 3600
)

var logLevels = []string{"debug", "info", "warn", "error"}

var options = []option{
	{
		name: "config", group: "Model", arg: "FILE", field: func(c *Config) any { return &c.File },
		help: "The TOML file with these options. It may be missing unless it is named. Default: bimambad.toml in $CONFIGURATION_DIRECTORY, else in /etc/bimamba.",
	},
	{
		name: "model", group: "Model", arg: "FILE", def: defaultModel, live: true, field: func(c *Config) any { return &c.Model },
		help: "The blob to serve. A reload opens it again: requests in flight end on the old one.",
	},
	{
		name: "verify_key", group: "Model", arg: "KEY", live: true, field: func(c *Config) any { return &c.VerifyKey },
		help: "A public key of minisign's, or its file; may be given several times. Only a blob whose head one of them has signed (FILE.minisig, which `bimamba sign` makes) is served.",
	},
	{
		name: "persona", group: "Model", arg: "NAME=FILE", live: true, field: func(c *Config) any { return &c.Persona },
		help: "Serve a state that `bimamba bake` made as a model of its own, NAME. It is bound to the blob that it was made with.",
	},
	{
		name: "sessions", group: "Model", arg: "N", def: "2", min: 1, max: maxSessions, live: true, field: func(c *Config) any { return &c.Sessions },
		help: "How many requests generate at a time. Each has a recurrent state in memory that is reserved at start.",
	},
	{
		name: "checkpoints", group: "Model", arg: "N", def: "8", max: 65536, live: true, field: func(c *Config) any { return &c.Checkpoints },
		help: "How many states of prompts' beginnings are kept, so that a conversation's next turn reads only what is new. Each takes as much memory as a session.",
	},
	{
		name: "threads", group: "Model", arg: "N", def: "auto", min: 1, max: 1024, zero: "auto", live: true, field: func(c *Config) any { return &c.Threads },
		help: "Threads that compute. auto: the fast cores.",
	},
	{
		name: "tuning", group: "Model", arg: "FILE", def: tuning.Path, live: true, field: func(c *Config) any { return &c.Tuning },
		help: "What `bimamba doctor --tune` measured of this board: threads to decode with, where threads is auto, and how far ahead memory is read. It may be missing " +
			"unless it is named; that of another board or of other kernels is left alone, and the log says so.",
	},
	{
		name: "precision", group: "Model", arg: "NAME", def: "lut16", live: true, field: func(c *Config) any { return &c.Precision },
		help: "Arithmetic of the 1-bit matrices: exact (float32), lut16 (relative error about 1e-4) or fast (about 1e-2).",
	},
	{
		name: "state", group: "Model", arg: "TYPE", def: "f16", live: true, field: func(c *Config) any { return &c.State },
		help: "Type of recurrent states: f16 or f32. Snapshots and personas of one type do not load into the other.",
	},
	{
		name: "batch", group: "Model", arg: "TOKENS", def: "auto", min: 1, max: 1024, zero: "auto", live: true, field: func(c *Config) any { return &c.Batch },
		help: "How many tokens of prompts and of several sessions share a pass over the weights.",
	},
	{
		name: "memory", group: "Model", arg: "SIZE", def: "all", min: 16 << 20, max: 1 << 50, zero: "all", field: func(c *Config) any { return &c.Memory },
		help: "The most memory that the daemon may take, model, states, requests and program together. Layers of the model that do not fit are read from storage for every token, as fast as that is.",
	},

	{
		name: "listen", group: "Network", arg: "ADDRESS", def: "127.0.0.1:11434", field: func(c *Config) any { return &c.Listen },
		help: "Where to listen: HOST:PORT, [IPV6]:PORT, :PORT for all addresses, unix:PATH, or unix:@NAME. Sockets that systemd passes come instead.",
	},
	{
		name: "auth", group: "Network", arg: "WHEN", def: AuthAuto, choices: []string{AuthAuto, AuthAlways, AuthNever}, live: true,
		field: func(c *Config) any { return &c.Auth },
		help:  "When a request must show the token (Authorization: Bearer): auto, at addresses that other machines reach; always; never.",
	},
	{
		name: "token_file", group: "Network", arg: "FILE", field: func(c *Config) any { return &c.TokenFile },
		help: "Where the token is. The daemon makes it, of mode 0600, if it is missing and needed. Default: token in state_dir.",
	},
	{
		name: "mdns", group: "Network", arg: "WHEN", def: MDNSAuto, choices: []string{MDNSAuto, MDNSOn, MDNSOff}, field: func(c *Config) any { return &c.MDNS },
		help: "Say on the local network what is here and at which port (multicast DNS, _bimamba._tcp and _wyoming._tcp), for `bimamba boards`: auto, if other machines reach an address; on, at any TCP address; off.",
	},
	{
		name: "cors_origin", group: "Network", arg: "ORIGIN", live: true, field: func(c *Config) any { return &c.CORSOrigin },
		help: "A web page's origin that may call from a browser, or * for any. Default: none but the daemon's own page.",
	},
	{
		name: "tls_cert", group: "Network", arg: "FILE", field: func(c *Config) any { return &c.TLSCert },
		help: "Encrypt TCP connections with this certificate chain (PEM). A reload reads it again.",
	},
	{
		name: "tls_key", group: "Network", arg: "FILE", field: func(c *Config) any { return &c.TLSKey },
		help: "The certificate's private key (PEM).",
	},
	{
		name: "tls_self_signed", group: "Network", def: "false", field: func(c *Config) any { return &c.TLSSelfSigned },
		help: "Encrypt TCP connections with a certificate that the daemon makes and keeps in state_dir. Its fingerprint is in the log.",
	},

	{
		name: "home", group: "Assistant", arg: "FILE", def: defaultHome, live: true, field: func(c *Config) any { return &c.Home },
		help: "The rooms and devices that may be asked for, which `bimamba home sync` writes. It is read again when it changes. It may be missing unless it is named. With " +
			"$CONFIGURATION_DIRECTORY its default is home.toml in there. What its list confirm names wants a yes before it is done, as doors, locks and alarms do: \"script.*\" for all scripts, " +
			"which run without one otherwise.",
	},
	{
		name: "wyoming", group: "Assistant", arg: "ADDRESS", field: func(c *Config) any { return &c.Wyoming },
		help: "Where to speak the Wyoming protocol, for voice assistants as Home Assistant's: :10500, 127.0.0.1:10500 or unix:PATH. The protocol has no token: whoever reaches the " +
			"address may ask. It needs a model with the task home. A socket that systemd passes by the name wyoming comes instead. Default: nowhere.",
	},
	{
		name: "wyoming_mode", group: "Assistant", arg: "MODE", def: WyomingIntent, choices: []string{WyomingIntent, WyomingHandle},
		field: func(c *Config) any { return &c.WyomingMode },
		help: "Who acts on what was said at a Wyoming address: intent, the client, which is told Home Assistant's intents; or handle, the daemon: it keeps timers and lists, tells the time, " +
			"and sends all else to mqtt or webhook.",
	},

	{
		name: "mqtt", group: "Actions", arg: "URL", field: func(c *Config) any { return &c.MQTT },
		help: "Send actions to this MQTT broker, mqtt://HOST:PORT or mqtts://HOST:PORT, and tell Home Assistant there of this board's sensors. With wyoming_mode handle, what was said is done this way.",
	},
	{
		name: "mqtt_user", group: "Actions", arg: "NAME", field: func(c *Config) any { return &c.MQTTUser },
		help: "The user at the broker.",
	},
	{
		name: "mqtt_password_file", group: "Actions", arg: "FILE", field: func(c *Config) any { return &c.MQTTPasswordFile },
		help: "A file whose first line is the user's password.",
	},
	{
		name: "mqtt_ca_file", group: "Actions", arg: "FILE", field: func(c *Config) any { return &c.MQTTCAFile },
		help: "Certificates (PEM) to trust at mqtts:// instead of the system's.",
	},
	{
		name: "mqtt_topic", group: "Actions", arg: "TOPIC", def: "bimamba", field: func(c *Config) any { return &c.MQTTTopic },
		help: "The beginning of all topics: actions come at TOPIC/HOST/action. HOST is this machine's name.",
	},
	{
		name: "mqtt_discovery", group: "Actions", arg: "TOPIC", def: "homeassistant", field: func(c *Config) any { return &c.MQTTDiscovery },
		help: "Where Home Assistant listens for new devices. Empty: it is told of none.",
	},
	{
		name: "webhook", group: "Actions", arg: "URL", field: func(c *Config) any { return &c.Webhook },
		help: "Send actions to this address, http or https, as a POST of JSON each, instead of to a broker.",
	},
	{
		name: "webhook_token_file", group: "Actions", arg: "FILE", field: func(c *Config) any { return &c.WebhookTokenFile },
		help: "A file whose first line is a token to send along (Authorization: Bearer).",
	},
	{
		name: "webhook_ca_file", group: "Actions", arg: "FILE", field: func(c *Config) any { return &c.WebhookCAFile },
		help: "Certificates (PEM) to trust at https:// instead of the system's.",
	},
	{
		name: "action_ttl", group: "Actions", arg: "TIME", def: "1m", min: 1, max: 3600, field: func(c *Config) any { return &c.ActionTTL },
		help: "How long an action waits, in state_dir, for a broker or an address that is away. It is not done after that, and not after a start of the machine. Items of lists wait for a day.",
	},

	{
		name: "max_tokens", group: "Requests", arg: "TOKENS", def: "512", min: 1, max: maxLength, live: true, field: func(c *Config) any { return &c.MaxTokens },
		help: "How long an answer gets if the request does not say.",
	},
	{
		name: "max_tokens_limit", group: "Requests", arg: "TOKENS", def: "4096", min: 1, max: maxLength, live: true,
		field: func(c *Config) any { return &c.MaxTokensLimit },
		help:  "The longest answer that a request may ask for.",
	},
	{
		name: "max_prompt", group: "Requests", arg: "TOKENS", def: "65536", min: 1, max: maxLength, live: true, field: func(c *Config) any { return &c.MaxPrompt },
		help: "The longest prompt. Memory does not grow with it, time does.",
	},
	{
		name: "queue", group: "Requests", arg: "N", def: "32", max: 65536, live: true, field: func(c *Config) any { return &c.Queue },
		help: "How many requests wait for a session; one more is answered 429.",
	},
	{
		name: "request_timeout", group: "Requests", arg: "TIME", def: "5m", min: 1, max: day, live: true, field: func(c *Config) any { return &c.RequestTimeout },
		help: "How long a request may take, with the time that it waits.",
	},

	{
		name: "max_body", group: "Limits", arg: "SIZE", def: "1MB", min: 1024, max: 1 << 30, live: true, field: func(c *Config) any { return &c.MaxBody },
		help: "The largest body of a request.",
	},
	{
		name: "max_header", group: "Limits", arg: "SIZE", def: "16KiB", min: 1024, max: 1 << 20, field: func(c *Config) any { return &c.MaxHeader },
		help: "The largest header of a request.",
	},
	{
		name: "max_connections", group: "Limits", arg: "N", def: "512", min: 1, max: 1 << 20, live: true, field: func(c *Config) any { return &c.MaxConnections },
		help: "How many TCP connections may be open at a time, of which one peer on the network has at most half; and as many of Unix sockets. " +
			"One more takes the place of the one that has been idle longest.",
	},
	{
		name: "rate", group: "Limits", arg: "NUMBER", def: "off", min: 0.001, max: 1e6, zero: "off", live: true, field: func(c *Config) any { return &c.Rate },
		help: "Requests a second that one peer may send; one more is answered 429.",
	},
	{
		name: "read_timeout", group: "Limits", arg: "TIME", def: "10s", min: 0.1, max: 3600, field: func(c *Config) any { return &c.ReadTimeout },
		help: "How long a request may take to arrive.",
	},

	{
		name: "state_dir", group: "Snapshots", arg: "DIRECTORY", field: func(c *Config) any { return &c.StateDir },
		help: "Where snapshots of sessions are kept. Empty: there are none. Default: $STATE_DIRECTORY, which systemd sets.",
	},
	{
		name: "state_max_bytes", group: "Snapshots", arg: "SIZE", def: "256MB", max: math.MaxInt64 / 2,
		field: func(c *Config) any { return &c.StateMaxBytes },
		help:  "How much all snapshots may take.",
	},
	{
		name: "state_max_files", group: "Snapshots", arg: "N", def: "64", max: 1 << 20, field: func(c *Config) any { return &c.StateMaxFiles },
		help: "How many snapshots there may be.",
	},

	{
		name: "idle_exit", group: "Lifetime", arg: "TIME", def: "never", min: 1, max: 30 * day, zero: "never", live: true,
		field: func(c *Config) any { return &c.IdleExit },
		help:  "End after so long without a request. With socket activation the next request starts the daemon again.",
	},
	{
		name: "drain_timeout", group: "Lifetime", arg: "TIME", def: "4s", max: 4.5, live: true, field: func(c *Config) any { return &c.DrainTimeout },
		help: "How long requests in flight may go on when the daemon stops; a stop as a whole takes at most 5 s.",
	},

	{
		name: "sensor", group: "Power", arg: "NAME", def: sensor.Auto, field: func(c *Config) any { return &c.Sensor },
		help: "The sensor of power: auto, the first that `bimamba doctor` finds; one of its names; a chip at I2C, as ina219:1:0x40:0.1 (bus, address, ohms of the shunt); or off, which reads " +
			"no temperature either. Answers then say how many joules they took.",
	},
	{
		name: "calibration", group: "Power", arg: "FILE", field: func(c *Config) any { return &c.Calibration },
		help: "The line that `bimamba calibrate --wall` fitted: watts and joules are then those at the wall.",
	},
	{
		name: "max_watts", group: "Power", arg: "WATTS", def: "off", min: 0.1, max: 10000, zero: "off", live: true, field: func(c *Config) any { return &c.MaxWatts },
		help: "Hold the sensor's mean power at this, by pauses between passes over the weights and fewer threads. Requests get slower and never stop.",
	},
	{
		name: "max_temp", group: "Power", arg: "CELSIUS", def: "off", min: 20, max: 150, zero: "off", live: true, field: func(c *Config) any { return &c.MaxTemp },
		help: "Hold the board's temperature below this in the same way, which begins 5 °C before it.",
	},
	{
		name: "max_tokens_per_s", group: "Power", arg: "NUMBER", def: "off", min: 0.01, max: 1e6, zero: "off", live: true,
		field: func(c *Config) any { return &c.MaxTokensPerS },
		help:  "The most tokens of answers a second, all requests together. Prompts are not held up.",
	},

	{
		name: "metrics", group: "Surface", def: "true", live: true, field: func(c *Config) any { return &c.Metrics },
		help: "Serve /metrics.",
	},
	{
		name: "page", group: "Surface", def: "true", live: true, field: func(c *Config) any { return &c.Page },
		help: "Serve the built-in page at /.",
	},
	{
		name: "log_level", group: "Surface", arg: "LEVEL", def: "info", live: true, field: func(c *Config) any { return &c.LogLevel },
		help: "The least that is logged: debug, info, warn or error. Prompts and answers never are.",
	},
	{
		name: "log_format", group: "Surface", arg: "FORMAT", def: LogText, choices: []string{LogText, LogJSON}, live: true,
		field: func(c *Config) any { return &c.LogFormat },
		help:  "text or json.",
	},
	{
		name: "sandbox", group: "Surface", arg: "WHEN", def: SandboxAuto, choices: []string{SandboxAuto, SandboxOff, SandboxRequire},
		field: func(c *Config) any { return &c.Sandbox },
		help: "Give up, once started, all rights to files but those named here (Landlock, no_new_privs): auto, as far as the kernel can; off; " +
			"require, or do not start.",
	},
}

// find is the option of a name, or nil.
func find(name string) *option {
	for i := range options {
		if options[i].name == name {
			return &options[i]
		}
	}
	return nil
}

// isList says whether the option may be given several times.
func (o *option) isList() bool {
	switch o.field(new(Config)).(type) {
	case *[]Address, *[]Persona, *[]string, *[]Key:
		return true
	}
	return false
}

// isSwitch says whether the flag needs no value.
func (o *option) isSwitch() bool {
	_, ok := o.field(new(Config)).(*bool)
	return ok
}

// defaults is the default's values.
func (o *option) defaults() []string {
	if o.def == "" && o.isList() {
		return nil
	}
	return []string{o.def}
}
