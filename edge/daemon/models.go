package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/boards/tuning"
	"bimamba/edge/chat"
	"bimamba/edge/daemon/config"
	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/edge/model"
	"bimamba/memmap"
	"bimamba/neon/pool"
)

// served is an open blob with what runs on it.
type served struct {
	file      *memmap.File
	local     *chat.Local
	assistant *home.Assistant // nil: nobody asks for one
	users     sync.WaitGroup

	damaged atomic.Pointer[memmap.FaultError] // what could not be read of the file, nil if all could
}

// opener is what the models of a daemon have in common.
type opener struct {
	log   *slog.Logger
	pace  func(engine.Pass) engine.Rest // see engine.Options
	board string                        // its own name, for which a tuning is
	house *house                        // whose assistant the model has to be; nil: none
}

// openBlob maps the blob of a configuration.
func openBlob(c *config.Config) (*memmap.File, error) {
	f, err := memmap.Open(c.Model)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w; name a blob with --model FILE (`bimamba convert` makes one)", err)
	}
	return f, err
}

// open maps the blob of a configuration, reserves its memory and reads its personas.
func (o *opener) open(c *config.Config) (*served, error) {
	f, err := openBlob(c)
	if err != nil {
		return nil, err
	}
	return o.bind(c, f)
}

// bind is open for a blob that is mapped. It closes the blob if it fails.
func (o *opener) bind(c *config.Config, f *memmap.File) (*served, error) {
	s, err := o.openFile(c, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (o *opener) openFile(c *config.Config, f *memmap.File) (*served, error) {
	if o.house != nil {
		if err := checkTask(c, f.Manifest()); err != nil {
			return nil, err
		}
	}
	signed, err := checkSigned(c, f)
	if err != nil {
		return nil, err
	}
	if signed != nil {
		o.log.Info("the model is signed", "comment", signed.Comment, "each page checked by the kernel", signed.Verity)
	}
	tuned, err := readTuning(c, o.board, o.log)
	if err != nil {
		return nil, err
	}
	opt := modelOptions(c)
	chooseThreads(&opt, f.Manifest(), tuned)
	if tuned != nil {
		tuned.Use()
	}
	queue := c.Queue
	if queue == 0 { // to the engine, that is its default
		queue = -1
	}
	e, err := engine.Open(f, engine.Options{Model: opt, Queue: queue, Pace: o.pace})
	if err != nil {
		return nil, err
	}
	l, err := chat.NewLocal(e, chat.LocalOptions{
		MaxTokens: c.MaxTokens, TokenCap: c.MaxTokensLimit, MaxPrompt: c.MaxPrompt, Log: o.log,
	})
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("%s: %w", c.Model, err)
	}
	for _, p := range c.Persona {
		if err := loadPersona(l, p); err != nil {
			e.Close()
			return nil, err
		}
	}
	s := &served{file: f, local: l}
	if o.house != nil {
		if s.assistant, err = home.New(e, o.house.home()); err != nil {
			e.Close()
			return nil, fmt.Errorf("%s: %w", c.Model, err)
		}
	}
	return s, nil
}

// modelOptions is how a configuration opens a model, but for threads that it leaves open.
func modelOptions(c *config.Config) model.Options {
	return model.Options{
		Precision: c.Precision, State: c.State, Sessions: c.Sessions, Prefixes: c.Checkpoints, Threads: c.Threads, Batch: c.Batch, Memory: ModelMemory(c),
	}
}

// quickTraffic is how many bytes a token has to move before it pays to measure how many cores it takes to read memory at its full speed.
// That takes longer than all else that a start does.
const quickTraffic = 32 << 20

// chooseThreads sets the threads of a configuration that leaves them to the daemon, of this board as it was measured if it was.
func chooseThreads(opt *model.Options, m *memmap.Manifest, tuned *tuning.File) {
	if opt.Threads != 0 {
		return
	}
	f := model.NewFootprint(m, *opt)
	traffic := f.Traffic().Total()
	if traffic < quickTraffic {
		opt.Threads = pool.AllCores()
		return
	}
	if tuned != nil {
		opt.Threads, opt.Decode = tuned.ThreadsFor(traffic)
		return
	}
	opt.AutoThreads(m)
}

func loadPersona(l *chat.Local, p config.Persona) error {
	f, err := os.Open(p.File)
	if err != nil {
		return fmt.Errorf("persona %s: %w", p.Name, err)
	}
	defer f.Close()
	return l.Persona(p.Name, f)
}

// close waits for those who use s, and frees it.
func (s *served) close() error {
	s.users.Wait()
	return errors.Join(s.local.Engine().Close(), s.file.Close())
}

// models is the chat.Service of the daemon: that of the blob which is open now.
type models struct {
	energy func(chat.Timing, int) *chat.Energy // of an answer of so many tokens; set before the first request

	mu  sync.Mutex
	now *served
}

// use is the blob that is open, which stays so until done is called.
func (m *models) use() (s *served, done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.users.Add(1)
	return m.now, m.now.users.Done
}

// swap puts another blob in place and returns the one before, which may be in use still.
func (m *models) swap(next *served) (old *served) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, m.now = m.now, next
	return old
}

func (m *models) Models() []chat.Info {
	s, done := m.use()
	defer done()
	return s.local.Models()
}

func (m *models) Find(name string) (chat.Info, error) {
	s, done := m.use()
	defer done()
	return s.local.Find(name)
}

func (m *models) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	s, done := m.use()
	defer done()
	reply, err := s.local.Chat(ctx, r, emit)
	m.measure(reply)
	s.recovered(reply, err)
	return reply, s.failure(ctx, err)
}

func (m *models) Complete(ctx context.Context, r *chat.Completion, emit func(chat.Event) error) (*chat.Reply, error) {
	s, done := m.use()
	defer done()
	reply, err := s.local.Complete(ctx, r, emit)
	m.measure(reply)
	s.recovered(reply, err)
	return reply, s.failure(ctx, err)
}

// measure adds the energy to a reply; nil is none.
func (m *models) measure(reply *chat.Reply) {
	if reply != nil {
		reply.Energy = m.energy(reply.Timing, reply.Usage.Completion)
	}
}

// recovered notes that the file can be read again: an answer of two tokens has taken a pass over all of it.
func (s *served) recovered(reply *chat.Reply, err error) {
	if err == nil && reply != nil && reply.Usage.Completion > 1 {
		s.damaged.Store(nil)
	}
}

// failure notes what an error says of the file, and tells a client that its request ends because its time is over or the daemon stops.
func (s *served) failure(ctx context.Context, err error) error {
	if fault, ok := errors.AsType[*memmap.FaultError](err); ok {
		s.damaged.Store(fault)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &chat.Error{Code: chat.Timeout, Message: "the request took longer than it may (request_timeout)", Err: err}
	}
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == errStopping {
		return &chat.Error{Code: chat.Unavailable, Message: errStopping.Error(), RetryAfter: time.Second, Err: err}
	}
	return err
}
