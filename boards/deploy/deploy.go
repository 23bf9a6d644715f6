package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"bimamba/boards/detect"
	"bimamba/boards/plan"
	"bimamba/boards/slot"
	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	"bimamba/internal/ssh"
	"bimamba/internal/static"
)

// How is how a board is deployed to.
type How struct {
	Who      string                               // is named to others meanwhile
	Keep     int                                  // versions that stay on the board; 0 is DefaultKeep
	Trial    time.Duration                        // after which the board takes a version back that nobody confirmed; 0 is DefaultTrial
	Progress func(what string, done, total int64) // what is done now, with bytes if total is not 0; may be nil

	wait time.Duration // before the first new try after a lost connection; 0 is a second
}

// Defaults of How.
const (
	DefaultKeep  = 3
	DefaultTrial = 5 * time.Minute
)

// Result is what came of a deployment.
type Result struct {
	ID      string  `json:"id"`          // of the version, "" if it did not come to one
	Before  string  `json:"before"`      // the version that was current; "": none that was deployed
	Sent    int64   `json:"sent"`        // bytes
	Size    int64   `json:"bytes"`       // of the version
	Ready   float64 `json:"ready_s"`     // that the daemon took to be ready
	Golden  bool    `json:"golden"`      // the golden answer was asked for, and came
	Changed bool    `json:"changed"`     // false: the version was current already, and is well
	Rolled  bool    `json:"rolled_back"` // the new one was not well
}

func (h *How) tell(what string) {
	if h.Progress != nil {
		h.Progress(what, 0, 0)
	}
}

// To brings the bundle to a board. The result tells how far it came, also with an error; the version before serves then.
func (b *Bundle) To(ctx context.Context, host *ssh.Host, how How) (*Result, error) {
	if how.Keep == 0 {
		how.Keep = DefaultKeep
	}
	if how.Trial == 0 {
		how.Trial = DefaultTrial
	}
	if how.wait == 0 {
		how.wait = time.Second
	}
	r := &Result{}
	how.tell("connecting")
	board, err := Connect(ctx, host)
	if err != nil {
		return r, err
	}
	for _, path := range []string{b.opt.Daemon, b.opt.CLI} {
		if path != "" {
			if err := static.Check(path, path, board.machine); err != nil {
				return r, err
			}
		}
	}
	st, err := board.bring(ctx, b.opt.CLI)
	if err != nil {
		return r, err
	}
	r.Before = st.Current
	switch {
	case st.Trial != nil:
		return r, fmt.Errorf("%s: version %s is on trial there, by %s: wait for its end (%.0f s), or take it back with `bimamba deploy rollback`", host, st.Trial.ID, st.Trial.Who, st.Left)
	case st.Busy != "":
		return r, fmt.Errorf("%s: %s is deploying to this board: wait for its end", host, st.Busy)
	}
	m, open, conf, err := b.prepare(ctx, board, st, &how)
	if err != nil {
		return r, err
	}
	r.ID, r.Size = m.ID(), m.Size()
	if r.ID == st.Current {
		return r, board.health(ctx, &how, r)
	}
	if b.conf != nil && conf.Origin("listen") != "" {
		if out, _ := board.root(ctx, nil, "systemctl", "is-active", "bimambad.socket"); strings.TrimSpace(string(out)) == "active" {
			return r, fmt.Errorf("%s: the configuration says where to listen, and there the socket unit does: leave listen out, or, on the board: systemctl disable --now bimambad.socket", host)
		}
	}
	session, err := board.send(ctx, m, open, &how)
	if err != nil {
		return r, err
	}
	defer session.Close()
	r.Sent = session.Sent
	if st.Current == "" {
		args := []string{"install", "--enable"}
		if conf.Origin("listen") != "" {
			args = append(args, "--no-socket")
		}
		if _, err := board.slot(ctx, args...); err != nil {
			return r, err
		}
	}
	return r, board.try(ctx, &how, r)
}

// prepare examines the board and plans, and says what it gets.
func (b *Bundle) prepare(ctx context.Context, board *Board, st *slot.Status, how *How) (*slot.Manifest, map[string]io.ReaderAt, *config.Config, error) {
	deployed := st.Current != "" && st.Base != nil && st.Base.File(slot.Config) != nil
	if b.conf != nil && b.blob == nil {
		return nil, nil, nil, errors.New("a configuration is deployed with its model, whose memory depends on it: name the model, too, with --model; what is on the board is not sent again")
	}
	text, name := b.conf, b.opt.Config
	if text == nil {
		var err error
		name = board.host.String() + ":" + slot.Config
		if text, err = board.config(ctx, deployed); err != nil {
			return nil, nil, nil, err
		}
	}
	conf, err := parseConfig(name, text)
	if err != nil {
		return nil, nil, nil, err
	}
	how.tell("examining the board")
	found, err := board.doctor(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if found.Memory.Total == 0 {
		return nil, nil, nil, fmt.Errorf("%s: its kernel does not tell how much memory there is", board.host)
	}
	if b.blob != nil {
		p, err := plan.New(planned(found), b.blob.Manifest(), plan.Options{Model: model.Options{
			Precision: conf.Precision, State: conf.State, Sessions: conf.Sessions, Prefixes: conf.Checkpoints, Batch: conf.Batch, Memory: daemon.ModelMemory(conf),
		}})
		if err != nil {
			return nil, nil, nil, err
		}
		if !p.Fits {
			return nil, nil, nil, fmt.Errorf("%s: %s does not fit %s: it takes %s", board.host, p.Model, p.Board, p.Reason)
		}
		how.tell("computing the golden answer")
	}
	m, open, err := b.manifest(ctx, st.Base, conf)
	if err != nil {
		err = fmt.Errorf("%s: %w", board.host, err)
	}
	return m, open, conf, err
}

// planned is the board that was found, for a plan. Of one that package plan does not know, the system takes what it takes on a Raspberry Pi 4; its speed, which
// nobody looks at here, would be wrong.
func planned(found *detect.Board) plan.Board {
	b, err := plan.Here(found.ID, found.Memory.Total)
	if err == nil {
		return b
	}
	if b, err = plan.Find("pi-4"); err != nil {
		panic(err) // it is in the table
	}
	b.Name, b.Title = cmp.Or(found.Name, found.Model, found.ID), ""
	b.Memory.RAM, b.Memory.Total = found.Memory.Total, found.Memory.Total
	return b
}

// tries is how often a connection may be lost without anything having come over it.
const tries = 5

// send brings the files there, over as many connections as it takes.
func (b *Board) send(ctx context.Context, m *slot.Manifest, open map[string]io.ReaderAt, how *How) (*slot.Session, error) {
	var sent int64 // of all connections
	wait := how.wait
	for try := 1; ; try++ {
		came := int64(0)
		session, err := b.sendOnce(ctx, m, slot.SendOptions{
			Who: how.Who,
			Open: func(name string) (io.ReaderAt, error) {
				r, ok := open[name]
				if !ok {
					return nil, fmt.Errorf("the board has lost its %s: give it, too", name)
				}
				return r, nil
			},
			Progress: func(p slot.Progress) {
				if p.What == "sending" {
					came = p.Done
				}
				if how.Progress != nil {
					how.Progress(p.What, p.Done, p.Total)
				}
			},
		})
		sent += came
		if err == nil {
			session.Sent = sent
			return session, nil
		}
		var remote slot.RemoteError
		var e *ssh.Error
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &remote):
			return nil, fmt.Errorf("%s: %w", b.host, err)
		case errors.As(err, &e) && (e.Refused() || !e.Lost), !errors.As(err, &e):
			return nil, err
		}
		if came > 0 {
			try, wait = 0, how.wait
		}
		if try == tries {
			return nil, fmt.Errorf("%w; %.1f MB came and are kept: deploy again", err, float64(sent)/1e6)
		}
		how.tell("the connection was lost, trying again")
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// sendOnce uses one connection. An error of ssh explains one of the protocol.
func (b *Board) sendOnce(ctx context.Context, m *slot.Manifest, opt slot.SendOptions) (*slot.Session, error) {
	p, err := b.host.Pipe(ctx, b.sudo+ssh.Quote(b.program, "slot", "receive"), false)
	if err != nil {
		return nil, err
	}
	session, err := slot.Send(ctx, p, p, m, opt)
	if err == nil {
		go func() { // what it still says is nothing; its end is Session.Close's
			io.Copy(io.Discard, p)
			p.Wait()
		}()
		return session, nil
	}
	var remote slot.RemoteError
	drained := make(chan struct{})
	go func() { io.Copy(io.Discard, p); close(drained) }()
	select {
	case <-drained:
	case <-time.After(10 * time.Second): // the other side does not see that ours is closed; ctx ends ssh at the latest
		return nil, err
	}
	if werr := p.Wait(); werr != nil && !errors.As(err, &remote) {
		return nil, werr
	}
	return nil, err
}

// cleanup is how long what has to be done after an interruption may take.
const cleanup = 90 * time.Second

// try switches to the version of r, and back if it is not well.
func (b *Board) try(ctx context.Context, how *How, r *Result) error {
	how.tell("switching")
	_, err := b.slot(ctx, "activate", r.ID, "--limit", how.Trial.String(), "--who", how.Who)
	if err == nil {
		err = b.health(ctx, how, r)
	}
	if err == nil {
		_, err = b.slot(ctx, "confirm", r.ID)
	}
	if err != nil {
		return b.back(ctx, how, r, err)
	}
	r.Changed = true
	// The program there is the new one now, and its units may be newer.
	if _, err := b.slot(ctx, "install"); err != nil {
		return fmt.Errorf("the version serves, but its units: %w", err)
	}
	if _, err := b.slot(ctx, "prune", "--keep", fmt.Sprint(how.Keep)); err != nil {
		return fmt.Errorf("the version serves, but older ones are still there: %w", err)
	}
	return nil
}

// health asks the version's own program, which this tries, too.
func (b *Board) health(ctx context.Context, how *How, r *Result) error {
	how.tell("asking the daemon")
	asks := fmt.Sprintf("%s/versions/%s/%s", slot.Dir, r.ID, slot.CLI)
	if r.ID == slot.Package { // its program may be of a time before this question
		asks = b.program
	}
	out, err := b.root(ctx, nil, asks, "slot", "health", r.ID, "--wait", (how.Trial * 9 / 10).String())
	if err != nil {
		return err
	}
	report, err := parseHealth(out)
	if err != nil {
		return fmt.Errorf("%s: %w", b.host, err)
	}
	r.Ready, r.Golden = report.Seconds, report.Golden
	return nil
}

// back takes a trial back and says why.
func (b *Board) back(ctx context.Context, how *How, r *Result, cause error) error {
	r.Rolled = true
	how.tell("rolling back")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	lines := b.lastWords(ctx)
	before := "the version before"
	if r.Before == "" {
		before = "what was there before"
	}
	_, err := b.slot(ctx, "rollback", r.ID)
	switch {
	case err != nil && (lost(err) || ctx.Err() != nil):
		return fmt.Errorf("%w; the board does not answer, and goes back to %s by itself within %v%s", cause, before, how.Trial, lines)
	case err != nil && !strings.Contains(err.Error(), slot.ErrNoTrial.Error()): // then the board was faster
		return fmt.Errorf("%w; rolling back: %w%s", cause, err, lines)
	}
	return fmt.Errorf("%w; %s serves again%s", cause, before, lines)
}

// lastWords are the end of the daemon's log, or nothing.
func (b *Board) lastWords(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := b.root(ctx, nil, "journalctl", "--no-pager", "-q", "-o", "cat", "-u", "bimambad.service", "-n", "5")
	text := strings.TrimSpace(ssh.Printable(string(out)))
	if err != nil || text == "" {
		return ""
	}
	return "; the last lines of the daemon's log:\n  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// Rollback ends a trial, or takes the board to the version to, which may be [slot.Package]; "" is the one before the current one.
func Rollback(ctx context.Context, host *ssh.Host, to string, how How) (*Result, error) {
	if how.Trial == 0 {
		how.Trial = DefaultTrial
	}
	if how.Keep == 0 {
		how.Keep = DefaultKeep
	}
	r := &Result{}
	b, err := Connect(ctx, host)
	if err != nil {
		return r, err
	}
	st, err := b.Status(ctx)
	if err != nil {
		return r, err
	}
	r.Before = st.Current
	if t := st.Trial; t != nil {
		if back := cmp.Or(t.Previous, slot.Package); to != "" && to != back {
			return r, fmt.Errorf("%s: version %s is on trial there, by %s, and a rollback leads to %s: wait for its end (%.0f s), or roll back without a version first", host, t.ID, t.Who, back, st.Left)
		}
		_, err := b.slot(ctx, "rollback", t.ID)
		r.ID, r.Changed = t.Previous, err == nil
		return r, err
	}
	r.ID = cmp.Or(to, st.Previous)
	switch {
	case r.ID == "":
		return r, fmt.Errorf("%s: there is no version to go back to", host)
	case r.ID == cmp.Or(st.Current, slot.Package):
		return r, fmt.Errorf("%s: %s is current already", host, r.ID)
	case !slices.ContainsFunc(st.Versions, func(v slot.VersionStatus) bool { return v.ID == r.ID && v.Whole }):
		return r, fmt.Errorf("%s: there is no version %s, or it is not whole; `bimamba deploy status` lists what is there", host, r.ID)
	}
	return r, b.try(ctx, &how, r)
}
