package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/permledger/permledger/ledger"
)

func TestKeyring(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	r, err := openKeyring(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.First()
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Make()
	if err != nil {
		t.Fatal(err)
	}
	again, err := openKeyring(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Signer(first.Public()); err != nil {
		t.Error(err)
	}
	if err := again.Keep(second.Public()); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Signer(first.Public()); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("a key that signs nothing any more is still there: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	// Another process with the same directory makes one: it is found when it is asked for.
	third, err := r.Make()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Signer(third.Public()); err != nil {
		t.Errorf("a key made by another process: %v", err)
	}
	// Keeping one that is not here forgets none.
	unknown, err := (&keyring{}).Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Keep(unknown.Public()); err != nil || len(again.keys) != 2 {
		t.Errorf("%d keys left, %v", len(again.keys), err)
	}
}

func TestKeyFilesThatAreNotTaken(t *testing.T) {
	good := filepath.Join(t.TempDir(), "keys")
	r, err := openKeyring(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.First(); err != nil {
		t.Fatal(err)
	}
	file := r.file(r.keys[0].Public())
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		content []byte
		mode    os.FileMode
	}{
		"others may read it": {content, 0o640},
		"no PEM":             {[]byte("key"), 0o600},
		"two blocks":         {append(append([]byte(nil), content...), content...), 0o600},
		"cut off":            {content[:len(content)/2], 0o600},
		"no Ed25519":         {[]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600},
	} {
		dir := t.TempDir()
		bad := filepath.Join(dir, "k.pem")
		if err := os.WriteFile(bad, tt.content, tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(bad, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeyring(dir); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
