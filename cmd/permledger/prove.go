package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/consumers/api"
)

// proofSuffix ends the names of files with proofs, as c2sp.org/tlog-proof wishes.
const proofSuffix = ".tlog-proof"

func (c *cli) proveVerb() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "prove EVENT",
		Short: "Write a proof that an event is in the ledger, for check-proof and for third parties",
		Long: `Write a proof that an event, named by its id or position, is in the ledger: the event as stored, its way to
the root of the Merkle tree, and a checkpoint in which the ledger signed the root. It is one file in the
format c2sp.org/tlog-proof@v1. Whoever has it and the ledger's keys (permledger key list) needs nothing
else: see check-proof.`,
		Example: `  permledger prove 4711 --out 4711.tlog-proof
  permledger prove 0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c > grant.tlog-proof`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			proof, err := client.Proof(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out == "" {
				_, err = c.out.Write(proof)
				return err
			}
			if err := writeProof(out, proof); err != nil {
				return err
			}
			c.say("wrote %s; permledger check-proof %s --key KEY checks it", out, out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write; default standard output")
	return cmd
}

// writeProofs writes the proofs of a receipt. What is recorded is recorded; that a proof is missing is told after
// it, and is no success.
func (c *cli) writeProofs(dir string, r api.Receipt) error {
	if r.Unproved != "" {
		return fmt.Errorf("it is recorded, but could not be proved: %s; try permledger prove later", r.Unproved)
	}
	if len(r.Proofs) != len(r.Events) {
		return errors.New("it is recorded, but the server gave no proofs; try permledger prove")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("it is recorded, but the proofs were not written: %w", err)
	}
	files := make([]string, len(r.Proofs))
	for i, e := range r.Events {
		files[i] = filepath.Join(dir, number(e.Position)+proofSuffix)
		if err := durable.Free(files[i]); err != nil {
			return fmt.Errorf("it is recorded, but the proofs were not written: %w; permledger prove writes them elsewhere", inPlace(err))
		}
	}
	for i, file := range files {
		if err := writeProof(file, []byte(r.Proofs[i])); err != nil {
			return fmt.Errorf("it is recorded, but not all of the proofs were written: %w", err)
		}
	}
	switch len(files) {
	case 0: // nothing was recorded, as the receipt says
	case 1:
		c.say("wrote %s; permledger check-proof %s --key KEY checks it", files[0], files[0])
	default:
		c.say("wrote %s to %s, from %s to %s", counted(len(files), "proof"), dir, filepath.Base(files[0]), filepath.Base(files[len(files)-1]))
	}
	return nil
}

// writeProof writes a proof, which is for anybody to read.
func writeProof(file string, proof []byte) error {
	return inPlace(durable.CreateNew(file, 0o644, func(f *os.File) error {
		_, err := f.Write(proof)
		return err
	}))
}

// inPlace makes it usage that a file cannot be where it was to be.
func inPlace(err error) error {
	var link *os.LinkError
	if errors.Is(err, durable.ErrThere) || errors.Is(err, fs.ErrNotExist) || errors.As(err, &link) {
		return usageError{err}
	}
	return err
}
