package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/backup"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func (c *cli) backupVerb() *cobra.Command {
	var trust trustFlags
	var out string
	var withKeys bool
	cmd := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Write a backup of the running ledger, verified against a checkpoint it signs",
		Long: `Write the ledger of this moment to one file, while it goes on: every commit as stored, the journal that makes
the first answer to an idempotency key the only one, and the keys that personal data is sealed under. The file gets
its name only after all of it was verified against a checkpoint that the ledger signed for it. With --key the
checkpoint must be signed by a key that you hold; without, by the one that the commits announce.

The private keys of the ledger are not in it, unless --with-keys. Keep a copy of them elsewhere: without them a
restored ledger can be read and not written. Tokens are never in it.

A personal key that is erased later is still in it: whoever erases must destroy older backups, too. Every backup is
whole; there are no incremental ones.`,
		Example: `  permledger backup --out ledger-2026-03-01.backup --key ledger.keys`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := readKeys(trust.keys)
			if err != nil {
				return err
			}
			return c.backup(cmd.Context(), out, withKeys, keys)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write")
	cmd.Flags().BoolVar(&withKeys, "with-keys", false, "the private keys of the ledger, too: whoever has the file can then sign as the ledger")
	trust.addKeys(cmd)
	must(cmd.MarkFlagRequired("out"))
	return cmd
}

func (c *cli) backup(ctx context.Context, out string, withKeys bool, keys checkpoint.Keys) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var b *backup.Backup
	size, err := writeNew(out, func(f *os.File) error {
		if err := client.Backup(ctx, withKeys, f); err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			b, err = backup.Open(f, info.Size(), keys)
		}
		return faulty("what the server sent", err)
	})
	if err != nil {
		return err
	}
	if withKeys {
		c.say("WARNING: %s holds the private keys of the ledger: whoever reads it can sign as the ledger", out)
	}
	if len(keys) == 0 {
		c.say("no --key was given: the backup is whole by the keys that it holds itself")
	}
	return c.printBackup(b.Manifest, fmt.Sprintf("wrote %s, %d bytes", out, size))
}

// faulty makes the faults of a file integrity errors.
func faulty(what string, err error) error {
	var fault *bundle.Fault
	if errors.As(err, &fault) || errors.Is(err, backup.ErrOlder) || errors.Is(err, backup.ErrOther) {
		return integrityError{fmt.Errorf("%s does not verify: %w", what, err)}
	}
	return err
}

// backedUp says what is in a backup.
type backedUp struct {
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Position events.Position `json:"position"`
	At       events.Instant  `json:"at"`
	Answers  int             `json:"answers"`
	Personal int             `json:"personal_keys"`
	Keys     int             `json:"private_keys"`
}

func (c *cli) printBackup(m backup.Manifest, first string) error {
	v := backedUp{m.Ledger, m.Revision, m.Position, m.At, m.Answers, m.Personal, m.Keys}
	return c.print(answer{value: v, text: func(w io.Writer) {
		fmt.Fprintf(w, "%s\n", first)
		fmt.Fprintf(w, "  ledger        %s\n", v.Ledger)
		fmt.Fprintf(w, "  up to         revision %d, position %d, signed at %s\n", v.Revision, v.Position, v.At)
		fmt.Fprintf(w, "  answers       %d\n", v.Answers)
		fmt.Fprintf(w, "  personal keys %d\n", v.Personal)
		fmt.Fprintf(w, "  private keys  %d\n", v.Keys)
	}})
}

func (c *cli) restoreVerb() *cobra.Command {
	var where nodeFlags
	var trust trustFlags
	var atLeast string
	cmd := &cobra.Command{
		Use:   "restore FILE --data DIR --key KEY",
		Short: "Make a ledger of a backup; exit 6 if it is edited, another ledger's, or older than what is known",
		Long: `Make a ledger of a backup, in a directory that is new, empty, or has lost its log. All of the backup is verified
before anything is written: its checkpoint by the keys of the ledger, which must come from elsewhere; the whole chain;
the tree. What was written is read back before it is a ledger.

It is refused when it is older than what is known: by the mark in the directory (mark.json), and by --at-least, a
checkpoint that you kept. To go on from an older one all the same, see accept-fork.

A restore that was broken off leaves no ledger: serve refuses the directory, and restore begins anew. With --nats-url
the streams must not be there; a restore that was broken off goes on with them. The private keys come from the
backup if they are in it (backup --with-keys); else copy them to DIR/keys before you serve.`,
		Example: `  permledger restore ledger-2026-03-01.backup --data ledger-data --key ledger.keys --at-least last.checkpoint`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := where.check(); err != nil {
				return err
			}
			cfg := node.RestoreConfig{Config: c.nodeConfig(where)}
			if cfg.Keys, err = readKeys(trust.keys); err != nil {
				return err
			}
			if atLeast != "" {
				if cfg.AtLeast, err = readSmall(atLeast); err != nil {
					return err
				}
			}
			return c.restore(cmd.Context(), args[0], cfg)
		},
	}
	where.add(cmd)
	trust.addKeys(cmd)
	must(cmd.MarkFlagRequired("key"))
	cmd.Flags().StringVar(&atLeast, "at-least", "", "a file with a checkpoint that the backup must reach")
	return cmd
}

func (c *cli) restore(ctx context.Context, name string, cfg node.RestoreConfig) error {
	f, size, err := openFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := node.Restore(ctx, f, size, cfg)
	if errors.Is(err, node.ErrNotEmpty) {
		return usageError{err}
	}
	if err != nil {
		return faulty(name, err)
	}
	if !r.HaveKey {
		c.say("the ledger's private key is not in %s: copy the file of key %s there before you serve, or it can be read and not written", r.KeysDir, r.Key)
	}
	return c.printBackup(r.Manifest, "restored "+cfg.Dir)
}
