package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/boards/detect"
	"bimamba/edge/daemon/config"
	"bimamba/edge/daemon/governor"
	snapshot "bimamba/edge/state"
	"bimamba/systemd/notify"
)

const (
	lastTime    = 200 * time.Millisecond // that a stop has at least for what is left when no connection is open any more
	idleTimeout = 2 * time.Minute        // that a connection stays open between requests, while there is room for others
)

// StopTime is how long [Run] takes at most to return when its ctx is done, unless the system holds it up, as a disk that does not answer can while
// a model is opened. A program that promises to stop within 5 s has the rest of them to end without Run.
const StopTime = 4800 * time.Millisecond

// errStopping is why requests end that are not done when the daemon is.
var errStopping = errors.New("the daemon is stopping")

// Options of Run.
type Options struct {
	Load   func() (*config.Config, error) // reads the configuration, again for each reload
	Reload <-chan os.Signal               // asks for a reload
	Log    io.Writer                      // the log; safe for concurrent use, as a file is
	Ready  func(addresses []string)       // called when requests are answered; may be nil

	// For tests.
	root  fs.FS                           // of the sensors' files, instead of the system's
	write time.Duration                   // instead of writeTimeout
	wrap  func(http.Handler) http.Handler // around all handlers

	supervisor string        // instead of supervisorAddress
	look       time.Duration // instead of lookEvery
	cold       func(*voice)  // when Wyoming is served, before the model is opened
}

// daemon is the running program.
type daemon struct {
	opt       Options
	log       *slog.Logger
	logTo     liveHandler
	started   time.Time
	notifier  *notify.Notifier
	answering string // what systemd shows
	conf      atomic.Pointer[config.Config]
	token     atomic.Pointer[string]
	certs     certificates
	opener    opener
	models    models
	sensors   *sensors
	governor  *governor.Governor
	dir       *snapshot.Dir // nil without a state directory
	limit     limit
	rates     rates
	passed    []notify.Listener // sockets that systemd passed for HTTP
	listeners []*listener
	voice     *voice // nil: no Wyoming
	addon     *addon
	actions   *actions
	guard     *guard
	server    *http.Server
	reloads   atomic.Uint64
	requests  atomic.Int64 // under way
	lastEnd   atomic.Int64 // when the last one ended, Unix nanoseconds
	stopping  atomic.Bool  // no request begins any more

	background sync.WaitGroup  // a reload, and the freeing of a model that it replaced
	oldGone    <-chan struct{} // closed when the model that was replaced last is free; the reload's
	until      time.Time       // when close has to be over; zero if no stop has begun
}

func (d *daemon) config() *config.Config { return d.conf.Load() }

// Run serves until ctx is done or nobody has asked for as long as the configuration says, and returns nil then. Any other end is an error.
func Run(ctx context.Context, opt Options) (err error) {
	c, err := opt.Load()
	if err != nil {
		return err
	}
	none := make(chan struct{})
	close(none)
	d := &daemon{opt: opt, started: time.Now(), oldGone: none}
	d.logTo.set(newHandler(opt.Log, c))
	d.log = slog.New(&d.logTo)
	d.conf.Store(c)
	if d.notifier, err = notify.FromEnv(); err != nil {
		return err
	}
	defer d.notifier.Close()
	limitMemory(c)

	if opt.root == nil {
		opt.root = os.DirFS("/")
	}
	if d.sensors, err = openSensors(c, opt.root, d.log); err != nil {
		return err
	}
	d.models.energy = d.sensors.answer
	d.governor = governor.New(1)
	d.governor.SetLimits(limits(c))
	d.opener = opener{log: d.log, pace: d.governor.Pace, board: detect.Model(opt.root)}

	d.notifier.Status("opening " + c.Model)
	failed := make(chan error, 1)
	if err := d.open(c, failed); err != nil {
		d.voice.close()
		return errors.Join(err, d.actions.close(), d.sensors.close())
	}
	defer func() {
		d.voice.close()
		err = errors.Join(err, d.close())
	}()
	s := d.models.now
	logModel(d.log, s)
	if ctx.Err() != nil { // opening can take a while
		return nil
	}
	if err := d.surface(c); err != nil {
		for _, l := range d.listeners {
			l.Close()
		}
		return err
	}
	return d.serve(ctx, failed)
}

// open opens the model, and before that what can answer without it.
func (d *daemon) open(c *config.Config, failed chan<- error) error {
	passed, err := notify.Listeners()
	if err != nil {
		return err
	}
	var voices []notify.Listener
	for _, l := range passed {
		if l.Name == socketName {
			voices = append(voices, l)
		} else {
			d.passed = append(d.passed, l)
		}
	}
	f, err := openBlob(c)
	if err != nil {
		return err
	}
	if d.actions, err = d.openActions(c); err == nil {
		d.voice, err = d.openVoice(c, voices, f.Manifest())
	}
	if err != nil {
		f.Close()
		return err
	}
	if d.voice != nil {
		d.opener.house = &d.voice.house
		d.voice.serve(failed)
		if d.opt.cold != nil {
			d.opt.cold(d.voice)
		}
	}
	s, err := d.opener.bind(c, f)
	if err != nil {
		return err
	}
	d.models.swap(s)
	d.governor.SetThreads(s.local.Engine().Model.Options().Decode)
	if d.voice != nil {
		close(d.voice.ready)
	}
	return nil
}

// close frees what requests use, for as long as there is time: what is not free then, the end of the process will free.
func (d *daemon) close() error {
	d.stopping.Store(true)
	last := time.NewTimer(max(lastTime, time.Until(d.until)))
	defer last.Stop()
	freed := make(chan error, 1)
	go func() {
		for d.requests.Load() > 0 {
			time.Sleep(time.Millisecond)
		}
		d.background.Wait()
		err := errors.Join(d.actions.close(), d.sensors.close(), d.models.now.close())
		if d.dir != nil {
			err = errors.Join(err, d.dir.Close())
		}
		freed <- err
	}()
	select {
	case err := <-freed:
		return err
	case <-last.C:
		d.log.Warn("ending before all memory is free", "requests", d.requests.Load())
		return nil
	}
}

// surface opens what the daemon has outwards: the state directory, the token, the certificate and the addresses; then it gives up the rights to more.
func (d *daemon) surface(c *config.Config) (err error) {
	if c.StateDir != "" {
		if d.dir, err = snapshot.OpenDir(c.StateDir, snapshot.Limits{Files: c.StateMaxFiles, Bytes: int64(c.StateMaxBytes)}); err != nil {
			return err
		}
	}
	d.limit.set(c.MaxConnections)
	var encrypt *tls.Config
	if c.TLS() {
		pair, err := readCertificate(c)
		if err != nil {
			return err
		}
		d.certs.use(pair, d.log)
		encrypt = d.certs.config()
	}
	if d.listeners, err = listen(c, "listen", c.Listen, d.passed, &d.limit, encrypt, d.log); err != nil {
		return err
	}
	token, err := d.readToken(c)
	if err != nil {
		return err
	}
	d.token.Store(&token)
	d.sensors.start()
	d.addon = d.openAddon()
	return d.confine(c)
}

// readToken is the token that a configuration needs for the addresses that are open, "" if it needs none.
func (d *daemon) readToken(c *config.Config) (string, error) {
	if !slices.ContainsFunc(d.listeners, func(l *listener) bool { return needsToken(c, l.from) }) {
		return "", nil
	}
	token, made, err := readToken(c.TokenFile)
	if made {
		d.log.Info("a token was made; clients send it as \"Authorization: Bearer TOKEN\"", "file", c.TokenFile)
	}
	return token, err
}

// serve answers until ctx is done.
func (d *daemon) serve(ctx context.Context, failed chan error) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	c := d.config()
	if d.opt.write == 0 {
		d.opt.write = writeTimeout
	}
	d.guard = &guard{conf: d.config, token: func() string { return *d.token.Load() }, next: d.handler(), log: d.log, write: d.opt.write, rates: &d.rates}
	if d.opt.wrap != nil {
		d.guard.next = d.opt.wrap(d.guard.next)
	}
	d.server = &http.Server{
		Handler: d.count(d.guard), ReadHeaderTimeout: c.ReadTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: int(c.MaxHeader),
		BaseContext: func(net.Listener) context.Context { return base }, ConnContext: withConn,
		ErrorLog: slog.NewLogLogger(&d.logTo, slog.LevelDebug),
		ConnState: func(c net.Conn, s http.ConnState) {
			d.limit.watch(c, s)
			if s == http.StateNew || s == http.StateIdle { // until the guard sees a request; the server may answer itself, "400 Bad Request"
				c.SetWriteDeadline(time.Now().Add(idleTimeout + writeTimeout))
			}
		},
	}
	var names []string
	for _, l := range d.listeners {
		names = append(names, l.String())
		go func() { first(failed, d.server.Serve(l)) }()
	}
	d.lastEnd.Store(time.Now().UnixNano())
	d.log.Info("ready", "listen", strings.Join(names, " "), "seconds", time.Since(d.started).Seconds())
	d.answering = "answering at " + strings.Join(names, ", ")
	d.notifier.Ready(d.answering)
	if d.opt.Ready != nil {
		d.opt.Ready(names)
	}
	watched, stopReload := context.WithCancel(ctx)
	d.background.Go(func() { d.announce(watched) })
	go d.addon.announce()
	d.actions.start()
	err := d.watch(watched, failed)
	stopReload()
	d.until = time.Now().Add(StopTime)
	d.notifier.Stopping()
	d.log.Info("stopping")

	drain := d.config().DrainTimeout
	if d.shutdown(drain) {
		return err
	}
	d.stopping.Store(true)
	cancel(errStopping) // what still runs ends now
	d.voice.abort()
	if !d.shutdown(time.Until(d.until) - lastTime) {
		d.server.Close()
		d.voice.close()
	}
	return err
}

// first sends an error, if none was sent before.
func first(to chan<- error, err error) {
	select {
	case to <- err:
	default:
	}
}

// shutdown closes the addresses and waits until all connections are idle, for as long as limit. Those on which no whole request has come do not
// count when nothing else has run for a moment.
func (d *daemon) shutdown(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		const moment = 300 * time.Millisecond
		for last := time.Now(); time.Since(last) < moment; time.Sleep(10 * time.Millisecond) {
			if d.requests.Load() > 0 {
				last = time.Now()
			}
		}
		cancel()
	}()
	voice := make(chan bool, 1)
	go func() { voice <- d.voice.shutdown(ctx) }()
	ended := d.server.Shutdown(ctx) == nil || d.requests.Load() == 0 && d.server.Close() == nil
	return <-voice && ended
}

// watch waits for what ends the daemon, and meanwhile reloads, feeds the watchdog and looks whether anybody still asks.
func (d *daemon) watch(ctx context.Context, failed <-chan error) error {
	var dog, idle <-chan time.Time
	if every := d.notifier.WatchdogInterval(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		dog = t.C
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	idle = t.C
	var passes uint64
	var of *served  // whose passes they are
	var worked bool // there was work at the last look, which a pass should have done by now
	tidy := sync.OnceFunc(debug.FreeOSMemory)
	var held governed
	var reloading <-chan struct{} // nil: none is under way
	var again bool                // one was asked for meanwhile
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("an address stopped to answer: %w", err)
		case <-d.opt.Reload:
			if reloading == nil {
				reloading = d.startReload(ctx)
			} else {
				again = true
			}
		case <-reloading:
			reloading = nil
			if again {
				again, reloading = false, d.startReload(ctx)
			}
		case <-dog:
			s, done := d.models.use()
			now, busy := s.local.Engine().Progress()
			done()
			if !busy || !worked || now != passes || s != of {
				d.notifier.Watchdog()
			} else {
				d.log.Error("no pass over the weights since the last look: systemd is not told that all is well")
			}
			passes, of, worked = now, s, busy
		case <-idle:
			d.govern(&held)
			tidy() // what opening took, now that nobody waits for the first answer
			after := d.config().IdleExit
			if after > 0 && d.requests.Load() == 0 && !d.actions.busy() && time.Since(time.Unix(0, d.lastEnd.Load())) > after {
				d.log.Info("nobody asks: ending (idle_exit)")
				return nil
			}
		}
	}
}

// begin counts a request as under way, until end is called.
func (d *daemon) begin() (end func()) {
	d.requests.Add(1)
	return func() {
		d.lastEnd.Store(time.Now().UnixNano())
		d.requests.Add(-1)
	}
}

// count keeps track of requests under way.
func (d *daemon) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer d.begin()()
		if d.stopping.Load() {
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusServiceUnavailable, errStopping.Error()+"; ask again when it is back")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logModel says what is served and what memory it takes.
func logModel(log *slog.Logger, s *served) {
	e := s.local.Engine()
	f, o, info := e.Model.Footprint(), e.Model.Options(), s.local.Models()[0]
	log.Info("model", "name", info.Name, "kind", info.Kind, "file", e.Model.Blob().Name(), "digest", info.Digest[:12], "threads", o.Threads,
		"precision", o.Precision.String(), "state", o.State.String())
	log.Info("memory, all that will be used beside Go's heap", "mapped", f.Mapped(), "arena", f.Arena(), "sessions", o.Sessions, "checkpoints", o.Prefixes,
		"state_each", f.State()+f.Logits, "workspace", f.Workspace+f.Shared)
	if st := e.Model.Storage(); st.Layers > 0 {
		log.Info("the model is larger than its memory: layers are read from storage for every token", "layers", st.Layers, "of", e.Model.Hyper().NLayer,
			"bytes", st.Bytes, "direct", !st.Buffered)
		if st.Unlocked != "" {
			log.Warn("the other layers are not locked in memory", "reason", st.Unlocked)
		}
	}
	for _, m := range s.local.Models() {
		if m.Persona != "" {
			log.Info("persona", "name", m.Persona)
		}
	}
}

// HeapLimit is the memory that Go's heap is kept to, in bytes: buffers of connections, bodies of requests, vocabulary and masks, the home as its file is now.
func HeapLimit(c *config.Config) int64 {
	const usual, each = 512, 2 * 24 << 10
	base := int64(40 << 20) // with room for the usual number of connections; as many can come from Unix sockets
	if c.Memory > 0 {
		base = 12 << 20 // a model that is read from storage has few at a time
	}
	return base + bodies(c)*int64(c.MaxBody) + each*int64(max(0, c.MaxConnections-usual)) + voiceMemory(c)
}

// bodies is how many bodies of requests of the largest size are in memory at a time; where memory is short they take a sixteenth of it.
func bodies(c *config.Config) int64 {
	if c.Memory == 0 {
		return bodyBudget
	}
	return min(max(int64(c.Memory)/16/int64(c.MaxBody), 1), bodyBudget)
}

// programSize is what code and data of the daemon take, measured on x86-64 (package plan has the same figure) and rounded up.
const programSize = 9 << 20

// ModelMemory is what is left of a configuration's memory for the model; 0 is no limit.
func ModelMemory(c *config.Config) int64 {
	if c.Memory == 0 {
		return 0
	}
	return max(int64(c.Memory)-HeapLimit(c)-programSize, 1)
}

// limitMemory keeps Go's heap small, unless the environment says how large it may be.
func limitMemory(c *config.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(HeapLimit(c))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}
