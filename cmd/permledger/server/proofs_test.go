package server

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func TestCheckpointOverHTTP(t *testing.T) {
	w := newWorldAt(t, time.Now, nil)
	first := string(w.node.Checkpoints.Latest())
	between := events.At(time.Now())
	time.Sleep(time.Millisecond) // instants are of microseconds
	w.do(api.Command{Do: "role.create", Role: "operator"})
	signed, err := w.node.Checkpoints.Sign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, header, body := w.ask("GET", "/v1/checkpoint", "")
	if status != http.StatusOK || body != string(signed) || header.Get("Content-Type") != textType {
		t.Errorf("%d %v %q, want %q", status, header, body, signed)
	}
	if status, _, body := w.ask("GET", "/v1/checkpoint?at="+between.String(), ""); status != http.StatusOK || body != first {
		t.Errorf("at %s: %d %q, want %q", between, status, body, first)
	}
	status, header, body = w.ask("GET", "/v1/checkpoint?at=2020-01-01T00:00:00Z", "")
	w.isProblem("before the first", status, header, body, api.CodeNotFound, "")
	status, header, body = w.ask("GET", "/v1/checkpoint?at=noon", "")
	w.isProblem("at noon", status, header, body, api.CodeInvalid, "at")
}

// A write that asks for it proves its events, under a checkpoint signed after it; and one asked again by its key.
func TestReceiptsProve(t *testing.T) {
	w := newWorldAt(t, time.Now, nil)
	keys, err := node.Keys(t.Context(), w.node.Audit)
	if err != nil {
		t.Fatal(err)
	}
	request := api.Request{Proof: true, Commands: []api.Command{{Do: "role.create", Role: "a"}, {Do: "role.create", Role: "b"}}}
	for range 2 {
		r, err := w.client.Submit(t.Context(), request, "once")
		if err != nil || len(r.Events) != 2 || len(r.Proofs) != 2 || r.Unproved != "" {
			t.Fatalf("%+v, %v", r, err)
		}
		for i, text := range r.Proofs {
			p, err := checkpoint.ParseProof([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			proved, err := p.Verify(keys)
			if err != nil || string(proved.Event.Raw) != string(r.Events[i].Raw) || proved.Event.Position != r.Events[i].Position {
				t.Errorf("event %d: %+v, %v", i, proved, err)
			}
			if proved.Checkpoint.Revision < r.Revision {
				t.Errorf("signed at revision %d, before %d", proved.Checkpoint.Revision, r.Revision)
			}
			asked, err := w.client.Proof(t.Context(), r.Events[i].ID.String())
			if err != nil || string(asked) != text {
				t.Errorf("asked for later: %q, %v", asked, err)
			}
		}
	}
	if r := w.do(api.Command{Do: "role.create", Role: "c"}); r.Proofs != nil {
		t.Error("proofs that nobody asked for")
	}
	status, header, body := w.ask("POST", "/v1/commands", `{"proof":true,"dry_run":true,"commands":[{"do":"role.create","role":"r"}]}`)
	w.isProblem("a dry run", status, header, body, api.CodeInvalid, "proof")
	status, header, body = w.ask("GET", "/v1/events/9999/proof", "")
	w.isProblem("later than there are", status, header, body, api.CodeNotFound, "")
	status, header, body = w.ask("GET", "/v1/events/0/proof", "")
	w.isProblem("no position", status, header, body, api.CodeInvalid, "event")
	status, header, body = w.ask("GET", "/v1/events/2/proof?at_least=x", "")
	w.isProblem("no revision", status, header, body, api.CodeInvalid, "at_least")
}

// What is recorded is recorded, also when it could not be proved.
func TestReceiptWithoutItsProof(t *testing.T) {
	w := newWorld(t)
	r := w.do(api.Command{Do: "role.create", Role: "a"})
	_ = w.node.Projector.Halt(errors.New("a test"))
	w.server.proveReceipt(t.Context(), &r)
	if r.Proofs != nil || !strings.Contains(r.Unproved, "halted") || len(r.Events) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestKeysOverHTTP(t *testing.T) {
	w := newWorldAt(t, time.Now, nil)
	r, err := w.client.RotateKey(t.Context(), api.KeyRotation{Reason: "yearly", Ticket: "T-1"})
	if err != nil || len(r.Events) != 1 || r.Events[0].Reason != "yearly" || r.Events[0].Actor != w.node.Administrator {
		t.Fatalf("%+v, %v", r, err)
	}
	got, err := w.client.Keys(t.Context())
	if err != nil || got.Revision != r.Revision || len(got.Keys) != 2 || got.Keys[0].Until != r.Revision || got.Keys[1].From != r.Revision {
		t.Fatalf("%+v, %v", got, err)
	}
	var lines string
	for _, k := range got.Keys {
		lines += k.String() + "\n"
	}
	keys, err := checkpoint.ParseKeys(lines)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.client.Checkpoint(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(signed, keys); err != nil {
		t.Error(err)
	}
	if _, err := checkpoint.Open(signed, keys[:1]); !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("by the replaced key: %v", err)
	}
	status, header, body := w.ask("POST", "/v1/keys/rotate", `{"key":"mine"}`)
	w.isProblem("a key of one's own", status, header, body, api.CodeInvalid, "")
}
