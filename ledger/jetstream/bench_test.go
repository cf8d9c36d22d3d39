package jetstream

import (
	"fmt"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/logtest"
)

// One writer, each commit acknowledged after its fsync.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			s := mustOpen(b, Config{Dir: b.TempDir()})
			chain := make([]events.Commit, b.N)
			var head events.Head
			for i := range chain {
				c, err := logtest.Commit(head, n, "benchmark")
				if err != nil {
					b.Fatal(err)
				}
				chain[i], head = c, c.Head()
			}
			b.ResetTimer()
			for _, c := range chain {
				if err := s.Log().Append(b.Context(), c.Revision-1, c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// A replay from revision 1, of commits with one event.
func BenchmarkRead(b *testing.B) {
	const commits = 20_000
	s := mustOpen(b, Config{Dir: b.TempDir()})
	fill(b, s.Log(), events.Head{}, commits)
	b.ResetTimer()
	for range b.N {
		n, size := 0, int64(0)
		for c, err := range s.Log().Read(b.Context(), 1) {
			if err != nil {
				b.Fatal(err)
			}
			n, size = n+1, size+int64(len(c.Bytes))
		}
		if n != commits {
			b.Fatalf("read %d commits", n)
		}
		b.SetBytes(size)
	}
	b.ReportMetric(float64(b.N*commits)/b.Elapsed().Seconds(), "commits/s")
}

// What a follower does for each commit: read the one it does not have yet.
func BenchmarkReadOne(b *testing.B) {
	s := mustOpen(b, Config{Dir: b.TempDir()})
	head := fill(b, s.Log(), events.Head{}, 100)
	for b.Loop() {
		for _, err := range s.Log().Read(b.Context(), head.Revision) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
