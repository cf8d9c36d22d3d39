package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/permledger/permledger/ledger"
)

// lockDir makes sure that nobody else has the data directory open, before anything in it is looked at: what is
// in it has locks of its own, but which of them a second process would meet first is chance, and so what it
// would say. The file stays; the lock goes with the process, however that ends.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		return f.Close, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: the data directory %s is in use by another process", ledger.ErrUnavailable, dir)
	}
	return nil, fmt.Errorf("lock the data directory: %w", err)
}
