package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/edge/model"
	"bimamba/edge/sample"
)

// loop is what runs requests: one goroutine that, pass by pass, feeds a token of every request that decodes and a slice of those prompts that
// are still being computed.
type loop struct {
	mu      sync.Mutex
	more    sync.Cond // something has changed that the loop waits for
	queue   []*job
	active  []*job
	states  states
	closing bool           // no request comes any more
	closed  bool           // nor is a state held
	held    sync.WaitGroup // states that Export and Import hold
	ended   chan struct{}
	took    time.Duration // a request, lately
	stats   Stats

	rows   []model.Row
	ready  []*job    // whose logits are there
	turn   int       // who begins
	mark   time.Time // the end of the last pass, or when work came; zero while there is none
	rest   time.Time // when the next pass may begin
	answer time.Time // when answers may go on
	passes atomic.Uint64
	busy   atomic.Bool
}

// Stats counts what an engine has done since it was opened.
type Stats struct {
	Requests, Failed, Cancelled, Refused      uint64 // ended well, with an error, by their caller; not accepted
	PromptTokens, CachedTokens, SampledTokens uint64 // cached ones are counted among the prompts', too
	Passes, Rows                              uint64 // over the weights; tokens in them
	Active, Waiting, Sessions, Copies, InUse  int    // requests that run, that wait; states that there are; those that hold a sequence
	PrefillTime, DecodeTime, QueueTime        time.Duration
}

// Stats is a snapshot.
func (e *Engine) Stats() Stats {
	l := &e.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Active, s.Waiting, s.Sessions, s.Copies = len(l.active), len(l.queue), l.states.sessions, len(l.states.all)-l.states.sessions
	for i := range l.states.all {
		if l.states.all[i].fed > 0 {
			s.InUse++
		}
	}
	return s
}

// Progress counts passes, and tells whether one should be under way: an engine that is busy for long without a pass hangs. One that rests (see Options.Pace) is
// not busy.
func (e *Engine) Progress() (passes uint64, busy bool) {
	return e.loop.passes.Load(), e.loop.busy.Load()
}

// submit puts a job into the queue.
func (e *Engine) submit(j *job) error {
	l := &e.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return ErrClosed
	}
	if len(l.active)+len(l.queue) >= l.states.sessions+e.opt.Queue {
		l.stats.Refused++
		wait := l.took * time.Duration(len(l.queue)) / time.Duration(l.states.sessions)
		return &BusyError{len(l.queue), min(max(wait.Round(time.Second), time.Second), time.Minute)}
	}
	l.queue = append(l.queue, j)
	l.more.Signal()
	return nil
}

func (e *Engine) wakeLoop() {
	e.loop.mu.Lock()
	e.loop.more.Signal()
	e.loop.mu.Unlock()
}

// Drain refuses new requests and waits until the others have ended, or ctx has.
func (e *Engine) Drain(ctx context.Context) error {
	l := &e.loop
	l.mu.Lock()
	l.closing = true
	l.more.Signal()
	l.mu.Unlock()
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon ends all requests with ErrClosed and waits for the loop.
func (e *Engine) abandon() {
	l := &e.loop
	l.mu.Lock()
	l.closing, l.closed = true, true
	for _, j := range slices.Concat(l.queue, l.active) {
		j.finish(ErrClosed)
		j.gone.Store(true)
	}
	l.more.Signal()
	l.mu.Unlock()
	<-l.ended
}

// run is the loop.
func (e *Engine) run() {
	l := &e.loop
	defer close(l.ended)
	for e.prepare() {
		start := time.Now()
		err := e.Model.Batch(l.rows)
		l.passes.Add(1)
		sampled := e.settle(err)
		if e.opt.Pace != nil {
			now := time.Now()
			r := e.opt.Pace(Pass{Rows: len(l.rows), Sampled: sampled, Took: now.Sub(start)})
			l.rest, l.answer = now.Add(r.All), now.Add(r.Answers)
		}
	}
}

// prepare waits for work and fills l.rows. It tells whether to go on.
func (e *Engine) prepare() bool {
	l := &e.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.sweep()
		if e.admit(); len(l.ready) > 0 { // whose prompts are computed
			l.mu.Unlock()
			e.sample()
			l.mu.Lock()
			continue
		}
		if wait := time.Until(l.rest); wait > 0 && len(l.active) > 0 && !l.closing {
			e.sleep(wait)
			continue
		}
		hold := time.Until(l.answer)
		if l.closing {
			hold = 0
		}
		if l.plan(e.Model.Options().Batch, e.opt.Slice, hold > 0); len(l.rows) > 0 {
			l.busy.Store(true)
			if l.mark.IsZero() {
				l.mark = time.Now()
			}
			return true
		}
		if hold > 0 && len(l.active) > 0 {
			e.sleep(hold)
			continue
		}
		l.busy.Store(false)
		if l.closing && len(l.queue)+len(l.active) == 0 {
			return false
		}
		l.mark = time.Time{}
		l.more.Wait()
	}
}

// sleep lets go of the lock for a time, or until somebody comes, leaves or stops the engine.
func (e *Engine) sleep(wait time.Duration) {
	l := &e.loop
	l.busy.Store(false)
	timer := time.AfterFunc(wait, e.wakeLoop)
	l.more.Wait()
	timer.Stop()
}

// sweep drops jobs whose callers have left.
func (l *loop) sweep() {
	dead := func(j *job) bool {
		if !j.gone.Load() && j.ctx.Err() == nil {
			return false
		}
		if j.state != nil {
			l.states.touch(j.state)
			j.state.busy = false
		}
		l.stats.Cancelled++
		j.finish(cmp.Or(j.ctx.Err(), errGone))
		return true
	}
	l.queue = slices.DeleteFunc(l.queue, dead)
	l.active = slices.DeleteFunc(l.active, dead)
}

// maxGrow is how many tokens of an answer a sequence has room for from the start.
const maxGrow = 4096

// admit gives sessions to those that wait, in their order.
func (e *Engine) admit() {
	l := &e.loop
	for len(l.queue) > 0 {
		j := l.queue[0]
		s := l.states.take(j.req.Prompt, j.req.PromptLogProbs)
		if s == nil {
			return
		}
		l.queue = slices.Delete(l.queue, 0, 1)
		j.state, j.began = s, time.Now()
		j.res.Began = j.began
		j.res.Queued = j.began.Sub(j.came)
		j.res.Cached = s.fed
		if s.name != "" && s.name != j.req.Name {
			l.states.keep(s, s.name, end) // the other conversation may come back
		}
		s.name, s.asked = j.req.Name, s.used
		s.seq = slices.Grow(slices.Clone(j.req.Prompt), min(j.req.MaxTokens, maxGrow))
		j.sampler = e.sampler(s)
		j.sampler.Reset(j.req.Sample)
		l.stats.PromptTokens += uint64(len(j.req.Prompt))
		l.stats.CachedTokens += uint64(s.fed)
		l.stats.QueueTime += j.res.Queued
		l.active = append(l.active, j)
		if !j.prompting() { // its logits are there
			j.decoded = j.began
			l.ready = append(l.ready, j)
		}
	}
}

// sampler is that of a session.
func (e *Engine) sampler(s *state) *sample.Sampler {
	for i := range e.samplers {
		if s == &e.loop.states.all[i] {
			return e.samplers[i]
		}
	}
	panic("engine: a request runs on a copy")
}

// plan fills l.rows: a token of every request that decodes, unless they are held back, then prompts, which share what is left.
func (l *loop) plan(batch, slice int, held bool) {
	l.rows = l.rows[:0]
	prompts := 0
	n := len(l.active)
	for _, j := range l.active {
		j.rows, j.logits = 0, false
		if j.prompting() {
			prompts++
		}
	}
	most := batch
	if prompts > 0 && (batch > 1 || l.active[l.turn%n].prompting()) { // some room for prompts, however many decode
		most--
	}
	for k := range n {
		if j := l.active[(l.turn+k)%n]; !held && !j.prompting() && len(l.rows) < most && !j.stalled() {
			j.rows, j.logits = 1, true
			l.rows = append(l.rows, model.Row{Session: j.state.session, ID: j.state.seq[j.state.fed], Logits: j.state.session.Logits()})
		}
	}
	room := batch - len(l.rows)
	if len(l.rows) > 0 {
		room = min(room, slice) // so that those who decode do not wait for long
	}
	for k := range n {
		if room <= 0 {
			break
		}
		if j := l.active[(l.turn+k)%n]; j.prompting() {
			room -= l.planPrompt(j, (room+prompts-1)/prompts)
			prompts--
		}
	}
	l.turn++
}

// planPrompt adds at most room rows of a prompt, not beyond its next border, and returns how many.
func (l *loop) planPrompt(j *job, room int) int {
	s, prompt := j.state, j.req.Prompt
	end := len(prompt)
	if i, _ := slices.BinarySearch(j.req.Borders, s.fed+1); i < len(j.req.Borders) {
		end = min(end, j.req.Borders[i])
	}
	n := min(end-s.fed, room)
	if j.req.PromptLogProbs {
		n = 1
	}
	j.rows, j.logits = n, s.fed+n == len(prompt) || j.req.PromptLogProbs
	for i, id := range prompt[s.fed : s.fed+n] {
		r := model.Row{Session: s.session, ID: id}
		if i == n-1 && j.logits {
			r.Logits = s.session.Logits()
		}
		l.rows = append(l.rows, r)
	}
	return n
}

// settle takes up the results of a pass and says how many tokens were sampled.
func (e *Engine) settle(err error) (sampled int) {
	e.count(err)
	for _, j := range e.loop.ready {
		if !j.prompting() {
			sampled++
		}
	}
	e.sample()
	return sampled
}

// count says of the states what a pass has fed to them, and finds the jobs that are ready.
func (e *Engine) count(err error) {
	l := &e.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Passes++
	l.stats.Rows += uint64(len(l.rows))
	since, now := l.mark, time.Now()
	l.mark = now
	for _, j := range slices.Clone(l.active) {
		if j.rows == 0 {
			continue
		}
		span := min(now.Sub(since), now.Sub(j.began)) // it may have come during a rest that others have caused
		j.res.Share += span * time.Duration(j.rows) / time.Duration(len(l.rows))
		s := j.state
		if err != nil {
			s.clear() // it stands anywhere
			e.end(j, err)
			continue
		}
		was := s.fed
		for range j.rows {
			s.hash = hashNext(s.hash, s.seq[s.fed])
			s.fed++
		}
		s.logits = j.logits
		if was < len(j.req.Prompt) {
			e.prompted(j)
		}
		if j.logits {
			l.ready = append(l.ready, j)
		}
	}
}

// sample lets the jobs that are ready sample, at the same time and without the lock, and then takes up what they have sampled.
func (e *Engine) sample() {
	l := &e.loop
	if len(l.ready) == 0 {
		return
	}
	var others sync.WaitGroup
	for _, j := range l.ready[1:] {
		others.Go(j.sample)
	}
	l.ready[0].sample()
	others.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.ready {
		s := j.state
		s.seq = append(s.seq, j.res.IDs[len(s.seq)-len(j.req.Prompt):]...)
		if j.over {
			e.end(j, j.cause)
		}
	}
	clear(l.ready)
	l.ready = l.ready[:0]
}

// prompted takes up what a pass did for a prompt.
func (e *Engine) prompted(j *job) {
	s, l := j.state, &e.loop
	if i, ok := slices.BinarySearch(j.req.Borders, s.fed); ok {
		l.states.touch(s)
		k := inner
		if i == 0 {
			k = head
		}
		l.states.keep(s, "", k)
	}
	if !j.prompting() {
		j.decoded = time.Now()
		j.res.Prefill = j.decoded.Sub(j.began)
		l.stats.PrefillTime += j.res.Prefill
	}
}

// end takes a job off its session.
func (e *Engine) end(j *job, err error) {
	l := &e.loop
	l.active = slices.DeleteFunc(l.active, func(x *job) bool { return x == j })
	l.states.touch(j.state)
	j.state.asked, j.state.busy = j.state.used, false
	if err != nil {
		l.stats.Failed++
		j.finish(err)
		return
	}
	j.out.finish()
	j.res.Text = j.out.text.String()
	j.res.Decode = time.Since(j.decoded)
	l.stats.Requests++
	l.stats.SampledTokens += uint64(len(j.res.IDs))
	l.stats.DecodeTime += j.res.Decode
	if took := time.Since(j.began); l.took == 0 {
		l.took = took
	} else {
		l.took += (took - l.took) / 8
	}
	j.finish(nil)
}
