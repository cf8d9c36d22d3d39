package node

import (
	"fmt"
	"syscall"

	"github.com/permledger/permledger/ledger"
)

// ownFiles is how many files a node may need at once: what the log, the views and their upkeep open, with room.
const ownFiles = 128

// FilesLeft is how many files the process may have open beside the node's own: for connections. The node's own must
// never be wanting: a store that cannot open its own files takes them for missing.
func FilesLeft() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("look at the limit of open files: %w", err)
	}
	if limit.Cur < ownFiles+16 {
		return 0, fmt.Errorf("%w: too many open files are too soon: the limit is %d, a ledger needs %d and some for connections (ulimit -n)", ledger.ErrUnavailable, limit.Cur, ownFiles)
	}
	return int(min(limit.Cur-ownFiles, 1<<20)), nil
}
