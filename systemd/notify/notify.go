package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxStatus is how many bytes of a status are sent; systemctl shows one line of it.
const maxStatus = 512

// sendTimeout is how long a message may wait for a manager that does not read.
const sendTimeout = time.Second

// Notifier sends messages to the service manager. All methods of a nil one do nothing. It is safe for concurrent use.
type Notifier struct {
	path     string        // of the manager's socket; a leading @ is an abstract one
	watchdog time.Duration // the manager's limit, or 0

	mu   sync.Mutex
	conn *net.UnixConn // held open, so that messages get through when no file descriptor is free
}

// FromEnv connects to the socket that $NOTIFY_SOCKET names, and takes the watchdog's time out of $WATCHDOG_USEC and $WATCHDOG_PID.
// It unsets the three, lest child processes speak for this one. Without $NOTIFY_SOCKET it returns nil and no error.
func FromEnv() (*Notifier, error) {
	path, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET=%s is no path and no abstract socket; this program speaks to no other kind", path)
	}
	watchdog, err := parseWatchdog(usec, pid)
	if err != nil {
		return nil, err
	}
	n := &Notifier{path: path, watchdog: watchdog}
	if err := n.dial(); err != nil {
		return nil, err
	}
	return n, nil
}

// parseWatchdog reads $WATCHDOG_USEC, which counts only for the process $WATCHDOG_PID if that is set.
func parseWatchdog(usec, pid string) (time.Duration, error) {
	if usec == "" {
		return 0, nil
	}
	if pid != "" {
		p, err := strconv.Atoi(pid)
		if err != nil || p <= 0 {
			return 0, fmt.Errorf("WATCHDOG_PID=%s is no process id", pid)
		}
		if p != os.Getpid() {
			return 0, nil
		}
	}
	const maxUsec = int64(1<<63-1) / int64(time.Microsecond)
	us, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || us <= 0 || us > maxUsec {
		return 0, fmt.Errorf("WATCHDOG_USEC=%s is no positive number of microseconds", usec)
	}
	return time.Duration(us) * time.Microsecond, nil
}

func (n *Notifier) dial() error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("the service manager's socket (NOTIFY_SOCKET): %w", err)
	}
	n.conn = conn
	return nil
}

// Ready says that the service has started, or has finished a reload.
func (n *Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + oneLine(status)) }

// Status replaces the line that `systemctl status` shows. Newlines become spaces.
func (n *Notifier) Status(status string) error { return n.send("STATUS=" + oneLine(status)) }

// Reloading says that a reload begins, and when; [Notifier.Ready] ends it.
func (n *Notifier) Reloading() error {
	if n == nil {
		return nil
	}
	var now unix.Timespec // systemd tells an answer to its own reload from an older one by this clock
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
}

// Stopping says that the service shuts down.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Watchdog says that the service makes progress. It has to be called every [Notifier.WatchdogInterval] at the latest.
func (n *Notifier) Watchdog() error { return n.send("WATCHDOG=1") }

// ExtendTimeout asks for d more, from now on, to start, reload or stop; it has to be repeated before d is over.
func (n *Notifier) ExtendTimeout(d time.Duration) error {
	return n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(max(d.Microseconds(), 1), 10))
}

// WatchdogInterval is how often [Notifier.Watchdog] has to be called, half the manager's limit as sd_watchdog_enabled(3) advises. 0: there is no watchdog.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog / 2
}

// Close frees the socket. Messages after it are errors.
func (n *Notifier) Close() error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		return nil
	}
	err := n.conn.Close()
	n.conn = nil
	return err
}

// send sends one datagram, over a new connection if the manager has made its socket anew.
func (n *Notifier) send(message string) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		return fmt.Errorf("the service manager was not told %q: the notifier is closed", firstLine(message))
	}
	err := n.write(message)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNRESET) {
		old := n.conn
		if err = n.dial(); err == nil {
			old.Close()
			err = n.write(message)
		}
	}
	if err != nil {
		return fmt.Errorf("the service manager was not told %q: %w", firstLine(message), err)
	}
	return nil
}

func (n *Notifier) write(message string) error {
	n.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err := n.conn.Write([]byte(message))
	return err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// oneLine makes s fit for a message, whose lines are assignments: no control characters, valid UTF-8, of bounded length.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxStatus {
		s = strings.ToValidUTF8(s[:maxStatus], "")
	}
	return s
}
