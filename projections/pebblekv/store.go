// Package pebblekv is the project's one door to Pebble: a store of byte keys, atomic batches that can be
// read while they are written, and snapshots that stand still.
//
// Keys are built with Key from encoded ids (events.Token) and numbers; the encoding is injective and keeps
// rows of one thing together, so that a prefix scan is a question. See key.go.
//
// A view writes through a Batch, which is a window on the store under the view's prefix; keys in and out of
// it are without that prefix, which is why the same rows in another generation have the same digest.
package pebblekv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a Store. The zero value works.
type Options struct {
	CacheBytes int64     // block cache; default 128 MiB. It should hold the working set of the views.
	FS         vfs.FS    // default: the disk, or memory for Open("")
	Logger     io.Writer // where Pebble's own messages go; default: nowhere
	ReadOnly   bool      // leaves every file as it is; for looking at a store that may be damaged
}

// Store is an open Pebble database.
type Store struct {
	db     *pebble.DB
	lock   *pebble.Lock
	health *health
}

// Open opens or creates the store in dir; "" keeps it in memory. The error is ErrDamaged when its files are not
// what was written.
//
// The format version is pinned to the newest: older formats open on a damaged write-ahead log and silently
// serve a shorter prefix. What Pebble opens in silence nevertheless is found by intact.
func Open(dir string, o Options) (*Store, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 128 << 20
	}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	h := &health{log: o.Logger, ending: make(chan struct{}), firstStuck: make(chan error, 1)}
	opts := &pebble.Options{
		Cache:              cache,
		FS:                 o.FS,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             h,
		EventListener:      h.listener(),
		ReadOnly:           o.ReadOnly,
		MemTableSize:       32 << 20,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	switch {
	case opts.FS == nil && dir == "":
		opts.FS = vfs.NewMem()
	case opts.FS == nil:
		opts.FS = vfs.Default
	}
	err := opts.FS.MkdirAll(dir, 0o755)
	if err == nil {
		opts.Lock, err = pebble.LockDirectory(dir, opts.FS)
	}
	if err != nil {
		return nil, failed("lock", err)
	}
	db, err := h.open(dir, opts)
	if err == nil {
		err = h.alive()
	}
	if err != nil {
		return nil, failedToOpen(err)
	}
	return &Store{db, opts.Lock, h}, nil
}

// open opens the database, or gives up when it cannot write a table meanwhile: Pebble would try again for as long
// as that takes, and nobody would hear why. What it then still does, it does under the lock, which stays taken until
// the process ends.
func (h *health) open(dir string, opts *pebble.Options) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := open(dir, opts)
		if err != nil {
			_ = opts.Lock.Close()
		}
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case err := <-h.firstStuck:
		h.abandon(func() (*pebble.DB, bool) {
			select {
			case o := <-done:
				return o.db, true
			case <-time.After(abandoning):
				return nil, false
			}
		}, opts.Lock)
		return nil, err
	case <-h.ending:
		return nil, h.alive()
	}
}

// abandoning is how long a database that is given up may take to let go.
const abandoning = 10 * time.Second

// abandon closes a database that opened and is of no use, and gives its lock back, so that another can be made in
// its place. While it does not let go, the lock stays: two databases on one directory destroy it.
func (h *health) abandon(opened func() (*pebble.DB, bool), lock *pebble.Lock) {
	db, ok := opened()
	if !ok || db == nil { // one that failed to open has given the lock back
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer func() { _ = recover() }() // as in open
		_ = db.Close()
	}()
	select {
	case <-closed:
		_ = lock.Close()
	case <-time.After(abandoning):
	}
}

// open turns what Pebble panics of into an error: it takes its own files for consistent once their checksums are.
func open(dir string, opts *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("pebble panicked: %v", r)
		}
	}()
	if err := intact(dir, opts.FS); err != nil {
		return nil, err
	}
	return pebble.Open(dir, opts)
}

// Close closes the store. One that ended is left to the end of the process: its goroutines may never come back.
func (s *Store) Close() error {
	if err := s.health.alive(); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	return errors.Join(s.db.Close(), s.lock.Close())
}

// Row is a key and its value. Both are valid until the iteration goes on.
type Row struct{ Key, Value []byte }

// Reader reads rows. Keys are relative to the reader's prefix.
type Reader interface {
	// Get returns a copy of the value; ok is false when there is no such row.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan yields the rows with prefix in order of key.
	Scan(prefix []byte) iter.Seq2[Row, error]
	// ScanFrom yields the rows with prefix from the key from on (from starts with prefix).
	ScanFrom(prefix, from []byte) iter.Seq2[Row, error]
	// Last yields the last row with prefix at or before the key upTo; nil upTo means the last with prefix.
	Last(prefix, upTo []byte) (Row, bool, error)
}

// Batch is a Reader that can be written; it sees its own writes. Nobody else does before Commit.
type Batch interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Write is the one atomic unit of change. Window gives a view its part of it.
type Write struct {
	window
	batch  *pebble.Batch
	closed bool // Pebble uses batches again: one must not be closed twice
}

// NewWrite opens a batch on the whole store. Close it with Commit or Discard.
func (s *Store) NewWrite() *Write {
	b := s.db.NewIndexedBatch()
	return &Write{window: window{health: s.health, reader: b, writer: b}, batch: b}
}

// NewBulkWrite opens a batch that cannot read its own writes and takes them faster.
func (s *Store) NewBulkWrite() *Write {
	b := s.db.NewBatch()
	return &Write{window: window{health: s.health, reader: s.db, writer: b}, batch: b}
}

// Window is the part of the batch under prefix.
func (w *Write) Window(prefix []byte) Batch {
	return &window{health: w.health, reader: w.reader, writer: w.batch, prefix: bytes.Clone(prefix)}
}

// DeletePrefix removes every row with the prefix.
func (w *Write) DeletePrefix(prefix []byte) error {
	end := after(prefix)
	if end == nil {
		return fmt.Errorf("%w: delete prefix %x: has no end", ErrStore, prefix)
	}
	return w.batch.DeleteRange(prefix, end, nil)
}

// Size is how many bytes the batch holds.
func (w *Write) Size() int { return w.batch.Len() }

// Commit writes the batch atomically. With sync it is on the disk when Commit returns; without, a crash may
// forget it as a whole, which is fine for rows that the log gives back.
func (w *Write) Commit(sync bool) error {
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	if err := w.commit(o); err != nil {
		return err
	}
	w.Discard()
	return nil
}

// commit writes the batch, unless the store ended, or ends with it. It waits for Pebble and for the end of the store,
// whichever comes first: Pebble holds writers back while its tables cannot be written, and after the end they never
// can. The batch is Pebble's then.
func (w *Write) commit(o *pebble.WriteOptions) error {
	if err := w.health.alive(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- w.apply(o) }()
	select {
	case err := <-done:
		if ended := w.health.alive(); ended == nil {
			return err
		}
	case <-w.health.ending:
	}
	w.closed = true
	return w.health.alive()
}

// apply gives the batch to Pebble, which panics when its write-ahead log cannot be written: from then on no batch
// would ever become visible, and whoever waits for one would wait for ever. Readers are not in its way, so the store
// can end and the process go on, to say so.
//
// BUG(store): when it is a new log that cannot be begun, which happens once in 32 MiB of rows, the Go runtime ends the
// process, because Pebble's panic unlocks a lock that is not held. The next start replays.
func (w *Write) apply(o *pebble.WriteOptions) (err error) {
	defer func() {
		if r := recover(); r != nil {
			w.health.Fatalf("commit: %v", r)
		}
	}()
	if err := w.batch.Commit(o); err != nil {
		return failed("commit", err)
	}
	return nil
}

// Discard forgets the batch. Harmless after Commit.
func (w *Write) Discard() {
	if !w.closed {
		w.closed = true
		_ = w.batch.Close()
	}
}

// Snapshot is the store as it was at one moment.
type Snapshot struct {
	window
	snap *pebble.Snapshot
}

// NewSnapshot pins the present. Close it.
func (s *Store) NewSnapshot() *Snapshot {
	snap := s.db.NewSnapshot()
	return &Snapshot{window{health: s.health, reader: snap, idle: &iterators{}}, snap}
}

// Window is the part of the snapshot under prefix.
func (s *Snapshot) Window(prefix []byte) Reader {
	return &window{health: s.health, reader: s.snap, prefix: bytes.Clone(prefix), idle: s.idle}
}

// Close lets go of the snapshot. No scan of it may still be running.
func (s *Snapshot) Close() {
	s.idle.close()
	_ = s.snap.Close()
}

// window is a reader, and a writer if there is one, under a prefix.
type window struct {
	health *health
	reader pebble.Reader
	writer *pebble.Batch
	prefix []byte
	idle   *iterators // of a snapshot: iterators to use again
}

// iterators are those of a snapshot that nobody uses at the moment. Opening one costs more than most scans do
// with it, and a snapshot does not change under it.
type iterators struct {
	mu   sync.Mutex
	free []*pebble.Iterator
}

func (i *iterators) take() (it *pebble.Iterator) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := len(i.free); n > 0 {
		it, i.free = i.free[n-1], i.free[:n-1]
	}
	return it
}

func (i *iterators) give(it *pebble.Iterator) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.free = append(i.free, it)
}

func (i *iterators) close() {
	for _, it := range i.free {
		_ = it.Close()
	}
}

// iterator gives an iterator between two keys of the store; done gives it back.
func (w *window) iterator(lower, upper []byte) (it *pebble.Iterator, done func(), err error) {
	if err := w.health.alive(); err != nil {
		return nil, nil, err
	}
	if len(lower) == 0 {
		lower = nil // SetBounds takes an empty key for one to look at
	}
	if w.idle == nil {
		it, err = w.reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		return it, func() { _ = it.Close() }, err
	}
	if it = w.idle.take(); it != nil {
		it.SetBounds(lower, upper)
	} else if it, err = w.reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper}); err != nil {
		return nil, nil, err
	}
	return it, func() { w.idle.give(it) }, nil
}

func (w *window) Get(key []byte) ([]byte, bool, error) {
	if err := w.health.alive(); err != nil {
		return nil, false, err
	}
	v, closer, err := w.reader.Get(w.key(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, failed("get", err)
	}
	defer closer.Close()
	return bytes.Clone(v), true, nil
}

func (w *window) Scan(prefix []byte) iter.Seq2[Row, error] { return w.ScanFrom(prefix, prefix) }

func (w *window) ScanFrom(prefix, from []byte) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		it, done, err := w.iterator(w.key(from), after(w.key(prefix)))
		if err != nil {
			yield(Row{}, failed("scan", err))
			return
		}
		defer done()
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err != nil {
				yield(Row{}, failed("scan", err))
				return
			}
			if !yield(Row{it.Key()[len(w.prefix):], v}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Row{}, failed("scan", err))
		}
	}
}

func (w *window) Last(prefix, upTo []byte) (Row, bool, error) {
	lower, upper := w.key(prefix), after(w.key(prefix))
	if upTo != nil {
		if end := append(w.key(upTo), 0); upper == nil || bytes.Compare(end, upper) < 0 {
			upper = end
		}
	}
	it, done, err := w.iterator(lower, upper)
	if err != nil {
		return Row{}, false, failed("last", err)
	}
	defer done()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return Row{}, false, failed("last", err)
		}
		return Row{}, false, nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return Row{}, false, failed("last", err)
	}
	return Row{bytes.Clone(it.Key()[len(w.prefix):]), bytes.Clone(v)}, true, nil
}

func (w *window) Set(key, value []byte) error { return w.writer.Set(w.key(key), value, nil) }
func (w *window) Delete(key []byte) error     { return w.writer.Delete(w.key(key), nil) }

func (w *window) key(k []byte) []byte {
	b := make([]byte, 0, len(w.prefix)+len(k)+1)
	return append(append(b, w.prefix...), k...)
}

// after is the first key beyond every key with the prefix; nil if there is none.
func after(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}
