package state

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// What can be wrong with a snapshot; an *Error wraps one of them.
var (
	ErrNotFound = errors.New("no such snapshot")
	ErrName     = errors.New("not a name for a snapshot")
	ErrModel    = errors.New("snapshot of another model") // or of the same with states of another dtype
	ErrVersion  = errors.New("snapshot of another format version")
	ErrDamaged  = errors.New("damaged snapshot")                 // or no snapshot at all
	ErrNoSpace  = errors.New("no space left for a snapshot")     // the disk is full, or a quota is used up
	ErrTooMany  = errors.New("a limit on snapshots is exceeded") // Limits, MaxTokens or MaxHeader
)

// Error says in one line what is wrong with which snapshot, where, and what to do.
type Error struct {
	Kind error  // one of the Err variables; nil where the reading or writing itself failed
	Name string // of the snapshot in its Dir; "" for a stream
	What string // the message, without the name
	Err  error  // the cause in the operating system, or nil
}

func (e *Error) Error() string {
	if e.Name == "" {
		return "snapshot: " + e.What
	}
	return fmt.Sprintf("snapshot %.64q: %s", e.Name, e.What)
}

// Unwrap gives Kind and Err to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

func damaged(format string, a ...any) error {
	return &Error{Kind: ErrDamaged, What: fmt.Sprintf(format, a...)}
}

// failed is the Error of a system call's err.
func failed(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &Error{Kind: ErrNoSpace, What: fmt.Sprintf("%s: %v; delete a snapshot or make room on the disk", doing, err), Err: err}
	}
	return &Error{What: fmt.Sprintf("%s: %v", doing, err), Err: err}
}

// missing is failed for a call about a file that may not be there.
func missing(doing string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: ErrNotFound, What: "there is none of this name; list what there is", Err: err}
	}
	return failed(doing, err)
}

// named puts the snapshot's name into err, an *Error.
func named(name string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Name = name
	}
	return err
}
