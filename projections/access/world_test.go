package access_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

// world is a view over commits that a test makes by hand, one event each.
type world struct {
	t       *testing.T
	log     []events.Stored
	head    events.Head
	now     events.Instant
	project *projections.Projector
	view    *access.View
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: day("2026-01-01")}
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.project, err = projections.Open(store, w, access.Rows{}, audit.Rows{}); err != nil {
		t.Fatal(err)
	}
	w.view = access.NewView(w.project, audit.NewTrail(w.project), func() time.Time { return w.now.Time() })
	w.event(events.TenantCreated{})
	return w
}

// Read and Last make the world the source of its projector.
func (w *world) Read(_ context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	return func(yield func(events.Stored, error) bool) {
		for _, s := range w.log[min(int(from)-1, len(w.log)):] {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (w *world) Last(context.Context) (events.Revision, error) {
	return events.Revision(len(w.log)), nil
}

// event records e now, valid from then on.
func (w *world) event(e events.Event) events.Recorded { return w.recorded(events.Recorded{Event: e}) }

func (w *world) recorded(r events.Recorded) events.Recorded {
	w.t.Helper()
	r.ID, r.Command = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	r.Tenant, r.Actor = events.DefaultTenant, events.User("root")
	r.Reason = fmt.Sprintf("reason %d", len(w.log)+1)
	c, err := events.Seal(w.head, events.Header{Ledger: uuid.UUID{1}, Writer: "test", RecordedAt: w.now}, []events.Recorded{r}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log, w.head = append(w.log, events.Stored{Revision: c.Revision, Bytes: c.Bytes}), c.Head()
	if err := w.project.CatchUp(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return c.Events[0]
}

func (w *world) session(when access.When) *access.Session {
	w.t.Helper()
	s, err := w.view.At(context.Background(), events.DefaultTenant, when)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// files defines an API with permissions, the last of which needs all the others.
func (w *world) files(permissions ...events.PermissionName) {
	w.event(events.APIDefined{API: "files", Def: events.APIDefinition{Name: "Files", Audience: "files-api"}})
	var before []events.Permission
	for i, name := range permissions {
		p := events.Permission{API: "files", Name: name}
		def := events.PermissionDefinition{ID: "slug-" + string(name), RequiresBasis: "stated"}
		if i == len(permissions)-1 {
			for _, q := range before {
				def.RequiresAnyOf = append(def.RequiresAnyOf, []events.Permission{q})
			}
		}
		w.event(events.PermissionDefined{Permission: p, Def: def})
		before = append(before, p)
	}
}

func (w *world) grant(who events.Principal, name events.PermissionName) events.Recorded {
	return w.event(events.PermissionGranted{Principal: who, Permission: events.Permission{API: "files", Name: name}})
}

func ask(who events.Principal, name events.PermissionName) access.Question {
	return access.Question{Principal: who, Permission: name, Resource: access.Resource{Audience: "files-api"}}
}

func day(s string) events.Instant {
	i, err := events.ParseInstant("day", s+"T00:00:00Z")
	if err != nil {
		panic(err)
	}
	return i
}
