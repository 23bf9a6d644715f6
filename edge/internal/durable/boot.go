package durable

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is the time since the machine was started, with what it slept. It does not depend on a clock that was set.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil { // it is in every kernel since 2.6.39
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// BootID is what tells the time since the machine was started from that before, "" if it is not known.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
