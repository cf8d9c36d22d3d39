// Command permledger is the whole ledger in one binary: the server, the tools that look at its data, and
// the client of its HTTP face. Each verb has a file of its own; docs/operations.md shows them at work.
//
// Data goes to standard output and everything else to standard error. The exit code is the answer:
// exit.go has the table.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(realMain()) }

func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	return c.run(ctx, os.Args[1:])
}
