package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

func key(n byte) events.PrivateKey {
	return events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// ring is a keyring; the first key is the one to begin with.
type ring []events.PrivateKey

func (r ring) First() (events.Signer, error) { return r[0], nil }

func (r ring) Signer(want events.PublicKey) (events.Signer, error) {
	for _, k := range r {
		if k.Public() == want {
			return k, nil
		}
	}
	return nil, ledger.ErrNoKey
}

func withKeys(keys ...events.PrivateKey) func(*ledger.Config) {
	return func(c *ledger.Config) { c.Keys = ring(keys) }
}

// signedBy lists the key of each commit in the log, as its first letters.
func (r *rig) signedBy() (keys []events.PublicKey) {
	r.t.Helper()
	for s, err := range r.log.Reopen().Read(r.t.Context(), 1) {
		if err != nil {
			r.t.Fatal(err)
		}
		c, err := events.DecodeCommit(s.Bytes)
		if err != nil {
			r.t.Fatal(err)
		}
		keys = append(keys, c.Key)
	}
	return keys
}

func TestEveryCommitIsSigned(t *testing.T) {
	r := newRig(t, withKeys(key(1), key(2)))
	r.must(basics...)
	r.must(ledger.RotateKey{Key: key(2).Public()})
	r.must(ledger.CreateRole{Role: "after"})
	one, two := key(1).Public(), key(2).Public()
	equal(t, "keys of the commits", r.signedBy(), []events.PublicKey{one, one, one, two})
	equal(t, "the key that signs next", r.Status().Head.Key, two)
}

// A ledger that was begun without a key gets one when it is opened with a keyring, once.
func TestAKeyIsAnnouncedOnce(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	openRig(t, log).must(ledger.CreateRole{Role: "unsigned"})
	openRig(t, log, withKeys(key(1))).must(ledger.CreateRole{Role: "signed"})
	r := openRig(t, log, withKeys(key(1)))
	none, one := events.PublicKey{}, key(1).Public()
	equal(t, "keys of the commits", r.signedBy(), []events.PublicKey{none, none, one, one})
}

func TestWithoutItsKeyALedgerIsNotWritten(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	openRig(t, log, withKeys(key(1)))
	for name, adjust := range map[string]func(*ledger.Config){
		"no keyring":    func(*ledger.Config) {},
		"another's key": withKeys(key(2)),
	} {
		l, err := ledger.Open(t.Context(), log, log, newFold(log), (&rig{now: firstDay}).config(adjust))
		if !errors.Is(err, ledger.ErrNoKey) || !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: opened with %v", name, err)
		}
		if l != nil {
			l.Close()
		}
	}

	// A key that was announced without being in the keyring: the ledger says so and stores nothing.
	r := openRig(t, log, withKeys(key(1)))
	r.must(ledger.RotateKey{Key: key(3).Public()})
	before := r.Status().Head
	if _, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "unsignable"})); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("submitted: %v", err)
	}
	if s := r.Status(); s.Ready || s.Head != before {
		t.Errorf("status %+v", s)
	}
	// A request that has nothing to record needs no key, and makes nobody believe that the next one is stored.
	if err := r.Notice(t.Context()); err != nil {
		t.Error(err)
	}
	if s := r.Status(); s.Ready {
		t.Errorf("without its key the ledger is ready: %+v", s)
	}
}

// Another process replaces the key and shares it later: until then the ledger is not ready, though nobody asks it
// for anything, and then it is, without a restart.
func TestAKeyReplacedByAnotherProcess(t *testing.T) {
	log, shared := memlog.Open(memlog.Config{}), &sharedRing{}
	shared.add(key(1))
	ours := openRig(t, log, func(c *ledger.Config) { c.Keys = shared })
	ours.must(ledger.CreateRole{Role: "ours"})
	theirs := openRig(t, log, withKeys(key(1), key(2)))
	theirs.must(ledger.RotateKey{Key: key(2).Public()})
	if _, err := ours.Submit(t.Context(), request(ledger.CreateRole{Role: "unsignable"})); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("submitted: %v", err)
	}
	if err := ours.Notice(t.Context()); err != nil || ours.Status().Ready {
		t.Errorf("without the new key: %+v, %v", ours.Status(), err)
	}
	shared.add(key(2))
	if err := ours.Notice(t.Context()); err != nil || !ours.Status().Ready {
		t.Errorf("with the new key: %+v, %v", ours.Status(), err)
	}
	ours.must(ledger.CreateRole{Role: "ours-again"})
}

// sharedRing is a keyring that another process adds to.
type sharedRing struct {
	mu sync.Mutex
	ring
}

func (s *sharedRing) add(k events.PrivateKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring = append(s.ring, k)
}

func (s *sharedRing) Signer(want events.PublicKey) (events.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring.Signer(want)
}

// What reached the log past the ledger is no commit, though it is well-formed and chained and its writer knows
// everything but the key. Control: without a key it is one.
func TestForgedCommit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		keys   func(*ledger.Config)
		signer events.Signer
		taken  bool
	}{
		{"unsigned", withKeys(key(1)), nil, false},
		{"signed by a key of the forger's own", withKeys(key(1)), key(9), false},
		{"control: a ledger without keys", func(*ledger.Config) {}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := memlog.Open(memlog.Config{})
			first := openRig(t, log, tt.keys)
			head := first.Status().Head
			first.Close()
			evs := []events.Recorded{{
				ID: ledger.NewID(), Command: ledger.NewID(), Meta: events.Meta{Actor: root},
				Event: events.AdministratorAdded{Principal: events.User("mallory")},
			}}
			if tt.signer != nil {
				evs = append(evs, events.Recorded{
					ID: ledger.NewID(), Command: ledger.NewID(), Meta: events.Meta{Actor: root},
					Event: events.KeyAnnounced{Key: tt.signer.Public()},
				})
			}
			forged, err := events.Seal(head, events.Header{RecordedAt: head.RecordedAt, Writer: head.Writer}, evs, tt.signer)
			if err != nil {
				t.Fatal(err)
			}
			other := memlog.Open(memlog.Config{}) // checkAll of the first rig reads its own log, whole
			for s, err := range log.Read(t.Context(), 1) {
				if err != nil {
					t.Fatal(err)
				}
				other.Foreign(s.Bytes)
			}
			other.Foreign(forged.Bytes)
			l, err := ledger.Open(t.Context(), other, other, newFold(other), (&rig{now: firstDay}).config(tt.keys))
			if taken := err == nil; taken != tt.taken || err != nil && !errors.Is(err, ledger.ErrCorrupt) {
				t.Errorf("opened with %v", err)
			}
			if l != nil {
				l.Close()
			}
		})
	}
}

// An event is a leaf of the audit tree, and a leaf has a length. One event too long does not take others of
// its group down.
func TestEventTooLong(t *testing.T) {
	r := newRig(t)
	long := ledger.LoadCatalog{Contents: ledger.CatalogFile{
		Catalog: "c", Info: events.CatalogInfo{Version: "1", Digest: strings.Repeat("0", 64)},
		Types: []ledger.TypeEntry{{Type: "t", Def: events.ResourceTypeDefinition{API: "operate", Permissions: manyNames(1000)}}},
	}}
	r.must(operate)
	r.refuses(request(long), ledger.CodeTooLarge)
	if _, err := r.DryRun(t.Context(), request(long)); codeOf(err) != ledger.CodeTooLarge {
		t.Errorf("dry run: %v", err)
	}
	long.Contents.Types[0].Def.Permissions = manyNames(200)
	r.must(long)
}

func manyNames(n int) []events.PermissionName {
	names := make([]events.PermissionName, n)
	for i := range names {
		names[i] = events.PermissionName(strings.Repeat("x", 100)) + events.PermissionName(rune('a'+i%26)) + events.PermissionName(rune('a'+i/26%26)) + events.PermissionName(rune('a'+i/676))
	}
	return names
}

func TestAcceptForkIsAnEvent(t *testing.T) {
	r := newRig(t)
	kept := r.Status().Head.Mark()
	lost := kept
	lost.Revision += 7
	receipt := r.must(ledger.AcceptFork{Lost: lost, Kept: kept})
	equal(t, "event", receipt.Recorded[0].Event, events.Event(events.ForkAccepted{Lost: lost, Kept: kept}))
	equal(t, "tenant", receipt.Recorded[0].Tenant, events.Tenant(""))
	r.refuses(request(ledger.AcceptFork{}), ledger.CodeInvalid)
	r.refuses(request(ledger.RotateKey{}), ledger.CodeInvalid)
}
