package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"bimamba/boards/tuning"
	"bimamba/edge/daemon/config"
	"bimamba/neon"
)

// readTuning is what was measured of this board, nil if nothing was. A file that was named has to be there.
func readTuning(c *config.Config, board string, log *slog.Logger) (*tuning.File, error) {
	t, err := tuning.Read(c.Tuning)
	switch {
	case err == nil:
	case c.Origin("tuning") != "":
		return nil, fmt.Errorf("tuning: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	default:
		log.Warn("tuning: the file is left alone", "error", err.Error())
		return nil, nil
	}
	kernels, err := neon.Kernel()
	if err != nil {
		return nil, err
	}
	if err := t.Matches(kernels, board); err != nil {
		log.Warn("tuning: the file is left alone", "file", c.Tuning, "error", err.Error())
		return nil, nil
	}
	return t, nil
}
