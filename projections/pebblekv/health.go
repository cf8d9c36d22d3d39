package pebblekv

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

var (
	// ErrStore wraps every failure of the store itself.
	ErrStore = errors.New("view store")
	// ErrDamaged: the files are not what was written. It is a kind of ErrStore, and does not pass.
	ErrDamaged = fmt.Errorf("damaged %w", ErrStore)
)

// passing are failures of the system that say nothing about what is in the files.
var passing = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EACCES, syscall.EPERM, syscall.EROFS,
	syscall.ENOMEM, syscall.EAGAIN, syscall.EIO,
}

// told is an error of Pebble without the mark that it prints behind some.
type told struct{ error }

func (t told) Error() string {
	return strings.ReplaceAll(t.error.Error(), "\n<corruption detail carrier>", "")
}
func (t told) Unwrap() error { return t.error }

// failed wraps a failure to read or write.
func failed(doing string, err error) error {
	err = told{err}
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrStore, doing, err)
}

// failedToOpen wraps a failure to open. What is no failure of the system is one of the files: Pebble does not
// mark all of those.
func failedToOpen(err error) error {
	err = told{err}
	for _, p := range passing {
		if errors.Is(err, p) {
			return fmt.Errorf("%w: open: %w", ErrStore, err)
		}
	}
	return fmt.Errorf("%w: open: %w", ErrDamaged, err)
}

// health is what a store knows of itself. Pebble tells it through its logger and its listener, from whatever
// goroutine it is on.
type health struct {
	log io.Writer // nil: nowhere

	ended  atomic.Pointer[error] // why nothing can be read or written any more
	ending chan struct{}         // closed when ended is set

	firstStuck chan error // has room for one: the first failure to write tables, for whoever opens the store

	mu      sync.Mutex
	damaged error // the first damage that was met; the rest can be read
	stuck   error // what is written does not get from memory into tables, at the moment
}

// Err is nil while the store works, or says what does not: that it ended and answers nothing, that a part of it
// is damaged, which is an error for whoever reads that part, or that it cannot write tables, which passes when
// it can.
func (s *Store) Err() error { return s.health.err() }

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, err := range []error{h.alive(), h.damaged, h.stuck} {
		if err != nil {
			return err
		}
	}
	return nil
}

// alive is nil until the store ended.
func (h *health) alive() error {
	if ended := h.ended.Load(); ended != nil {
		return *ended
	}
	return nil
}

func (h *health) listener() *pebble.EventListener {
	set := func(to *error, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		*to = err
	}
	return &pebble.EventListener{
		// Without this one a read that meets a damaged block would end the process instead of giving an error.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.Errorf("%s", info)
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.damaged == nil {
				h.damaged = fmt.Errorf("%w: %s", ErrDamaged, info)
			}
		},
		BackgroundError: func(err error) {
			h.Errorf("background error: %v", err)
			set(&h.stuck, failed("write tables", err))
			select {
			case h.firstStuck <- err:
			default:
			}
		},
		FlushEnd: func(info pebble.FlushInfo) {
			if info.Err == nil {
				set(&h.stuck, nil)
			}
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			if info.Err == nil {
				set(&h.stuck, nil)
			}
		},
	}
}

// Infof, Errorf and Fatalf make health Pebble's logger.
func (h *health) Infof(f string, a ...any) {
	if h.log != nil {
		fmt.Fprintf(h.log, f+"\n", a...)
	}
}

func (h *health) Errorf(f string, a ...any) { h.Infof(f, a...) }

// Fatalf is called when Pebble cannot go on: its manifest cannot be written, or a file is not as long as it was.
// Instead of ending the process it ends the store: whatever Pebble does with its own state after that, nobody
// reads or writes it through this package again, and what is on the disk is opened anew, or refused.
func (h *health) Fatalf(f string, a ...any) {
	h.Errorf(f, a...)
	err := fmt.Errorf("%w: it ended: %s", ErrStore, fmt.Sprintf(f, a...))
	if h.ended.CompareAndSwap(nil, &err) {
		close(h.ending)
	}
}
