package ledger

import "fmt"

// What keeps the ledger from writing at the moment although nothing is broken. Nothing was recorded, and it
// passes without anybody restarting anything.
var (
	// ErrNoSpace: the disk is too full for this request.
	ErrNoSpace = fmt.Errorf("no space: %w", ErrUnavailable)
	// ErrClock: nobody knows what time it is, and every commit says when it was recorded.
	ErrClock = fmt.Errorf("clock: %w", ErrUnavailable)
)

// Space is how much room there is for what the ledger writes. Access outlives the room to take it away again
// unless some is kept for that: so what adds stops first.
type Space int32

const (
	SpaceOpen Space = iota // everything is recorded
	SpaceLow               // only what takes away is: requests whose every command does
	SpaceFull              // nothing is
)

func (s Space) String() string {
	switch s {
	case SpaceLow:
		return "low"
	case SpaceFull:
		return "full"
	}
	return "open"
}

// admit says whether a request may be written with that much space, and by that clock.
func (l limits) admit(commands []Command) error {
	switch {
	case len(commands) == 0: // no start and no end is due
		return nil
	case l.clock != nil:
		return fmt.Errorf("%w: %w", ErrClock, l.clock)
	case l.space == SpaceFull:
		return fmt.Errorf("%w: the disk is full, nothing is recorded", ErrNoSpace)
	case l.space == SpaceLow && !allTakeAway(commands):
		return fmt.Errorf("%w: the disk is nearly full, only what takes away is recorded", ErrNoSpace)
	}
	return nil
}

// limits are what a group is judged under: asked for once, so that all its requests are judged alike.
type limits struct {
	space Space
	clock error // why the clock cannot be trusted, or nil
}

func (c *Config) limits() (l limits) {
	if c.Space != nil {
		l.space = c.Space()
	}
	if c.ClockSound != nil {
		l.clock = c.ClockSound()
	}
	return l
}

func allTakeAway(commands []Command) bool {
	for _, c := range commands {
		if !takesAway(c) {
			return false
		}
	}
	return true
}

// takesAway reports whether a command can only make somebody hold less, or is what an operator does in need.
// CorrectValidity is none: it may as well prolong. A start or end that has come takes nothing away that its own
// time has not taken already.
func takesAway(c Command) bool {
	switch c.(type) {
	case DeleteTenant, RemoveAdministrator, DeleteRole, RemoveRolePermission, ExcludeRole, DeleteGroup, RemoveMember,
		UnsetParent, UnassignRole, Revoke, DeletePrincipal, ErasePrincipal, RotateKey, AcceptFork:
		return true
	case CreateTenant, AddAdministrator, LoadCatalog, DefineAPI, DefinePermission, DefineResourceType, CreateRole,
		ChangeRole, AddRolePermission, IncludeRole, CreateGroup, AddMember, SetParent, AssignRole, Grant,
		CorrectValidity, DescribePrincipal, recordDue:
		return false
	}
	return false
}
