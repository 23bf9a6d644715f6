package cli

import (
	"context"
	"io"
)

// interruptible is a reader that an interrupt ends, also while it waits for somebody to type.
type interruptible struct {
	ctx     context.Context
	r       io.Reader
	buf     []byte
	results chan readResult
	waiting bool // a Read of r is under way
}

type readResult struct {
	n   int
	err error
}

func newInterruptible(ctx context.Context, r io.Reader) *interruptible {
	return &interruptible{ctx: ctx, r: r, buf: make([]byte, 64<<10), results: make(chan readResult, 1)}
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil || len(p) == 0 {
		return 0, err
	}
	if !i.waiting {
		i.waiting = true
		b := i.buf[:min(len(p), len(i.buf))]
		go func() {
			n, err := i.r.Read(b)
			i.results <- readResult{n, err}
		}()
	}
	select {
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	case res := <-i.results:
		i.waiting = false
		return copy(p, i.buf[:res.n]), res.err
	}
}
