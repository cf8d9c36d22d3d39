package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/transparency-dev/formats/witness"

	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// trustFlags say whom somebody trusts who checks what a ledger signed.
type trustFlags struct {
	keys   []string
	policy string
}

func (f *trustFlags) addKeys(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "a key of the ledger, or a file of keys; may be given several times")
}

func (f *trustFlags) add(cmd *cobra.Command) {
	f.addKeys(cmd)
	cmd.Flags().StringVar(&f.policy, "policy", "", "a file that says whose cosignatures are needed besides")
}

func (f *trustFlags) read() (keys checkpoint.Keys, policy *witness.Group, err error) {
	if keys, err = readKeys(f.keys); err != nil {
		return nil, nil, err
	}
	policy, err = readPolicy(f.policy)
	return keys, policy, err
}

// readKeys reads what --key was given: verifier keys themselves, or files of them.
func readKeys(given []string) (keys checkpoint.Keys, _ error) {
	for _, text := range given {
		b, err := readSmall(text)
		if err == nil {
			text = string(b)
		} else if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(text, "+") {
			return nil, err
		}
		more, err := checkpoint.ParseKeys(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// heldFlags are checkpoints that somebody kept elsewhere, and whom to believe that they are the ledger's.
type heldFlags struct {
	files []string
	keys  []string
}

func (f *heldFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.files, "checkpoint", nil, "a checkpoint of this ledger that was kept elsewhere; may be given several times")
	flags.StringArrayVar(&f.keys, "key", nil, "a key of the ledger, or a file of keys and their revisions; may be given several times")
}

// trusted reads the keys, without which no checkpoint says anything.
func (f *heldFlags) trusted() (checkpoint.Keys, error) {
	trusted, err := readKeys(f.keys)
	if err == nil && len(f.files) > 0 && len(trusted) == 0 {
		err = usagef("--checkpoint needs --key: nothing else says that the ledger signed it")
	}
	return trusted, err
}

// read opens the checkpoints. It believes only what a trusted key signed.
func (f *heldFlags) read() (held []checkpoint.Checkpoint, trusted checkpoint.Keys, err error) {
	if trusted, err = f.trusted(); err != nil {
		return nil, nil, err
	}
	for _, file := range f.files {
		_, c, err := readCheckpoint(file, trusted)
		if err != nil {
			return nil, nil, err
		}
		held = append(held, c)
	}
	return held, trusted, nil
}

// unopened reads the checkpoints and believes none of them: whoever walks the commits knows by which keys to open
// them.
func (f *heldFlags) unopened() (known []audit.Known, trusted checkpoint.Keys, err error) {
	if trusted, err = f.trusted(); err != nil {
		return nil, nil, err
	}
	for _, file := range f.files {
		signed, err := readSmall(file)
		if err != nil {
			return nil, nil, err
		}
		c, err := checkpoint.Parse(signed)
		if err != nil {
			return nil, nil, integrityError{fmt.Errorf("%s: %w", file, err)}
		}
		known = append(known, audit.Known{Name: file, Mark: c.Mark(), Signed: signed})
	}
	return known, trusted, nil
}

// readCheckpoint opens a checkpoint that somebody kept. One that no trusted key signed is none of the ledger's.
func readCheckpoint(file string, trusted checkpoint.Keys) (signed []byte, c checkpoint.Checkpoint, err error) {
	if signed, err = readSmall(file); err != nil {
		return nil, c, err
	}
	if c, err = checkpoint.Open(signed, trusted); err != nil {
		return nil, c, integrityError{fmt.Errorf("%s: %w", file, err)}
	}
	return signed, c, nil
}

// readPolicy reads a file that says which witnesses somebody trusts; "" is none.
func readPolicy(file string) (*witness.Group, error) {
	if file == "" {
		return nil, nil
	}
	b, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	group, err := witness.ParsePolicy(b)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return &group, nil
}

// maxSmall bounds what is read as a whole: a proof is little longer than its event.
const maxSmall = 1 << 20

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		err = fmt.Errorf("read %s: it has more than %d bytes", file, maxSmall)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}
