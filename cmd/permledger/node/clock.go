package node

import (
	"fmt"
	"sync"
	"time"

	"github.com/permledger/permledger/events"
)

// clock is what time it is for the ledger and for everybody who asks it. It never goes back, and it does not
// believe a wall clock that is set: against it stands the time that has really passed, as the system counts it
// through suspensions, too.
//
// As long as the wall clock goes as fast as time passes, now is what it says. Otherwise it is unsound, nothing is
// recorded, and now is:
//
//   - the wall clock was set, or stands still: it is more than jump away from where it must be. Now goes on as fast
//     as time passes, so that what ends meanwhile ends, and nothing starts early. It is sound again when the wall
//     clock is back; a wall clock that was wrong before and is right now needs a restart, which starts to count anew;
//   - it is within jump, and behind what was given out by more than slack: now stands still until it catches up;
//   - since the start it was never where the ledger had been before: now stands still at that, because nobody knows
//     how much time has passed since. It is sound when that time has come.
//
// Two clocks are only as equal as their crystals. So where the wall clock must be follows it by one part in a
// thousand of the time that passes: more than a clock that is kept right is ever slewed by, and far less than
// anybody gains by setting it in small steps.
type clock struct {
	wall    func() time.Time
	elapsed func() time.Duration // since any moment, never back; nil: nothing to hold the wall clock against
	gap     time.Duration        // how far the wall clock may be ahead of the floor at the start

	mu       sync.Mutex
	floor    time.Time // everything given out, and what the ledger was at before
	anchored bool      // the wall clock has been sound: expected and at are set
	expected time.Time // where the wall clock must be
	at       time.Duration
	unsound  error
}

const (
	jump   = time.Minute     // how far the wall clock may be from where it must be
	slack  = 2 * time.Second // how far it may be behind what was given out
	follow = 1000            // one part in how many of the time that passes it may go wrong by
)

// newClock gives a clock that was at the floor before.
func newClock(wall func() time.Time, elapsed func() time.Duration, gap time.Duration, floor events.Instant) *clock {
	c := &clock{wall: wall, elapsed: elapsed, gap: gap}
	if !floor.IsZero() {
		c.floor = floor.Time()
	}
	return c
}

// now is what time it is.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look()
}

// sound is nil while the wall clock can be trusted, or says why not.
func (c *clock) sound() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.unsound
}

// raise takes over a time that the ledger has been at.
func (c *clock) raise(to events.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !to.IsZero() {
		c.floor = later(c.floor, to.Time())
	}
}

// look reads the clocks, judges them, and gives what time it is. The caller holds mu.
func (c *clock) look() time.Time {
	wall := c.wall().Round(0) // without Go's own monotonic reading, which hides that the wall clock was set
	c.pass(wall)
	believed := wall
	switch lead, behind := wall.Sub(c.expected), c.floor.Sub(wall); {
	case c.anchored && c.elapsed != nil && (lead > jump || lead < -jump):
		c.unsound = fmt.Errorf("it says %s and must be near %s, by the time that has passed; if it is right now, restart", stamp(wall), stamp(c.expected))
		believed = c.expected
	case behind > slack:
		c.unsound = fmt.Errorf("it says %s, which was over before: it has been %s already", stamp(wall), stamp(c.floor))
		believed = c.floor
	case !c.anchored && c.elapsed != nil && c.tooFar(wall) != nil:
		c.unsound = c.tooFar(wall)
		believed = c.floor
	default:
		c.unsound = nil
		c.anchor(wall)
	}
	c.floor = later(c.floor, believed)
	return c.floor
}

// pass moves where the wall clock must be by the time that passed, and a little towards where it is.
func (c *clock) pass(wall time.Time) {
	if c.elapsed == nil || !c.anchored {
		return
	}
	now := c.elapsed()
	passed := now - c.at
	c.at, c.expected = now, c.expected.Add(passed)
	if lead := wall.Sub(c.expected); -jump <= lead && lead <= jump {
		most := passed / follow
		c.expected = c.expected.Add(min(max(lead, -most), most))
	}
}

// checkGap refuses to start with a wall clock that is too far ahead of the floor.
func (c *clock) checkGap() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tooFar(c.wall().Round(0))
}

// anchor begins to hold the wall clock against the time that passes, at its first sound reading.
func (c *clock) anchor(wall time.Time) {
	if c.elapsed == nil || c.anchored {
		return
	}
	c.anchored, c.expected, c.at = true, wall, c.elapsed()
}

// tooFar says so when the wall clock is further ahead of the floor than the ledger can have been closed for.
func (c *clock) tooFar(wall time.Time) error {
	if ahead := wall.Sub(c.floor); c.gap <= 0 || c.floor.IsZero() || ahead <= c.gap {
		return nil
	}
	return fmt.Errorf("it says %s, and the ledger was last used at %s: if it is right, start once with --max-clock-gap 0", stamp(wall), stamp(c.floor))
}

func stamp(t time.Time) string { return events.At(t).String() }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
