// Package tiles is the audit tree as files that anybody may keep and serve: a C2SP tlog-tiles tree
// (https://c2sp.org/tlog-tiles), from which third parties make and check proofs by themselves.
//
//	checkpoint                 signed; written last, so all it speaks of is there
//	tile/0/x001/x234/067       256 hashes, 32 bytes each, of level 0: of events
//	tile/0/x001/x234/068.p/5   the last tile of a level, which is not full
//	tile/1/004                 of level 1: each of 256 events, and so on
//	tile/entries/000           256 events as stored, each behind its length (2 bytes, big endian)
//
// A tile of that name never has other contents, so a tree is added to and never rewritten. The algorithms are
// golang.org/x/mod/sumdb/tlog's; this package knows the names and the files.
package tiles

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
)

// ErrTampered: the files are not those of the checkpoint.
var ErrTampered = errors.New("the tiles are not those of the checkpoint")

// Checkpoint is the name of the file with the checkpoint.
const Checkpoint = "checkpoint"

const (
	height = 8 // of a tile: it has 2^8 hashes
	full   = 1 << height
	data   = -1 // the level of entries in package tlog
)

// Name is the path of a tile: tlog's, without the height and with its own word for the entries.
func Name(t tlog.Tile) string {
	rest := strings.TrimPrefix(t.Path(), "tile/8/")
	if entries, ok := strings.CutPrefix(rest, "data/"); ok {
		rest = "entries/" + entries
	}
	return "tile/" + rest
}

// Parse reads what Name writes.
func Parse(name string) (tlog.Tile, error) {
	rest, ok := strings.CutPrefix(name, "tile/")
	if entries, is := strings.CutPrefix(rest, "entries/"); is {
		rest = "data/" + entries
	}
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	if !ok || err != nil || Name(t) != name {
		return tlog.Tile{}, events.Invalid("tile", name, "must be the path of a tile, as in tile/0/x001/234 or tile/entries/000.p/5")
	}
	return t, nil
}

// In reports whether a tree of so many leaves has a tile.
func In(t tlog.Tile, size int64) bool {
	level := max(t.L, 0)
	return level < 8 && t.N < 1<<40 && t.N<<height+int64(t.W) <= size>>(height*level)
}

// bundles yields the tiles with the entries of a tree. A checkpoint can state any size, so there is no list of them.
func bundles(size int64) iter.Seq[tlog.Tile] {
	return func(yield func(tlog.Tile) bool) {
		for n := int64(0); n<<height < size; n++ {
			if !yield(tlog.Tile{H: height, L: data, N: n, W: int(min(size-n<<height, full))}) {
				return
			}
		}
	}
}

// AppendEntry adds an event to a bundle of entries.
func AppendEntry(bundle, event []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(event))), event...)
}

// entries takes a bundle of so many entries apart.
func entries(bundle []byte, n int) ([][]byte, error) {
	all := make([][]byte, 0, n)
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("%w: entry %d ends early", ErrTampered, len(all))
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		all, bundle = append(all, bundle[2:end]), bundle[end:]
	}
	if len(all) != n {
		return nil, fmt.Errorf("%w: there are %d entries, not %d", ErrTampered, len(all), n)
	}
	return all, nil
}
