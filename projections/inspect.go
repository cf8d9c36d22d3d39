package projections

import "github.com/permledger/permledger/projections/pebblekv"

// Inspect pins the rows as they are, also those of a halted projector. It is for whoever looks for what is wrong
// with them; nothing may be answered from it. A cursor that cannot be read is an error here, too.
func (p *Projector) Inspect() (*Views, error) {
	p.mu.Lock()
	generation := p.generation
	snap := p.store.NewSnapshot()
	p.mu.Unlock()
	at, err := readCursor(snap, generation)
	if err != nil {
		snap.Close()
		return nil, err
	}
	return &Views{at.Head, State{Schema, at.State}, snap, generation}, nil
}

// carried are the tables that are in no generation: what the log does not hold. Answers, and signed checkpoints.
var carried = []pebblekv.Key{pebblekv.Key("J"), pebblekv.Key("K")}

// CarryOver copies what no replay gives back from another projector's store: for views that are made anew in a
// new place. What cannot be read is left behind and told.
func (p *Projector) CarryOver(from *Projector) (left error, err error) {
	snap := from.store.NewSnapshot()
	defer snap.Close()
	w := p.store.NewBulkWrite()
	defer w.Discard()
	for _, table := range carried {
		for row, failed := range snap.Scan(table) {
			if failed != nil {
				left = failed
				break
			}
			if err := w.Set(row.Key, row.Value); err != nil {
				return left, err
			}
		}
	}
	return left, w.Commit(true)
}
