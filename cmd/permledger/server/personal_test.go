package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/permledger/permledger/cmd/permledger/personal"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

var (
	personalAlice = events.User("alice")
	personalBob   = events.User("bob")
)

// newPersonalWorld is a world whose keys lie in a directory, where a test can see and change them.
func newPersonalWorld(t *testing.T) (*world, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "personal")
	keys, err := personal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return newWorldAt(t, fixed, func(c *Config) { c.Personal = keys }), dir
}

func keyFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (w *world) send(r api.Request) api.Receipt {
	w.Helper()
	receipt, err := w.client.Submit(w.Context(), r, "")
	if err != nil {
		w.Fatal(err)
	}
	return receipt
}

// roleBecause creates a role for a reason that is sealed.
func roleBecause(t events.Tenant, role events.Role, reason string, p events.Principal) api.Request {
	return api.Request{Tenant: t, Reason: reason, Seal: p, Commands: []api.Command{{Do: "role.create", Role: role}}}
}

func (w *world) opened(t events.Tenant, position events.Position) *api.Opened {
	w.Helper()
	h, err := w.client.History(w.Context(), api.HistoryQuery{Tenant: t, After: position - 1, Limit: 1})
	if err != nil || len(h.Events) != 1 {
		w.Fatal(h, err)
	}
	return h.Events[0].Opened
}

// One request may describe several people: each profile is sealed with its own key, the reason with one, and the
// erasure of one leaves the others'.
func TestEachUnderItsOwnKey(t *testing.T) {
	w, dir := newPersonalWorld(t)
	names := map[events.Principal]string{personalAlice: "Alice <&> Ünal", personalBob: "Bob"}
	r := api.Request{Reason: "asked by the other", Seal: personalBob}
	for _, p := range []events.Principal{personalAlice, personalBob} {
		r.Commands = append(r.Commands, api.Command{Do: "principal.describe", Principal: p, Profile: &events.Profile{Name: names[p]}})
	}
	receipt := w.send(r)
	if len(keyFiles(t, dir)) != 2 {
		t.Errorf("key files %v", keyFiles(t, dir))
	}
	for _, e := range receipt.Events {
		who := e.Event.(events.PrincipalDescribed)
		want := &api.Opened{Reason: "asked by the other", Profile: &events.Profile{Name: names[who.Principal]}}
		if diff := cmp.Diff(want, e.Opened); diff != "" || who.Sealed.For != who.Principal || e.Sealed.For != personalBob || !who.Profile.IsZero() {
			t.Errorf("%s sealed for %s and %s: %s", who.Principal, who.Sealed.For, e.Sealed.For, diff)
		}
		if bytes.Contains(e.Raw, []byte("Ünal")) || bytes.Contains(e.Raw, []byte("asked")) || bytes.Contains(e.Raw, []byte(`"opened"`)) {
			t.Errorf("stored as %s", e.Raw)
		}
	}
	w.do(api.Command{Do: "principal.erase", Principal: personalBob})
	alices, bobs := w.opened("", receipt.Events[0].Position), w.opened("", receipt.Events[1].Position)
	if alices.Profile == nil || alices.Profile.Name != names[personalAlice] || alices.Reason != "" || alices.Closed[0].Why != api.Erased {
		t.Errorf("alice's event says %+v", alices)
	}
	if bobs.Profile != nil || bobs.Reason != "" || len(bobs.Closed) != 2 {
		t.Errorf("bob's event says %+v", bobs)
	}
	p, err := w.client.Principal(t.Context(), "", personalAlice)
	if err != nil || !p.Sealed || p.Erased != nil {
		t.Errorf("alice: %+v, %v", p, err)
	}
}

// A tenant's keys are its own: another's erasure does not reach them, and after the tenant is deleted they can
// still be erased.
func TestKeysOfTenants(t *testing.T) {
	w, dir := newPersonalWorld(t)
	w.send(api.Request{Tenant: "acme", Commands: []api.Command{{Do: "tenant.create"}}})
	here := w.send(roleBecause("", "r", "same words", personalAlice)).Events[0]
	there := w.send(roleBecause("acme", "r", "same words", personalAlice)).Events[0]
	if here.Sealed.Key == there.Sealed.Key || bytes.Equal(here.Sealed.Box, there.Sealed.Box) {
		t.Error("two tenants seal with one key")
	}
	w.do(api.Command{Do: "principal.erase", Principal: personalAlice})
	if o := w.opened("", here.Position); o.Reason != "" || o.Closed[0].Why != api.Erased {
		t.Errorf("here: %+v", o)
	}
	if o := w.opened("acme", there.Position); o.Reason != "same words" {
		t.Errorf("there: %+v", o)
	}
	erase := api.Request{Tenant: "acme", Commands: []api.Command{{Do: "principal.erase", Principal: personalAlice}}}
	w.send(api.Request{Tenant: "acme", Commands: []api.Command{{Do: "tenant.delete"}}})
	if r := w.send(erase); len(r.Events) != 1 || len(keyFiles(t, dir)) != 0 {
		t.Errorf("%+v, key files %v", r, keyFiles(t, dir))
	}
	if o := w.opened("acme", there.Position); o.Reason != "" || o.Closed[0].Why != api.Erased {
		t.Errorf("there, erased: %+v", o)
	}
}

// Boxes that were not sealed here, for whom and where they say, stay closed and say why; the control is one that was.
func TestForeignBoxes(t *testing.T) {
	w, dir := newPersonalWorld(t)
	good := *w.send(roleBecause("", "good", "read me", personalAlice)).Events[0].Sealed
	bobs := *w.send(roleBecause("", "bobs", "read me too", personalBob)).Events[0].Sealed
	record := func(role events.Role, s events.Sealed) *api.Opened {
		t.Helper()
		receipt, err := w.node.Ledger.Submit(t.Context(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.Client("root"), Sealed: &s},
			Commands: []ledger.Command{ledger.CreateRole{Role: role}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return w.opened("", receipt.Position)
	}
	flipped := good
	flipped.Box = bytes.Clone(good.Box)
	flipped.Box[20] ^= 1
	for role, row := range map[events.Role]struct {
		s    events.Sealed
		want api.Closure
	}{
		"as it was sealed":    {good, ""},
		"one bit":             {flipped, api.Damaged},
		"bob's box":           {events.Sealed{For: personalAlice, Key: good.Key, Box: bobs.Box}, api.Damaged},
		"a key nobody has":    {events.Sealed{For: personalAlice, Key: uuid.UUID{1}, Box: good.Box}, api.NoKey},
		"somebody without":    {events.Sealed{For: events.User("eve"), Key: good.Key, Box: good.Box}, api.NoKey},
		"bob's key for alice": {events.Sealed{For: personalAlice, Key: bobs.Key, Box: good.Box}, api.NoKey},
	} {
		o := record(role, row.s)
		switch {
		case row.want == "" && (o.Reason != "read me" || o.Closed != nil):
			t.Errorf("%s: %+v", role, o)
		case row.want != "" && (o.Reason != "" || len(o.Closed) != 1 || o.Closed[0].Why != row.want):
			t.Errorf("%s: %+v, want %s", role, o, row.want)
		}
	}
	for _, f := range keyFiles(t, dir) { // lost, and not erased: that is another answer
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if o := record("lost", good); o.Closed[0].Why != api.NoKey {
		t.Errorf("lost: %+v", o)
	}
}

// What records nothing makes no key: a dry run, a request that is malformed.
func TestNoKeyForNothing(t *testing.T) {
	w, dir := newPersonalWorld(t)
	dry := roleBecause("", "r", "why", personalAlice)
	dry.DryRun = true
	if r := w.send(dry); len(r.Events) != 1 || r.Events[0].Sealed == nil || r.Events[0].Reason != "" {
		t.Errorf("dry run: %+v", r)
	}
	for field, r := range map[string]api.Request{
		"seal":                     roleBecause("", "r", "", personalAlice),
		"reason":                   roleBecause("", "r", strings.Repeat("x", 4097), personalAlice),
		"tenant":                   roleBecause("a\x00b", "r", "why", personalAlice),
		"user":                     roleBecause("", "r", "why", events.User(strings.Repeat("x", 257))),
		"commands[0].profile":      {Commands: []api.Command{{Do: "principal.describe", Principal: personalAlice, Profile: &events.Profile{}}}},
		"commands[0].profile.name": {Commands: []api.Command{{Do: "principal.describe", Principal: personalAlice, Profile: &events.Profile{Name: strings.Repeat("x", 257)}}}},
		"commands[0].principal":    {Commands: []api.Command{{Do: "principal.describe", Principal: events.Group("g").Principal(), Profile: &events.Profile{Name: "G"}}}},
	} {
		_, err := w.client.Submit(t.Context(), r, "")
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeInvalid || e.Field != field && field != "user" {
			t.Errorf("%s: %v", field, err)
		}
	}
	if files := keyFiles(t, dir); len(files) != 0 {
		t.Errorf("key files %v", files)
	}
	w.send(roleBecause("", "r", "why", personalAlice)) // the control
	if files := keyFiles(t, dir); len(files) != 1 {
		t.Errorf("key files %v", files)
	}
}

// A key that was made for a request that was then refused is in no event, but in the journal of refusals: the
// erasure reaches it all the same.
func TestEraseWhatWasRefused(t *testing.T) {
	w, dir := newPersonalWorld(t)
	r := api.Request{Reason: "why", Seal: personalAlice, Commands: []api.Command{{Do: "assign", Principal: personalAlice, Role: "none"}}}
	if _, err := w.client.Submit(t.Context(), r, ""); !errors.Is(err, &api.Error{Code: api.CodeUnknownRole}) {
		t.Fatal(err)
	}
	if len(keyFiles(t, dir)) != 1 {
		t.Fatal("the refused request made no key: this test is about nothing")
	}
	receipt := w.do(api.Command{Do: "principal.erase", Principal: personalAlice})
	if len(receipt.Events) != 1 || len(keyFiles(t, dir)) != 0 {
		t.Errorf("%+v, key files %v", receipt, keyFiles(t, dir))
	}
}

// An erasure that is recorded and not carried out is no success, and can be asked for again.
func TestErasureIsNotCompleteWithTheKeyThere(t *testing.T) {
	w, dir := newPersonalWorld(t)
	sealed := *w.send(roleBecause("", "r", "why", personalAlice)).Events[0].Sealed
	file := keyFiles(t, dir)[0]
	recorded := []api.Event{{Recorded: events.Recorded{
		Tenant: events.DefaultTenant, Event: events.PrincipalErased{Principal: personalAlice, Keys: []events.PersonalKey{sealed.Key}},
	}}}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.server.destroyKeys(recorded); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Errorf("with a key file that is refused: %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.server.destroyKeys(recorded); err != nil || len(keyFiles(t, dir)) != 0 {
		t.Errorf("%v, key files %v", err, keyFiles(t, dir))
	}
}

// A body that does not decode is quoted in no answer: its reason may have been going to be sealed.
func TestBodiesAreNotQuoted(t *testing.T) {
	w, _ := newPersonalWorld(t)
	for path, body := range map[string]string{
		"/v1/catalogs": `{"reason":"the words","seal":"user:alice","catalog":"camunda-8","odd":1}`,
		"/v1/commands": `{"reason":"the words","seal":"user:alice","commands":[{"do":"role.create","role":"r"}],"approvals":[{"ref":"the words","odd":1}]}`,
	} {
		if status, _, answer := w.ask("POST", path, body); status != http.StatusBadRequest || strings.Contains(answer, "the words") || !strings.Contains(answer, "odd") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	// The control: as it should be, it is taken, and sealed on both ways in.
	if status, _, answer := w.ask("POST", "/v1/catalogs", `{"reason":"the words","seal":"user:alice","catalog":"camunda-8"}`); status != http.StatusOK || !strings.Contains(answer, `"sealed"`) {
		t.Errorf("%d %.300s", status, answer)
	}
}

// Opened comes and goes over the wire beside the stored bytes.
func TestOpenedOnTheWire(t *testing.T) {
	w, _ := newPersonalWorld(t)
	e := w.send(roleBecause("", "r", "why <&>", personalAlice)).Events[0]
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back api.Event
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Error(diff)
	}
	stored, err := w.node.Audit.Event(t.Context(), e.Position)
	if err != nil || !bytes.Equal(stored.Raw, back.Raw) {
		t.Errorf("%v, stored %s, got %s", err, stored.Raw, back.Raw)
	}
}
