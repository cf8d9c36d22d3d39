package projections

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The rows of answers from the journal:
//
//	J <tenant>/<caller kind>/<caller id>/<idempotency key>/   events.Answer as JSON
//
// for example, with an answer to user:alice, key "k 1", in tenant "default":
//
//	4A 64656661756C74 2F 75736572 2F 616C696365 2F 6B3D323031 2F     "Jdefault/user/alice/k=201/"
//
// They are in no generation and no digest, because the journal is not the log: a rebuild neither makes nor
// loses them. Answers without an idempotency key leave no row; they only move the sequence.
func keyAnswer(tenant events.Tenant, caller events.Principal, key string) pebblekv.Key {
	return pebblekv.NewKey('J').IDs(string(tenant), string(caller.Kind), caller.ID, key)
}

// NoteAnswer indexes the journal entry with that sequence. Entries at or before the last one noted are
// ignored, and an answer that is there already is never replaced: the first answer to a key is the only one.
//
// It may be called while a draft is open, and by the goroutine that holds it. It writes other keys than a
// draft does, in a batch of its own, so neither can undo the other. A row is synced, because no replay of the
// log gives it back; the drafts flushed before become durable with it, which does no harm. A sequence alone is
// not synced: after a crash the journal is read again from the one before.
func (p *Projector) NoteAnswer(sequence uint64, a events.Answer) error {
	p.noting.Lock()
	defer p.noting.Unlock()
	if sequence <= p.Noted() {
		return nil
	}
	w := p.store.NewWrite()
	defer w.Discard()
	if err := noteAnswer(w, a); err != nil {
		return fmt.Errorf("note answer sequence=%d: %w", sequence, err)
	}
	if err := w.Set(keyNoted, binary.BigEndian.AppendUint64(nil, sequence)); err != nil {
		return err
	}
	if err := w.Commit(a.Key != ""); err != nil {
		return fmt.Errorf("note answer sequence=%d: %w", sequence, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noted = sequence
	return nil
}

func noteAnswer(w *pebblekv.Write, a events.Answer) error {
	if a.Key == "" {
		return nil
	}
	key := keyAnswer(a.Tenant, a.Caller, a.Key)
	if _, known, err := w.Get(key); known || err != nil {
		return err
	}
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return w.Set(key, value)
}

// Noted is the sequence of the last journal entry indexed; 0 before the first.
func (p *Projector) Noted() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.noted
}

// FindNoted finds the journal's answer to an idempotency key. Answers with events are not here but in the
// view receipts.
func (p *Projector) FindNoted(tenant events.Tenant, caller events.Principal, key string) (a events.Answer, ok bool, err error) {
	snap := p.store.NewSnapshot()
	defer snap.Close()
	value, ok, err := snap.Get(keyAnswer(tenant, caller, key))
	if err != nil || !ok {
		return events.Answer{}, false, err
	}
	if err := json.Unmarshal(value, &a); err != nil {
		return events.Answer{}, false, fmt.Errorf("answer to key %q of %s: %w", key, caller, err)
	}
	return a, true, nil
}
