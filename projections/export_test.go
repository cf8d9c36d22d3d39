package projections

// SetGroup makes the groups of commits that share a batch so small that a short log has several.
func (p *Projector) SetGroup(bytes int) { p.group = bytes }
