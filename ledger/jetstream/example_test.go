package jetstream_test

import (
	"context"
	"fmt"
	"os"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/ledger/logtest"
)

func Example() {
	dir, err := os.MkdirTemp("", "permledger")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	s, err := jetstream.Open(ctx, jetstream.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	commit, err := logtest.Commit(events.Head{}, 2, "an example")
	if err != nil {
		panic(err)
	}
	if err := s.Log().Append(ctx, 0, commit); err != nil {
		panic(err)
	}
	if err := s.Close(); err != nil {
		panic(err)
	}

	// Later, or in another process. Mark says what must be there.
	s, err = jetstream.Open(ctx, jetstream.Config{Dir: dir, Mark: 1})
	if err != nil {
		panic(err)
	}
	for stored, err := range s.Log().Read(ctx, 1) {
		if err != nil {
			panic(err)
		}
		fmt.Println("revision", stored.Revision, "is as appended:", string(stored.Bytes) == string(commit.Bytes))
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	// Output: revision 1 is as appended: true
}
