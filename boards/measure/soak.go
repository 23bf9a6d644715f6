package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bimamba/boards/sensor"
)

// How much of a soak is held against each other: half of it each, a minute at most.
const (
	longestWindow  = time.Minute
	shortestWindow = 10 * time.Second // in less, the length of an answer decides
)

// window is a part of a soak, from its start. A token counts in it by the part of its time that lies within, so that neither long answers nor slow tokens move its ends.
type window struct {
	from, to   time.Duration
	tokens     float64
	generating time.Duration
}

// add counts a token that was generated between two moments.
func (w *window) add(from, to time.Duration) {
	if within := min(to, w.to) - max(from, w.from); within > 0 {
		w.tokens += float64(within) / float64(to-from)
		w.generating += within
	}
}

// windowParts is how many equal parts a window has, of which one may end where nobody planned.
const windowParts = 60

// recent is what was generated last, in parts of a window: those that began since the last window's length.
type recent struct {
	size time.Duration // of a part
	ring [windowParts + 1]window
	last int // part that a token touched
}

// add counts a token that was generated between two moments since the start.
func (r *recent) add(from, to time.Duration) {
	r.last = max(r.last, int(to/r.size))
	for i := max(int(from/r.size), r.last-windowParts); i <= r.last; i++ {
		w := &r.ring[i%len(r.ring)]
		if begin := time.Duration(i) * r.size; w.from != begin || w.to == 0 {
			*w = window{from: begin, to: begin + r.size}
		}
		w.add(from, to)
	}
}

// window is the newest one of whole parts that ends by now.
func (r *recent) window(now time.Duration) window {
	end := int(now / r.size)
	w := window{from: time.Duration(end-windowParts) * r.size, to: time.Duration(end) * r.size}
	for i := range r.ring {
		if p := &r.ring[i]; p.to > 0 && p.from >= w.from && p.to <= w.to {
			w.tokens, w.generating = w.tokens+p.tokens, w.generating+p.generating
		}
	}
	return w
}

// soak decodes without a pause, and holds the last minute against the first. It ends to the moment: the answer that is under way then is left. Of one that is interrupted
// the last minute is the one before, if it is behind the first.
func (r *runner) soak(ctx context.Context) error {
	s, dec := &Soak{}, &Decode{}
	size := min(longestWindow, r.cfg.Soak/2)
	first, last := window{to: size}, window{from: r.cfg.Soak - size, to: r.cfg.Soak}
	newest := recent{size: size / windowParts}
	if size < shortestWindow {
		s.NoWindows = fmt.Sprintf("too short: first and last take %v each, and the soak took %v", shortestWindow, r.cfg.Soak)
	}
	var start time.Time
	p, err := r.phase("soak", 0, func(from time.Time) error {
		start = from
		limited, cancel := context.WithDeadline(ctx, from.Add(r.cfg.Soak))
		defer cancel()
		for limited.Err() == nil {
			err := r.answer(limited, dec, func(before, now time.Time) {
				if now.Sub(from) <= r.cfg.Soak {
					s.Tokens++
				}
				if !before.IsZero() {
					first.add(before.Sub(from), now.Sub(from))
					last.add(before.Sub(from), now.Sub(from))
					newest.add(before.Sub(from), now.Sub(from))
				}
				if s.First == nil && s.NoWindows == "" && now.Sub(from) >= first.to { // now: its samples may be gone at the end
					s.First = r.minute(from, &first)
				}
			})
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
		return ctx.Err()
	})
	if p == nil {
		return err
	}
	s.Phase, s.Answers, s.Cut = *p, dec.Answers, err != nil
	took := r.cfg.Soak
	if s.Cut {
		took = min(time.Since(start), took)
		last = newest.window(took)
	}
	seconds := size.Seconds()
	switch {
	case s.NoWindows != "":
	case took < size:
		s.NoWindows = fmt.Sprintf("ended early: after %v, and the first alone takes %v", took.Round(time.Second), size)
	case last.from < first.to:
		s.NoWindows = fmt.Sprintf("ended early: after %v, and first and last take %v each", took.Round(time.Second), size)
		fallthrough
	default:
		if s.First == nil {
			s.First = r.minute(start, &first)
		}
		if s.Window = &seconds; last.from >= first.to {
			s.Last = r.minute(start, &last)
			s.Drift = s.Last.drift(s.First)
		}
	}
	if bits, changes, ok := r.rec.throttled(start, time.Now()); ok {
		s.Throttled, s.Throttling = bitNames(bits), changes
	}
	r.rep.Soak = s
	return err
}

// minute is what happened in a part of a soak that is over.
func (r *runner) minute(start time.Time, w *window) *Minute {
	m := &Minute{PSS: r.proc.memory().PSS}
	if w.generating > 0 {
		rate := w.tokens / w.generating.Seconds()
		m.TokensPerSecond = &rate
	}
	from, to := start.Add(w.from), start.Add(w.to)
	r.rec.each(sensor.Heat, from, to, func(s *sensor.Sample) { m.Heat = &[]float64{s.Celsius}[0] })
	e, reason := r.rec.between(from, to)
	if m.NoWatts = reason; e != nil {
		m.Watts = &e.Watts
	}
	return m
}

// drift is m against an earlier minute.
func (m *Minute) drift(first *Minute) *Drift {
	d := &Drift{
		TokensPerSecond: percent(first.TokensPerSecond, m.TokensPerSecond), Watts: percent(first.Watts, m.Watts), PSS: percent(float(first.PSS), float(m.PSS)),
	}
	if first.Heat != nil && m.Heat != nil {
		warmer := *m.Heat - *first.Heat
		d.Heat = &warmer
	}
	return d
}
