package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/tiles"
)

// Tile gives a file of the tree as package tiles names it. One with fewer hashes than the tree has by now is given,
// too: somebody copies the tree of an earlier checkpoint.
func (t *Tree) Tile(name string) ([]byte, error) {
	tile, err := tiles.Parse(name)
	if err != nil {
		return nil, err
	}
	if !tiles.In(tile, t.Size) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if tile.L >= 0 {
		return tlog.ReadTileData(tile, t.Hashes)
	}
	var bundle []byte
	for i := range tile.W {
		_, raw, err := t.view.raw(events.Position(tile.N<<tile.H + int64(i) + 1))
		if err != nil {
			return nil, err
		}
		bundle = tiles.AppendEntry(bundle, raw)
	}
	return bundle, nil
}
