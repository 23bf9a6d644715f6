// Package boottime is the kernel's time since the machine was started, which no setting of a clock changes.
package boottime

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine was started, with what it slept.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil { // it is in every kernel since 2.6.39
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// ID tells this start of the machine from all others.
func ID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
