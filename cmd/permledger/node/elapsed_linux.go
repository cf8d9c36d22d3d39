package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed is the time since the machine started, with the time it was suspended: nobody can set it.
func elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("node: CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(t.Nano())
}
