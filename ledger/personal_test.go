package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func box(p events.Principal, key byte, text string) *events.Sealed {
	return &events.Sealed{For: p, Key: uuid.UUID{key}, Box: []byte(text)}
}

// sealed is a request whose reason and ticket are in a box.
func sealed(s *events.Sealed, commands ...ledger.Command) ledger.Request {
	q := request(commands...)
	q.Sealed = s
	return q
}

func TestDescribe(t *testing.T) {
	r := newRig(t)
	in := func(name string) ledger.Command {
		return ledger.DescribePrincipal{Principal: alice, Profile: events.Profile{Name: name}}
	}
	under := func(key byte, text string) ledger.Command {
		return ledger.DescribePrincipal{Principal: alice, Sealed: box(alice, key, text)}
	}
	for i, step := range []struct {
		c       ledger.Command
		nothing bool
	}{
		{in("Alice"), false},
		{in("Alice"), true},
		{under(1, "box"), false},
		{under(1, "box"), true},
		{under(1, "other"), false},
		{under(2, "other"), false}, // the same bytes under another key are another text
		{in("Alice"), false},
		{ledger.DeletePrincipal{Principal: alice}, true}, // being described is not holding anything
	} {
		if receipt := r.mustRequest(request(step.c)); receipt.Nothing != step.nothing {
			t.Errorf("step %d: nothing=%t, want %t", i, receipt.Nothing, step.nothing)
		}
	}
}

// An erasure names every key in use and every key its caller found, once each, and the next one only what came
// after. What was in use before the erasure is not in use again because a request was late.
func TestErase(t *testing.T) {
	r := newRig(t)
	erase := func(found ...byte) ledger.Request {
		c := ledger.ErasePrincipal{Principal: alice}
		for _, b := range found {
			c.Keys = append(c.Keys, uuid.UUID{b})
		}
		return request(c)
	}
	keys := func(q ledger.Request) (all []byte) {
		t.Helper()
		receipt := r.mustRequest(q)
		if receipt.Nothing {
			return nil
		}
		for _, k := range receipt.Recorded[0].Event.(events.PrincipalErased).Keys {
			all = append(all, k[0])
		}
		return all
	}
	if got := keys(erase()); got != nil {
		t.Errorf("keys %v of somebody about whom nothing is sealed", got)
	}
	strict := erase()
	strict.Strict = true
	if _, err := r.Submit(t.Context(), strict); !errors.Is(err, &ledger.Refusal{Code: ledger.CodeAbsent}) {
		t.Errorf("strict: %v", err)
	}
	r.mustRequest(sealed(box(alice, 2, "why"), ledger.CreateRole{Role: "r"}))
	r.mustRequest(sealed(box(bob, 9, "why"), ledger.CreateRole{Role: "r2"}))
	r.mustRequest(request(ledger.DescribePrincipal{Principal: alice, Sealed: box(alice, 1, "who")}))
	if got := keys(erase(3, 2)); !slices.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("keys %v, want 1 2 3", got)
	}
	if got := keys(erase()); got != nil {
		t.Errorf("keys %v after the erasure", got)
	}
	r.mustRequest(sealed(box(alice, 1, "late"), ledger.CreateRole{Role: "r3"}))
	r.mustRequest(sealed(box(alice, 4, "anew"), ledger.CreateRole{Role: "r4"}))
	if got := keys(erase()); !slices.Equal(got, []byte{4}) {
		t.Errorf("keys %v, want 4", got)
	}
}

// Whose tenant is deleted can still be erased; a tenant that never was has nobody.
func TestEraseInADeletedTenant(t *testing.T) {
	r := newRig(t)
	in := func(tenant events.Tenant, q ledger.Request) ledger.Request { q.Tenant = tenant; return q }
	r.mustRequest(in("acme", request(ledger.CreateTenant{})))
	r.mustRequest(in("acme", sealed(box(alice, 1, "why"), ledger.CreateRole{Role: "r"})))
	if receipt := r.mustRequest(request(ledger.ErasePrincipal{Principal: alice})); !receipt.Nothing {
		t.Error("the default tenant erased what is sealed in another")
	}
	r.mustRequest(in("acme", request(ledger.DeleteTenant{})))
	if receipt := r.mustRequest(in("acme", request(ledger.ErasePrincipal{Principal: alice}))); receipt.Events != 1 {
		t.Errorf("%+v", receipt)
	}
	for tenant, c := range map[events.Tenant]ledger.Command{
		"acme": ledger.DescribePrincipal{Principal: alice, Profile: events.Profile{Name: "A"}}, "other": ledger.ErasePrincipal{Principal: alice},
	} {
		if _, err := r.Submit(t.Context(), in(tenant, request(c))); !errors.Is(err, &ledger.Refusal{Code: ledger.CodeUnknownTenant}) {
			t.Errorf("%T in tenant %s: %v", c, tenant, err)
		}
	}
}

func TestInvalidPersonalRequests(t *testing.T) {
	r := newRig(t)
	group := events.Group("g").Principal()
	long, text := strings.Repeat("x", 257), strings.Repeat("x", 4097)
	role := ledger.CreateRole{Role: "r"}
	with := func(q ledger.Request, change func(*ledger.Request)) ledger.Request { change(&q); return q }
	profile := func(p events.Profile) ledger.Request {
		return request(ledger.DescribePrincipal{Principal: alice, Profile: p})
	}
	for i, row := range []struct {
		field string
		q     ledger.Request
	}{
		{"seal", sealed(box(group, 1, "b"), role)},
		{"seal", sealed(box(events.Role("r").Principal(), 1, "b"), role)},
		{"seal", sealed(box(events.Principal{}, 1, "b"), role)},
		{"seal", sealed(box(alice, 0, "b"), role)},
		{"seal", sealed(box(alice, 1, ""), role)},
		{"seal", sealed(box(alice, 1, strings.Repeat("b", ledger.MaxBox+1)), role)},
		{"seal", with(sealed(box(alice, 1, "b"), role), func(q *ledger.Request) { q.Reason = "in clear" })},
		{"seal", with(sealed(box(alice, 1, "b"), role), func(q *ledger.Request) { q.Ticket = "in clear" })},
		{"seal", sealed(box(alice, 1, "b"), ledger.AddAdministrator{Principal: alice})},
		{"seal", sealed(box(alice, 1, "b"), ledger.ErasePrincipal{Principal: alice})},
		{"commands", request(role, ledger.ErasePrincipal{Principal: alice})},
		{"commands", request(ledger.ErasePrincipal{Principal: alice}, ledger.DescribePrincipal{Principal: alice, Sealed: box(alice, 1, "b")})},
		{"principal", request(ledger.ErasePrincipal{Principal: group})},
		{"principal", request(ledger.DescribePrincipal{Principal: group, Profile: events.Profile{Name: "G"}})},
		{"user", request(ledger.ErasePrincipal{Principal: events.User("")})},
		{"profile", profile(events.Profile{})},
		{"profile.name", profile(events.Profile{Name: long})},
		{"profile.email", profile(events.Profile{Email: long})},
		{"profile.phone", profile(events.Profile{Phone: "\x00"})},
		{"profile.description", profile(events.Profile{Description: text})},
		{"profile", request(ledger.DescribePrincipal{Principal: alice, Sealed: box(bob, 1, "b")})},
		{"profile", request(ledger.DescribePrincipal{Principal: alice, Sealed: box(alice, 0, "b")})},
		{"profile", request(ledger.DescribePrincipal{Principal: alice, Profile: events.Profile{Name: "A"}, Sealed: box(alice, 1, "b")})},
	} {
		_, err := r.Submit(t.Context(), row.q)
		var invalid *events.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != row.field {
			t.Errorf("row %d: %v, want an invalid %s", i, err, row.field)
		}
	}
	// What is wrong above is wrong by itself: the same without it is taken.
	r.mustRequest(sealed(box(alice, 1, strings.Repeat("b", ledger.MaxBox)), role))
	r.mustRequest(sealed(box(bob, 1, "b"), ledger.ErasePrincipal{Principal: alice}))
	if _, err := r.Submit(t.Context(), valid(day(0)-1, 0, ledger.ErasePrincipal{Principal: bob})); err == nil {
		t.Error("an erasure that was yesterday")
	}
}

// A keyed request is known again by its box, and an erasure whatever keys are still there.
func TestSealedRequestsAreIdempotent(t *testing.T) {
	r := newRig(t)
	keyed := func(key string, q ledger.Request) ledger.Request { q.Key = key; return q }
	why := keyed("k", sealed(box(alice, 1, "why"), ledger.CreateRole{Role: "r"}))
	first := r.mustRequest(why)
	if again := r.mustRequest(why); !again.Replayed || again.Command != first.Command {
		t.Errorf("%+v, want the first answer", again)
	}
	for _, s := range []*events.Sealed{box(alice, 1, "another why"), box(alice, 2, "why"), box(bob, 1, "why"), nil} {
		if _, err := r.Submit(t.Context(), keyed("k", sealed(s, ledger.CreateRole{Role: "r"}))); !errors.Is(err, &ledger.Refusal{Code: ledger.CodeKeyConflict}) {
			t.Errorf("another box under the same key: %v", err)
		}
	}
	erasure := r.mustRequest(keyed("e", request(ledger.ErasePrincipal{Principal: alice, Keys: []events.PersonalKey{{7}}})))
	if again := r.mustRequest(keyed("e", request(ledger.ErasePrincipal{Principal: alice}))); !again.Replayed || again.Command != erasure.Command {
		t.Errorf("%+v, want the first answer", again)
	}
}

// The journal keeps what was asked: the box, of which nobody can read the words.
func TestRefusedSealedRequestIsNotedSealed(t *testing.T) {
	r := newRig(t)
	q := sealed(box(alice, 1, "the box"), ledger.AssignRole{Principal: alice, Role: "nobody-made-it"})
	if _, err := r.Submit(t.Context(), q); !errors.Is(err, &ledger.Refusal{Code: ledger.CodeUnknownRole}) {
		t.Fatal(err)
	}
	notes := r.notes()
	if len(notes) != 1 {
		t.Fatalf("%d notes", len(notes))
	}
	kept := string(notes[0].Request)
	if !strings.Contains(kept, `"sealed":{"for":"user:alice"`) || strings.Contains(kept, `"reason"`) {
		t.Errorf("the journal keeps %s", kept)
	}
}
