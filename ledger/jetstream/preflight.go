package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/permledger/permledger/ledger"
)

// Examine opens the store of an embedded server, reads every message of every stream in order, and closes it
// again. It is what Config.Preflight is about, and belongs into a process of its own whose memory is bounded:
// the blocks are looked at first, without the server and in bounded memory, but what else may stand in the
// store's files that nats-server cannot bear nobody knows.
//
//   - nil: everything is there.
//   - ledger.ErrCorrupt: something is damaged or missing. The files are as they were, when it was the blocks.
//   - ledger.ErrUnavailable: another process uses the directory, or it cannot be read.
func Examine(ctx context.Context, cfg Config) (err error) {
	s := &Server{}
	defer func() {
		if err = errors.Join(err, s.Close()); err != nil {
			err = fmt.Errorf("examine the store: %w", err)
		}
	}()
	if s.cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	ends, err := checkAll(ctx, s.cfg.Dir)
	if err != nil {
		return err
	}
	if err := settle(s.cfg.Dir, s.cfg.Logger); err != nil {
		return err
	}
	if err := s.embed(); err != nil {
		return err
	}
	commits, entries, err := s.streams()
	if err != nil {
		return err
	}
	for _, stream := range []*stream{commits, entries} {
		if err := stream.examine(ctx, ends[stream.name()]); err != nil {
			return err
		}
	}
	return nil
}

// CheckFiles looks at every block of every stream in a directory that no server uses, and says where each stream
// ends. Nothing is changed, and no more memory is taken than a block needs.
func CheckFiles(ctx context.Context, dir string) (ends map[string]uint64, _ error) {
	return checkAll(ctx, dir)
}

// checkAll looks at every block of every stream and says where each stream ends.
func checkAll(ctx context.Context, dir string) (map[string]uint64, error) {
	streams, err := allStreams(dir)
	if err != nil {
		return nil, err
	}
	ends := map[string]uint64{}
	for _, f := range streams {
		end, err := f.check(ctx)
		if err != nil && f.name == feedStream {
			return nil, fmt.Errorf("%w; that is the feed, which is made from the log again when %s is removed", err, f.dir)
		}
		if err != nil {
			return nil, err
		}
		ends[f.name] = end.last
	}
	return ends, nil
}

// examine reads a stream through the server, which must give all that the blocks hold. That a stream is not
// there is for Open to judge, which knows whether it must be.
func (s *stream) examine(ctx context.Context, end uint64) error {
	there, err := s.attach(ctx)
	if err != nil || !there {
		return err
	}
	last, err := s.last(ctx)
	if err != nil {
		return err
	}
	if last != end {
		return fmt.Errorf("%w: the server says that stream %s ends at %d, its blocks end at %d", ledger.ErrCorrupt, s.name(), last, end)
	}
	for _, err := range s.serve(ctx, 1, last) {
		if err != nil {
			return err
		}
	}
	return nil
}
