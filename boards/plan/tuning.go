package plan

import (
	"fmt"

	"bimamba/boards/tuning"
)

// checkTuning is whether a tuning is of a board that there are plans of.
func checkTuning(t *tuning.File) error {
	if t == nil {
		return nil
	}
	if _, err := Find(t.Board); err != nil {
		return fmt.Errorf("the tuning is of no board that can be planned: %w", err)
	}
	return nil
}

// measures tells whether a tuning is of that kind of board.
func measures(t *tuning.File, b *Board) bool {
	if t == nil {
		return false
	}
	own, err := Find(t.Board)
	return err == nil && own.Title == b.Title
}
