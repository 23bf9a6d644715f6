package notify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// manager listens as the service manager does, at an address or in a new directory, and sets the environment.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	if address == "" {
		address = filepath.Join(t.TempDir(), "notify")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestMessages(t *testing.T) {
	for _, address := range []string{"", fmt.Sprintf("@bimamba-notify-test-%d", os.Getpid())} {
		conn := manager(t, address)
		n, err := FromEnv()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if os.Getenv("NOTIFY_SOCKET") != "" {
			t.Error("NOTIFY_SOCKET is still set")
		}
		for _, tt := range []struct {
			send func() error
			want string
		}{
			{func() error { return n.Ready("serving 780m") }, "READY=1\nSTATUS=serving 780m"},
			{func() error { return n.Status("two\nlines\tand\x7f more") }, "STATUS=two lines and  more"},
			{func() error { return n.Status("READY=1\r\nWATCHDOG=trigger") }, "STATUS=READY=1  WATCHDOG=trigger"},
			{func() error { return n.Status("\xffé") }, "STATUS=\uFFFDé"},
			{n.Stopping, "STOPPING=1"},
			{n.Watchdog, "WATCHDOG=1"},
			{func() error { return n.ExtendTimeout(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000"},
			{func() error { return n.ExtendTimeout(-1) }, "EXTEND_TIMEOUT_USEC=1"},
		} {
			if err := tt.send(); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, conn); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		}
	}
}

func TestReloading(t *testing.T) {
	conn := manager(t, "")
	n, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	now := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano() / 1000
	}
	before := now()
	if err := n.Reloading(); err != nil {
		t.Fatal(err)
	}
	after := now()
	usec, ok := strings.CutPrefix(receive(t, conn), "RELOADING=1\nMONOTONIC_USEC=")
	if at, err := strconv.ParseInt(usec, 10, 64); !ok || err != nil || at < before || at > after {
		t.Errorf("MONOTONIC_USEC=%s is not from %d to %d", usec, before, after)
	}
}

func TestLongStatus(t *testing.T) {
	conn := manager(t, "")
	n, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Status(strings.Repeat("ü", 100_000)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, conn); len(got) > maxStatus+len("STATUS=") || !utf8.ValidString(got) || len(got) < maxStatus {
		t.Errorf("%d bytes, valid UTF-8 %v", len(got), utf8.ValidString(got))
	}
}

// TestRestartedManager is a manager that makes its socket anew, and one that is gone.
func TestRestartedManager(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, address)
	n, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	os.Remove(address)
	if err := n.Status("to nobody"); err == nil || !strings.Contains(err.Error(), `not told "STATUS=to nobody"`) {
		t.Errorf("without a manager: %v", err)
	}
	conn = manager(t, address)
	if err := n.Status("hello"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, conn); got != "STATUS=hello" {
		t.Errorf("got %q", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Watchdog(); err == nil {
		t.Error("a closed notifier sends")
	}
}

func TestNil(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n, err := FromEnv()
	if n != nil || err != nil {
		t.Fatal(n, err)
	}
	for _, err := range []error{n.Ready("x"), n.Status("x"), n.Reloading(), n.Stopping(), n.Watchdog(), n.ExtendTimeout(1), n.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
	if d := n.WatchdogInterval(); d != 0 {
		t.Error(d)
	}
}

func TestFromEnvErrors(t *testing.T) {
	for _, tt := range []struct{ address, usec, want string }{
		{"vsock:2:1234", "", "NOTIFY_SOCKET=vsock:2:1234 is no path"},
		{filepath.Join(t.TempDir(), "none"), "", "no such file"},
		{"/run/x", "soon", "WATCHDOG_USEC=soon is no positive number"},
	} {
		t.Setenv("NOTIFY_SOCKET", tt.address)
		t.Setenv("WATCHDOG_USEC", tt.usec)
		if _, err := FromEnv(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.address, err, tt.want)
		}
	}
}

func TestWatchdogInterval(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
		err       string
	}{
		{"30000000", "", 15 * time.Second, ""},
		{"30000000", pid, 15 * time.Second, ""},
		{"30000000", "1", 0, ""},
		{"", pid, 0, ""},
		{"0", "", 0, "WATCHDOG_USEC=0"},
		{"-5", "", 0, "WATCHDOG_USEC=-5"},
		{"9223372036854775807", "", 0, "WATCHDOG_USEC="},
		{"18446744073709551615", "", 0, "WATCHDOG_USEC="},
		{"30000000", "x", 0, "WATCHDOG_PID=x"},
		{"30000000", "-1", 0, "WATCHDOG_PID=-1"},
	} {
		limit, err := parseWatchdog(tt.usec, tt.pid)
		n := &Notifier{watchdog: limit}
		if got := n.WatchdogInterval(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
