package events

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The feed: one stream, one message per event, the message's sequence is the event's position. Its
// subjects name what services select by, so that a plain NATS filter does the selecting:
//
//	permledger.events.<tenant>.<api>.<noun>.<verb>.<principal kind>.<principal id>
//	permledger.events.default.~.role.assigned.user.alice
//	permledger.events.default.operate.permission.granted.client.ci=2Ebot
//
// Ids are encoded by SubjectToken; NoToken stands where an event names nothing.
const (
	FeedStream   = "EVENTS"
	feedPrefix   = "permledger.events."
	FeedSubjects = feedPrefix + ">"
)

// Subject is where the feed publishes r. API and principal are those About gives.
func Subject(r Recorded) string {
	holder, _, api := About(r.Event)
	noun, verb, _ := strings.Cut(Name(r.Event), ".")
	return feedPrefix + strings.Join([]string{
		SubjectToken(string(r.Tenant)), SubjectToken(string(api)), noun, verb,
		SubjectToken(string(holder.Kind)), SubjectToken(holder.ID),
	}, ".")
}

// SubjectFilter selects events by what their subject names. A zero field selects all; fields that are
// set must all match.
type SubjectFilter struct {
	Tenant        Tenant
	API           API    // events about one permission, resource type or API; assignments name none
	Kind          string // an event name as "role.assigned", or its first word as "role"
	PrincipalKind Kind
	PrincipalID   string
}

// Check refuses what no event can match: a misspelt kind would otherwise be silence.
func (f SubjectFilter) Check() error {
	if f.Tenant != "" {
		if err := f.Tenant.Check(); err != nil {
			return err
		}
	}
	if f.API != "" {
		if err := f.API.Check(); err != nil {
			return err
		}
	}
	if f.Kind != "" && !slices.ContainsFunc(Names(), f.selects) {
		return Invalid("kind", f.Kind, `must be the name of an event as "role.assigned", or its first word`)
	}
	switch f.PrincipalKind {
	case "", KindUser, KindClient, KindGroup, KindRole, KindMappingRule:
	default:
		return Invalid("principal kind", string(f.PrincipalKind), "must be user, client, group, role or mapping-rule")
	}
	if f.PrincipalID != "" {
		return CheckID("principal id", f.PrincipalID)
	}
	return nil
}

func (f SubjectFilter) selects(name string) bool {
	return name == f.Kind || strings.HasPrefix(name, f.Kind+".")
}

// Subject is the NATS subject filter that selects the same events. Its only wildcards are those of
// fields not set.
func (f SubjectFilter) Subject() string {
	noun, verb, _ := strings.Cut(f.Kind, ".")
	tokens := []string{string(f.Tenant), string(f.API), noun, verb, string(f.PrincipalKind), f.PrincipalID}
	for i, t := range tokens {
		if t == "" {
			tokens[i] = "*"
		} else {
			tokens[i] = SubjectToken(t)
		}
	}
	return feedPrefix + strings.Join(tokens, ".")
}

// FeedMessage is what the feed says about one event: where it stands in which ledger, and its bytes
// exactly as stored. A message is spliced and cut, never encoded again, so that a feed built anew has
// the same bytes:
//
//	{"ledger":"…","revision":12,"position":40,"event":{…}}
type FeedMessage struct {
	Ledger   LedgerID
	Revision Revision
	Position Position
	Event    []byte
}

const (
	messageLedger   = `{"ledger":"`
	messageRevision = `","revision":`
	messagePosition = `,"position":`
	messageEvent    = `,"event":`
)

// ErrNotAMessage is met on reading bytes that no feed wrote.
var ErrNotAMessage = errors.New("not a message of a feed")

// Message is the feed's message about r, an event of that ledger.
func Message(ledger LedgerID, r Recorded) FeedMessage {
	return FeedMessage{Ledger: ledger, Revision: r.Revision, Position: r.Position, Event: r.Raw}
}

// Bytes are the message as published.
func (m FeedMessage) Bytes() []byte {
	b := make([]byte, 0, 128+len(m.Event))
	b = append(b, messageLedger...)
	b = append(b, m.Ledger.String()...)
	b = append(b, messageRevision...)
	b = strconv.AppendUint(b, uint64(m.Revision), 10)
	b = append(b, messagePosition...)
	b = strconv.AppendUint(b, uint64(m.Position), 10)
	b = append(b, messageEvent...)
	b = append(b, m.Event...)
	return append(b, '}')
}

// ParseMessage cuts a message into its parts and refuses every form but that of Bytes. It does not look
// into the event.
func ParseMessage(b []byte) (FeedMessage, error) {
	var m FeedMessage
	rest, okLedger := bytes.CutPrefix(b, []byte(messageLedger))
	ledger, rest, okRevision := bytes.Cut(rest, []byte(messageRevision))
	revision, rest, okPosition := bytes.Cut(rest, []byte(messagePosition))
	position, rest, okEvent := bytes.Cut(rest, []byte(messageEvent))
	event, okEnd := bytes.CutSuffix(rest, []byte("}"))
	if !okLedger || !okRevision || !okPosition || !okEvent || !okEnd {
		return m, ErrNotAMessage
	}
	id, err := uuid.ParseBytes(ledger)
	if err != nil {
		return m, fmt.Errorf("%w: ledger: %w", ErrNotAMessage, err)
	}
	rev, err := strconv.ParseUint(string(revision), 10, 64)
	if err != nil {
		return m, fmt.Errorf("%w: revision: %w", ErrNotAMessage, err)
	}
	pos, err := strconv.ParseUint(string(position), 10, 64)
	if err != nil {
		return m, fmt.Errorf("%w: position: %w", ErrNotAMessage, err)
	}
	m = FeedMessage{Ledger: id, Revision: Revision(rev), Position: Position(pos), Event: event}
	if !bytes.Equal(m.Bytes(), b) { // other ways of writing an id or a number
		return FeedMessage{}, ErrNotAMessage
	}
	return m, nil
}
