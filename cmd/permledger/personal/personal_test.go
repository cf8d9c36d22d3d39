package personal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/permledger/permledger/cmd/permledger/personal"
	"github.com/permledger/permledger/events"
)

var (
	alice = events.User("alice")
	bob   = events.User("bob")
)

const tenant = events.DefaultTenant

func open(t testing.TB, dir string) *personal.Keys {
	t.Helper()
	k, err := personal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, k *personal.Keys, p events.Principal, text string) events.Sealed {
	t.Helper()
	s, err := k.Seal(tenant, p, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// both runs a test on keys in files and on keys in memory, which tests of other packages rely on.
func both(t *testing.T, test func(t *testing.T, k *personal.Keys)) {
	t.Run("files", func(t *testing.T) { test(t, open(t, filepath.Join(t.TempDir(), "personal"))) })
	t.Run("memory", func(t *testing.T) { test(t, open(t, "")) })
}

func TestSealAndOpen(t *testing.T) {
	both(t, func(t *testing.T, k *personal.Keys) {
		rapid.Check(t, func(rt *rapid.T) {
			text := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "text")
			s, err := k.Seal(tenant, alice, text)
			if err != nil {
				rt.Fatal(err)
			}
			if got, err := k.Open(tenant, s); err != nil || !bytes.Equal(got, text) {
				rt.Fatalf("opened %q, %v; sealed %q", got, err, text)
			}
			again, err := k.Seal(tenant, alice, text)
			if err != nil || !bytes.Equal(again.Box, s.Box) || again.Key != s.Key {
				rt.Fatalf("sealed again: %v, another box", err)
			}
			if len(text) > 8 && bytes.Contains(s.Box, text) {
				rt.Fatal("the box shows the text")
			}
			other, err := k.Seal(tenant, alice, append(text, 'x'))
			if err != nil || bytes.Equal(other.Box[:12], s.Box[:12]) {
				rt.Fatalf("another text: %v, the same nonce", err)
			}
		})
	})
}

// A text's length shows in steps of 64 bytes only.
func TestLengthSaysLittle(t *testing.T) {
	k := open(t, "")
	for _, row := range []struct{ text, box int }{{0, 92}, {1, 92}, {63, 92}, {64, 156}, {127, 156}, {128, 220}} {
		if got := len(seal(t, k, alice, strings.Repeat("x", row.text)).Box); got != row.box {
			t.Errorf("a text of %d bytes is in a box of %d, want %d", row.text, got, row.box)
		}
	}
}

// A box opens for its principal, in its tenant, with its key, as it is: anything else is refused.
func TestBoxesAreBound(t *testing.T) {
	both(t, func(t *testing.T, k *personal.Keys) {
		s, b := seal(t, k, alice, "why"), seal(t, k, bob, "why")
		if bytes.Equal(s.Box, b.Box) {
			t.Error("two people's boxes of one text are equal")
		}
		moved := b
		moved.Box = s.Box
		if _, err := k.Open(tenant, moved); !errors.Is(err, personal.ErrDamaged) {
			t.Errorf("alice's box in bob's name: %v", err)
		}
		if _, err := k.Open("acme", s); !errors.Is(err, personal.ErrNoKey) {
			t.Errorf("in a tenant where alice has no key: %v", err)
		}
		if _, err := k.Seal("acme", alice, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open("acme", s); !errors.Is(err, personal.ErrNoKey) {
			t.Errorf("in a tenant where alice has another key: %v", err)
		}
		acme, _, err := k.Key("acme", alice)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open("acme", events.Sealed{For: alice, Key: acme, Box: s.Box}); !errors.Is(err, personal.ErrDamaged) {
			t.Errorf("moved to another tenant, with the name of the key there: %v", err)
		}
		if _, err := k.Open(tenant, events.Sealed{For: alice, Key: uuid.New(), Box: s.Box}); !errors.Is(err, personal.ErrNoKey) {
			t.Errorf("with the name of another key: %v", err)
		}
		for bit := range 8 * len(s.Box) {
			changed := bytes.Clone(s.Box)
			changed[bit/8] ^= 1 << (bit % 8)
			if _, err := k.Open(tenant, events.Sealed{For: alice, Key: s.Key, Box: changed}); !errors.Is(err, personal.ErrDamaged) {
				t.Fatalf("bit %d changed: %v", bit, err)
			}
		}
		for n := range s.Box {
			if _, err := k.Open(tenant, events.Sealed{For: alice, Key: s.Key, Box: s.Box[:n]}); !errors.Is(err, personal.ErrDamaged) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
		if text, err := k.Open(tenant, s); err != nil || string(text) != "why" { // the control
			t.Errorf("as it is: %q, %v", text, err)
		}
	})
}

func TestDestroy(t *testing.T) {
	both(t, func(t *testing.T, k *personal.Keys) {
		s, other := seal(t, k, alice, "why"), seal(t, k, bob, "why")
		destroy := func(want bool, ids ...events.PersonalKey) {
			t.Helper()
			if got, err := k.Destroy(tenant, alice, ids...); err != nil || got != want {
				t.Errorf("destroyed %t, %v; want %t", got, err, want)
			}
		}
		destroy(false, uuid.New(), other.Key) // not hers
		if _, err := k.Open(tenant, s); err != nil {
			t.Errorf("her key went with another: %v", err)
		}
		destroy(true, uuid.New(), s.Key)
		if _, err := k.Open(tenant, s); !errors.Is(err, personal.ErrNoKey) {
			t.Errorf("opened after its key was destroyed: %v", err)
		}
		if _, ok, err := k.Key(tenant, alice); ok || err != nil {
			t.Errorf("a key after its destruction: %t, %v", ok, err)
		}
		destroy(false, s.Key)
		anew := seal(t, k, alice, "why")
		if anew.Key == s.Key || bytes.Equal(anew.Box, s.Box) {
			t.Error("the key came back")
		}
		destroy(false, s.Key) // the erasure of old does not reach the new key
		for _, s := range []events.Sealed{anew, other} {
			if _, err := k.Open(tenant, s); err != nil {
				t.Errorf("%s: %v", s.For, err)
			}
		}
	})
}

func TestTryLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "personal")
	k := open(t, dir)
	s, err := k.Try(tenant, alice, []byte("why"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(tenant, s); !errors.Is(err, personal.ErrNoKey) {
		t.Errorf("a try left its key: %v", err)
	}
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("a try left %v", names)
	}
	kept := seal(t, k, alice, "why")
	if s, err = k.Try(tenant, alice, []byte("why")); err != nil || !bytes.Equal(s.Box, kept.Box) {
		t.Errorf("a try with a key there: %v, another box", err)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// Key files are their owner's, name nobody, are found again, and are gone when they are destroyed; what a crash
// left of one that was never a key goes when the directory is opened.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "personal")
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s := seal(t, open(t, dir), alice, "why")
	names := list(t, dir)
	if len(names) != 1 || len(names[0]) != 64 {
		t.Fatalf("the directory has %v", names)
	}
	file := filepath.Join(dir, names[0])
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	stray := filepath.Join(dir, ".new-123")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stray, content, 0o600); err != nil {
		t.Fatal(err)
	}
	k := open(t, dir)
	if _, err := os.Stat(stray); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a crash left is still there: %v", err)
	}
	if text, err := k.Open(tenant, s); err != nil || string(text) != "why" {
		t.Errorf("opened anew: %q, %v", text, err)
	}
	held, err := os.Open(file) // as somebody might hold it who still has the old blocks
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if ok, err := k.Destroy(tenant, alice, s.Key); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("after the destruction there is %v", names)
	}
	left := make([]byte, len(content)+1)
	n, _ := held.Read(left)
	var before, after struct{ Secret []byte }
	if err := errors.Join(json.Unmarshal(content, &before), json.Unmarshal(left[:n], &after)); err != nil {
		t.Fatal(err)
	}
	if n != len(content) || !bytes.Equal(after.Secret, make([]byte, 32)) || bytes.Equal(before.Secret, after.Secret) {
		t.Errorf("the file was removed and not overwritten: %s", left[:n])
	}
}

// A crash inside the destruction: whatever it left of the secret, the file still says whose it is, nothing is
// sealed with an overwritten secret, and destroying it again finishes.
func TestHalfDestroyed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "personal")
	k := open(t, dir)
	s := seal(t, k, alice, "why")
	file := filepath.Join(dir, list(t, dir)[0])
	overwritten, err := json.Marshal(map[string]any{"key": s.Key, "secret": make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(overwritten, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	k = open(t, dir)
	if _, err := k.Open(tenant, s); !errors.Is(err, personal.ErrNoKey) {
		t.Errorf("opened without its secret: %v", err)
	}
	if ok, err := k.Destroy(tenant, alice, s.Key); !ok || err != nil {
		t.Errorf("finished %t, %v", ok, err)
	}
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("left %v", names)
	}
}

// A key file that is not one, or that others may read, is refused, and its content quoted nowhere.
func TestUnusableFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "personal")
	k := open(t, dir)
	s := seal(t, k, alice, "why")
	file := filepath.Join(dir, list(t, dir)[0])
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(how string) {
		t.Helper()
		_, sealing := k.Seal(tenant, alice, []byte("why"))
		_, opening := k.Open(tenant, s)
		_, destroying := k.Destroy(tenant, alice, s.Key)
		for _, err := range []error{sealing, opening, destroying} {
			if !errors.Is(err, personal.ErrKeyFile) || strings.Contains(err.Error(), string(content[60:80])) {
				t.Errorf("%s: %v", how, err)
			}
		}
	}
	for how, b := range map[string][]byte{"empty": nil, "cut": content[:len(content)-10], "short": []byte(`{"key":"` + s.Key.String() + `","secret":"AAAA"}`)} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(how)
	}
	if err := errors.Join(os.WriteFile(file, content, 0o600), os.Chmod(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	refused("readable by others")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(tenant, s); err != nil { // healed
		t.Error(err)
	}
}

// Several processes may make the first key of one principal at once: they end up with one.
func TestOneKeyAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "personal")
	all := make([]events.Sealed, 16)
	keys := make([]*personal.Keys, len(all))
	for i := range keys {
		keys[i] = open(t, dir)
	}
	var work sync.WaitGroup
	for i, k := range keys {
		work.Go(func() { all[i] = seal(t, k, alice, "why") })
	}
	work.Wait()
	for _, s := range all {
		if s.Key != all[0].Key || !bytes.Equal(s.Box, all[0].Box) {
			t.Fatalf("keys %s and %s", all[0].Key, s.Key)
		}
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("the directory has %v", names)
	}
}
