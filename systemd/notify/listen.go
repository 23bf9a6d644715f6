package notify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is where passed file descriptors start (SD_LISTEN_FDS_START).
const firstFD = 3

// maxFDs bounds LISTEN_FDS; a service has a handful.
const maxFDs = 256

// Listener is a socket that systemd opened and listens on.
type Listener struct {
	Name string // FileDescriptorName= of its socket unit
	net.Listener
}

// Listeners takes over the sockets that were passed to this process, in their order: listening TCP and Unix stream sockets; any other is an error that names it.
// It unsets $LISTEN_PID, $LISTEN_FDS and $LISTEN_FDNAMES, so a second call finds none. Closing a listener leaves a Unix socket's file where it is: it is systemd's.
func Listeners() ([]Listener, error) {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	passed, err := parseListen(pid, fds, names)
	if err != nil {
		return nil, err
	}
	for i := range passed { // before anything can fail: none of them may leak into a child
		unix.CloseOnExec(firstFD + i)
	}
	var listeners []Listener
	for i, name := range passed {
		l, err := listener(firstFD+i, name)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, err
		}
		listeners = append(listeners, Listener{name, l})
	}
	return listeners, nil
}

// parseListen is the names of the descriptors that were passed to this process.
func parseListen(pid, fds, names string) ([]string, error) {
	if pid == "" || fds == "" {
		return nil, nil
	}
	p, err := strconv.Atoi(pid)
	if err != nil || p <= 0 {
		return nil, fmt.Errorf("LISTEN_PID=%s is no process id", pid)
	}
	if p != os.Getpid() {
		return nil, nil // meant for another process, whose environment this one inherited
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > maxFDs {
		return nil, fmt.Errorf("LISTEN_FDS=%s is no number of sockets from 0 to %d", fds, maxFDs)
	}
	list := make([]string, n)
	for i := range list {
		list[i] = "unknown" // what systemd calls a descriptor without a name
	}
	if names == "" {
		return list, nil
	}
	given := strings.Split(names, ":")
	if len(given) != n {
		return nil, fmt.Errorf("LISTEN_FDNAMES=%s has %d names for %d sockets", names, len(given), n)
	}
	copy(list, given)
	return list, nil
}

// listener wraps a descriptor, which it closes.
func listener(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, fmt.Errorf("passed socket %s (file descriptor %d) is no file descriptor", name, fd)
	}
	defer f.Close()
	if err := checkSocket(fd); err != nil {
		return nil, fmt.Errorf("passed socket %s (file descriptor %d): %w", name, fd, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("passed socket %s (file descriptor %d): %w", name, fd, err)
	}
	return l, nil
}

// checkSocket refuses what is no listening TCP or Unix stream socket.
func checkSocket(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == unix.ENOTSOCK {
		return fmt.Errorf("it is not a socket; use ListenStream= in the socket unit")
	}
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM || domain != unix.AF_INET && domain != unix.AF_INET6 && domain != unix.AF_UNIX {
		return fmt.Errorf("it is neither a TCP nor a Unix stream socket; use ListenStream= in the socket unit")
	}
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if accepts == 0 {
		return fmt.Errorf("it does not listen; the socket unit must not say Accept=yes")
	}
	return nil
}
