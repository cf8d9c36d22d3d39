package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/permledger/permledger/ledger"
)

// Disk is how full a file system is, in bytes.
type Disk struct {
	Used uint64
	Free uint64 // for this process; what is kept for the superuser is neither used nor free
}

func (d Disk) String() string {
	return fmt.Sprintf("%.1f %% used, %d MiB free", 100*d.share(), d.Free>>20)
}

func (d Disk) share() float64 {
	if d.Used+d.Free == 0 {
		return 0
	}
	return float64(d.Used) / float64(d.Used+d.Free)
}

func diskOf(dir string) func() (Disk, error) {
	return func() (Disk, error) {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			return Disk{}, fmt.Errorf("look at the disk of %s: %w", dir, err)
		}
		block := uint64(s.Bsize)
		return Disk{Used: (uint64(s.Blocks) - uint64(s.Bfree)) * block, Free: uint64(s.Bavail) * block}, nil
	}
}

// space is how much room a disk has, under the limits of c. On a large disk a share of it is still plenty: what
// counts is that both the share and the headroom are gone.
func (c Config) space(d Disk) ledger.Space {
	switch share := d.share(); {
	case c.DiskHeadroom >= 0 && d.Free >= uint64(c.DiskHeadroom):
		return ledger.SpaceOpen
	case c.DiskFull > 0 && share >= c.DiskFull:
		return ledger.SpaceFull
	case c.DiskLow > 0 && share >= c.DiskLow:
		return ledger.SpaceLow
	}
	return ledger.SpaceOpen
}

func (c Config) checkDisk() error {
	if c.DiskLow > 0 && c.DiskFull > 0 && c.DiskLow > c.DiskFull {
		return errors.New("the disk is low at a share of it, and full at a larger one")
	}
	return nil
}

// Space is how much room the disk of the data directory had when it was last looked at.
func (n *Node) Space() ledger.Space { return ledger.Space(n.space.Load()) }

// lookAtDisk sets Space. A disk that cannot be looked at is as it was.
func (n *Node) lookAtDisk() {
	if n.config.Disk == nil {
		return
	}
	d, err := n.config.Disk()
	if err != nil {
		n.config.Logger.Error("nobody knows how full the disk is", "error", err)
		return
	}
	now := n.config.space(d)
	if before := ledger.Space(n.space.Swap(int32(now))); before != now {
		n.config.Logger.Warn("space on the disk", "was", before.String(), "is", now.String(), "disk", d.String())
	}
}

// lookEvery is how often the disk and the clocks are looked at when nobody asks. A disk takes longer to be filled
// from one limit to the end than that, if the headroom is not chosen too small.
const lookEvery = time.Second

func (n *Node) keepLooking(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var said bool // that the clock is unsound
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n.lookAtDisk()
		err := n.clock.sound()
		if unsound := err != nil; unsound != said {
			said = unsound
			n.config.Logger.Warn("the clock", "sound", !unsound, "error", err)
		}
	}
}
