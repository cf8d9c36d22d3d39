//go:build !linux

package node

import "time"

// elapsed is the time since the process started; whether with the time the machine was suspended is up to the system.
func elapsed() time.Duration { return time.Since(started) }

var started = time.Now()
