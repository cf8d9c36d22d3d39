package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
)

// Check answers whether the principal may do it, at the session's instant.
func (s *Session) Check(q Question) (Decision, error) {
	c, err := s.ask(q)
	if err != nil {
		return Decision{}, err
	}
	return c.decide()
}

// Intervals answers when the principal could do it, over all time, as known at the session's revision.
func (s *Session) Intervals(q Question) (Intervals, error) {
	if s.live { // live rows hold only what is not over
		past := *s
		past.live = false
		past.edges, past.lived = map[edgesKey][]link{}, map[incarnation]events.Interval{}
		return past.Intervals(q)
	}
	c, err := s.askWithin(q, events.Always)
	if err != nil {
		return Intervals{}, err
	}
	var t timeline
	for _, p := range c.permissions {
		effective, err := c.effective(p)
		if err != nil {
			return Intervals{}, err
		}
		t = t.union(effective)
	}
	return Intervals{s.moment.Revision, append([]events.Interval{}, t...)}, nil
}

// inquiry is a question being answered: what was asked, resolved, and where the principal stands when.
type inquiry struct {
	s           *Session
	q           Question
	who         events.Principal
	window      events.Interval
	wanted      wanted
	resource    timeline // when the API or type asked about exists
	permissions []events.Permission
	reached     reach
	asking      []events.Permission // permissions being judged: a prerequisite that leads back to itself is not met
}

// ask prepares a question about the session's instant.
func (s *Session) ask(q Question) (*inquiry, error) { return s.askWithin(q, s.instant()) }

func (s *Session) askWithin(q Question, window events.Interval) (*inquiry, error) {
	c := &inquiry{s: s, q: q, who: q.Principal, window: window, wanted: wantedBy(q.Resource)}
	if !q.Client.IsZero() {
		c.who = q.Client
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	var err error
	c.reached, err = s.walk(c.who, c.wanted, window)
	return c, err
}

func (q Question) check() error {
	if err := q.Principal.Check(); err != nil && (q.Client.IsZero() || !q.Principal.IsZero()) {
		return err
	}
	if !q.Client.IsZero() && q.Client.Kind != events.KindClient {
		return events.Invalid("client", q.Client.String(), "must be a client")
	}
	if err := q.Permission.Check(); err != nil {
		return err
	}
	return q.Resource.check()
}

func (r Resource) check() error {
	if r.Type == "" {
		if r.ID != "" || len(r.Properties) > 0 {
			return events.Invalid("resource", r.ID, "an id or a property needs a resource type")
		}
		return events.CheckID("audience", r.Audience)
	}
	if r.Audience != "" {
		return events.Invalid("resource", r.Audience, "must be either an API's audience or a resource type")
	}
	for _, p := range r.Properties {
		if err := events.CheckID("property", p); err != nil {
			return err
		}
	}
	if r.ID == "" {
		return r.Type.Check()
	}
	return events.Exactly(r.Type, r.ID).Check()
}

// resolve finds the API or type asked about and the permissions the name may mean.
func (c *inquiry) resolve() error {
	apis, err := c.apis()
	if err != nil {
		return err
	}
	for _, api := range apis {
		exact := events.Permission{API: api, Name: c.q.Permission}
		known, err := c.s.permission(exact)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			c.permissions = append(c.permissions, exact)
			continue
		}
		named, ok, err := c.bySlug(api)
		if err != nil {
			return err
		}
		if ok {
			c.permissions = append(c.permissions, named)
		}
	}
	return nil
}

// bySlug takes the name asked for as the slug of one of the API's permissions.
func (c *inquiry) bySlug(api events.API) (events.Permission, bool, error) {
	slug := string(c.q.Permission)
	p, ok, err := bySlug(c.s.rows, c.s.tenant, api, slug, c.s.moment.Revision)
	if err != nil || !ok {
		return p, false, err
	}
	known, err := c.s.permission(p)
	has := func(seg segment[events.PermissionDefinition]) bool { return seg.Def.ID == slug }
	return p, slices.ContainsFunc(known, has), err
}

// apis gives the APIs the question may be about, and notes when what it is about exists.
func (c *inquiry) apis() ([]events.API, error) {
	if t := c.q.Resource.Type; t != "" {
		segments, err := c.s.resourceType(t)
		if err != nil || len(segments) == 0 {
			return nil, err
		}
		c.resource = inForce(segments)
		return []events.API{segments[0].Def.API}, nil
	}
	return c.ofAudience(c.q.Resource.Audience)
}

// ofAudience gives the APIs of an audience; if none has it, the name may be an API's own id.
func (c *inquiry) ofAudience(audience string) ([]events.API, error) {
	candidates, err := ofAudience(c.s.rows, c.s.tenant, audience)
	if err != nil {
		return nil, err
	}
	var apis []events.API
	for _, api := range candidates {
		segments, err := c.s.api(api)
		if err != nil {
			return nil, err
		}
		segments = slices.DeleteFunc(slices.Clone(segments), func(seg segment[events.APIDefinition]) bool {
			return seg.Def.Audience != audience
		})
		if len(segments) > 0 {
			apis = append(apis, api)
			c.resource = c.resource.union(inForce(segments))
		}
	}
	if len(apis) > 0 {
		return apis, nil
	}
	segments, err := c.s.api(events.API(audience))
	if err != nil || len(segments) == 0 {
		return nil, err
	}
	c.resource = inForce(segments)
	return []events.API{events.API(audience)}, nil
}

// decide judges the question at the session's instant.
func (c *inquiry) decide() (Decision, error) {
	d := Decision{Moment: c.s.moment}
	switch {
	case !c.resource.holds(c.s.moment.ValidAt):
		return d.because(UnknownResource, "%s is not known", c.q.Resource), nil
	case len(c.permissions) == 0:
		return d.because(UnknownPermission, "%s has no permission %s", c.q.Resource, c.q.Permission), nil
	}
	for _, p := range c.permissions {
		held, err := c.s.held(c.reached, p, c.wanted)
		if err != nil {
			return Decision{}, err
		}
		judged, err := c.judge(p, held)
		if err != nil {
			return Decision{}, err
		}
		if d = judged; d.Allowed {
			return d, nil
		}
	}
	return d, nil
}

func (d Decision) because(o Outcome, format string, args ...any) Decision {
	d.Outcome, d.Allowed, d.Reason = o, o == Allowed, fmt.Sprintf(format, args...)
	return d
}

// judge says what holding p makes of the question.
func (c *inquiry) judge(p events.Permission, held timeline) (Decision, error) {
	d := Decision{Moment: c.s.moment}
	if len(held) == 0 {
		return d.because(NotHeld, "no path leads from %s to %s on %s", c.who, p.Name, c.q.Resource), nil
	}
	segments, err := c.s.permission(p)
	if err != nil {
		return d, err
	}
	def, ok := at(c.s, segments)
	if !ok || def.Retired {
		return d.because(Retired, "%s holds %s, which is retired", c.who, p.Name), nil
	}
	if d.Missing, err = c.missing(p, def.Def.RequiresAnyOf); err != nil {
		return d, err
	}
	if len(d.Missing) > 0 {
		return d.because(Inert, "%s holds %s, but not its prerequisite: %s", c.who, p.Name, anyOf(d.Missing)), nil
	}
	return d.because(Allowed, "%s holds %s on %s", c.who, p.Name, c.q.Resource), nil
}

// missing gives the prerequisite groups that are not met at the session's instant.
func (c *inquiry) missing(of events.Permission, groups [][]events.Permission) ([][]events.Permission, error) {
	var missing [][]events.Permission
	for _, group := range groups {
		met, err := c.met(of, group)
		if err != nil {
			return nil, err
		}
		if len(met) == 0 {
			missing = append(missing, group)
		}
	}
	return missing, nil
}

// met gives the members of a prerequisite group that are effective at the session's instant.
func (c *inquiry) met(of events.Permission, group []events.Permission) ([]events.Permission, error) {
	c.asking = append(c.asking, of)
	defer func() { c.asking = c.asking[:len(c.asking)-1] }()
	var met []events.Permission
	for _, p := range group {
		effective, err := c.effective(p)
		if err != nil {
			return nil, err
		}
		if effective.holds(c.s.moment.ValidAt) {
			met = append(met, p)
		}
	}
	return met, nil
}

// effective is when, within the window, the principal holds p on what the question is about, p and the
// resource exist, and every prerequisite is effective too (SEMANTICS §3.4). Prerequisites are judged on the
// united set and on the same resource. One that leads back to itself is not met by that.
func (c *inquiry) effective(p events.Permission) (timeline, error) {
	if slices.Contains(c.asking, p) {
		return nil, nil
	}
	held, err := c.s.held(c.reached, p, c.wanted)
	if err != nil || len(held) == 0 {
		return nil, err
	}
	c.asking = append(c.asking, p)
	defer func() { c.asking = c.asking[:len(c.asking)-1] }()
	segments, err := c.s.permission(p)
	if err != nil {
		return nil, err
	}
	var t timeline
	for _, seg := range segments {
		if seg.Retired {
			continue
		}
		during := held.within(seg.Interval).intersect(c.resource)
		for _, group := range seg.Def.RequiresAnyOf {
			if len(during) == 0 {
				break
			}
			var met timeline
			for _, member := range group {
				effective, err := c.effective(member)
				if err != nil {
					return nil, err
				}
				met = met.union(effective)
			}
			during = during.intersect(met)
		}
		t = t.union(during)
	}
	return t, nil
}

// anyOf writes prerequisite groups for people: "Access cases or Access processes; and Access users".
func anyOf(groups [][]events.Permission) string {
	var all []string
	for _, group := range groups {
		var names []string
		for _, p := range group {
			names = append(names, string(p.Name))
		}
		all = append(all, strings.Join(names, " or "))
	}
	return strings.Join(all, "; and ")
}

// String is how people write what a question is about.
func (r Resource) String() string {
	switch {
	case r.Type == "":
		return "api:" + r.Audience
	case r.ID == "":
		return string(r.Type)
	}
	return string(r.Type) + ":" + r.ID
}
