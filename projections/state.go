package projections

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"iter"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Schema is the version of the rows that the views write. It grows by one whenever a view writes other rows
// for the same events; a store made with another schema is made anew from the log when it is opened.
//
//	1  access, audit (archive and indexes), receipts
//	2  the suffix of a commit in its row, the audit tree, a state digest per commit, descriptions of principals
const Schema = 2

// ErrSchema: the views in the store were made by another version of the program. A rebuild helps.
var ErrSchema = errors.New("views of another schema")

// State says what the views hold after a commit: a digest of every row ever written or deleted on the way
// there, in order. Two ledgers of the same schema with the same commits have the same state at every
// revision, however the commits were grouped, whether they were decided live or replayed; and where the
// computation first differed, the states differ from there on.
//
//	state(0) = zeroes
//	state(r) = SHA-256(state(r-1) ‖ changes(r))
//	changes(r) = SHA-256 over the changes of commit r in the order they were made, each as
//	             '=' for set or '-' for delete, then view, key and, if set, value, each behind its length (8 bytes, big endian)
//
// A digest of all rows costs as much as there are rows, so it cannot be taken at each checkpoint of a ledger
// that serves; this one costs what the commit wrote. It does not see a row that a disk changed afterwards:
// Rebuild and the verification of the archive do.
type State struct {
	Schema int         `json:"schema"`
	Digest events.Hash `json:"digest"`
}

func (s State) String() string { return fmt.Sprintf("%d:%s", s.Schema, s.Digest) }

func keyState(generation uint64, r events.Revision) pebblekv.Key {
	return prefixState(generation).Number(uint64(r))
}

func prefixState(generation uint64) pebblekv.Key { return pebblekv.Key("Ms").Number(generation) }

// changes is the digest of what one commit writes.
type changes struct{ hash hash.Hash }

func newChanges() *changes { return &changes{sha256.New()} }

func (c *changes) note(kind byte, parts ...[]byte) {
	var head [9]byte
	head[0] = kind
	for i, p := range parts {
		binary.BigEndian.PutUint64(head[1:], uint64(len(p)))
		if i == 0 {
			c.hash.Write(head[:])
		} else {
			c.hash.Write(head[1:])
		}
		c.hash.Write(p)
	}
}

// after is the state after the commit whose changes these are. They begin anew.
func (c *changes) after(before events.Hash) events.Hash {
	sum := c.hash.Sum(make([]byte, 0, sha256.Size))
	c.hash.Reset()
	return sha256.Sum256(append(before[:], sum...))
}

// recorded is a batch whose changes are noted.
type recorded struct {
	pebblekv.Batch
	view    []byte
	changes *changes
}

func (r recorded) Set(key, value []byte) error {
	r.changes.note('=', r.view, key, value)
	return r.Batch.Set(key, value)
}

func (r recorded) Delete(key []byte) error {
	r.changes.note('-', r.view, key)
	return r.Batch.Delete(key)
}

// StateAt is the state after a revision that is applied; ErrBehind if it is not.
func (p *Projector) StateAt(_ context.Context, r events.Revision) (State, error) {
	v, err := p.Views()
	if err != nil {
		return State{}, err
	}
	defer v.Close()
	if r > v.Head.Revision {
		return State{}, fmt.Errorf("%w: state of revision=%d, have %d", ErrBehind, r, v.Head.Revision)
	}
	if r == 0 {
		return State{Schema: Schema}, nil
	}
	b, ok, err := v.snap.Get(keyState(v.generation, r))
	s := State{Schema: Schema}
	switch {
	case err != nil:
		return State{}, err
	case !ok || len(b) != len(s.Digest):
		return State{}, fmt.Errorf("%w: no state of revision=%d", pebblekv.ErrStore, r)
	}
	copy(s.Digest[:], b)
	return s, nil
}

// Diverged is the first revision after which the views of two projectors were in different states, as far as
// both got; 0 when they were in the same ones throughout.
func Diverged(p, q *Projector) (events.Revision, error) {
	a, err := p.Views()
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := q.Views()
	if err != nil {
		return 0, err
	}
	defer b.Close()
	return diverged(a.snap.Window(prefixState(a.generation)), b.snap.Window(prefixState(b.generation)))
}

// diverged compares the rows of states of two generations.
func diverged(a, b pebblekv.Reader) (events.Revision, error) {
	next, stop := iter.Pull2(b.Scan(nil))
	defer stop()
	for row, err := range a.Scan(nil) {
		if err != nil {
			return 0, err
		}
		other, err, more := next()
		switch {
		case err != nil:
			return 0, err
		case !more:
			return 0, nil
		case len(row.Key) != 8:
			return 0, fmt.Errorf("%w: state of revision %x", pebblekv.ErrStore, row.Key)
		case !bytes.Equal(row.Key, other.Key), !bytes.Equal(row.Value, other.Value):
			return events.Revision(binary.BigEndian.Uint64(row.Key)), nil
		}
	}
	return 0, nil
}
