package pebblekv

import (
	"encoding/binary"
	"fmt"

	"github.com/permledger/permledger/events"
)

// Key builds row keys: encoded ids and numbers, each ended so that no key of one shape is a prefix of
// another by accident.
//
//	id      events.Token(id) '/'      readable, never holds '/' itself
//	number  8 bytes, big endian       sorts ascending
//	newest  8 bytes, inverted         sorts the highest revision first
//	raw     as given                  fixed-size values such as UUIDs; nothing follows but fixed sizes
type Key []byte

// NewKey starts a key in a table of a view; table is one byte.
func NewKey(table byte) Key { return append(make(Key, 0, 96), table) }

// IDs appends ids.
func (k Key) IDs(ids ...string) Key {
	for _, id := range ids {
		k = append(append(k, events.Token(id)...), '/')
	}
	return k
}

// Number appends an ascending number, Newest a descending one.
func (k Key) Number(n uint64) Key { return binary.BigEndian.AppendUint64(k, n) }
func (k Key) Newest(n uint64) Key { return binary.BigEndian.AppendUint64(k, ^n) }

// Raw appends bytes of a fixed size.
func (k Key) Raw(b []byte) Key { return append(k, b...) }

// Parts reads a key back, from the front, in the order it was built.
type Parts struct {
	rest []byte
	err  error
}

// Split starts reading a key behind its table byte.
func Split(key []byte) *Parts {
	if len(key) == 0 {
		return &Parts{err: fmt.Errorf("%w: empty key", ErrStore)}
	}
	return &Parts{rest: key[1:]}
}

// Err is the first fault met. The values read before it are right, those after it are zero.
func (p *Parts) Err() error { return p.err }

// ID reads one id.
func (p *Parts) ID() string {
	for i, c := range p.rest {
		if c == '/' {
			id, err := events.ParseToken(string(p.rest[:i]))
			if err != nil {
				p.fail(err)
				return ""
			}
			p.rest = p.rest[i+1:]
			return id
		}
	}
	p.fail(fmt.Errorf("%w: key has no further id", ErrStore))
	return ""
}

func (p *Parts) Number() uint64 {
	b := p.Raw(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (p *Parts) Newest() uint64 {
	if n := p.Number(); p.err == nil {
		return ^n
	}
	return 0
}

// Raw reads n bytes; nil on a fault.
func (p *Parts) Raw(n int) []byte {
	if p.err != nil || len(p.rest) < n {
		p.fail(fmt.Errorf("%w: key ends early", ErrStore))
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *Parts) fail(err error) {
	if p.err == nil {
		p.err = err
	}
	p.rest = nil
}
