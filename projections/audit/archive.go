package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Single gets would cost a search each; a walk over everything reads each table once, in order of its keys, with
// as many scans side by side as it needs tables.

var errStray = errors.New("a row that belongs to nothing")

// table is one table read row by row, in order of the number that ends its keys.
type table struct {
	rows   pebblekv.Reader
	prefix pebblekv.Key

	next func() (pebblekv.Row, error, bool) // nil while nothing is open
	stop func()
	row  pebblekv.Row // the one read last and not yet asked for
	held bool
}

// at gives the row of a number, which is valid until the next call. Rows passed over on the way there should not
// exist: they are an error, too, and the value may still be right.
func (t *table) at(number uint64) (value []byte, err error) {
	if t.next == nil {
		key := append(append(pebblekv.Key{}, t.prefix...), binary.BigEndian.AppendUint64(nil, number)...)
		t.next, t.stop = iter.Pull2(t.rows.ScanFrom(t.prefix, key))
	}
	for {
		if !t.held {
			row, failed, ok := t.next()
			switch {
			case !ok:
				return nil, errors.Join(err, fmt.Errorf("%w: there is no row %x%016x", pebblekv.ErrStore, t.prefix, number))
			case failed != nil:
				t.close() // and opened again behind what cannot be read
				return nil, errors.Join(err, failed)
			}
			t.row, t.held = row, true
		}
		has, ok := t.number(t.row.Key)
		if ok && has > number {
			return nil, errors.Join(err, fmt.Errorf("%w: there is no row %x%016x", pebblekv.ErrStore, t.prefix, number))
		}
		t.held = false
		if ok && has == number {
			return t.row.Value, err
		}
		if err == nil { // one is enough to tell
			err = fmt.Errorf("%w: %w %x", pebblekv.ErrStore, errStray, t.row.Key)
		}
	}
}

// ends makes sure that nothing comes after the row asked for last; from is where to look if nothing is open.
func (t *table) ends(from uint64) error {
	_, err := t.at(from)
	switch {
	case err == nil || t.held:
		return fmt.Errorf("%w: %w behind %x%016x", pebblekv.ErrStore, errStray, t.prefix, from)
	case t.next == nil || errors.Is(err, errStray): // it could not be read, or has a row of no number
		return err
	}
	return nil
}

func (t *table) number(key []byte) (n uint64, ok bool) {
	if len(key) != len(t.prefix)+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(t.prefix):]), true
}

func (t *table) close() {
	if t.next != nil {
		t.stop()
	}
	t.next, t.held = nil, false
}

// archive reads commits back from the rows, one revision after the other.
type archive struct {
	commits, events table
	position        events.Position // of the next event
}

func newArchive(rows pebblekv.Reader, after events.Head) *archive {
	return &archive{
		commits:  table{rows: rows, prefix: pebblekv.NewKey(tableCommit)},
		events:   table{rows: rows, prefix: pebblekv.NewKey(tableEvent)},
		position: after.Position + 1,
	}
}

func (a *archive) close() {
	a.commits.close()
	a.events.close()
}

// commit gives the bytes of a revision as they were stored, if the rows have them and agree with each other. Where
// a commit row is missing, the event rows that nobody claims are passed over by the next one that is there.
func (a *archive) commit(r events.Revision) ([]byte, commitRow, error) {
	value, err := a.commits.at(uint64(r))
	if err != nil {
		a.events.close() // it is not known where the next commit's events begin
		return nil, commitRow{}, err
	}
	row, err := decodeCommitRow(bytes.Clone(value))
	if err != nil {
		a.events.close()
		return nil, row, err
	}
	if row.first != a.position {
		a.events.close()
	}
	raws := make([]json.RawMessage, 0, min(row.count, 1024))
	for i := range events.Position(row.count) {
		raw, err := a.event(r, row.first+i)
		if err != nil {
			a.events.close()
			return nil, row, err
		}
		raws = append(raws, raw)
	}
	a.position = row.first + events.Position(row.count)
	b := events.JoinCommit(row.prefix, raws, row.suffix)
	if sum := sha256.Sum256(b); sum != row.hash {
		return nil, row, fmt.Errorf("%w: put together it has hash %s, its row says %s", events.ErrBroken, events.Hash(sum), row.hash)
	}
	return b, row, nil
}

func (a *archive) event(r events.Revision, p events.Position) ([]byte, error) {
	value, err := a.events.at(uint64(p))
	switch {
	case err != nil:
		return nil, err
	case len(value) < 8:
		return nil, fmt.Errorf("%w: event row %d of %d bytes", pebblekv.ErrStore, p, len(value))
	case events.Revision(binary.BigEndian.Uint64(value)) != r:
		return nil, fmt.Errorf("%w: the event at position %d says it is of revision %d", pebblekv.ErrStore, p, binary.BigEndian.Uint64(value))
	}
	return bytes.Clone(value[8:]), nil
}

// holds makes sure that a row says of its commit what the commit says of itself.
func (c commitRow) holds(of events.Commit) error {
	if c.first != of.Position || int(c.count) != len(of.Events) || c.recordedAt != of.RecordedAt || c.hash != of.Hash {
		return fmt.Errorf("%w: its row says %d events from position %d at %s with hash %s; the commit has %d from %d at %s with %s", pebblekv.ErrStore,
			c.count, c.first, c.recordedAt, c.hash, len(of.Events), of.Position, of.RecordedAt, of.Hash)
	}
	return nil
}

// levels is more than a tree of 2^63 leaves has.
const levels = 64

// edge is the right edge of a growing tree: of each level the hash of the last complete subtree. It is all that
// the next leaf and the root need, so a walk over any number of events holds no more.
type edge [levels]tlog.Hash

// ReadHashes implements tlog.HashReader for the subtrees on the edge, the only ones that are ever asked for.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, _ := tlog.SplitStoredHashIndex(index)
		hashes[i] = e[level]
	}
	return hashes, nil
}

// grow adds a leaf and gives the hashes of the subtrees that it completes, smallest first.
func (e *edge) grow(leaf int64, hash tlog.Hash) ([]tlog.Hash, error) {
	hashes, err := tlog.StoredHashesForRecordHash(leaf, hash, e)
	if err == nil {
		copy(e[:], hashes)
	}
	return hashes, err
}

func (e *edge) root(size events.Position) (events.Hash, error) {
	root, err := tlog.TreeHash(int64(size), e)
	return events.Hash(root), err
}

// readEdge takes the edge of the tree of so many leaves from the rows.
func readEdge(rows pebblekv.Reader, size events.Position) (e edge, err error) {
	for level := range levels {
		if size>>level&1 == 0 {
			continue
		}
		index := tlog.StoredHashIndex(level, int64(size>>level)-1)
		hashes, err := Hashes{rows}.ReadHashes([]int64{index})
		if err != nil {
			return e, err
		}
		e[level] = hashes[0]
	}
	return e, nil
}

// tree reads the kept hashes of every level side by side.
type tree struct {
	rows   pebblekv.Reader
	levels []table
}

// holds makes sure that the row of a subtree has its hash.
func (t *tree) holds(level int, place int64, hash tlog.Hash) error {
	for len(t.levels) <= level {
		t.levels = append(t.levels, table{rows: t.rows, prefix: pebblekv.Key{tableTree, byte(len(t.levels))}})
	}
	value, err := t.levels[level].at(uint64(place))
	switch {
	case err != nil:
		return err
	case !bytes.Equal(value, hash[:]):
		return fmt.Errorf("%w: the hash at level %d, place %d is %x, the events have %s", pebblekv.ErrStore, level, place, value, events.Hash(hash))
	}
	return nil
}

// ends makes sure that the rows are those of a tree of so many leaves and no more.
func (t *tree) ends(size events.Position) error {
	for level := range levels {
		if level == len(t.levels) {
			t.levels = append(t.levels, table{rows: t.rows, prefix: pebblekv.Key{tableTree, byte(level)}})
		}
		if err := t.levels[level].ends(uint64(size >> level)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) close() {
	for i := range t.levels {
		t.levels[i].close()
	}
}
