package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/tiles"
)

func (c *cli) exportTilesVerb() *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "tiles DIR",
		Short: "Copy the Merkle tree of all events to a directory, as tiles that third parties read",
		Long: `Copy the Merkle tree over all events, with the events, to a directory: a tree of tiles in the format
c2sp.org/tlog-tiles, up to the newest checkpoint. Run again, it adds what came since and leaves alone what is
there. Each tile is written only when it is proved to belong to the checkpoint, and the checkpoint must be one of a
tree that has grown from the one that is there. With --key it must be signed by the ledger, too.

Any web server can serve the directory. Mind that it holds every event.`,
		Example: `  permledger export tiles audit-copy --key ledger.keys`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			signed, err := client.Tiles(cmd.Context(), tiles.Checkpoint)
			if err != nil {
				return err
			}
			if trust.given() {
				if _, err := trust.open(signed); err != nil {
					return err
				}
			}
			copied, err := tiles.Copy(cmd.Context(), args[0], signed, client.Tiles)
			if err != nil {
				return err
			}
			return c.print(answer{value: copied, text: func(w io.Writer) {
				fmt.Fprintf(w, "%s, %d of them new, %s written\n", counted(copied.Size, "event"), copied.Size-copied.Before, counted(copied.Written, "file"))
			}})
		},
	}
	trust.add(cmd)
	return cmd
}

// tilesReport says what a tree of tiles was found to hold.
type tilesReport struct {
	Ledger     string      `json:"ledger"`
	Checkpoint provedUnder `json:"checkpoint"`
}

func (c *cli) checkTilesVerb() *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "check-tiles DIR --key KEY",
		Short: "Check a copy of the tree without a server: every event and every tile; exit 6 if one is another",
		Long: `Check a directory that "export tiles" wrote, without a server: its checkpoint must be signed by the ledger, and
every event and every tile must be what makes up the tree that was signed. For the keys see check-proof.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signed, err := readSmall(filepath.Join(args[0], tiles.Checkpoint))
			if err != nil {
				return err
			}
			cp, err := trust.open(signed)
			if err != nil {
				return err
			}
			if err := tiles.Check(cmd.Context(), os.DirFS(args[0]), cp.Size, cp.Root, nil); err != nil {
				return err
			}
			r := tilesReport{cp.Ledger.String(), underOf(cp, trust.policy != "")}
			return c.print(answer{value: r, text: func(w io.Writer) {
				fmt.Fprintf(w, "the tiles are whole: all %d events of ledger %s up to revision %d, as signed at %s\n", cp.Size, cp.Ledger, cp.Revision, cp.At)
			}})
		},
	}
	trust.add(cmd)
	must(cmd.MarkFlagRequired("key"))
	return cmd
}

func (f *trustFlags) given() bool { return len(f.keys) > 0 || f.policy != "" }

// open believes a checkpoint only if it is signed as the flags demand.
func (f *trustFlags) open(signed []byte) (checkpoint.Checkpoint, error) {
	keys, policy, err := f.read()
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	cp, err := checkpoint.Open(signed, keys)
	switch {
	case errors.Is(err, checkpoint.ErrSignature):
		return cp, err
	case err != nil:
		return cp, integrityError{err}
	}
	return cp, cosigned(signed, policy)
}
