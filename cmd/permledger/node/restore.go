package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/projections/audit/backup"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// RestoreConfig says where a backup is restored to, and what it is held against.
type RestoreConfig struct {
	Config                  // Dir, and what of NATS is set
	Keys    checkpoint.Keys // of the ledger, from elsewhere than the backup; needed
	AtLeast []byte          // a signed checkpoint that the backup must reach; nil: none
}

// Restored says what was restored.
type Restored struct {
	Manifest backup.Manifest
	Key      events.PublicKey // which must sign the next commit
	HaveKey  bool             // its private half is where the ledger looks for it
	KeysDir  string           // there
}

// ErrNotEmpty: there is something where a ledger was to be restored.
var ErrNotEmpty = errors.New("there is something there already")

// restoringDir is where a ledger is restored before it is one.
func restoringDir(dir string) string { return filepath.Join(dir, "restoring") }

// notRestoring refuses a directory in which a restore has begun and not ended.
func notRestoring(dir string) error {
	_, err := os.Stat(restoringDir(dir))
	if err == nil {
		return fmt.Errorf("%w: a restore into %s was broken off: run permledger restore again", ledger.ErrCorrupt, dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restore makes a ledger of a backup: in a directory that is new, empty, or has lost its log. It believes nothing of the
// backup before all of it is verified, and nothing of what it wrote before that is read back.
//
// The crash points, and what the next start finds:
//
//   - While the backup is verified nothing is written.
//   - Then mark.json says how far the ledger had got. From here on the directory belongs to that ledger and has no log:
//     serve refuses it ("the log is not there"), and restore takes the same backup, or a newer one, again.
//   - The directory restoring is there until the end. As long as it is, nothing opens the data directory but restore,
//     which throws it away and begins anew. In another NATS nothing can be thrown away: what is there must be the
//     beginning of the backup, and it goes on behind it.
//   - The log is written under restoring, read back, and closed; the keys are written. Only then is it moved to its
//     place, which is one rename. After it, the ledger is there; before it, there is none.
//   - restoring is removed last.
func Restore(ctx context.Context, r io.ReaderAt, size int64, cfg RestoreConfig) (_ Restored, err error) {
	if len(cfg.Keys) == 0 {
		return Restored{}, errors.New("restore: no key to hold the backup against")
	}
	if cfg.Config, err = cfg.withDefaults(); err != nil {
		return Restored{}, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return Restored{}, err
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := onlyRemains(cfg.Dir); err != nil {
		return Restored{}, err
	}
	known, err := cfg.known()
	if err != nil {
		return Restored{}, err
	}
	b, err := backup.Open(r, size, cfg.Keys, known...)
	if errors.Is(err, backup.ErrOlder) || errors.Is(err, backup.ErrOther) {
		err = fmt.Errorf("%w: %w; to go on from it all the same, restore it into a new directory, move its jetstream directory here, and see permledger accept-fork", ledger.ErrCorrupt, err)
	}
	if err != nil {
		return Restored{}, err
	}
	return cfg.restore(ctx, b)
}

func (cfg RestoreConfig) restore(ctx context.Context, b *backup.Backup) (Restored, error) {
	m := mark{Mark: events.Mark{
		Ledger: b.Checkpoint.Ledger, Revision: b.Checkpoint.Revision, Hash: b.Checkpoint.Head,
		Position: b.Checkpoint.Size, Root: b.Checkpoint.Root,
	}, At: b.Checkpoint.At}
	line, err := json.Marshal(m)
	if err != nil {
		return Restored{}, err
	}
	if err := durable.WriteFile(markFile(cfg.Dir), append(line, '\n')); err != nil {
		return Restored{}, err
	}
	if cfg.NATSURL == "" {
		err = cfg.restoreEmbedded(ctx, b)
	} else {
		err = cfg.restoreExternal(ctx, b)
	}
	if err == nil {
		err = os.RemoveAll(restoringDir(cfg.Dir))
	}
	if err == nil {
		err = durable.SyncDir(cfg.Dir)
	}
	if err != nil {
		return Restored{}, err
	}
	out := Restored{Manifest: b.Manifest, Key: b.Key, KeysDir: cfg.keysDir()}
	keys, err := openKeyring(out.KeysDir)
	if err == nil {
		out.HaveKey = b.Key.IsZero() || keys.find(b.Key) != nil
	}
	return out, err
}

func (cfg RestoreConfig) keysDir() string {
	if cfg.KeysDir != "" {
		return cfg.KeysDir
	}
	return KeysDir(cfg.Dir)
}

// keptAside is what was damaged or given up, see the package comment.
var keptAside = regexp.MustCompile(`\.(damaged|fork)-[0-9]+(\.json)?$`)

// onlyRemains refuses a directory that holds a ledger, or what is none of a ledger's.
func onlyRemains(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	remains := []string{"lock", "mark.json", "checkpoint", "root.token", "reader.token", "keys", "personal", "restoring", "jetstream", "scrub.json"}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "jetstream" && !holdsNothing(LogDir(dir)):
			return fmt.Errorf("%w: %s has a log", ErrNotEmpty, dir)
		case name == "views":
			return fmt.Errorf("%w: %s has views, which hold every commit they know: look there first, and move them away to restore a backup", ErrNotEmpty, dir)
		case !slices.Contains(remains, name) && name[0] != '.' && !keptAside.MatchString(name):
			return fmt.Errorf("%w: %s has %s", ErrNotEmpty, dir, name)
		}
	}
	return nil
}

// holdsNothing reports whether a store has no streams: a server that was started on an empty directory, and refused,
// leaves one.
func holdsNothing(log string) bool {
	streams, err := filepath.Glob(filepath.Join(log, "jetstream", "*", "streams", "*"))
	return err == nil && len(streams) == 0
}

// known are the places that the ledger is known to have reached.
func (cfg RestoreConfig) known() (known []events.Mark, err error) {
	m, err := readMark(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if m.Revision > 0 {
		known = append(known, m.Mark)
	}
	filed, err := os.ReadFile(CheckpointFile(cfg.Dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for what, signed := range map[string][]byte{"the checkpoint in " + cfg.Dir: filed, "the checkpoint that it must reach": cfg.AtLeast} {
		if signed == nil {
			continue
		}
		c, err := checkpoint.Open(signed, cfg.Keys)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ledger.ErrCorrupt, what, err)
		}
		known = append(known, events.Mark{Ledger: c.Ledger, Revision: c.Revision, Hash: c.Head, Position: c.Size, Root: c.Root})
	}
	return known, nil
}

// restoreEmbedded writes the log of an embedded server aside, and moves it to its place.
func (cfg RestoreConfig) restoreEmbedded(ctx context.Context, b *backup.Backup) error {
	aside := restoringDir(cfg.Dir)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := durable.Mkdir(aside); err != nil {
		return err
	}
	log := LogDir(aside)
	if err := cfg.restoreLog(ctx, b, jetstream.Config{Dir: log, Logger: cfg.Logger}, false); err != nil {
		return err
	}
	if err := cfg.restoreFiles(b); err != nil {
		return err
	}
	if err := durable.SyncDir(aside); err != nil {
		return err
	}
	if err := os.RemoveAll(LogDir(cfg.Dir)); err != nil { // onlyRemains saw that it holds nothing
		return err
	}
	if err := os.Rename(log, LogDir(cfg.Dir)); err != nil {
		return err
	}
	return durable.SyncDir(cfg.Dir)
}

// restoreExternal writes the log into another NATS, whose streams must not be there, unless this went wrong before.
func (cfg RestoreConfig) restoreExternal(ctx context.Context, b *backup.Backup) error {
	again := notRestoring(cfg.Dir) != nil
	if err := durable.Mkdir(restoringDir(cfg.Dir)); err != nil {
		return err
	}
	err := cfg.restoreLog(ctx, b, jetstream.Config{
		URL: cfg.NATSURL, Logger: cfg.Logger, CredentialsFile: cfg.NATSCredentialsFile, User: cfg.NATSUser, Password: cfg.NATSPassword,
		Replicas: cfg.NATSReplicas,
	}, again)
	if errors.Is(err, ErrNotEmpty) && !again {
		return errors.Join(err, os.Remove(restoringDir(cfg.Dir)))
	}
	if err != nil {
		return err
	}
	return cfg.restoreFiles(b)
}

// restoreLog writes commits and journal, closes, opens again and reads back: what a start would find.
func (cfg RestoreConfig) restoreLog(ctx context.Context, b *backup.Backup, where jetstream.Config, again bool) error {
	for _, step := range []func(context.Context, *backup.Backup, *jetstream.Server, bool) error{write, readBack} {
		s, err := jetstream.Open(ctx, where)
		if err != nil {
			return err
		}
		if err := errors.Join(step(ctx, b, s, again), s.Close()); err != nil {
			return err
		}
		where.Mark = b.Checkpoint.Revision
	}
	return nil
}

// write appends what is not there yet; what is there must be the same.
func write(ctx context.Context, b *backup.Backup, s *jetstream.Server, again bool) error {
	last, err := s.Log().Last(ctx)
	if err != nil {
		return err
	}
	if last > 0 && !again {
		return fmt.Errorf("%w: the log has %d commits", ErrNotEmpty, last)
	}
	next, stop := iter.Pull2(s.Log().Read(ctx, 1))
	defer stop()
	err = b.Commits(func(c events.Commit) error {
		if c.Revision > last {
			return s.Log().Append(ctx, c.Revision-1, c)
		}
		have, err, _ := next()
		if err == nil && !bytes.Equal(have.Bytes, c.Bytes) {
			err = fmt.Errorf("%w: revision %d of the log is another commit", ErrNotEmpty, c.Revision)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := writeJournal(ctx, b, s.Journal()); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func writeJournal(ctx context.Context, b *backup.Backup, j ledger.Journal) error {
	next, stop := iter.Pull2(j.Notes(ctx, 1))
	defer stop()
	more := true
	return b.Answers(func(entry []byte) error {
		var have ledger.JournalEntry
		var err error
		if more {
			have, err, more = next()
		}
		switch {
		case err != nil:
			return err
		case !more:
			return j.Note(ctx, entry)
		case !bytes.Equal(have.Bytes, entry):
			return fmt.Errorf("%w: entry %d of the journal is another one", ErrNotEmpty, have.Sequence)
		}
		return nil
	})
}

// readBack believes the log as little as the backup.
func readBack(ctx context.Context, b *backup.Backup, s *jetstream.Server, _ bool) error {
	walk := bundle.Start()
	for stored, err := range s.Log().Read(ctx, 1) {
		if err == nil {
			_, err = walk.Next(stored.Bytes)
		}
		if err != nil {
			return fmt.Errorf("read back revision=%d: %w", stored.Revision, err)
		}
	}
	if err := walk.Reached(b.Checkpoint); err != nil {
		return fmt.Errorf("read back the log: %w", err)
	}
	next, stop := iter.Pull2(s.Journal().Notes(ctx, 1))
	defer stop()
	err := b.Answers(func(entry []byte) error {
		have, err, more := next()
		if err == nil && (!more || !bytes.Equal(have.Bytes, entry)) {
			err = fmt.Errorf("%w: the journal is not what was written", ledger.ErrCorrupt)
		}
		return err
	})
	if _, _, more := next(); err == nil && more {
		err = fmt.Errorf("%w: the journal has more entries than the backup", ErrNotEmpty)
	}
	return err
}

// restoreFiles writes the keys that are in the backup and not there yet.
func (cfg RestoreConfig) restoreFiles(b *backup.Backup) error {
	into := func(dir string) func(backup.File) error {
		return func(f backup.File) error {
			file := filepath.Join(dir, f.Name)
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := durable.Mkdir(dir); err != nil {
				return err
			}
			return durable.WriteFile(file, f.Content)
		}
	}
	if err := b.Personal(into(PersonalDir(cfg.Dir))); err != nil {
		return err
	}
	return b.PrivateKeys(into(cfg.keysDir()))
}
