package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"bimamba/boards/sensor"
	"bimamba/edge/action"
	"bimamba/edge/builtin"
	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
)

// timerFinished is the intent of the action by which a target learns that a timer is over.
const timerFinished = "BimambaTimerFinished"

// actions is where what was understood is done: here, or at a target.
type actions struct {
	action.Performer

	d      *daemon
	local  *builtin.Builtin // nil: whoever asks keeps timers and lists
	spool  *action.Spool    // nil: there is no target
	target string           // "mqtt" or "webhook"
	addr   string           // HOST:PORT
	ready  chan struct{}    // closed when the daemon is

	stop context.CancelFunc // of ring; nil: it has not begun
	gone sync.WaitGroup
}

// openActions opens the target of a configuration, if it has one, and timers and lists where the daemon does what is said.
func (d *daemon) openActions(c *config.Config) (*actions, error) {
	a := &actions{d: d, ready: make(chan struct{}), Performer: action.Performer{Log: d.log}}
	if err := a.open(c); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *actions) open(c *config.Config) error {
	dir := func(name string) string {
		if c.StateDir == "" {
			return ""
		}
		return filepath.Join(c.StateDir, name)
	}
	target, err := a.newTarget(c)
	if err != nil {
		return err
	}
	log := a.d.log
	if target != nil {
		a.spool, err = action.OpenSpool(target, action.SpoolOptions{Dir: dir("actions"), TTL: c.ActionTTL, Log: log, Ended: func(x home.Action, err error) {
			if err != nil {
				log.Warn("an action that waited was not done", "id", x.ID, "intent", x.Intent, "error", err.Error())
			}
		}})
		if err != nil {
			return err
		}
		a.Sink = a.spool
		log.Info("actions", "target", a.target, "address", a.addr)
	}
	if c.WyomingMode == config.WyomingHandle {
		if a.local, err = builtin.Open(builtin.Options{Dir: dir("builtin"), Log: log}); err != nil {
			return err
		}
		a.Local = a.local
	}
	return nil
}

// names is where the addresses of names are found.
var names = []string{"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"}

// reach is what a sandbox has to leave: files to find the target by its name, and ports to connect to.
func (a *actions) reach() (files []string, ports []uint16) {
	if a == nil || a.addr == "" {
		return nil, nil
	}
	host, text, err := net.SplitHostPort(a.addr)
	if err != nil {
		return nil, nil
	}
	if port, err := strconv.ParseUint(text, 10, 16); err == nil {
		ports = append(ports, uint16(port))
	}
	if _, err := netip.ParseAddr(host); err != nil {
		ports = append(ports, 53) // long answers of name servers come by TCP
		for _, f := range names {
			if _, err := os.Stat(f); err == nil {
				files = append(files, f)
			}
		}
	}
	return files, ports
}

// newTarget is the target of a configuration, nil if it has none.
func (a *actions) newTarget(c *config.Config) (action.Target, error) {
	if c.MQTT != "" {
		opt, err := mqttOptions(c)
		if err != nil {
			return nil, err
		}
		opt.Log = a.d.log
		if c.MQTTDiscovery != "" {
			opt.Board = &action.Board{Name: opt.Node, Model: a.d.opener.board, Version: Version, Discovery: c.MQTTDiscovery, Sensors: a.sensors()}
		}
		m, err := action.NewMQTT(opt)
		if err != nil {
			return nil, fmt.Errorf("mqtt: %w", err)
		}
		a.target, a.addr = "mqtt", m.Address()
		return m, nil
	}
	w, err := newWebhook(c)
	if w == nil {
		return nil, err
	}
	a.target, a.addr = "webhook", w.Address()
	return w, nil
}

// mqttOptions reads what a configuration names; there are none without a broker.
func mqttOptions(c *config.Config) (opt action.MQTTOptions, err error) {
	if c.MQTT == "" {
		return opt, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	opt = action.MQTTOptions{URL: c.MQTT, User: c.MQTTUser, Topic: c.MQTTTopic, Node: action.NodeName(host)}
	if opt.Password, err = readSecret(c.MQTTPasswordFile); err != nil {
		return opt, fmt.Errorf("mqtt_password_file: %w", err)
	}
	if opt.TLS, err = readRoots(c.MQTTCAFile); err != nil {
		return opt, fmt.Errorf("mqtt_ca_file: %w", err)
	}
	if err := opt.Check(); err != nil {
		return opt, fmt.Errorf("mqtt: %w", err)
	}
	return opt, nil
}

// newWebhook is that of a configuration, nil if it has none. It connects to nothing.
func newWebhook(c *config.Config) (*action.Webhook, error) {
	if c.Webhook == "" {
		return nil, nil
	}
	token, err := readSecret(c.WebhookTokenFile)
	if err != nil {
		return nil, fmt.Errorf("webhook_token_file: %w", err)
	}
	roots, err := readRoots(c.WebhookCAFile)
	if err != nil {
		return nil, fmt.Errorf("webhook_ca_file: %w", err)
	}
	w, err := action.NewWebhook(action.WebhookOptions{URL: c.Webhook, Token: token, TLS: roots, Version: Version})
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return w, nil
}

func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return action.ReadSecret(file)
}

func readRoots(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	return action.ReadCertificates(file)
}

// checkActions says what is wrong with the target of a configuration. It connects to nothing.
func checkActions(c *config.Config) error {
	if _, err := mqttOptions(c); err != nil {
		return err
	}
	_, err := newWebhook(c)
	return err
}

// start begins what needs the whole daemon.
func (a *actions) start() {
	close(a.ready)
	if a.local == nil || a.d.voice == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.gone.Go(func() { a.ring(ctx) })
}

// ring waits for timers to end, until ctx is done.
func (a *actions) ring(ctx context.Context) {
	for {
		e, err := a.local.Wait(ctx)
		if err != nil {
			return
		}
		if e.Command == "" {
			a.tell(ctx, e)
			continue
		}
		if err := a.obey(ctx, e); err != nil && ctx.Err() == nil {
			a.d.log.Warn("what was asked for at this time was not done", "error", err.Error())
			if _, waits := errors.AsType[*action.Queued](err); !waits { // else it may be done yet
				e.Text = "It was time for this, and I could not do it: " + strings.TrimRight(e.Command, ".!") + "."
				a.tell(ctx, e)
			}
		}
	}
}

// obey does what was asked for when a timer is over.
func (a *actions) obey(ctx context.Context, e builtin.Ended) error {
	ctx, cancel := context.WithTimeout(ctx, a.d.config().RequestTimeout)
	defer cancel()
	answer, err := a.d.voice.Handle(ctx, home.Request{Text: e.Command, Device: e.Area, Confirmed: true})
	if err != nil {
		return err
	}
	switch answer.Kind {
	case home.Act:
		_, err := a.Perform(ctx, answer.Actions)
		if f, ok := errors.AsType[*action.Failure](err); ok {
			err = f.Err // without what was said
		}
		return err
	case home.Ask:
		return errors.New("it needs an answer, and nobody is there to give one")
	case home.Decline:
		return errors.New("it was not understood")
	}
	return nil
}

// tell tells the target that a timer is over.
func (a *actions) tell(ctx context.Context, e builtin.Ended) {
	a.d.log.Info("a timer is over", "length", e.Length, "late", e.Late)
	if a.spool == nil {
		return
	}
	slots := map[string]any{"seconds": e.Length.Seconds(), "text": e.Text}
	if e.Name != "" {
		slots["name"] = e.Name
	}
	if e.Area != "" {
		slots["area"] = e.Area
	}
	err := a.spool.Do(ctx, home.Action{ID: "timer-" + rand.Text(), Intent: timerFinished, Slots: slots})
	if err != nil && ctx.Err() == nil {
		a.d.log.Warn("the end of a timer is not told", "error", err.Error())
	}
}

// busy tells whether the daemon must not end because nobody asks: a timer runs, or an action waits.
func (a *actions) busy() bool {
	if a == nil {
		return false
	}
	return a.local != nil && a.local.Pending() > 0 || a.spool != nil && a.spool.Stats().Waiting > 0
}

// close ends it. It may be called where nothing was opened.
func (a *actions) close() error {
	if a == nil {
		return nil
	}
	if a.stop != nil {
		a.stop()
	}
	a.gone.Wait()
	if a.spool != nil {
		a.spool.Close()
	}
	if a.local != nil {
		return a.local.Close()
	}
	return nil
}

// sensors is what Home Assistant is told of the board.
func (a *actions) sensors() []action.Sensor {
	d := a.d
	// when is a reading once the daemon is ready.
	when := func(read func() (float64, bool)) func() (float64, bool) {
		return func() (float64, bool) {
			select {
			case <-a.ready:
				return read()
			default:
				return 0, false
			}
		}
	}
	speed := func() (float64, bool) {
		s, done := d.models.use()
		defer done()
		st := s.local.Engine().Stats()
		if v := perSecond(st.SampledTokens, st.DecodeTime); v != nil {
			return *v, true
		}
		return 0, false
	}
	const measured, growing = "measurement", "total_increasing"
	list := []action.Sensor{
		{Key: "speed", Name: "Speed", State: measured, Unit: "token/s", Digits: 1, Read: when(speed)},
		{Key: "memory", Name: "Memory", Class: "data_size", State: measured, Unit: "MB", Digits: 1, Read: when(func() (float64, bool) { n := rss(); return float64(n) / 1e6, n > 0 })},
	}
	power, heat := d.sensors.has(0), d.sensors.has(1)
	// from is a sensor that the board has, or has not.
	from := func(s action.Sensor, has bool, read func() (float64, bool)) {
		if has {
			s.Read = when(read)
		}
		list = append(list, s)
	}
	from(action.Sensor{Key: "power", Name: "Power", Class: "power", State: measured, Unit: "W", Digits: 2}, power != 0, func() (float64, bool) {
		sample, ok := last(d.sensors.power, sensor.Power)
		return sample.Watts, ok
	})
	from(action.Sensor{Key: "energy", Name: "Energy", Class: "energy", State: growing, Unit: "Wh", Digits: 3}, power != 0, func() (float64, bool) {
		return d.sensors.power.Stats().Joules / 3600, true
	})
	from(action.Sensor{Key: "temperature", Name: "Temperature", Class: "temperature", State: measured, Unit: "°C", Digits: 1}, heat&sensor.Heat != 0, func() (float64, bool) {
		sample, ok := last(d.sensors.heat, sensor.Heat)
		return sample.Celsius, ok
	})
	from(action.Sensor{Key: "clock", Name: "Clock", Class: "frequency", State: measured, Unit: "MHz"}, heat&sensor.Clock != 0, func() (float64, bool) {
		sample, ok := last(d.sensors.heat, sensor.Clock)
		return sample.Hertz / 1e6, ok
	})
	for i, b := range throttleBits {
		from(action.Sensor{Key: b.name, Name: []string{"Under-voltage", "Frequency capped", "Throttled", "Soft temperature limit"}[i], Class: "problem", Binary: true}, heat&sensor.Throttle != 0, func() (float64, bool) {
			now, _, ok := d.sensors.throttling()
			return float64(flag(now&b.bit != 0)), ok
		})
	}
	return list
}

// has is what a sensor measures: of power if i is 0, of temperature if it is 1.
func (s *sensors) has(i int) sensor.Quantity {
	info, _ := s.info(i)
	return info.Quantities
}

// statusActions is what /status says of actions.
type statusActions struct {
	Target  *string `json:"target"` // "mqtt" or "webhook"; null: none
	Address string  `json:"address,omitempty"`
	Away    *string `json:"away"` // why the target is; null: it is not, as far as is known
	Waiting int     `json:"waiting"`
	Done    uint64  `json:"done"`
	Failed  uint64  `json:"failed"`
	Expired uint64  `json:"expired"`
	Timers  int     `json:"timers"`
}

func (a *actions) status() *statusActions {
	if a == nil || a.spool == nil && a.local == nil {
		return nil
	}
	out := &statusActions{}
	if a.spool != nil {
		st := a.spool.Stats()
		out.Target, out.Address, out.Waiting, out.Done, out.Failed, out.Expired = &a.target, a.addr, st.Waiting, st.Done, st.Failed, st.Expired
		if st.Away != nil {
			why := st.Away.Error()
			out.Away = &why
		}
	}
	if a.local != nil {
		out.Timers = a.local.Pending()
	}
	return out
}

func (a *actions) writeMetrics(w io.Writer) {
	s := a.status()
	if s == nil {
		return
	}
	family := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP bimamba_%s %s\n# TYPE bimamba_%s %s\n", name, help, name, kind)
	}
	if s.Target != nil {
		family("actions_total", "counter", "Actions for the target, by how they ended.")
		fmt.Fprintf(w, "bimamba_actions_total{outcome=\"done\"} %d\nbimamba_actions_total{outcome=\"failed\"} %d\nbimamba_actions_total{outcome=\"expired\"} %d\n", s.Done, s.Failed, s.Expired)
		family("actions_waiting", "gauge", "Actions that wait for the target.")
		fmt.Fprintf(w, "bimamba_actions_waiting %d\n", s.Waiting)
		family("actions_away", "gauge", "1 while the target is away.")
		fmt.Fprintf(w, "bimamba_actions_away %d\n", flag(s.Away != nil))
	}
	if a.local != nil {
		family("timers", "gauge", "Timers that run.")
		fmt.Fprintf(w, "bimamba_timers %d\n", s.Timers)
	}
}
