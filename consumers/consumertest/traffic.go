package consumertest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Traffic gives n events as a busy ledger has them: several tenants, APIs and kinds, principals with the
// characters that subjects cannot hold. The same seed gives the same events, ids and times too.
func Traffic(seed uint64, n int) []events.Recorded {
	rng := rand.New(rand.NewPCG(seed, 0))
	first := events.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	out := make([]events.Recorded, n)
	for i := range out {
		out[i] = events.Recorded{
			ID: someID(rng), Command: someID(rng), Tenant: pick(rng, tenants),
			RecordedAt: first + events.Instant(i)*1000,
			Meta:       events.Meta{Actor: events.User("root"), Reason: fmt.Sprintf("reason %d <&>", i)},
			Event:      someEvent(rng),
		}
	}
	return out
}

var (
	tenants = []events.Tenant{"default", "a.b", "*"}
	apis    = []events.API{"operate", "tasklist", "a>b"}
	roles   = []events.Role{"operator", "viewer", "role with spaces"}
	groups  = []events.Group{"ops", "dev.team"}
	people  = []events.Principal{
		events.User("alice"), events.User("bob"), events.User("x.*"), events.Client("ci"), events.Client(">"),
		events.Group("ops").Principal(),
	}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func someID(rng *rand.Rand) (id uuid.UUID) {
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	return id
}

func someEvent(rng *rand.Rand) events.Event {
	who, role, group := pick(rng, people), pick(rng, roles), pick(rng, groups)
	permission := events.Permission{API: pick(rng, apis), Name: "read:*"}
	ended := events.Ended{Fact: someID(rng)}
	return pick(rng, []events.Event{
		events.RoleAssigned{Principal: who, Role: role, Scope: events.AnyOf("Process")},
		events.RoleUnassigned{Principal: who, Role: role, Ended: ended},
		events.PermissionGranted{Principal: who, Permission: permission, Scope: events.Exactly("Process", "order 1")},
		events.PermissionRevoked{Principal: who, Permission: permission, Ended: ended},
		events.GroupMemberAdded{Group: group, Member: events.User("alice")},
		events.RolePermissionAdded{Role: role, Permission: permission},
		events.RoleCreated{Role: role},
		events.PrincipalDeleted{Principal: who},
		events.PrincipalDescribed{Principal: who, Sealed: &events.Sealed{For: who, Key: someID(rng), Box: []byte("box")}},
		events.PrincipalErased{Principal: who, Keys: []events.PersonalKey{someID(rng)}},
		events.ResourceTypeDefined{Type: "Process", Def: events.ResourceTypeDefinition{API: permission.API}},
	})
}
