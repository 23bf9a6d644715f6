package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"

	"bimamba/edge/daemon/config"
)

// reload reads the configuration again and applies what can be applied; on an error all stays as it is.
func (d *daemon) reload() {
	d.notifier.Reloading()
	defer d.notifier.Ready(d.answering)
	if err := d.tryReload(); err != nil {
		d.log.Error("reload: all stays as it was", "error", err.Error())
		return
	}
	d.reloads.Add(1)
	d.log.Info("reloaded")
}

// ofModel are the options that the model is opened with.
var ofModel = []string{
	"model", "persona", "sessions", "checkpoints", "threads", "precision", "state", "batch", "queue", "max_tokens", "max_tokens_limit", "max_prompt",
	"request_timeout",
}

func (d *daemon) tryReload() error {
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
	if anew {
		s, err := open(next)
		if err != nil {
			return d.confined(err)
		}
		logModel(d.log, s)
		old := d.models.swap(s)
		d.oldModels.Go(func() {
			if err := old.close(); err != nil {
				d.log.Error("closing the model before", "error", err.Error())
			}
			debug.FreeOSMemory()
		})
	}
	// Nothing can fail from here on.
	if pair != nil {
		d.certs.use(pair, d.log)
	}
	d.token.Store(&token)
	d.limit.set(next.MaxConnections)
	d.logTo.set(newHandler(d.opt.Log, next))
	d.conf.Store(next)
	limitMemory(next)
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
