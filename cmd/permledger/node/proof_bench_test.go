package node_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// anotherTree is a view that does what the audit view does for its tree, and nothing else.
type anotherTree struct{ rows pebblekv.Batch }

func (anotherTree) Name() string                                { return "tree" }
func (anotherTree) Apply(pebblekv.Batch, events.Recorded) error { return nil }

func (anotherTree) ApplyCommit(rows pebblekv.Batch, c events.Commit) error {
	for i, r := range c.Events {
		leaf := int64(c.Position) - 1 + int64(i)
		hashes, err := tlog.StoredHashesForRecordHash(leaf, tlog.RecordHash(r.Raw), anotherTree{rows})
		if err != nil {
			return err
		}
		for level, hash := range hashes {
			if err := rows.Set(treeKey(level, leaf>>level), hash[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t anotherTree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		b, ok, err := t.rows.Get(treeKey(tlog.SplitStoredHashIndex(index)))
		if err != nil || !ok {
			return nil, fmt.Errorf("no hash at index %d: %w", index, err)
		}
		copy(hashes[i][:], b)
	}
	return hashes, nil
}

func treeKey(level int, n int64) pebblekv.Key {
	return pebblekv.Key{'h', byte(level)}.Number(uint64(n))
}

// BenchmarkTreeShare replays the same log into empty stores on disk, with all views and with a second tree besides.
// What the second one adds is what the first one costs; tree-share is that by the time of all views. It is the time of
// this process on its processors, because other work on the machine is larger than the difference.
func BenchmarkTreeShare(b *testing.B) {
	log := memlog.Open(memlog.Config{})
	s := openStack(b, log, time.Now)
	defer s.close(b)
	recordGrants(b, s, 100_000)
	took := map[bool]time.Duration{}
	for range b.N {
		for _, second := range []bool{false, true} {
			views := node.Views()
			if second {
				views = append(views, anotherTree{})
			}
			store, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
			if err != nil {
				b.Fatal(err)
			}
			p, err := projections.Open(store, log, views...)
			if err != nil {
				b.Fatal(err)
			}
			started := processTime(b)
			if err := p.CatchUp(b.Context()); err != nil {
				b.Fatal(err)
			}
			took[second] += processTime(b) - started
			if err := store.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(took[true]-took[false])/float64(took[false]), "tree-share")
	b.ReportMetric(float64(s.projector.Head().Position)*float64(b.N)/took[false].Seconds(), "events/cpu-s")
	b.ReportMetric(0, "ns/op")
}

func processTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// recordGrants records so many grants, 200 in a commit.
func recordGrants(b *testing.B, s *stack, n int) {
	b.Helper()
	submit := func(commands ...ledger.Command) {
		_, err := s.ledger.Submit(b.Context(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.User("root"), Reason: "a benchmark"}, Commands: commands,
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	submit(ledger.DefineAPI{API: "files", Def: events.APIDefinition{Name: "Files", Audience: "files-api"}},
		ledger.DefinePermission{Permission: events.Permission{API: "files", Name: "read"}})
	for i := 0; i < n; {
		var commands []ledger.Command
		for range 200 {
			commands = append(commands, ledger.Grant{Principal: userName(i), Right: ledger.Right{Name: "read", Audience: "files-api"}})
			i++
		}
		submit(commands...)
	}
}

// BenchmarkSign signs a ledger on disk, with so many new events and with none.
func BenchmarkSign(b *testing.B) {
	for _, grown := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("after=%d", grown), func(b *testing.B) {
			n, err := node.Open(b.Context(), node.Config{Dir: b.TempDir(), NoticeInterval: -1, CheckpointInterval: time.Hour, CheckpointEvents: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			role := 0
			for b.Loop() {
				b.StopTimer()
				var commands []ledger.Command
				for range grown {
					role++
					commands = append(commands, ledger.CreateRole{Role: roleName(role)})
				}
				if grown > 0 {
					if _, err := n.Ledger.Submit(b.Context(), ledger.Request{
						Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator}, Commands: commands,
					}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if _, err := n.Checkpoints.Sign(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProve proves events of a ledger of 100,000, or of a million with PERMLEDGER_FULL.
func BenchmarkProve(b *testing.B) {
	size := 100_000
	if os.Getenv("PERMLEDGER_FULL") != "" {
		size = 1_000_000
	}
	n, err := node.Open(b.Context(), node.Config{Memory: true, NoticeInterval: -1, CheckpointInterval: time.Hour, CheckpointEvents: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	recordGrants(b, &stack{ledger: n.Ledger, projector: n.Projector}, size)
	started := time.Now()
	if _, err := n.Checkpoints.Sign(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("the first checkpoint of %d events took %s", n.Projector.Head().Position, time.Since(started))
	i := 0
	for b.Loop() {
		i = (i + 7919) % size
		if _, err := n.Checkpoints.Prove(b.Context(), events.Position(i+1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
}
