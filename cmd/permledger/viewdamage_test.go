package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
)

// questions are users and whether they are allowed, in a ledger whose last revokes are as young as its last grants.
type questions map[events.Principal]bool

// damagedLedger is a directory as a crash leaves it, after several starts: what is in the views' tables, what is in
// their manifest and what is in their log only differ.
func damagedLedger(t *testing.T) (dir string, known questions) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	known = questions{}
	for session := range 3 {
		c := host(t, live, nil).up()
		if session == 0 {
			c.load()
		}
		for k := range 6 {
			p := events.User(fmt.Sprintf("user-%d-%d", session, k))
			if err := c.grant(p); err != nil {
				t.Fatal(err)
			}
			known[p] = true
		}
		for k := range 2 { // one of this session and one of the one before
			p := events.User(fmt.Sprintf("user-%d-%d", max(session-k, 0), 2*k+session))
			if err := c.revoke(p); err != nil {
				t.Fatal(err)
			}
			known[p] = false
		}
		if session < 2 {
			if code := c.stop(); code != 0 {
				t.Fatalf("serve ended with %d:\n%s", code, c.text())
			}
			continue
		}
		c.kill() // what is not in tables stays in the log
	}
	return live, known
}

// rebuildDigests runs rebuild and gives the digests of the new views.
func rebuildDigests(t *testing.T, dir string) (digests map[string]string, said string) {
	t.Helper()
	cmd := exec.Command("permledger", "rebuild", "--data", dir, "-o", "json")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rebuild: %v\n%s%s", err, out, stderr.String())
	}
	var a rebuildAnswer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	digests = map[string]string{}
	for _, v := range a.Views {
		digests[v.View] = v.Rebuilt
	}
	return digests, stderr.String()
}

// TestDamagedViews damages the views' files under a ledger that is down, each kind and in each way: it does not start
// and says what helps, or it starts and no answer is wrong. Either way rebuild gives the views of the undamaged log,
// and then every answer is there.
func TestDamagedViews(t *testing.T) {
	inProcesses(t)
	each := 2
	if full() {
		each = 60
	}
	dir, known := damagedLedger(t)
	clean := t.TempDir()
	copyDir(t, dir, clean)
	want, _ := rebuildDigests(t, clean)
	r := rand.New(rand.NewPCG(5, 6))
	refused, started, silent := 0, 0, 0
	for _, glob := range []string{"*.log", "*.sst", "MANIFEST-*", "OPTIONS-*"} {
		for i := range each {
			damaged := filepath.Join(t.TempDir(), "data")
			copyDir(t, dir, damaged)
			what := damageFile(t, filepath.Join(damaged, "views"), glob, i, r)
			c := host(t, damaged, nil)
			c.noPanic()
			if c.client == nil {
				refused++
				if code := exit(c.code()); code != exitIntegrity || !strings.Contains(c.text(), "permledger rebuild --data "+damaged) {
					t.Errorf("%s: serve ended with %d:\n%s", what, code, c.text())
				}
			} else {
				started++
				for p, allowed := range known {
					if !c.answers(what, p, allowed, true) {
						silent++
					}
				}
				c.stop()
			}
			got, said := rebuildDigests(t, damaged)
			for view, d := range want {
				if got[view] != d {
					t.Errorf("%s: rebuilt %s has digest %s, want %s", what, view, got[view], d)
				}
			}
			if _, err := os.Stat(filepath.Join(damaged, "views.damaged-1")); (err == nil) != strings.Contains(said, "views.damaged-1") {
				t.Errorf("%s: rebuild says %q, and %v", what, said, err)
			}
			if i >= 3 {
				continue // enough of them were served again
			}
			c = host(t, damaged, nil).up()
			for p, allowed := range known {
				c.answers(what+", rebuilt", p, allowed, false)
			}
			if err := c.client.Ready(t.Context()); err != nil {
				t.Errorf("%s, rebuilt: %v", what, err)
			}
			c.stop()
		}
	}
	t.Logf("%d did not start, %d started and left %d questions without an answer", refused, started, silent)
	if refused == 0 {
		t.Error("control: no damage was found at the start")
	}
}

// damageFile damages the newest file of a kind that is not empty: flipped, cut or removed, in turn.
func damageFile(t *testing.T, dir, glob string, i int, r *rand.Rand) (what string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, glob))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s: %v", glob, dir, err)
	}
	file := found[len(found)-1-r.IntN(min(2, len(found)))]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := r.IntN(max(len(b), 1))
	switch {
	case i%5 == 4 || len(b) == 0:
		what, err = "removed", os.Remove(file)
	case i%3 == 1:
		what, err = fmt.Sprintf("cut at %d of", at), os.WriteFile(file, b[:at], 0o600)
	default:
		b[at] ^= 1 << r.IntN(8)
		what, err = fmt.Sprintf("flipped at %d of %d of", at, len(b)), os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return what + " " + filepath.Base(file)
}
