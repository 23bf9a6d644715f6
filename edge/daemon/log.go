package daemon

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"bimamba/edge/daemon/config"
)

// liveHandler is a log's handler that a reload can exchange under those who hold the log.
type liveHandler struct{ now atomic.Pointer[slog.Handler] }

func (l *liveHandler) set(h slog.Handler) { l.now.Store(&h) }

func (l *liveHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return (*l.now.Load()).Enabled(ctx, level)
}

func (l *liveHandler) Handle(ctx context.Context, r slog.Record) error {
	return (*l.now.Load()).Handle(ctx, r)
}

// WithAttrs and WithGroup are those of the handler as it is now: what they return, no reload changes.
func (l *liveHandler) WithAttrs(a []slog.Attr) slog.Handler { return (*l.now.Load()).WithAttrs(a) }
func (l *liveHandler) WithGroup(name string) slog.Handler   { return (*l.now.Load()).WithGroup(name) }

// newHandler is the log as a configuration wants it. Under systemd the journal knows the time itself.
func newHandler(w io.Writer, c *config.Config) slog.Handler {
	opt := &slog.HandlerOptions{Level: c.LogLevel}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opt.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if c.LogFormat == config.LogJSON {
		return slog.NewJSONHandler(w, opt)
	}
	return slog.NewTextHandler(w, opt)
}
