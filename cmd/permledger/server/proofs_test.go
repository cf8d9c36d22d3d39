package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
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
