package projections

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
