package backup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// The parts of a backup.
const (
	partCheckpoint = "checkpoint"
	partCommits    = "commits.jsonl"
	partJournal    = "journal.jsonl"
	partPersonal   = "personal.jsonl"
	partKeys       = "private-keys.jsonl"
	partManifest   = "manifest"
)

const format = 1

// Manifest says what a backup holds.
type Manifest struct {
	Format   int             `json:"format"`
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"` // the last one
	Position events.Position `json:"position"` // of the last event
	At       events.Instant  `json:"at"`       // of the checkpoint
	Answers  int             `json:"answers"`  // of the journal
	Personal int             `json:"personal"` // personal keys
	Keys     int             `json:"private_keys"`
	Parts    []Part          `json:"parts"` // every other part
}

// Part is a part of a backup: the length and hash of its content.
type Part struct {
	Name   string      `json:"name"`
	Bytes  int64       `json:"bytes"`
	SHA256 events.Hash `json:"sha256"`
}

// manifestTitle begins the signed text, and keeps it apart from a checkpoint's.
const manifestTitle = "permledger backup\n"

func (m Manifest) text() (string, error) {
	b, err := json.Marshal(m)
	return manifestTitle + string(b) + "\n", err
}

func parseManifest(text string) (m Manifest, err error) {
	body, ok := strings.CutPrefix(text, manifestTitle)
	if !ok {
		return m, fmt.Errorf("%w: it is no manifest", bundle.ErrDamaged)
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, fmt.Errorf("%w: %w", bundle.ErrDamaged, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("%w: it has format %d, this build reads %d", bundle.ErrDamaged, m.Format, format)
	}
	if again, err := m.text(); err != nil || again != text {
		return m, fmt.Errorf("%w: it is not in the form this program writes", bundle.ErrDamaged)
	}
	return m, nil
}

// File is a small file that goes into a backup as it is.
type File struct {
	Name    string `json:"name"`
	Content []byte `json:"content"` // base64
}

// Source is what a backup is made of.
type Source struct {
	Trail      *audit.Trail
	Checkpoint []byte                                         // signed before anything else is read
	Signer     func(events.PublicKey) (events.Signer, error)  // of the ledger
	Journal    func(context.Context) iter.Seq2[[]byte, error] // the entries, in order
	Personal   func() iter.Seq2[File, error]                  // the personal keys
	Keys       func() iter.Seq2[File, error]                  // the private keys of the ledger; nil leaves them out
}

// Write writes a backup of the moment of the checkpoint while the ledger goes on. It holds no more than a commit at a
// time. What it wrote before an error is no backup.
func Write(ctx context.Context, to io.Writer, s Source) error {
	c, err := checkpoint.Parse(s.Checkpoint)
	if err != nil {
		return err
	}
	w := &writer{Source: s, ctx: ctx, c: c, bundle: bundle.NewWriter(to),
		manifest: Manifest{Format: format, Ledger: c.Ledger, Revision: c.Revision, Position: c.Size, At: c.At}}
	signer, err := w.signer()
	if err != nil {
		return err
	}
	steps := []struct {
		name  string
		write func(io.Writer) error
	}{{partCheckpoint, w.checkpoint}, {partCommits, w.commits}, {partJournal, w.journal}, {partPersonal, w.personal}, {partKeys, w.keys}}
	if s.Keys == nil {
		steps = steps[:4]
	}
	for _, step := range steps {
		if err := w.part(step.name, step.write); err != nil {
			return fmt.Errorf("write %s: %w", step.name, err)
		}
	}
	text, err := w.manifest.text()
	if err != nil {
		return err
	}
	signed, err := checkpoint.SignNote(c.Ledger, text, signer)
	if err == nil {
		err = w.bundle.Add(partManifest, signed)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", partManifest, err)
	}
	return w.bundle.Close()
}

// writer writes one backup.
type writer struct {
	Source
	ctx      context.Context // of Write, for the time of its call
	c        checkpoint.Checkpoint
	bundle   *bundle.Writer
	manifest Manifest
}

// signer is the key in force after the last commit of the backup. It is asked for first: a key that is replaced
// while the backup is written is forgotten.
func (w *writer) signer() (events.Signer, error) {
	stored, err := w.Trail.Commit(w.ctx, w.c.Revision)
	if err != nil {
		return nil, err
	}
	last, err := events.DecodeCommit(stored.Bytes)
	if err != nil {
		return nil, err
	}
	return w.Signer(last.Head().Key)
}

func (w *writer) part(name string, write func(io.Writer) error) error {
	part, err := w.bundle.Create(name)
	if err != nil {
		return err
	}
	sum := newSum()
	if err := write(io.MultiWriter(part, sum)); err != nil {
		return err
	}
	w.manifest.Parts = append(w.manifest.Parts, sum.part(name))
	return nil
}

func (w *writer) checkpoint(part io.Writer) error {
	_, err := part.Write(w.Checkpoint)
	return err
}

// commits walks what it writes: a backup that would not verify is not made.
func (w *writer) commits(part io.Writer) error {
	walk := bundle.Start()
	for r := events.Revision(1); r <= w.c.Revision; r++ {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		stored, err := w.Trail.Commit(w.ctx, r)
		if err == nil {
			_, err = walk.Next(stored.Bytes)
		}
		if err == nil {
			err = bundle.WriteLine(part, stored.Bytes)
		}
		if err != nil {
			return fmt.Errorf("revision %d: %w", r, err)
		}
	}
	return walk.Reached(w.c)
}

// journal leaves out what was answered at a later revision than the backup's. What was answered at its own may have
// been answered after it was begun, and is true of it all the same.
func (w *writer) journal(part io.Writer) error {
	for entry, err := range w.Journal(w.ctx) {
		if err != nil {
			return err
		}
		var answer struct {
			Revision events.Revision `json:"revision"`
		}
		if err := json.Unmarshal(entry, &answer); err != nil {
			return fmt.Errorf("entry %d: %w", w.manifest.Answers+1, err)
		}
		if answer.Revision > w.c.Revision {
			continue
		}
		if err := bundle.WriteLine(part, entry); err != nil {
			return err
		}
		w.manifest.Answers++
	}
	return nil
}

func (w *writer) personal(part io.Writer) error {
	return files(part, w.Personal(), &w.manifest.Personal)
}

func (w *writer) keys(part io.Writer) error {
	return files(part, w.Keys(), &w.manifest.Keys)
}

func files(part io.Writer, list iter.Seq2[File, error], count *int) error {
	for f, err := range list {
		var line []byte
		if err == nil {
			err = f.check()
		}
		if err == nil {
			line, err = json.Marshal(f)
		}
		if err == nil {
			err = bundle.WriteLine(part, line)
		}
		if err != nil {
			return err
		}
		*count++
	}
	return nil
}

// sum is the length and hash of what is written to it.
type sum struct {
	hash.Hash
	n int64
}

func newSum() *sum { return &sum{Hash: sha256.New()} }

func (s *sum) Write(b []byte) (int, error) {
	s.n += int64(len(b))
	return s.Hash.Write(b)
}

func (s *sum) part(name string) Part {
	p := Part{Name: name, Bytes: s.n}
	copy(p.SHA256[:], s.Sum(nil))
	return p
}

// PartOf is what a manifest says of a part with that content.
func PartOf(name string, content []byte) Part {
	s := newSum()
	_, _ = s.Write(content) // a hash takes everything
	return s.part(name)
}
