package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

var (
	// ErrOlder: the ledger is known to have got further than the backup.
	ErrOlder = errors.New("the backup is older than what is known of the ledger")
	// ErrOther: the backup is of another ledger, or of another history of it.
	ErrOther = errors.New("the backup is of another ledger")
)

// Backup is a backup that verifies.
type Backup struct {
	Manifest   Manifest
	Checkpoint checkpoint.Checkpoint
	Keys       checkpoint.Keys  // as its commits announce them
	Key        events.PublicKey // in force after its last commit

	bundle *bundle.Reader
	walked *bundle.Walk
}

// maxSmall bounds the parts that are read as a whole.
const maxSmall = 1 << 20

// Open verifies all of a backup by keys its reader holds from elsewhere. Without keys it takes those that the commits
// announce: that shows that the backup is whole, and not whose it is. known are places that the ledger is known to
// have reached: the backup must hold each of them.
//
// The error is ErrOlder or ErrOther when the backup is true and not the one wanted, a *bundle.Fault when something in
// it does not hold, or that of reading r.
func Open(r io.ReaderAt, size int64, keys checkpoint.Keys, known ...events.Mark) (*Backup, error) {
	opened, err := bundle.Open(r, size)
	if err != nil {
		return nil, &bundle.Fault{Err: err}
	}
	b := &Backup{bundle: opened}
	if err := b.walk(known); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		keys = b.Keys
	}
	for _, step := range []struct {
		part  string
		check func(checkpoint.Keys) error
	}{{partCheckpoint, b.openCheckpoint}, {partManifest, b.openManifest}} {
		if err := step.check(keys); err != nil {
			return nil, faultIn(step.part, err)
		}
	}
	if err := b.reached(known); err != nil {
		return nil, err
	}
	return b, b.sums()
}

// faultIn says in which part something does not hold.
func faultIn(part string, err error) error {
	var fault *bundle.Fault
	if errors.As(err, &fault) {
		return err
	}
	return &bundle.Fault{Part: part, Err: err}
}

// walk goes over the commits, and holds them against what is known.
func (b *Backup) walk(known []events.Mark) error {
	walk := bundle.Start()
	err := b.lines(partCommits, func(line []byte) error {
		if _, err := walk.Next(line); err != nil {
			return &bundle.Fault{Part: partCommits, Revision: walk.Head().Revision + 1, Err: err}
		}
		for _, m := range known {
			if err := holds(walk, m); err != nil {
				return err
			}
		}
		return nil
	})
	b.Keys, b.Key, b.walked = walk.Keys(), walk.Head().Key, walk
	return err
}

// holds makes sure that a walk that is at the revision of a mark is at the mark.
func holds(walk *bundle.Walk, m events.Mark) error {
	head := walk.Head()
	if head.Revision != m.Revision {
		return nil
	}
	root, err := walk.Root()
	switch {
	case err != nil:
		return err
	case head.Ledger != m.Ledger:
		return fmt.Errorf("%w: of %s, not of %s", ErrOther, head.Ledger, m.Ledger)
	case head.Hash != m.Hash || m.Root != (events.Hash{}) && m.Root != root:
		return fmt.Errorf("%w, or of another history: its revision %d has hash %s, it is known to have %s", ErrOther, m.Revision, head.Hash, m.Hash)
	}
	return nil
}

func (b *Backup) openCheckpoint(keys checkpoint.Keys) error {
	signed, err := b.bundle.ReadAll(partCheckpoint, maxSmall)
	if err != nil {
		return err
	}
	if b.Checkpoint, err = checkpoint.Open(signed, keys); err != nil {
		return err
	}
	if err := b.walked.Reached(b.Checkpoint); err != nil {
		return &bundle.Fault{Part: partCommits, Err: err}
	}
	return nil
}

func (b *Backup) openManifest(keys checkpoint.Keys) error {
	signed, err := b.bundle.ReadAll(partManifest, maxSmall)
	if err != nil {
		return err
	}
	err = checkpoint.OpenNote(signed, keys, func(text string) (_ events.LedgerID, _ events.Revision, err error) {
		b.Manifest, err = parseManifest(text)
		return b.Manifest.Ledger, b.Manifest.Revision, err
	})
	c, m := b.Checkpoint, b.Manifest
	if err == nil && (m.Ledger != c.Ledger || m.Revision != c.Revision || m.Position != c.Size || m.At != c.At) {
		err = fmt.Errorf("%w: it is of another moment than the checkpoint", bundle.ErrDamaged)
	}
	return err
}

// reached makes sure that the backup is no older than what is known.
func (b *Backup) reached(known []events.Mark) error {
	for _, m := range known {
		if m.Revision > b.Manifest.Revision {
			return fmt.Errorf("%w: it ends at revision %d, the ledger is known to have had %d", ErrOlder, b.Manifest.Revision, m.Revision)
		}
	}
	return nil
}

// sums holds every part against the manifest.
func (b *Backup) sums() error {
	m := b.Manifest
	var names []string
	for _, p := range m.Parts {
		names = append(names, p.Name)
	}
	want := []string{partCheckpoint, partCommits, partJournal, partPersonal}
	if slices.Contains(names, partKeys) {
		want = append(want, partKeys)
	}
	if have := b.bundle.Names(); !slices.Equal(names, want) || !slices.Equal(have, append(want, partManifest)) {
		return &bundle.Fault{Err: fmt.Errorf("%w: its parts are %q, the manifest has %q", bundle.ErrDamaged, have, names)}
	}
	for _, p := range m.Parts {
		part, err := b.bundle.Open(p.Name)
		if err != nil {
			return faultIn(p.Name, err)
		}
		s := newSum()
		_, err = io.Copy(s, part)
		_ = part.Close()
		if err == nil && s.part(p.Name) != p {
			err = fmt.Errorf("%w: it is not what the manifest says", bundle.ErrDamaged)
		}
		if err != nil {
			return faultIn(p.Name, err)
		}
	}
	return nil
}

// lines calls do with each line of a part.
func (b *Backup) lines(name string, do func([]byte) error) error {
	part, err := b.bundle.Open(name)
	if err != nil {
		return faultIn(name, err)
	}
	defer part.Close()
	for line, err := range bundle.Lines(part) {
		if err != nil {
			return faultIn(name, err)
		}
		if err := do(line); err != nil {
			return err
		}
	}
	return nil
}

// Commits calls do with every commit, in order. They are verified again: the file may be another by now.
func (b *Backup) Commits(do func(events.Commit) error) error {
	walk := bundle.Start()
	err := b.lines(partCommits, func(line []byte) error {
		c, err := walk.Next(line)
		if err != nil {
			return &bundle.Fault{Part: partCommits, Revision: walk.Head().Revision + 1, Err: err}
		}
		return do(c)
	})
	if err == nil {
		err = walk.Reached(b.Checkpoint)
	}
	return err
}

// Answers calls do with every entry of the journal, in order.
func (b *Backup) Answers(do func([]byte) error) error { return b.lines(partJournal, do) }

// Personal calls do with every personal key.
func (b *Backup) Personal(do func(File) error) error { return b.files(partPersonal, do) }

// PrivateKeys calls do with every private key of the ledger; there are none unless they were asked for.
func (b *Backup) PrivateKeys(do func(File) error) error {
	if !slices.Contains(b.bundle.Names(), partKeys) {
		return nil
	}
	return b.files(partKeys, do)
}

func (b *Backup) files(part string, do func(File) error) error {
	return b.lines(part, func(line []byte) error {
		var f File
		err := json.Unmarshal(line, &f)
		if err == nil {
			err = f.check()
		}
		if err != nil {
			return faultIn(part, err)
		}
		return do(f)
	})
}

// goodName is what files in a backup are called: nothing that leads out of their directory, or is hidden in it.
var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (f File) check() error {
	if !goodName.MatchString(f.Name) || len(f.Name) > 200 {
		return fmt.Errorf("a file cannot be called %.100q", f.Name)
	}
	return nil
}
