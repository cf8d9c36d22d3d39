package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/permledger/permledger/ledger"
)

// lockName is the file in Dir whose lock says that somebody uses it. The file stays; the lock goes with
// the process, however that ends.
const lockName = "ledger.lock"

// lockDir makes sure that no other process, nor another Open in this one, uses dir: nats-server itself
// does not look, and two servers on one store destroy it.
func lockDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f.Close, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: data directory %s is in use by another process", ledger.ErrUnavailable, dir)
	}
	return nil, fmt.Errorf("lock the data directory: %w", err)
}
