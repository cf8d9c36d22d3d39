// Package projections turns commits into views.
//
// A View is a pure function of the commits: it writes rows for each event, in order, through the batch it
// is given, and holds nothing that the log does not. The Projector owns the rows and the cursor. It takes a
// commit only if it is the very next one and its hash chains to the last; anything else halts it for good,
// and every reader is told. Rows and cursor are written in one Pebble batch, so a crash repeats work and
// never skips it.
//
// The views of one cursor form a generation. A rebuild runs the same views from cursor zero into a new
// generation, compares digests, and moves one pointer.
package projections
