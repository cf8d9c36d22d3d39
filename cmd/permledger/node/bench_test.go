package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/access"
)

// organisation fills a stack with 2,000 users in 100 groups (3 each), 40 roles (2 direct, 4 per group) of 40
// permissions each, all on any document: a user holds some 300 of 400 permissions over 14 roles.
func organisation(b *testing.B) *stack {
	b.Helper()
	s := openStack(b, memlog.Open(memlog.Config{}), time.Now)
	b.Cleanup(func() { s.close(b) })
	random := rand.New(rand.NewPCG(1, 2))
	var commands []ledger.Command
	add := func(c ledger.Command) { commands = append(commands, c) }
	flush := func() {
		r := ledger.Request{Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.User("root")}, Commands: commands}
		if _, err := s.ledger.Submit(context.Background(), r); err != nil {
			b.Fatal(err)
		}
		commands = nil
	}
	add(ledger.DefineAPI{API: "files", Def: events.APIDefinition{Name: "Files", Audience: "files-api"}})
	add(ledger.DefineResourceType{Type: "doc", Def: events.ResourceTypeDefinition{API: "files"}})
	for i := range 400 {
		add(ledger.DefinePermission{Permission: events.Permission{API: "files", Name: permissionName(i)}})
	}
	flush()
	for i := range 40 {
		add(ledger.CreateRole{Role: roleName(i)})
		for range 40 {
			add(ledger.AddRolePermission{Role: roleName(i), Right: ledger.Right{Name: permissionName(random.IntN(400)), Audience: "files-api"}})
		}
	}
	flush()
	for i := range 100 {
		group := events.Group(fmt.Sprintf("g%d", i))
		add(ledger.CreateGroup{Group: group})
		for range 4 {
			add(ledger.AssignRole{Principal: group.Principal(), Role: roleName(random.IntN(40)), Scope: events.AnyOf("doc")})
		}
	}
	flush()
	for i := range 2000 {
		for range 3 {
			add(ledger.AddMember{Group: events.Group(fmt.Sprintf("g%d", random.IntN(100))), Member: userName(i)})
		}
		for range 2 {
			add(ledger.AssignRole{Principal: userName(i), Role: roleName(random.IntN(40)), Scope: events.AnyOf("doc")})
		}
		if i%500 == 499 {
			flush()
		}
	}
	return s
}

func permissionName(i int) events.PermissionName {
	return events.PermissionName(fmt.Sprintf("p%d", i))
}
func roleName(i int) events.Role      { return events.Role(fmt.Sprintf("r%d", i)) }
func userName(i int) events.Principal { return events.User(fmt.Sprintf("u%d", i)) }

// BenchmarkCheck asks about random users and permissions, each in a session of its own: now, and as known at a
// revision before the last.
func BenchmarkCheck(b *testing.B) {
	s := organisation(b)
	head := s.ledger.Status().Head
	for name, when := range map[string]access.When{
		"now":  {},
		"past": {ValidAt: head.RecordedAt, KnownAt: access.Known{Revision: head.Revision - 1}},
	} {
		b.Run(name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(3, 4))
			for b.Loop() {
				session, err := s.access.At(context.Background(), events.DefaultTenant, when)
				if err != nil {
					b.Fatal(err)
				}
				q := access.Question{
					Principal: userName(random.IntN(2000)), Permission: permissionName(random.IntN(400)),
					Resource: access.Resource{Type: "doc", ID: "x"},
				}
				if _, err := session.Check(q); err != nil {
					b.Fatal(err)
				}
				session.Close()
			}
		})
	}
}

// BenchmarkHoldings lists what random users can do.
func BenchmarkHoldings(b *testing.B) {
	s := organisation(b)
	random := rand.New(rand.NewPCG(3, 4))
	for b.Loop() {
		session, err := s.access.At(context.Background(), events.DefaultTenant, access.When{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := session.Holdings(userName(random.IntN(2000))); err != nil {
			b.Fatal(err)
		}
		session.Close()
	}
}

// BenchmarkSubmit records single grants, one after the other, through decision, log in memory and views.
func BenchmarkSubmit(b *testing.B) {
	s := organisation(b)
	n := 0
	for b.Loop() {
		n++
		_, err := s.ledger.Submit(context.Background(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.User("root")},
			Commands: []ledger.Command{ledger.Grant{Principal: userName(n), Right: ledger.Right{Name: permissionName(n % 400), Audience: "files-api"}}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
