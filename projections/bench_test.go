package projections_test

import (
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
	"github.com/permledger/permledger/projections/receipts"
)

// large is a log of at least that many events.
func large(b *testing.B, n events.Position) *memory {
	b.Helper()
	w, log := seeded(70), &memory{}
	for w.head.Position < n {
		log.add(w.commit(b))
	}
	return log
}

func perEvent(b *testing.B, p *projections.Projector) {
	b.Helper()
	n := float64(p.Head().Position) * float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkApply replays 100,000 events into an empty store on disk.
func BenchmarkApply(b *testing.B) {
	log := large(b, 100_000)
	for name, views := range map[string][]projections.View{
		"none": nil, "audit": {audit.Rows{}}, "receipts": {receipts.Rows{}}, "audit+receipts": {audit.Rows{}, receipts.Rows{}},
	} {
		b.Run(name, func(b *testing.B) {
			var p *projections.Projector
			for range b.N {
				s, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
				must(b, err)
				p, err = projections.Open(s, log, views...)
				must(b, err)
				must(b, p.CatchUp(b.Context()))
				must(b, s.Close())
			}
			perEvent(b, p)
		})
	}
}

// BenchmarkRebuild replays 100,000 events next to the generation in use, compares and exchanges them.
func BenchmarkRebuild(b *testing.B) {
	log := large(b, 100_000)
	s := openStore(b, b.TempDir(), pebblekv.Options{})
	p, err := projections.Open(s, log, audit.Rows{}, receipts.Rows{})
	must(b, err)
	must(b, p.CatchUp(b.Context()))
	for b.Loop() {
		_, err := p.Rebuild(b.Context(), nil)
		must(b, err)
	}
	perEvent(b, p)
}

// BenchmarkEvents asks a trail of 100,000 events for the newest 20 of a list, and for a whole list.
func BenchmarkEvents(b *testing.B) {
	log := large(b, 100_000)
	p, err := projections.Open(openStore(b, b.TempDir(), pebblekv.Options{}), log, audit.Rows{})
	must(b, err)
	must(b, p.CatchUp(b.Context()))
	trail := audit.NewTrail(p)
	for name, f := range map[string]audit.Filter{
		"newest20":               {Principal: users[0], Newest: true, Limit: 20},
		"newest20of2long":        {Principal: users[0], Tenant: "default", Newest: true, Limit: 20},
		"onecommand":             {Command: events.CommandID{}, Principal: users[0]},
		"typeofprincipal":        {Principal: users[0], Type: "principal.deleted"},
		"everythingoneprincipal": {Principal: users[0]},
	} {
		if name == "onecommand" {
			r, err := trail.Event(b.Context(), 50_000)
			must(b, err)
			f = audit.Filter{Command: r.Command, Tenant: r.Tenant, Actor: r.Actor}
		}
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = len(all(b, trail.Events(b.Context(), f)))
			}
			b.ReportMetric(float64(n), "events")
		})
	}
}
