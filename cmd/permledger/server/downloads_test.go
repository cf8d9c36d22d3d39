package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/audit/backup"
	"github.com/permledger/permledger/projections/audit/pack"
)

// What is downloaded verifies by the ledger's keys, and says what was asked for.
func TestDownloads(t *testing.T) {
	w := newWorld(t)
	w.do(api.Command{Do: "role.create", Role: "operator"}, api.Command{Do: "role.create", Role: "viewer"})
	keys, err := node.Keys(t.Context(), w.node.Audit)
	if err != nil {
		t.Fatal(err)
	}
	for only, q := range map[bool]api.PackQuery{
		false: {From: events.At(firstDay.Add(-1)), To: events.At(firstDay.AddDate(0, 0, 1)), Tenant: "default", Type: "role.created", Actor: events.Client("root")},
		true:  {Principal: events.Role("viewer").Principal(), OnlyMatching: true},
	} {
		var b bytes.Buffer
		if err := w.client.AuditPack(t.Context(), q, &b); err != nil {
			t.Fatal(err)
		}
		r, err := pack.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), keys, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := r.Parameters
		if p.From != q.From || p.To != q.To || p.OnlyMatching != only || p.Filters.Type != q.Type || p.Filters.Actor != q.Actor || p.Filters.Principal != q.Principal || p.Filters.Tenant != q.Tenant {
			t.Errorf("asked for %+v, got %+v", q, p)
		}
		if want := map[bool]int{false: 2, true: 1}[only]; r.Counts.Matching != want {
			t.Errorf("%d rows, want %d", r.Counts.Matching, want)
		}
	}
	for withKeys, want := range map[bool]int{false: 0, true: 1} {
		var b bytes.Buffer
		if err := w.client.Backup(t.Context(), withKeys, &b); err != nil {
			t.Fatal(err)
		}
		opened, err := backup.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), keys)
		if err != nil || opened.Manifest.Revision != w.revision() || opened.Manifest.Keys != want {
			t.Errorf("with keys %t: %+v, %v", withKeys, opened, err)
		}
	}
}

// What cannot be made is a catalogued error; what fails on its way breaks the connection, and is no file.
func TestDownloadsThatFail(t *testing.T) {
	var fails func(io.Writer) error
	w := newWorldAt(t, fixed, func(c *Config) {
		c.Backup = func(_ context.Context, to io.Writer, _ bool) error { return fails(to) }
	})
	fails = func(io.Writer) error { return ledger.ErrNoKey }
	if err := w.client.Backup(t.Context(), false, io.Discard); !errors.Is(err, &api.Error{Code: api.CodeUnavailable}) {
		t.Errorf("before the first byte: %v", err)
	}
	fails = func(to io.Writer) error {
		_, err := to.Write(make([]byte, 1<<20))
		return errors.Join(err, errors.New("the disk is gone"))
	}
	var network *consumers.NetworkError
	if err := w.client.Backup(t.Context(), false, io.Discard); !errors.As(err, &network) {
		t.Errorf("on its way: %v", err)
	}
	fails = func(to io.Writer) error { // control: the same bytes, whole
		_, err := to.Write(make([]byte, 1<<20))
		return err
	}
	if err := w.client.Backup(t.Context(), false, io.Discard); err != nil {
		t.Errorf("control: %v", err)
	}
	stranger := "permledger.dev/ledger/019ca86d-4a00-7000-8000-000000000000\n1\nAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" +
		"permledger revision=1 head=0200000000000000000000000000000000000000000000000000000000000000 " +
		"state=2:0300000000000000000000000000000000000000000000000000000000000000 at=2026-03-01T09:00:03.25Z\n\n— x AAAA\n"
	for name, tc := range map[string]struct {
		query string
		code  api.Code
		field string
	}{
		"a period that ends before it began": {"?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", api.CodeInvalid, "to"},
		"a time that is none":                {"?from=yesterday", api.CodeInvalid, "from"},
		"an event that is none":              {"?type=role.invented", api.CodeInvalid, "type"},
		"a principal that is none":           {"?on_behalf_of=robot", api.CodeInvalid, "on_behalf_of"},
		"a parameter that is none":           {"?until=2026-03-02T00:00:00Z", api.CodeInvalid, "until"},
		"a checkpoint that is none":          {"?from=2026-03-02T00:00:00Z&since_checkpoint=hello", api.CodeInvalid, "since_checkpoint"},
	} {
		status, _, body := w.ask("GET", "/v1/audit/pack"+tc.query, "", "Authorization", "Bearer "+w.node.RootToken)
		if e := problemIn(t, body); e.Code != tc.code || e.Field != tc.field {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	err := w.client.AuditPack(t.Context(), api.PackQuery{From: events.At(firstDay), Since: []byte(stranger)}, io.Discard)
	if !errors.Is(err, &api.Error{Code: api.CodeOtherHistory}) {
		t.Errorf("another ledger's checkpoint: %v", err)
	}
}

func problemIn(t *testing.T, body string) (e api.Error) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Errorf("no problem: %s", body)
	}
	return e
}
