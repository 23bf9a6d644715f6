package cli

import (
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSecondSignal: a command that does not end at the first signal, as it waits for a pipe, is ended by another one.
func TestSecondSignal(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "prompts")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("bimamba", "measure", "default", "--json", "--prompts", pipe)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	late := time.After(time.Minute)
	for fd := -1; fd < 0; { // a writer can open the pipe once the command has it
		var err error
		if fd, err = unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			defer unix.Close(fd)
		} else if !errors.Is(err, unix.ENXIO) {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended at once: %v", err)
		case <-late:
			c.Process.Kill()
			t.Fatal("it does not read the pipe")
		case <-time.After(10 * time.Millisecond):
		}
	}
	for sent := 0; ; sent++ {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("it ended by itself: %v", err)
			}
			if sent < 2 {
				t.Errorf("it ended at signal %d", sent)
			}
			return
		case <-late:
			c.Process.Kill()
			t.Fatalf("it goes on after %d signals", sent)
		case <-time.After(300 * time.Millisecond):
			c.Process.Signal(syscall.SIGTERM)
		}
	}
}
