package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/permledger/permledger/projections/audit/backup"
)

// Backup writes a backup of this moment while the ledger goes on: see package backup. The private keys of the ledger
// are in it only if they are asked for. An error before the first byte is one of signing the checkpoint.
func (n *Node) Backup(ctx context.Context, to io.Writer, withKeys bool) error {
	signed, err := n.Checkpoints.Sign(ctx)
	if err != nil {
		return err
	}
	s := backup.Source{
		Trail: n.Audit, Checkpoint: signed, Signer: n.keys.Signer, Journal: n.answers,
		Personal: func() iter.Seq2[backup.File, error] { return n.personalFiles() },
	}
	if withKeys {
		s.Keys = n.keys.files
	}
	return backup.Write(ctx, to, s)
}

// answers are the entries of the journal.
func (n *Node) answers(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for entry, err := range n.journal().Notes(ctx, 1) {
			if !yield(entry.Bytes, err) || err != nil {
				return
			}
		}
	}
}

// personalFiles are the personal keys as they lie in the directory. One that is erased meanwhile is left out.
func (n *Node) personalFiles() iter.Seq2[backup.File, error] {
	return func(yield func(backup.File, error) bool) {
		if n.config.Memory {
			return
		}
		dir := PersonalDir(n.config.Dir)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(backup.File{}, err)
			return
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") { // one that is being written
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(backup.File{Name: e.Name(), Content: b}, err) || err != nil {
				return
			}
		}
	}
}

// files are the private keys as their files hold them.
func (r *keyring) files() iter.Seq2[backup.File, error] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []backup.File
	var failed error
	for _, k := range r.keys {
		content, err := encodeKey(k)
		failed = errors.Join(failed, err)
		list = append(list, backup.File{Name: filepath.Base(r.file(k.Public())), Content: content})
	}
	return func(yield func(backup.File, error) bool) {
		if failed != nil {
			yield(backup.File{}, failed)
			return
		}
		for _, f := range list {
			if !yield(f, nil) {
				return
			}
		}
	}
}
