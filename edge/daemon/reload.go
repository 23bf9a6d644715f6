package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"

	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
)

// startReload reloads beside everything else; the channel is closed at its end. There is only one at a time. It gives up when ctx ends.
func (d *daemon) startReload(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	d.background.Go(func() {
		defer close(done)
		d.reload(ctx)
	})
	return done
}

// reload reads the configuration again and applies what can be applied; on an error all stays as it is.
func (d *daemon) reload(ctx context.Context) {
	d.notifier.Reloading()
	defer func() {
		if ctx.Err() == nil { // else systemd knows that the daemon is stopping
			d.notifier.Ready(d.answering)
		}
	}()
	if err := d.tryReload(ctx); err != nil {
		d.log.Error("reload: all stays as it was", "error", err.Error())
		return
	}
	d.reloads.Add(1)
	d.log.Info("reloaded")
}

// ofModel are the options that the model is opened with.
var ofModel = []string{
	"model", "verify_key", "tuning", "persona", "sessions", "checkpoints", "threads", "precision", "state", "batch", "queue", "max_tokens", "max_tokens_limit", "max_prompt",
}

func (d *daemon) tryReload(ctx context.Context) error {
	next, err := d.opt.Load()
	if err != nil {
		return err
	}
	now := d.config()
	changed, restart := now.Diff(next)
	if len(restart) > 0 {
		d.log.Warn("these options change when the daemon is started again", "options", strings.Join(restart, " "))
		next = now.Keep(next)
	}
	if now.Memory > 0 {
		next = d.keepModel(now, next, changed)
		changed = nil
	}
	if err := d.sensors.holds(next); err != nil {
		return err
	}
	var pair *tls.Certificate
	if next.TLS() {
		if pair, err = readCertificate(next); err != nil {
			return d.confined(err)
		}
	}
	token, err := d.readToken(next)
	if err != nil {
		return d.confined(err)
	}
	anew, err := d.changed(now, next, changed)
	if err != nil {
		return d.confined(err)
	}
	var house *home.Home
	var st stamp
	if d.voice != nil {
		if house, st, err = readHome(next); err != nil {
			return d.confined(err)
		}
	}
	if anew && now.Memory > 0 {
		d.log.Warn("another file has the model's name: it is served when the daemon is started again, as the option memory leaves room for one at a time", "file", now.Model)
		anew = false
	}
	if anew {
		if err := d.exchange(ctx, next); err != nil {
			return d.confined(err)
		}
	}
	// Nothing can fail from here on.
	if pair != nil {
		d.certs.use(pair, d.log)
	}
	d.token.Store(&token)
	d.limit.set(next.MaxConnections)
	if d.voice != nil {
		d.voice.setLimit(next)
		d.voice.house.set(next, house, st)
	}
	d.governor.SetLimits(limits(next))
	d.logTo.set(newHandler(d.opt.Log, next))
	d.conf.Store(next)
	limitMemory(next)
	return nil
}

// keepModel is next with the model that is served, where memory is limited and there is no room for two at a time.
func (d *daemon) keepModel(now, next *config.Config, changed []string) *config.Config {
	var kept []string
	for _, o := range changed {
		if slices.Contains(ofModel, o) {
			kept = append(kept, o)
		}
	}
	if len(kept) > 0 {
		d.log.Warn("these options change when the daemon is started again, as the option memory leaves room for one model at a time", "options", strings.Join(kept, " "))
	}
	s, done := d.models.use()
	s.damaged.Store(nil) // who put the file back says so by a reload; the next request will tell
	done()
	return now.Keep(next, kept...)
}

// exchange opens the model of a configuration in place of the one that is served, which is freed when its last request ends. The memory is for two
// models, so one that an earlier exchange left has to be gone first.
func (d *daemon) exchange(ctx context.Context, next *config.Config) error {
	select {
	case <-d.oldGone:
	default:
		d.log.Info("reload: waiting for requests on the model before this one")
		select {
		case <-d.oldGone:
		case <-ctx.Done():
			return errStopping
		}
	}
	s, err := d.opener.open(next)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.Join(errStopping, s.close())
	}
	logModel(d.log, s)
	old, gone := d.models.swap(s), make(chan struct{})
	d.governor.SetThreads(s.local.Engine().Model.Options().Decode)
	d.oldGone = gone
	d.background.Go(func() {
		defer close(gone)
		if err := old.close(); err != nil {
			d.log.Error("closing the model before", "error", err.Error())
		}
		debug.FreeOSMemory()
	})
	return nil
}

// changed tells whether the model has to be opened again: the options of it have changed, there is another file in its place, or the file has
// become unreadable under it.
func (d *daemon) changed(now, next *config.Config, options []string) (bool, error) {
	s, done := d.models.use()
	defer done()
	replaced, err := s.file.Replaced()
	if err != nil && next.Model == now.Model {
		return false, err
	}
	of := func(name string) bool { return slices.Contains(ofModel, name) }
	return replaced || s.damaged.Load() != nil || slices.ContainsFunc(options, of), nil
}

// confined adds to an error that a file may not be read what may be the reason.
func (d *daemon) confined(err error) error {
	if errors.Is(err, fs.ErrPermission) && d.config().Sandbox != config.SandboxOff {
		return fmt.Errorf("%w; the sandbox leaves only the directories that were configured at the start: for others, start the daemon again", err)
	}
	return err
}
