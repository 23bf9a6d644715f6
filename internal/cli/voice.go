package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"bimamba/edge/action"
	"bimamba/edge/action/command"
	"bimamba/edge/builtin"
	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/edge/voice"
	"bimamba/edge/voice/gpio"
	"bimamba/internal/atomicfile"
)

// voiceFlags are the options of voice. Each but config is also a key of its configuration file.
type voiceFlags struct {
	config, home, assistant                                   string
	mic, speaker, wake, wakeWord, asr, tts, button, led, area string
	mqtt, mqttUser, mqttPasswordFile, mqttTopic               string
	webhook, webhookTokenFile, command                        string
	stateDir, metrics                                         string
	json                                                      bool
}

// Commands of ALSA.
const (
	alsaMic     = "command arecord -q -t raw -f S16_LE -r 16000 -c 1"
	alsaSpeaker = "command aplay -q -"
)

func (e *env) voiceCmd() *cobra.Command {
	v := &voiceFlags{}
	c := &cobra.Command{
		Use:   "voice [FILE] --home HOME.toml",
		Short: "An assistant that listens: microphone to action and speech",
		Long: `Voice listens to a microphone. After the wake word, or while a button is held, it turns speech into text, has the model FILE (default: the built-in one) make an action
of it for the devices of HOME.toml, does the action, and speaks the reply. The answer to a question ("Which one, ...?") needs no wake word for 8 seconds. The wake word
or the button stops it from speaking. It prints a line for each command, with what each stage took in milliseconds; --json prints it as JSON.

Microphone and loudspeaker are a WAV file, or a command that gives or takes WAV or raw sound (16 kHz, 16 bit, one channel) on standard output or input:

  --mic 'command arecord -q -D plughw:1 -t raw -f S16_LE -r 16000 -c 1'
  --speaker 'command aplay -q -D plughw:1 -'

The engines that hear and speak are other programs, one option each:

  tcp://HOST:PORT, unix://PATH   a service of the Wyoming protocol, as faster-whisper, piper and openWakeWord have
  'command PROGRAM ARGUMENT...'  a command for each piece of work, without a shell. {wav} stands for a file of sound, {text} for text; without them they go through
                                 standard input and output. A command for --wake prints a line if it hears the wake word, best with where it ends, in seconds
  pocketsphinx                   (--asr, --wake) Debian's, with a grammar and dictionary that are made of HOME.toml
  flite, espeak-ng, off          (--tts)

With --wake off and no button everything that is said is taken for a command.

Actions go to one of --mqtt (topic bimamba/NODE/action), --webhook and --command; without any they are printed and nothing else. Timers, lists, time and date need none.
With --assistant another program understands: a Wyoming service, as bimambad has with its option "wyoming". It may also do what it understood (service "handle").

--config reads options from a TOML file: each --foo-bar is the key foo_bar there. Flags go before it.

A button is between a GPIO line and ground, a light between a line and ground with its resistor. A line is a number of the pin header (as 17) or gpiochipN:NUMBER.`,
		Example: `  bimamba voice --home home.toml --asr pocketsphinx --wake pocketsphinx --tts flite --mqtt mqtt://localhost
  bimamba voice --home home.toml --asr tcp://pc:10300 --tts tcp://pc:10200 --wake tcp://pc:10400 --wake-word 'hey jarvis' --mqtt mqtt://localhost
  bimamba voice --home home.toml --asr pocketsphinx --button 17 --led 27 --tts espeak-ng
  bimamba voice --home home.toml --asr pocketsphinx --mic command.wav --speaker reply.wav --tts flite`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%s takes one FILE, not %d", c.CommandPath(), len(args))
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	f := c.Flags()
	f.StringVar(&v.config, "config", "", "a TOML file with these options")
	f.StringVar(&v.home, "home", "", "the home, as bimamba home sync writes it; it is read again when it changes")
	f.StringVar(&v.assistant, "assistant", "", "have a Wyoming service understand, instead of a model here: tcp://HOST:PORT or unix://PATH")
	f.StringVar(&v.mic, "mic", alsaMic, "the microphone: a WAV file or a command")
	f.StringVar(&v.speaker, "speaker", alsaSpeaker, "the loudspeaker: a WAV file to write or a command")
	f.StringVar(&v.wake, "wake", "off", "what hears the wake word: an engine, or off")
	f.StringVar(&v.wakeWord, "wake-word", "hey computer", "the wake word, which may be several; openWakeWord has models of some only, as hey jarvis")
	f.StringVar(&v.asr, "asr", "", "what turns speech into text: an engine")
	f.StringVar(&v.tts, "tts", "off", "what turns text into speech: an engine, or off")
	f.StringVar(&v.button, "button", "", "GPIO line of a button: it listens while the button is held, and after a short press")
	f.StringVar(&v.led, "led", "", "GPIO line of a light that is on while it listens")
	f.StringVar(&v.area, "area", "", "the room that this is in: \"the lights\" are then those there")
	f.StringVar(&v.mqtt, "mqtt", "", "send actions to an MQTT broker: mqtt://HOST:PORT or mqtts://HOST:PORT")
	f.StringVar(&v.mqttUser, "mqtt-user", "", "user name for the broker")
	f.StringVar(&v.mqttPasswordFile, "mqtt-password-file", "", "file with the password for the broker")
	f.StringVar(&v.mqttTopic, "mqtt-topic", action.DefaultTopic, "the beginning of topics")
	f.StringVar(&v.webhook, "webhook", "", "send actions to a web address, as JSON by POST")
	f.StringVar(&v.webhookTokenFile, "webhook-token-file", "", "file with the bearer token for it")
	f.StringVar(&v.command, "command", "", "run a program for each action, which gets it as JSON on standard input; {id}, {intent} and {slots.NAME} stand for parts of it")
	f.StringVar(&v.stateDir, "state-dir", "", "folder in which timers, lists and actions that wait for their target outlive the program (default: they do not)")
	f.StringVar(&v.metrics, "metrics", "", "figures for Prometheus: an address to serve them at, as 127.0.0.1:9108, or a file to write them to after each command")
	f.BoolVar(&v.json, "json", false, "print commands as JSON lines")
	c.RunE = func(c *cobra.Command, args []string) error {
		if v.config != "" {
			if err := readFlags(c, v.config); err != nil {
				return err
			}
		}
		if err := v.check(); err != nil {
			return usageError{c.CommandPath(), err}
		}
		model := defaultName
		if len(args) == 1 {
			model = args[0]
		}
		if v.assistant != "" {
			if len(args) == 1 {
				return usageError{c.CommandPath(), errors.New("--assistant needs no model; leave FILE out")}
			}
			remote, err := voice.NewRemote(v.assistant, rand.Text)
			if err != nil {
				return fmt.Errorf("--assistant: %w", err)
			}
			return e.listen(c.Context(), v, &house{path: v.home, assistant: remote})
		}
		return withEngine(model, flags, 1, func(eng *engine.Engine) error {
			return e.listen(c.Context(), v, &house{path: v.home, engine: eng})
		})
	}
	return c
}

// check looks at what options say about one another.
func (v *voiceFlags) check() error {
	targets := 0
	for _, t := range []string{v.mqtt, v.webhook, v.command} {
		if t != "" {
			targets++
		}
	}
	switch {
	case v.asr == "":
		return errors.New("--asr is missing: what turns speech into text, as tcp://HOST:PORT or pocketsphinx")
	case v.home == "" && (v.assistant == "" || v.asr == "pocketsphinx"):
		return errors.New("--home is missing: the home.toml of the house (bimamba home sync makes one)")
	case targets > 1:
		return errors.New("--mqtt, --webhook and --command: actions go to one of them")
	case v.wake == "pocketsphinx" && v.wakeWord == "":
		return errors.New("--wake pocketsphinx needs a --wake-word")
	}
	return nil
}

// house is the home and what understands it. It is an assistant that looks whether the file has changed, once a second at most.
type house struct {
	path      string
	engine    *engine.Engine
	assistant voice.Assistant
	sphinx    *voice.Sphinx
	notice    func(string, ...any)

	mu     sync.Mutex
	looked time.Time
	stamp  time.Time
}

// open reads the home. Without a path there is none.
func (h *house) open() (*home.Home, error) {
	if h.path == "" {
		return nil, nil
	}
	h.looked = time.Now()
	if info, err := os.Stat(h.path); err == nil {
		h.stamp = info.ModTime()
	}
	place, err := home.Read(h.path)
	if err != nil {
		return nil, err
	}
	if h.engine != nil {
		if h.assistant, err = home.New(h.engine, place); err != nil {
			return nil, err
		}
	}
	return place, nil
}

// Handle implements voice.Assistant.
func (h *house) Handle(ctx context.Context, r home.Request) (*home.Answer, error) {
	h.mu.Lock()
	if h.path != "" && time.Since(h.looked) > time.Second {
		h.look()
	}
	h.mu.Unlock()
	return h.assistant.Handle(ctx, r)
}

// look reads the home again if its file is another one. One that is broken leaves the old one in place.
func (h *house) look() {
	h.looked = time.Now()
	info, err := os.Stat(h.path)
	if err != nil || info.ModTime().Equal(h.stamp) {
		return
	}
	h.stamp = info.ModTime()
	place, err := home.Read(h.path)
	if err == nil && h.sphinx != nil {
		err = h.sphinx.SetHome(place)
	}
	if err != nil {
		h.notice("the home was not read again: %v", err)
		return
	}
	if a, ok := h.assistant.(*home.Assistant); ok {
		a.SetHome(place)
	}
	h.notice("%s was read again", h.path)
}

// listen makes the parts of the loop and runs it.
func (e *env) listen(ctx context.Context, v *voiceFlags, h *house) (err error) {
	var lines sync.Mutex // of output
	notice := func(format string, args ...any) {
		lines.Lock()
		defer lines.Unlock()
		fmt.Fprintf(e.stderr, "bimamba: "+format+"\n", args...)
	}
	h.notice = notice
	place, err := h.open()
	if err != nil {
		return err
	}
	opt := voice.Options{Assistant: h, WakeWord: v.wakeWord, Area: v.area, Metrics: voice.NewMetrics(), Notice: func(s string) { notice("%s", s) }}
	if place != nil {
		opt.Language = place.Language
	}
	if v.asr == "pocketsphinx" || v.wake == "pocketsphinx" {
		if place == nil {
			place = &home.Home{Language: "en"}
		}
		if h.sphinx, err = voice.NewSphinx(place, v.wakeWord); err != nil {
			return err
		}
		defer h.sphinx.Close()
		if len(h.sphinx.Left) > 0 {
			notice("pocketsphinx cannot hear these names, which are not in Latin letters; give them aliases: %s", strings.Join(h.sphinx.Left, ", "))
		}
		if len(h.sphinx.Lent) > 0 {
			notice("pocketsphinx's dictionary does not have these words, and their pronunciation is a guess: %s", strings.Join(h.sphinx.Lent, ", "))
		}
	}
	if opt.Recognizer, err = voice.NewRecognizer(v.asr, opt.Language, h.sphinx); err != nil {
		return fmt.Errorf("--asr: %w", err)
	}
	if opt.Synthesizer, err = voice.NewSynthesizer(v.tts, opt.Language); err != nil {
		return fmt.Errorf("--tts: %w", err)
	}
	if opt.Waker, err = voice.NewWaker(v.wake, v.wakeWord, h.sphinx); err != nil {
		return fmt.Errorf("--wake: %w", err)
	}
	if opt.Waker != nil {
		defer opt.Waker.Close()
	}
	if err := v.pins(ctx, &opt); err != nil {
		return err
	}
	if line, ok := strings.CutPrefix(v.mic, "command "); ok {
		opt.Source, err = voice.Record(line)
	} else {
		opt.Source, err = voice.OpenFile(v.mic)
	}
	if err != nil {
		return fmt.Errorf("--mic: %w", err)
	}
	defer opt.Source.Close()
	if opt.Synthesizer != nil {
		if line, ok := strings.CutPrefix(v.speaker, "command "); ok {
			opt.Speaker, err = voice.PlayBy(line)
		} else {
			opt.Speaker, err = voice.CreateFile(v.speaker)
		}
		if err != nil {
			return fmt.Errorf("--speaker: %w", err)
		}
		defer func() { err = errors.Join(err, opt.Speaker.Close()) }()
	}

	dir := func(name string) string {
		if v.stateDir == "" {
			return ""
		}
		return filepath.Join(v.stateDir, name)
	}
	if v.stateDir != "" {
		if err := os.MkdirAll(v.stateDir, 0o700); err != nil {
			return fmt.Errorf("--state-dir: %w", err)
		}
	}
	own, err := builtin.Open(builtin.Options{Dir: dir("builtin")})
	if err != nil {
		return err
	}
	defer own.Close()
	announce := make(chan voice.Announcement)
	opt.Announce = announce
	ctx, stop := context.WithCancel(ctx)
	var timers sync.WaitGroup
	timers.Go(func() { watchTimers(ctx, own, announce) })
	defer timers.Wait()
	defer stop()
	sink, err := v.sink(dir("actions"), func(_ home.Action, err error) {
		if err == nil {
			notice("an action that waited was done")
			return
		}
		select {
		case announce <- voice.Announcement{Say: action.Sentence(err)}:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return err
	}
	if sink == nil {
		notice("no --mqtt, --webhook or --command: actions are printed, and nothing else comes of them")
		sink = nowhere{}
	}
	defer sink.Close()
	opt.Performer = &action.Performer{Local: own, Sink: sink}

	written, err := v.export(opt.Metrics)
	if err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	opt.Report = func(t *voice.Turn) {
		lines.Lock()
		defer lines.Unlock()
		if v.json {
			writeJSON(e.stdout, t)
		} else {
			fmt.Fprintln(e.stdout, t.Text())
		}
		if err := written(); err != nil {
			fmt.Fprintf(e.stderr, "bimamba: --metrics: %v\n", err)
		}
	}
	err = voice.Run(ctx, opt)
	if errors.Is(err, context.Canceled) && opt.Source.Live() {
		return nil // a microphone is listened to until somebody ends it
	}
	return err
}

// pins opens button and light.
func (v *voiceFlags) pins(ctx context.Context, opt *voice.Options) error {
	if v.button != "" {
		pin, err := gpio.Open(v.button)
		if err == nil {
			opt.Button, err = voice.Button(ctx, pin)
		}
		if err != nil {
			return fmt.Errorf("--button: %w", err)
		}
	}
	if v.led != "" {
		pin, err := gpio.Open(v.led)
		if err == nil {
			opt.Light, err = voice.Light(pin)
		}
		if err != nil {
			return fmt.Errorf("--led: %w", err)
		}
	}
	return nil
}

// watchTimers has the loop say, or do, what timers end with.
func watchTimers(ctx context.Context, b *builtin.Builtin, announce chan<- voice.Announcement) {
	for {
		ended, err := b.Wait(ctx)
		if err != nil {
			return
		}
		select {
		case announce <- voice.Announcement{Say: ended.Text, Do: ended.Command}:
		case <-ctx.Done():
			return
		}
	}
}

// sink is where actions go, nil for nowhere.
func (v *voiceFlags) sink(dir string, ended func(home.Action, error)) (action.Sink, error) {
	var target action.Target
	var err error
	switch {
	case v.mqtt != "":
		opt := action.MQTTOptions{URL: v.mqtt, User: v.mqttUser, Topic: v.mqttTopic}
		if v.mqttPasswordFile != "" {
			if opt.Password, err = action.ReadSecret(v.mqttPasswordFile); err != nil {
				return nil, fmt.Errorf("--mqtt-password-file: %w", err)
			}
		}
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		opt.Node = action.NodeName(host)
		m, err := action.NewMQTT(opt)
		if err != nil {
			return nil, fmt.Errorf("--mqtt: %w", err)
		}
		target = m
	case v.webhook != "":
		opt := action.WebhookOptions{URL: v.webhook}
		if v.webhookTokenFile != "" {
			if opt.Token, err = action.ReadSecret(v.webhookTokenFile); err != nil {
				return nil, fmt.Errorf("--webhook-token-file: %w", err)
			}
		}
		w, err := action.NewWebhook(opt)
		if err != nil {
			return nil, fmt.Errorf("--webhook: %w", err)
		}
		target = w
	case v.command != "":
		argv, err := voice.Words(v.command)
		if err != nil {
			return nil, fmt.Errorf("--command: %w", err)
		}
		c, err := command.New(command.Options{Argv: argv})
		if err != nil {
			return nil, fmt.Errorf("--command: %w", err)
		}
		target = c
	default:
		return nil, nil
	}
	s, err := action.OpenSpool(target, action.SpoolOptions{Dir: dir, Ended: ended})
	if err != nil {
		target.Close()
		return nil, err
	}
	return s, nil
}

// nowhere is a sink that forgets.
type nowhere struct{}

func (nowhere) Do(context.Context, home.Action) error { return nil }
func (nowhere) Close()                                {}

// export serves the figures, or returns what writes them to a file.
func (v *voiceFlags) export(m *voice.Metrics) (written func() error, err error) {
	none := func() error { return nil }
	switch {
	case v.metrics == "":
		return none, nil
	case strings.ContainsRune(v.metrics, ':') && !strings.ContainsRune(v.metrics, '/'):
		mux := http.NewServeMux()
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			m.Write(w)
		})
		ln, err := net.Listen("tcp", v.metrics)
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8192}
		go s.Serve(ln)
		return none, nil
	}
	write := func() error {
		f, err := atomicfile.Create(v.metrics, atomicfile.Options{Force: true})
		if err != nil {
			return err
		}
		defer f.Close()
		if err := m.Write(f); err != nil {
			return err
		}
		return f.Commit()
	}
	return write, write()
}
