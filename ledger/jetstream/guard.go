package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/permledger/permledger/ledger"
)

// stretch is what a look at the block files found out about a part of a stream.
type stretch struct {
	to    uint64    // up to here every block is whole, and may be read through the server
	loose []message // what follows to and is whole itself, in a block that is not
	fault error     // why there is no more
}

// stretchBytes is about how much is looked at before the server reads it: enough that starting a replay costs
// nothing beside it.
const stretchBytes = 64 << 20

// stretch looks at the blocks that hold the sequences from from to to, or at the first of them. To read a
// message the server loads its block, and what it does with a damaged one is told in blocks.go.
func (f *streamFiles) stretch(from, to uint64) (part stretch) {
	if f.lookOn(from, to) {
		return stretch{to: to}
	}
	part.to = from - 1
	blocks, at, err := f.holding(from)
	if err != nil {
		return stretch{to: from - 1, fault: err}
	}
	next := uint64(0) // the sequence that must follow; the first block may begin before from
	for read := 0; at < len(blocks) && part.to < to && (read < stretchBytes || part.to < from); at++ {
		buf, err := blocks[at].read()
		if err != nil {
			part.fault = err
			return part
		}
		read += len(buf)
		var whole []message
		rest, err := blocks[at].scan(buf, func(r record) error {
			if next, err = r.follows(next); err == nil {
				whole = append(whole, message{r.seq, r.data})
			}
			return err
		})
		if err == nil && rest > 0 && (at < len(blocks)-1 || next <= to) {
			err = blocks[at].corrupt(len(buf)-rest, "%d bytes that are no record", rest)
		}
		if err != nil {
			part.loose, part.fault = whole, err
			return part
		}
		if next > 0 {
			part.to = next - 1
		}
		if at == len(blocks)-1 && next > 0 {
			f.end.Store(&position{blocks[at], len(buf) - rest, next})
		}
	}
	if at == len(blocks) && part.to < to {
		part.fault = fmt.Errorf("%w: the blocks of stream %s end at sequence %d, it has %d", ledger.ErrCorrupt, f.name, part.to, to)
	}
	return part
}

// position is a place in the block that is being written: the record with sequence next begins there.
type position struct {
	block block
	at    int
	next  uint64
}

// lookOn goes on from where the last look at the end of the stream ended, when that is all there is to look at:
// whoever reads each entry as it comes would look at the same megabytes again and again. What it reports whole
// is; for everything else it reports false, and the long way has the reasons.
func (f *streamFiles) lookOn(from, to uint64) bool {
	p := f.end.Load()
	if p == nil || from < p.next {
		return false
	}
	buf, err := p.block.readFrom(p.at)
	if err != nil {
		return false
	}
	now := *p
	_, err = p.block.scan(buf, func(r record) error {
		next, err := r.follows(now.next)
		if err == nil {
			now.next, now.at = next, now.at+r.size
		}
		return err
	})
	if err != nil || now.next <= to {
		return false
	}
	f.end.Store(&now)
	return true
}

// follows reports what may come after r, if r may come at its place; 0 is any place.
func (r record) follows(next uint64) (uint64, error) {
	switch {
	case r.seq&(erasedBit|tombstoneBit) != 0:
		return next, fmt.Errorf("sequence %d is deleted", r.seq&^(erasedBit|tombstoneBit))
	case next > 0 && r.seq != next:
		return next, fmt.Errorf("sequence %d, where %d must stand", r.seq, next)
	}
	return r.seq + 1, nil
}

// holding gives the blocks, and which of them holds a sequence. It looks from the end, where most is read.
func (f *streamFiles) holding(seq uint64) ([]block, int, error) {
	blocks, err := f.blocks()
	if err != nil {
		return nil, 0, err
	}
	for at := len(blocks) - 1; at >= 0; at-- {
		first, ok, err := blocks[at].first()
		switch {
		case errors.Is(err, ledger.ErrCorrupt) && at > 0:
			// Which sequences it held nobody knows. If seq is in the one before, this one is met next.
		case err != nil:
			return nil, 0, err
		case ok && first <= seq:
			return blocks, at, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: no block of stream %s holds sequence %d", ledger.ErrCorrupt, f.name, seq)
}

// extent is what the blocks of a stream hold.
type extent struct {
	last uint64 // the last sequence that is whole
	torn int    // bytes after it, of a record that is not
}

// check looks at every record of every block.
func (f *streamFiles) check(ctx context.Context) (extent, error) {
	blocks, err := f.blocks()
	if err != nil {
		return extent{}, err
	}
	return f.checkBlocks(ctx, blocks, 1)
}

// checkEnd looks at the last block that has a record: the one the server goes on writing.
func (f *streamFiles) checkEnd() (extent, error) {
	blocks, err := f.blocks()
	for at := len(blocks) - 1; at >= 0 && err == nil; at-- {
		first, ok, err := blocks[at].first()
		if err != nil {
			return extent{}, err
		}
		if ok {
			return f.checkBlocks(context.Background(), blocks[at:], first) // it is one, or an empty one after it
		}
	}
	return extent{}, err
}

// checkBlocks looks at every record of blocks, which must begin with a sequence. Only the last may end with
// bytes that are no record: a record that was never acknowledged, because the disk did not have all of it. If
// it was and is damaged, the caller knows that the stream was longer.
func (f *streamFiles) checkBlocks(ctx context.Context, blocks []block, next uint64) (extent, error) {
	torn := 0
	for _, b := range blocks {
		if ctx.Err() != nil {
			return extent{}, ctx.Err()
		}
		buf, err := b.read()
		if err != nil {
			return extent{}, err
		}
		if torn > 0 && len(buf) > 0 {
			return extent{}, b.corrupt(0, "the block before it ends with %d bytes that are no record", torn)
		}
		rest, err := b.scan(buf, func(r record) error {
			next, err = r.follows(next)
			return err
		})
		if err != nil {
			return extent{}, err
		}
		torn += rest
	}
	return extent{next - 1, torn}, nil
}
