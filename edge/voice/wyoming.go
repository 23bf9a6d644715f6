package voice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bimamba/edge/api/wyoming"
	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
)

// speechFormat is what services get.
var speechFormat = wyoming.Format{Rate: audio.Rate, Width: 2, Channels: 1}

// service is a Wyoming service; each call is a connection of its own.
type service struct {
	uri      string
	language string
}

func (s *service) dial(ctx context.Context) (*wyoming.Client, error) {
	c, err := wyoming.Dial(ctx, s.uri)
	if err != nil {
		return nil, fmt.Errorf("the service at %s: %w", s.uri, err)
	}
	return c, nil
}

// Recognize implements [Recognizer].
func (s *service) Recognize(ctx context.Context, speech []int16) (string, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	t, err := c.Transcribe(ctx, "", s.language, speechFormat, bytes.NewReader(audio.Bytes(speech)))
	if err != nil {
		return "", err
	}
	return t.Text, nil
}

// Synthesize implements [Synthesizer].
func (s *service) Synthesize(ctx context.Context, text string) ([]int16, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var pcm bytes.Buffer
	var format audio.Format
	err = c.Synthesize(ctx, text, wyoming.Voice{Language: s.language}, func(f wyoming.Format, b []byte) error {
		format = audio.Format{Rate: f.Rate, Width: f.Width, Channels: f.Channels}
		if pcm.Len()+len(b) > maxAudio {
			return errTooMuch
		}
		pcm.Write(b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if pcm.Len() == 0 {
		return nil, fmt.Errorf("the service at %s gave no audio", s.uri)
	}
	return audio.ReadAll(&pcm, format, maxSpeech)
}

// Remote is an assistant behind a Wyoming service: of the kind "handle", which does what was said, or "intent", whose intents are to be done here.
type Remote struct {
	service
	ids func() string
}

// NewRemote makes an assistant of the service at tcp://HOST:PORT or unix://PATH. id gives actions their IDs.
func NewRemote(uri string, id func() string) (*Remote, error) {
	if _, _, err := wyoming.ParseURI(uri); err != nil {
		return nil, err
	}
	return &Remote{service{uri: uri}, id}, nil
}

// Handle implements [Assistant]. A service does not say whether its text is a question: one that ends in a question mark counts as such.
func (r *Remote) Handle(ctx context.Context, req home.Request) (*home.Answer, error) {
	began := time.Now()
	c, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.Handle(ctx, req)
	if err != nil {
		return nil, err
	}
	a := &home.Answer{Kind: home.Say, Text: reply.Text, Took: time.Since(began)}
	switch {
	case reply.Type == wyoming.TypeIntent && len(reply.Intents) > 0:
		a.Kind = home.Act
		for _, i := range reply.Intents {
			slots := make(map[string]any, len(i.Entities))
			for _, e := range i.Entities {
				slots[e.Name] = e.Value
			}
			a.Actions = append(a.Actions, home.Action{ID: r.ids(), Intent: i.Name, Slots: slots, Area: req.Device})
		}
	case isQuestion(reply.Text):
		a.Kind = home.Ask
	case reply.Type != wyoming.TypeHandled:
		a.Kind, a.Reason = home.Decline, reply.Type
	}
	return a, nil
}

func isQuestion(s string) bool { return len(s) > 0 && s[len(s)-1] == '?' }

// wakeService streams the microphone to a Wyoming service that knows wake words.
type wakeService struct {
	service
	names []string
	heard int64 // samples
	mu    sync.Mutex
	pipe  *pipe // of the connection that there is; nil: none
	ends  []int64
	err   error
	retry time.Time
	delay time.Duration
	wg    sync.WaitGroup
	stop  context.CancelFunc
}

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	maxBehind  = 5 * audio.Rate // samples that a service may be behind before its connection is given up
)

// Hear implements [Waker]. A file is heard as fast as it was spoken: no service says how far it has listened.
func (w *wakeService) Hear(ctx context.Context, samples []int16, _, wait bool) ([]int64, error) {
	if wait {
		time.Sleep(audio.Duration(len(samples)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pipe == nil && time.Now().After(w.retry) {
		w.connect(ctx)
	}
	w.heard += int64(len(samples))
	if w.pipe != nil {
		w.pipe.write(audio.Bytes(samples))
	}
	ends, err := w.ends, w.err
	w.ends, w.err = nil, nil
	return ends, err
}

// connect starts a connection, which is for one wake word. What is heard meanwhile waits in its pipe.
func (w *wakeService) connect(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	p := newPipe(2 * maxBehind)
	first := w.heard
	w.pipe, w.stop = p, stop
	w.wg.Go(func() {
		defer stop()
		end, err := w.listen(ctx, p, first)
		p.close()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pipe = nil
		if err == nil {
			w.delay = 0
			w.ends = append(w.ends, min(end, w.heard))
			return
		}
		if ctx.Err() == nil {
			w.err = fmt.Errorf("the wake word: %w", err)
		}
		w.delay = min(max(2*w.delay, firstRetry), lastRetry)
		w.retry = time.Now().Add(w.delay)
	})
}

// listen waits for a wake word and returns its end.
func (w *wakeService) listen(ctx context.Context, p *pipe, first int64) (int64, error) {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	c, err := w.dial(dialing)
	cancel()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	d, err := c.Detect(ctx, w.names, speechFormat, p)
	switch {
	case err != nil:
		return 0, err
	case d == nil:
		return 0, errors.New("the service was too slow and has missed some of the audio")
	case d.Timestamp == nil || *d.Timestamp < 0:
		return first + p.taken(), nil
	}
	return first + *d.Timestamp*audio.Rate/1000, nil
}

func (w *wakeService) Close() {
	w.mu.Lock()
	if w.pipe != nil {
		w.stop()
		w.pipe.close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// pipe keeps what one side writes until the other reads it. Its writer never waits; a reader that is too far behind reads the end.
type pipe struct {
	mu     sync.Mutex
	more   *sync.Cond
	b      []byte
	most   int
	read   int64
	closed bool
}

func newPipe(most int) *pipe {
	p := &pipe{most: most}
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) write(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.b = append(p.b, b...); len(p.b) > p.most {
		p.b, p.closed = nil, true
	}
	p.more.Signal()
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 && !p.closed {
		p.more.Wait()
	}
	if p.closed {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = append(p.b[:0], p.b[n:]...)
	p.read += int64(n)
	return n, nil
}

// taken is how many samples have been read.
func (p *pipe) taken() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read / 2
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
}
