package jetstream

import (
	"reflect"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// A stream that erases, reorders or forgets by itself is refused at Open, with the name of the field.
func TestDriftIsFoundAtOpen(t *testing.T) {
	for _, tc := range []struct {
		field  string
		change func(*natsjs.StreamConfig)
	}{
		{"MaxAge", func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour }},
		{"MaxMsgs", func(c *natsjs.StreamConfig) { c.MaxMsgs = 1000 }},
		{"MaxBytes", func(c *natsjs.StreamConfig) { c.MaxBytes = 1 << 20 }},
		{"MaxMsgsPerSubject", func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 1 }},
		{"MaxMsgSize", func(c *natsjs.StreamConfig) { c.MaxMsgSize = 1000 }},
		{"MaxConsumers", func(c *natsjs.StreamConfig) { c.MaxConsumers = 1 }},
		{"DenyDelete", func(c *natsjs.StreamConfig) { c.DenyDelete = false }},
		{"DenyPurge", func(c *natsjs.StreamConfig) { c.DenyPurge = false }},
		{"AllowRollup", func(c *natsjs.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }},
		{"AllowMsgTTL", func(c *natsjs.StreamConfig) { c.AllowMsgTTL = true }},
		{"AllowRollup", func(c *natsjs.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Hour }}, // turned on by the server
		{"AllowMsgSchedules", func(c *natsjs.StreamConfig) { c.AllowMsgSchedules, c.Discard = true, natsjs.DiscardOld }},
		{"Storage", func(c *natsjs.StreamConfig) { c.Storage = natsjs.MemoryStorage }},
		{"PersistMode", func(c *natsjs.StreamConfig) { c.PersistMode = natsjs.AsyncPersistMode }},
		{"Discard", func(c *natsjs.StreamConfig) { c.Discard = natsjs.DiscardOld }},
		{"Retention", func(c *natsjs.StreamConfig) { c.Retention = natsjs.WorkQueuePolicy }},
		{"Subjects", func(c *natsjs.StreamConfig) { c.Subjects = append(c.Subjects, "permledger.ledger.more") }},
		{"RePublish", func(c *natsjs.StreamConfig) { c.RePublish = &natsjs.RePublish{Destination: "copy.>"} }},
		{"FirstSeq", func(c *natsjs.StreamConfig) { c.FirstSeq = 100 }},
	} {
		t.Run(tc.field, func(t *testing.T) {
			srv := external(t)
			js := mustOpen(t, Config{URL: srv.ClientURL()}).JetStream() // which makes both streams
			cfg := pinned("LEDGER", ledgerSubject, 1)
			tc.change(&cfg)
			if err := js.DeleteStream(t.Context(), "LEDGER"); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), Config{URL: srv.ClientURL()})
			wantError(t, err, ErrConfig, tc.field)
			wantError(t, err, ledger.ErrCorrupt)
		})
	}
}

// An update is a way to lose commits that no flag forbids, so it must be found while the log is in use.
func TestDriftIsFoundInUse(t *testing.T) {
	s := mustOpen(t, Config{URL: external(t).ClientURL()})
	fill(t, s.Log(), events.Head{}, 5)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := pinned("LEDGER", ledgerSubject, 1)
	cfg.MaxMsgs, cfg.Discard = 2, natsjs.DiscardOld
	if _, err := s.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	_, err := s.Log().Last(t.Context())
	wantError(t, err, ErrConfig, "MaxMsgs is 2, must be -1", "Discard is DiscardOld, must be DiscardNew")
	_, err = readAll(t.Context(), s.Log())
	wantError(t, err, ErrConfig)
	wantError(t, s.Check(t.Context()), ErrConfig)
}

func TestJournalDriftIsFound(t *testing.T) {
	s := mustOpen(t, Config{URL: external(t).ClientURL()})
	cfg := pinned("JOURNAL", journalSubject, 1)
	cfg.MaxAge = time.Hour
	if _, err := s.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Check(t.Context()), ErrConfig, "JOURNAL", "MaxAge")
}

// Whatever field the client library has, today or after an update, a change of it is a drift; only those
// left to operators are not.
func TestEveryFieldIsCompared(t *testing.T) {
	want := pinned("LEDGER", ledgerSubject, 1)
	if err := drift(want, want); err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[natsjs.StreamConfig]()
	for i := range fields.NumField() {
		got := want
		change(t, reflect.ValueOf(&got).Elem().Field(i))
		name := fields.Field(i).Name
		if err := drift(want, got); (err == nil) != operators[name] {
			t.Errorf("%s changed: %v", name, err)
		}
	}
}

// change gives v another value.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 7)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("no idea how to change a %s", v.Kind())
	}
}
