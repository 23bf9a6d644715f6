package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/edge/api/wyoming"
	"bimamba/edge/daemon/config"
	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/memmap"
	"bimamba/systemd/notify"
)

// maxVoices is how many Wyoming connections are open at a time, of each kind of address. Home Assistant opens one for what it asks and closes it.
const maxVoices = 64

// socketName is the name by which systemd passes a socket for Wyoming.
const socketName = "wyoming"

// voice is the Wyoming service.
type voice struct {
	d         *daemon
	server    *wyoming.Server
	listeners []*listener
	limit     limit
	early     wyoming.Model // what is told of the model while it is opened
	ready     chan struct{} // closed when it is open
	house     house
	assist    sync.Mutex // one at a time gives an assistant another home

	outcomes map[wyoming.Outcome]*atomic.Uint64
	took     histogram
}

// openVoice begins to serve Wyoming, if the configuration or a passed socket says where: what the service is, clients learn before the model is open. Without one
// it is nil.
func (d *daemon) openVoice(c *config.Config, passed []notify.Listener, m *memmap.Manifest) (v *voice, err error) {
	if len(c.Wyoming) == 0 && len(passed) == 0 {
		return nil, nil
	}
	if err := checkTask(c, m); err != nil {
		return nil, err
	}
	v = &voice{d: d, early: artifactOf(m), ready: make(chan struct{}), house: house{log: d.log, every: cmp.Or(d.opt.look, lookEvery)}, outcomes: map[wyoming.Outcome]*atomic.Uint64{}}
	for _, o := range wyoming.Outcomes {
		v.outcomes[o] = new(atomic.Uint64)
	}
	first, st, err := readHome(c)
	if err != nil {
		return nil, err
	}
	v.house.set(c, first, st)
	v.setLimit(c)
	if v.listeners, err = listen(c, "wyoming", c.Wyoming, passed, &v.limit, nil, d.log); err != nil {
		return nil, err
	}
	for _, l := range v.listeners {
		l.full = voicesFull
		if l.from == fromNetwork {
			d.log.Warn("whoever reaches this address may ask: Wyoming has no token", "wyoming", l.Addr().String())
		}
	}
	if c.IdleExit > 0 && len(passed) == 0 {
		d.log.Warn("nobody answers at the Wyoming addresses when the daemon has ended (idle_exit): have systemd pass a socket by the name wyoming")
	}
	opt := wyoming.Options{
		Handler: v, Info: v.info, Log: d.log, Deadline: func() time.Duration { return d.config().RequestTimeout }, Read: c.ReadTimeout,
		Admit: v.admit, Rest: func(c net.Conn, waits bool) { v.limit.rest(c, waits) }, Done: v.count,
	}
	if c.WyomingMode == config.WyomingHandle {
		opt.Performer = d.actions
	}
	v.server = wyoming.NewServer(opt)
	return v, nil
}

// serve answers. failed gets the end of an address that ends before the service.
func (v *voice) serve(failed chan<- error) {
	for _, l := range v.listeners {
		go func() {
			if err := v.server.Serve(l); err != nil {
				first(failed, err)
			}
		}()
	}
}

// checkTask says in a line that a model does not do what is asked for.
func checkTask(c *config.Config, m *memmap.Manifest) error {
	if m.Kind == memmap.KindIntent && slices.ContainsFunc(m.Tasks, func(t memmap.Task) bool { return t.Name == home.Task }) {
		return nil
	}
	return fmt.Errorf("%s: %s has no task %q, which wyoming needs: serve a model that has one, or no wyoming", c.Model, m.Name, home.Task)
}

func (v *voice) setLimit(c *config.Config) { v.limit.set(min(c.MaxConnections, maxVoices)) }

// voiceMemory is what the heap needs for Wyoming: the patterns that edge/home compiles at the first sentence (5.2 MB), for each connection the longest event, and
// for the home what is made of its file, 45 bytes of each byte at 10,000 entities.
func voiceMemory(c *config.Config) int64 {
	if len(c.Wyoming) == 0 {
		return 0
	}
	const patterns, event, ofFile = 6 << 20, 128 << 10, 48
	size := int64(patterns + event*min(c.MaxConnections, maxVoices))
	if info, err := os.Stat(c.Home); err == nil {
		size += ofFile * min(info.Size(), home.MaxFile)
	}
	return size
}

// voicesFull is what a connection reads that is one too many.
var voicesFull = func() string {
	data, err := json.Marshal(&wyoming.Error{Text: "too many connections are open; try again", Code: wyoming.CodeBusy})
	if err != nil {
		panic(err)
	}
	b, err := wyoming.Append(nil, &wyoming.Event{Type: "error", Data: data})
	if err != nil {
		panic(err)
	}
	return string(b)
}()

// attribution is of the program; a blob does not say who trained it.
var attribution = wyoming.Attribution{Name: "Bi-Mamba", URL: "https://arxiv.org/abs/2411.11843"}

// artifactOf is a model as clients are told of it. Home Assistant asks only in the languages that are listed.
func artifactOf(m *memmap.Manifest) wyoming.Model {
	out := wyoming.Model{Artifact: wyoming.Artifact{Name: m.Name, Attribution: attribution, Installed: true}}
	if d := m.Provenance.Description; d != "" {
		out.Description = &d
	}
	return out
}

// info is the service as it is now.
func (v *voice) info() *wyoming.Info {
	m := v.early
	select {
	case <-v.ready:
		s, done := v.d.models.use()
		m = artifactOf(s.local.Engine().Manifest())
		done()
	default:
	}
	m.Languages = []string{"en"} // whatever the home's is: the model has no other
	version, about := Version, "Home Assistant's intents, by a language model on this machine"
	p := wyoming.Program{
		Artifact: wyoming.Artifact{Name: "Bi-Mamba", Attribution: attribution, Installed: true, Description: &about, Version: &version}, Models: []wyoming.Model{m},
	}
	if v.d.config().WyomingMode == config.WyomingHandle {
		p.HomeControl = true
		return &wyoming.Info{Handle: []wyoming.Program{p}}
	}
	return &wyoming.Info{Intent: []wyoming.Program{p}}
}

// admit keeps a peer to the rate of requests.
func (v *voice) admit(c net.Conn) error {
	if v.d.stopping.Load() {
		return &wyoming.Error{Text: errStopping.Error(), Code: wyoming.CodeStopping}
	}
	rate := v.d.config().Rate
	if v.d.rates.wait(rate, peer(c.RemoteAddr().String())) > 0 {
		return &wyoming.Error{Text: fmt.Sprintf("more than %g requests a second from one address", rate), Code: wyoming.CodeBusy}
	}
	return nil
}

// Handle answers when the model is open.
func (v *voice) Handle(ctx context.Context, r home.Request) (*home.Answer, error) {
	defer v.d.begin()()
	select {
	case <-v.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, done := v.d.models.use()
	defer done()
	a, err := v.assistant(s).Handle(ctx, r)
	if err != nil {
		return nil, v.failure(ctx, s, err)
	}
	v.d.log.Debug("wyoming", "kind", a.Kind.String(), "actions", len(a.Actions), "score", a.Score, "seconds", a.Took.Seconds()) // the reason may hold what was said
	return a, nil
}

// assistant is that of a model, in the home as it is now.
func (v *voice) assistant(s *served) *home.Assistant {
	now := v.house.home()
	if s.assistant.Home() != now {
		v.assist.Lock()
		defer v.assist.Unlock()
		if s.assistant.Home() != now {
			s.assistant.SetHome(now)
		}
	}
	return s.assistant
}

// failure is an error as clients learn it.
func (v *voice) failure(ctx context.Context, s *served, err error) error {
	if fault, ok := errors.AsType[*memmap.FaultError](err); ok {
		s.damaged.Store(fault)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*engine.BusyError)):
		return &wyoming.Error{Text: "too many requests are waiting; try again", Code: wyoming.CodeBusy}
	case errors.Is(err, engine.ErrClosed):
		return &wyoming.Error{Text: errStopping.Error(), Code: wyoming.CodeStopping}
	}
	return err
}

func (v *voice) count(o wyoming.Outcome, took time.Duration) {
	v.outcomes[o].Add(1)
	v.took.add(took)
}

// shutdown closes the addresses and waits until all requests have ended, or ctx has. This and the next two may be called without a service.
func (v *voice) shutdown(ctx context.Context) bool { return v == nil || v.server.Shutdown(ctx) == nil }

// abort ends what is under way.
func (v *voice) abort() {
	if v != nil {
		v.server.Abort()
	}
}

// close ends the service at once.
func (v *voice) close() {
	if v != nil {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		v.server.Shutdown(over)
		v.server.Close()
	}
}

// histogram counts times, as Prometheus has it.
type histogram struct {
	mu     sync.Mutex
	counts [len(bounds) + 1]uint64
	sum    time.Duration
}

// bounds of the histogram, in seconds.
var bounds = [...]float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5}

func (h *histogram) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := 0
	for i < len(bounds) && d.Seconds() > bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += d
}

// write writes it under a name.
func (h *histogram) write(w io.Writer, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	total := uint64(0)
	for i, b := range bounds {
		total += h.counts[i]
		fmt.Fprintf(w, "%s_bucket{le=\"%g\"} %d\n", name, b, total)
	}
	total += h.counts[len(bounds)]
	fmt.Fprintf(w, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %g\n%s_count %d\n", name, total, name, h.sum.Seconds(), name, total)
}

// statusVoice is what /status says of the service.
type statusVoice struct {
	Listen      []string          `json:"listen"`
	Mode        string            `json:"mode"`
	Connections int               `json:"connections"`
	Requests    map[string]uint64 `json:"requests"` // by how they ended
}

func (v *voice) status() *statusVoice {
	out := &statusVoice{Mode: v.d.config().WyomingMode, Listen: []string{}, Requests: map[string]uint64{}}
	for _, l := range v.listeners {
		out.Listen = append(out.Listen, l.uri())
	}
	for o, n := range v.outcomes {
		out.Requests[string(o)] = n.Load()
	}
	out.Connections, _ = v.limit.counts()
	return out
}

// uri is the address as Wyoming's clients write it.
func (l *listener) uri() string {
	if l.Addr().Network() == "unix" {
		return "unix://" + l.Addr().String()
	}
	return "tcp://" + l.Addr().String()
}

func (v *voice) writeMetrics(w io.Writer) {
	family := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP bimamba_%s %s\n# TYPE bimamba_%s %s\n", name, help, name, kind)
	}
	family("wyoming_requests_total", "counter", "What was said at Wyoming addresses, by how it ended.")
	for _, o := range wyoming.Outcomes {
		fmt.Fprintf(w, "bimamba_wyoming_requests_total{outcome=\"%s\"} %d\n", o, v.outcomes[o].Load())
	}
	family("wyoming_request_seconds", "histogram", "From a request to its answer.")
	v.took.write(w, "bimamba_wyoming_request_seconds")
	open, refused := v.limit.counts()
	family("wyoming_connections", "gauge", "Open Wyoming connections.")
	fmt.Fprintf(w, "bimamba_wyoming_connections %d\n", open)
	family("wyoming_connections_refused_total", "counter", "Wyoming connections for which there was no room.")
	fmt.Fprintf(w, "bimamba_wyoming_connections_refused_total %d\n", refused)
	h := v.house.status()
	family("home_entities", "gauge", "Devices that can be asked for.")
	fmt.Fprintf(w, "bimamba_home_entities %d\n", h.Entities)
	family("home_stale", "gauge", "1 while the home's file cannot be read and the one before holds.")
	fmt.Fprintf(w, "bimamba_home_stale %d\n", flag(h.Fault != ""))
}
