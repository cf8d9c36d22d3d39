package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestKilled kills the server without warning while eight clients write, again and again on one directory.
// Whatever was acknowledged must be there, once; what was not may be asked for again with the same key; and
// every key must go on giving its first answer, be it events, nothing, or a refusal.
func TestKilled(t *testing.T) {
	inProcesses(t)
	kills := 3
	if full() {
		kills = 50
	}
	dir, k := t.TempDir(), newKeyed(t)
	serve := func() *child {
		t.Helper()
		c, err := serveChild(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		k.connect(dir, c.url)
		return c
	}
	for round := range kills {
		c := serve()
		k.askAgain(200)
		time.AfterFunc(time.Duration(50+rand.IntN(400))*time.Millisecond, c.kill)
		k.load(round, c, 0)
	}
	serve()
	k.askAgain(len(k.answers))
	k.trail()
	t.Logf("%d kills: %d keys answered, %d requests cut off and asked again", kills, len(k.answers), k.cut)
}
