// Command mailbox is an example of a subscriber: it keeps a file of who gained and who lost what, one line
// of JSON each, with exactly one line for each event whatever crashes when.
//
//	mailbox -nats nats://127.0.0.1:4222 -file access.jsonl -tenant default
//
// The trick is in mailbox.go: a line says what happened and, in the same write, how far the mailbox got.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/events"
)

func main() {
	url := flag.String("nats", "nats://127.0.0.1:4222", "the NATS server of the ledger")
	file := flag.String("file", "access.jsonl", "the file to keep")
	tenant := flag.String("tenant", string(events.DefaultTenant), "whose events")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, *file, events.Tenant(*tenant)); !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "mailbox:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, file string, tenant events.Tenant) error {
	nc, err := consumers.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	m, err := open(file)
	if err != nil {
		return err
	}
	defer m.close()
	return consumers.Subscribe(ctx, js, consumers.Options{
		Name:        "mailbox",
		Filters:     []consumers.Filter{{Tenant: tenant}},
		Interrupted: func(err error) { fmt.Fprintln(os.Stderr, "mailbox: trying again:", err) },
	}, m)
}
