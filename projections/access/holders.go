package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
)

// Holders lists the users and clients that may do it at the session's instant, a page at a time. Later pages
// must be asked in a session that Resume opened for their token.
func (s *Session) Holders(permission events.PermissionName, r Resource, page Page) (Holders, error) {
	h := Holders{Moment: s.moment, Principals: []events.Principal{}}
	limit := page.Limit
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 0 || limit > MaxPage {
		return h, events.Invalid("limit", fmt.Sprint(page.Limit), fmt.Sprintf("must be between 1 and %d", MaxPage))
	}
	token := pageToken{s.tenant, s.moment.Revision, s.moment.ValidAt, listing(permission, r), ""}
	if page.Token != "" {
		after, err := token.after(page.Token)
		if err != nil {
			return h, err
		}
		token.After = after
	}
	everybody, err := s.holders(permission, r)
	if err != nil {
		return h, err
	}
	from, found := slices.BinarySearchFunc(everybody, token.After, func(p events.Principal, after string) int {
		if p.String() <= after {
			return -1
		}
		return 1
	})
	_ = found // never: the comparison has no equal
	h.Principals = append(h.Principals, everybody[from:min(from+limit, len(everybody))]...)
	if from+limit < len(everybody) {
		token.After = h.Principals[limit-1].String()
		h.Next = token.encode()
	}
	return h, nil
}

// holders finds everybody by walking from the permission back to those who hold it.
func (s *Session) holders(permission events.PermissionName, r Resource) ([]events.Principal, error) {
	q := Question{Principal: events.User("-"), Permission: permission, Resource: r}
	if err := q.check(); err != nil {
		return nil, err
	}
	c := &inquiry{s: s, q: q, window: s.instant(), wanted: wantedBy(r)}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	if !c.resource.holds(s.moment.ValidAt) {
		return nil, nil
	}
	b := backtrack{s: s, wanted: c.wanted, holders: map[events.Principal]bool{}, passed: map[place]bool{}}
	for _, p := range c.permissions {
		if err := b.permission(p); err != nil {
			return nil, err
		}
	}
	everybody, err := b.acting(permission, r)
	slices.SortFunc(everybody, events.Principal.Compare)
	return everybody, err
}

// backtrack walks the edges backwards at the session's instant.
type backtrack struct {
	s       *Session
	wanted  wanted
	holders map[events.Principal]bool // true: must be checked, because a permission has prerequisites
	passed  map[place]bool
	check   bool
}

// permission starts from everybody who is granted p.
func (b *backtrack) permission(p events.Permission) error {
	segments, err := b.s.permission(p)
	if err != nil {
		return err
	}
	def, ok := at(b.s, segments)
	if !ok || def.Retired {
		return nil
	}
	b.check = len(def.Def.RequiresAnyOf) > 0
	clear(b.passed)
	grants, err := b.s.linksTo(events.EdgeGrant, string(p.API), string(p.Name))
	if err != nil {
		return err
	}
	return b.each(grants, func(l link) error {
		if l.edge.Scope.Kind != events.ScopeNone && !b.wanted.met(l.edge.Scope) {
			return nil
		}
		return b.arrive(place{l.from(), l.edge.Scope})
	})
}

// each goes back along the links that hold now from a principal that lives.
func (b *backtrack) each(links []link, back func(link) error) error {
	for _, l := range links {
		if !l.Holds(b.s.moment.ValidAt) {
			continue
		}
		life, err := b.s.lifetime(l.from())
		if err != nil {
			return err
		}
		if !life.Holds(b.s.moment.ValidAt) {
			continue
		}
		if err := back(l); err != nil {
			return err
		}
	}
	return nil
}

// arrive goes on from a principal that holds the permission on a scope.
func (b *backtrack) arrive(at place) error {
	if b.passed[at] {
		return nil
	}
	b.passed[at] = true
	if at.Kind == events.KindRole {
		return b.role(at)
	}
	if !b.wanted.met(at.scope) {
		return nil
	}
	if at.Kind != events.KindGroup {
		b.holders[at.Principal] = b.holders[at.Principal] || b.check
		return nil
	}
	for _, kind := range []events.EdgeKind{events.EdgeMember, events.EdgeParent} {
		err := b.back(at.incarnation, kind, func(l link) error { return b.arrive(place{l.from(), at.scope}) })
		if err != nil {
			return err
		}
	}
	return nil
}

// role goes back to the roles that include this one and to those it is assigned to.
func (b *backtrack) role(at place) error {
	err := b.back(at.incarnation, events.EdgeInclusion, func(l link) error { return b.arrive(place{l.from(), at.scope}) })
	if err != nil {
		return err
	}
	return b.back(at.incarnation, events.EdgeAssignment, func(l link) error {
		scope, ok := at.scope.Narrow(l.edge.Scope)
		if !ok || !b.wanted.met(scope) {
			return nil
		}
		return b.arrive(place{l.from(), scope})
	})
}

func (b *backtrack) back(to incarnation, kind events.EdgeKind, step func(link) error) error {
	links, err := b.s.linksTo(kind, string(to.Kind), to.ID)
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(l link) bool { return l.toIncarnation != to.number })
	return b.each(links, step)
}

// acting lists the users and clients found, without those for whom a prerequisite is missing.
func (b *backtrack) acting(permission events.PermissionName, r Resource) ([]events.Principal, error) {
	var all []events.Principal
	for p, check := range b.holders {
		if !p.Acts() {
			continue
		}
		if check {
			d, err := b.s.Check(Question{Principal: p, Permission: permission, Resource: r})
			if err != nil {
				return nil, err
			}
			if !d.Allowed {
				continue
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// pageToken is where a listing goes on. It holds no secret and grants nothing: it names a moment and a place
// in a listing that the caller must be allowed to ask for anyway.
type pageToken struct {
	Tenant   events.Tenant   `json:"t"`
	Revision events.Revision `json:"r"`
	ValidAt  events.Instant  `json:"v"`
	Listing  string          `json:"l"`
	After    string          `json:"a"`
}

// listing names what is listed.
func listing(permission events.PermissionName, r Resource) string {
	b, _ := json.Marshal([]any{permission, r})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func (t pageToken) encode() string {
	b, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(b)
}

func parsePageToken(token string) (t pageToken, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.After == "" || t.Revision == 0 {
		return t, fmt.Errorf("%w: not a token of ours", ErrBadPage)
	}
	return t, nil
}

// after reads a token that must be of the same listing, tenant and moment as t.
func (t pageToken) after(token string) (string, error) {
	got, err := parsePageToken(token)
	if err != nil {
		return "", err
	}
	t.After = got.After
	if got != t {
		return "", fmt.Errorf("%w: it belongs to another question or moment", ErrBadPage)
	}
	return got.After, nil
}

// Resume opens a session at the moment a page token holds.
func (v *View) Resume(ctx context.Context, tenant events.Tenant, token string) (*Session, error) {
	t, err := parsePageToken(token)
	if err != nil {
		return nil, err
	}
	if t.Tenant != tenant {
		return nil, fmt.Errorf("%w: it belongs to another tenant", ErrBadPage)
	}
	return v.At(ctx, tenant, When{ValidAt: t.ValidAt, KnownAt: Known{Revision: t.Revision}})
}
