package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// TestInterruptible passes everything through, until it is interrupted in the middle of a wait.
func TestInterruptible(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 20_000)
	if err := iotest.TestReader(newInterruptible(context.Background(), bytes.NewReader(data)), data); err != nil {
		t.Error(err)
	}
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	in := newInterruptible(ctx, r)
	go func() {
		io.WriteString(w, "ab") // arrives
		cancel()                // nothing more does
	}()
	b, err := io.ReadAll(in)
	if !errors.Is(err, context.Canceled) || string(b) != "ab" && string(b) != "" {
		t.Errorf("read %q, %v", b, err)
	}
}
