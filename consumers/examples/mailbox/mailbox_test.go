package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
)

var operator = events.RoleAssigned{Principal: events.User("alice"), Role: "operator"}

// The whole subscriber against a made-up ledger: what the file says in the end, for a person to read.
func TestMailbox(t *testing.T) {
	l := consumertest.Start(t)
	file := filepath.Join(t.TempDir(), "access.jsonl")
	hired := consumertest.Event(operator)
	hired.Reason = "new hire"
	l.Publish(
		consumertest.Event(events.RoleCreated{Role: "operator"}), // nobody gains anything
		hired,
		events.Recorded{Tenant: "other", Event: operator}, // none of our business
		consumertest.Event(events.PermissionGranted{
			Principal: events.Client("ci"), Permission: events.Permission{API: "operate", Name: "read:*"}, Scope: events.AnyOf("Process"),
		}),
		consumertest.Event(events.RoleUnassigned{Principal: events.User("alice"), Role: "operator"}),
		consumertest.Event(events.PrincipalDeleted{Principal: events.Client("ci")}),
	)
	serve(t, l, file, func() bool { return len(entries(t, file)) == 5 })

	var said []string
	for _, e := range entries(t, file) {
		said = append(said, strings.TrimSpace(e.Who+" "+e.What+" "+e.Reason))
	}
	want := []string{
		"", // where it began
		"user:alice gained role:operator new hire",
		"client:ci gained read:* of operate on Process:*",
		"user:alice lost role:operator",
		"client:ci lost everything",
	}
	if !slices.Equal(said, want) {
		t.Errorf("the file says %q, want %q", said, want)
	}
}

// Wherever the file is torn, the mailbox goes on after the last whole line, and no line is missing or twice.
func TestTornAnywhere(t *testing.T) {
	l := consumertest.Start(t)
	for range 4 {
		l.Publish(consumertest.Event(operator))
	}
	whole := filepath.Join(t.TempDir(), "whole.jsonl")
	serve(t, l, whole, func() bool { return len(entries(t, whole)) == 5 })
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for size := 0; size <= len(content); size += 23 {
		torn := filepath.Join(dir, "torn.jsonl")
		if err := os.WriteFile(torn, content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		serve(t, l, torn, func() bool { return len(entries(t, torn)) == 5 })
		if after, err := os.ReadFile(torn); err != nil || string(after) != string(content) {
			t.Fatalf("torn at %d, the file became\n%s, %v, want\n%s", size, after, err, content)
		}
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(file, []byte("remember the milk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := open(file); err == nil {
		m.close()
		t.Error("a text file is taken for a mailbox")
	}
	if content, _ := os.ReadFile(file); string(content) != "remember the milk\n" {
		t.Errorf("it was changed: %q", content)
	}
}

// serve runs the mailbox until the file is as it should be.
func serve(t *testing.T, l *consumertest.Ledger, file string, done func() bool) {
	t.Helper()
	m, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- consumers.Subscribe(ctx, l.JetStream(), consumers.Options{Filters: []consumers.Filter{{Tenant: "default"}}}, m)
	}()
	for !done() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// entries reads the whole lines of the file.
func entries(t *testing.T, file string) (all []entry) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e entry
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
