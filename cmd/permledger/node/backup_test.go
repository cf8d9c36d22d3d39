package node_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit/backup"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

// keyed is a request with an idempotency key.
func keyed(n *node.Node, key string, commands ...ledger.Command) ledger.Request {
	return ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator, Key: key}, Commands: commands,
	}
}

func trusted(t testing.TB, n *node.Node) checkpoint.Keys {
	t.Helper()
	keys, err := node.Keys(t.Context(), n.Audit)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func backedUp(t testing.TB, n *node.Node, withKeys bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := n.Backup(t.Context(), &b, withKeys); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restoreBackup(t testing.TB, b []byte, cfg node.RestoreConfig) (node.Restored, error) {
	t.Helper()
	return node.Restore(t.Context(), bytes.NewReader(b), int64(len(b)), cfg)
}

// A backup taken while others write is the ledger of one moment. Restored elsewhere, every view is what it was then,
// keys answer what they answered first, and it goes on.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "first")
	if _, err := n.Ledger.Submit(t.Context(), keyed(n, "refused", ledger.CreateRole{Role: "first", Attr: events.Attributes{Name: "other"}})); err == nil {
		t.Fatal("a role was created twice")
	}
	first, err := n.Ledger.Submit(t.Context(), keyed(n, "done", ledger.CreateRole{Role: "second"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("w%d-%d", w, i)
				_, err := n.Ledger.Submit(t.Context(), keyed(n, name, ledger.CreateRole{Role: events.Role(name)}))
				if err == nil {
					_, err = n.Ledger.Submit(t.Context(), keyed(n, name+"-again", ledger.CreateRole{Role: events.Role(name)})) // nothing to record
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	var backups [][]byte
	for range 3 {
		backups = append(backups, backedUp(t, n, true))
	}
	stop()
	writing.Wait()
	keys := trusted(t, n)
	original := n.Projector
	for i, b := range backups {
		to := filepath.Join(t.TempDir(), "restored")
		restored, err := restoreBackup(t, b, node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		revision := restored.Manifest.Revision
		if revision > original.Head().Revision || revision < first.Revision || !restored.HaveKey {
			t.Fatalf("%+v", restored)
		}
		r := open(t, node.Config{Dir: to})
		want, err := original.StateAt(t.Context(), revision)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Projector.StateAt(t.Context(), revision); err != nil || got != want {
			t.Errorf("backup %d: the state at revision %d is %v, was %v: %v", i, revision, got, want, err)
		}
		sameDigests(t, n, r, revision)
		if again, err := r.Ledger.Submit(t.Context(), keyed(r, "done", ledger.CreateRole{Role: "second"})); err != nil || !again.Replayed || again.Revision != first.Revision {
			t.Errorf("backup %d: asked again: %+v, %v", i, again, err)
		}
		var refusal *ledger.Refusal
		if _, err := r.Ledger.Submit(t.Context(), keyed(r, "refused", ledger.CreateRole{Role: "first", Attr: events.Attributes{Name: "other"}})); !errors.As(err, &refusal) || refusal.Code != ledger.CodeExists {
			t.Errorf("backup %d: refused again: %v", i, err)
		}
		// Answers that recorded nothing are in the journal alone; the first one of each that the backup has stays.
		noted := answersOf(t, b)
		for _, a := range noted {
			if a.Revision > revision {
				t.Errorf("backup %d ends at revision %d and has an answer of %d", i, revision, a.Revision)
			}
		}
		if len(noted) != restored.Manifest.Answers || len(noted) == 0 {
			t.Errorf("backup %d has %d answers, says %d", i, len(noted), restored.Manifest.Answers)
		}
		createRole(t, r, "after-the-restore")
		published(t, r)
		closed(t, r)
	}
	for _, part := range []string{"root.token", "keys"} {
		if names := unzipped(t, backups[0]).names; strings.Contains(strings.Join(names, " "), part) && part == "root.token" {
			t.Errorf("a backup has %v", names)
		}
	}
	if b := backedUp(t, n, false); strings.Contains(strings.Join(unzipped(t, b).names, " "), "private-keys") {
		t.Error("the private keys are in a backup that was made without them")
	}
}

// sameDigests holds every view of r against one made of n's commits up to the revision.
func sameDigests(t *testing.T, n, r *node.Node, revision events.Revision) {
	t.Helper()
	log := memlog.Open(memlog.Config{})
	for stored, err := range n.Log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := events.DecodeCommit(stored.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), c.Revision-1, c); err != nil {
			t.Fatal(err)
		}
		if c.Revision == revision {
			break
		}
	}
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := projections.Open(store, log, node.Views()...)
	if err == nil {
		err = p.CatchUp(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := p.Digests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, got, err := r.Projector.Digests(t.Context())
	if err != nil || at != revision || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("digests at revision %d are %v, must be %v at %d: %v", at, got, want, revision, err)
	}
}

type unpacked struct {
	names []string
	parts map[string]string
}

func unzipped(t testing.TB, b []byte) unpacked {
	t.Helper()
	u := unpacked{parts: map[string]string{}}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		part, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		u.names, u.parts[f.Name] = append(u.names, f.Name), string(content)
	}
	return u
}

func (u unpacked) pack(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := bundle.NewWriter(&b)
	for _, name := range u.names {
		if err := w.Add(name, []byte(u.parts[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func answersOf(t testing.TB, b []byte) (all []events.Answer) {
	t.Helper()
	for line := range strings.Lines(unzipped(t, b).parts["journal.jsonl"]) {
		var a events.Answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

// rehash makes the manifest fit what was changed, as whoever changed it would. It cannot sign it.
func (u unpacked) rehash(t testing.TB) {
	t.Helper()
	for _, name := range u.names {
		if name == "manifest" {
			continue
		}
		var m backup.Manifest
		body, signatures, _ := strings.Cut(strings.TrimPrefix(u.parts["manifest"], "permledger backup\n"), "\n\n")
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		for i, p := range m.Parts {
			if p.Name == name {
				m.Parts[i] = backup.PartOf(name, []byte(u.parts[name]))
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		u.parts["manifest"] = "permledger backup\n" + string(b) + "\n\n" + signatures
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "to-be-found-later")
	if _, err := n.Ledger.Submit(t.Context(), keyed(n, "refused", ledger.CreateRole{Role: "to-be-found-later", Attr: events.Attributes{Name: "x"}})); err == nil {
		t.Fatal("a role was created twice")
	}
	older := backedUp(t, n, false)
	createRole(t, n, "one-more")
	kept := n.Checkpoints
	signed, err := kept.Sign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := backedUp(t, n, false)
	keys := trusted(t, n)
	other := open(t, node.Config{Dir: t.TempDir()})
	createRole(t, other, "elsewhere")
	foreign := backedUp(t, other, false)

	edited := func(change func(unpacked)) []byte {
		u := unzipped(t, b)
		change(u)
		return u.pack(t)
	}
	replace := func(part, old, new string) func(unpacked) {
		return func(u unpacked) {
			if !strings.Contains(u.parts[part], old) {
				t.Fatalf("%s does not hold %q", part, old)
			}
			u.parts[part] = strings.Replace(u.parts[part], old, new, 1)
			u.rehash(t)
		}
	}
	dropLine := func(part string) func(unpacked) {
		return func(u unpacked) {
			lines := strings.SplitAfter(u.parts[part], "\n")
			u.parts[part] = strings.Join(lines[:len(lines)-2], "")
			u.rehash(t)
		}
	}
	for _, c := range []struct {
		what    string
		b       []byte
		atLeast []byte
		want    string
	}{
		{"an edited commit", edited(replace("commits.jsonl", "to-be-found", "never-found")), nil, "commits.jsonl: revision 2: broken chain: revision=2: the signature is not that of key"},
		{"the last commit dropped", edited(dropLine("commits.jsonl")), nil, "commits.jsonl: broken chain: the commits end at revision 2"},
		{"an edited answer", edited(replace("journal.jsonl", `"code":"exists"`, `"code":"cycles"`)), nil, "manifest: not signed by the ledger's key: it was changed after it was signed"},
		{"an answer dropped", edited(dropLine("journal.jsonl")), nil, "manifest: not signed by the ledger's key: it was changed after it was signed"},
		{"an answer dropped, the manifest as it was", edited(func(u unpacked) { u.parts["journal.jsonl"] = "" }), nil, "journal.jsonl: damaged file: it is not what the manifest says"},
		{"an older checkpoint", edited(func(u unpacked) { u.parts["checkpoint"] = unzipped(t, older).parts["checkpoint"]; u.rehash(t) }), nil, "commits.jsonl: broken chain: the commits end at revision 3"},
		{"another ledger's", foreign, nil, "checkpoint: not signed by the ledger's key: no known key signed it"},
		{"older than a checkpoint", older, signed, "the backup is older than what is known of the ledger: it ends at revision 2, the ledger is known to have had 3"},
		{"cut", b[:len(b)/2], nil, "damaged file"},
		{"nothing", nil, nil, "damaged file"},
	} {
		to := filepath.Join(t.TempDir(), "to")
		_, err := restoreBackup(t, c.b, node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys, AtLeast: c.atLeast})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.what, err, c.want)
		}
		if left, err := os.ReadDir(to); err != nil || len(left) > 1 { // the lock
			t.Errorf("%s: left %v, %v", c.what, left, err)
		}
	}
	// Control: whoever looks at the hashes of the manifest alone would take each of the edited ones.
	for _, change := range []func(unpacked){replace("commits.jsonl", "to-be-found", "never-found"), replace("journal.jsonl", `"code":"exists"`, `"code":"cycles"`)} {
		u := unzipped(t, edited(change))
		var m backup.Manifest
		body, _, _ := strings.Cut(strings.TrimPrefix(u.parts["manifest"], "permledger backup\n"), "\n\n")
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Parts {
			if p != backup.PartOf(p.Name, []byte(u.parts[p.Name])) {
				t.Errorf("control: the manifest does not have the hash of %s", p.Name)
			}
		}
	}
	// Bytes changed anywhere: refused, or what is unpacked is the same.
	refused, flips := 0, 0
	genuine := unzipped(t, b)
	sample := 120
	if os.Getenv("PERMLEDGER_FULL") != "" {
		sample = len(b)
	}
	for i := 0; i < len(b); i += 1 + len(b)/sample {
		flips++
		flipped := bytes.Clone(b)
		flipped[i] ^= 1 << (i % 8)
		if _, err := backup.Open(bytes.NewReader(flipped), int64(len(flipped)), keys); err != nil {
			refused++
		} else if u := unzipped(t, flipped); fmt.Sprint(u.parts) != fmt.Sprint(genuine.parts) {
			t.Errorf("byte %d changes the content, and is accepted", i)
		}
	}
	if refused < flips*9/10 {
		t.Errorf("%d of %d flips were refused", refused, flips)
	}
	// Control: the genuine one is restored, by the same keys, and reaches the checkpoint.
	to := filepath.Join(t.TempDir(), "to")
	r, err := restoreBackup(t, b, node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys, AtLeast: signed})
	if err != nil {
		t.Fatal(err)
	}
	if r.HaveKey {
		t.Error("the private key is there, and was not in the backup")
	}
	if _, err := restoreBackup(t, b, node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys}); !errors.Is(err, node.ErrNotEmpty) {
		t.Errorf("over a ledger: %v", err)
	}
	if _, err := tryOpen(t, node.Config{Dir: to}); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("without its key: %v", err)
	}
	if err := os.CopyFS(node.KeysDir(to), os.DirFS(node.KeysDir(dir))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(node.KeysDir(to), onlyFile(t, node.KeysDir(to))), 0o600); err != nil {
		t.Fatal(err)
	}
	createRole(t, open(t, node.Config{Dir: to}), "goes-on")
}

func onlyFile(t testing.TB, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files in %s, %v", len(files), dir, err)
	}
	return files[0].Name()
}

// A ledger that has lost its log knows by its mark how far it had got.
func TestRestoreInPlace(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "one")
	older := backedUp(t, n, false)
	createRole(t, n, "two")
	newest := backedUp(t, n, false)
	head, keys := n.Projector.Head(), trusted(t, n)
	closed(t, n)
	if err := os.Rename(node.LogDir(dir), node.LogDir(dir)+".damaged-1"); err != nil {
		t.Fatal(err)
	}
	for _, aside := range []string{"views.fork-1", "mark.fork-1.json", "checkpoint.fork-1"} { // what a fork leaves is no obstacle
		if err := os.WriteFile(filepath.Join(dir, aside), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := node.RestoreConfig{Config: node.Config{Dir: dir}, Keys: keys}
	if _, err := restoreBackup(t, newest, cfg); !errors.Is(err, node.ErrNotEmpty) || !strings.Contains(err.Error(), "has views") {
		t.Errorf("over views: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "views")); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreBackup(t, older, cfg); !errors.Is(err, ledger.ErrCorrupt) || !errors.Is(err, backup.ErrOlder) || !strings.Contains(err.Error(), "accept-fork") {
		t.Errorf("older than the mark: %v", err)
	}
	strange := filepath.Join(dir, "somebody-elses")
	if err := os.WriteFile(strange, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreBackup(t, newest, cfg); !errors.Is(err, node.ErrNotEmpty) {
		t.Errorf("beside somebody else's file: %v", err)
	}
	if err := os.Remove(strange); err != nil {
		t.Fatal(err)
	}
	// Control: where nothing is known of the ledger the older one is fine.
	if _, err := restoreBackup(t, older, node.RestoreConfig{Config: node.Config{Dir: filepath.Join(t.TempDir(), "new")}, Keys: keys}); err != nil {
		t.Errorf("control: %v", err)
	}
	if _, err := restoreBackup(t, newest, cfg); err != nil {
		t.Fatal(err)
	}
	n = open(t, node.Config{Dir: dir})
	if n.Projector.Head().Hash != head.Hash {
		t.Errorf("restored to %+v, it was %+v", n.Projector.Head(), head)
	}
	createRole(t, n, "three")
}

// A restore that ends anywhere leaves no ledger that opens, and is done again.
func TestInterruptedRestore(t *testing.T) {
	n := open(t, node.Config{Dir: t.TempDir()})
	for i := range 20 {
		createRole(t, n, events.Role(fmt.Sprintf("role-%d", i)))
	}
	b, keys := backedUp(t, n, true), trusted(t, n)
	opened := 0
	whole := &failing{ReaderAt: bytes.NewReader(b), after: 1 << 30}
	if _, err := node.Restore(t.Context(), whole, int64(len(b)), node.RestoreConfig{Config: node.Config{Dir: filepath.Join(t.TempDir(), "to")}, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	total := 1<<30 - whole.after
	for eighth := range int64(8) { // how often the file is read before it fails
		reads := total * eighth / 8
		to := filepath.Join(t.TempDir(), "to")
		cfg := node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys}
		broken := &failing{ReaderAt: bytes.NewReader(b), after: reads}
		if _, err := node.Restore(t.Context(), broken, int64(len(b)), cfg); err == nil {
			continue // it had read everything
		}
		if _, err := os.Stat(filepath.Join(to, "restoring")); err == nil {
			opened++
			if _, err := tryOpen(t, node.Config{Dir: to}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "a restore into") {
				t.Errorf("half a ledger, after %d reads: %v", reads, err)
			}
		}
		if _, err := restoreBackup(t, b, cfg); err != nil {
			t.Fatalf("again, after %d reads: %v", reads, err)
		}
		r := open(t, node.Config{Dir: to})
		if r.Projector.Head().Revision != n.Projector.Head().Revision {
			t.Errorf("after %d reads: %+v", reads, r.Projector.Head())
		}
		createRole(t, r, "goes-on")
	}
	// At the worst place: everything is written, and the log is not moved yet.
	to := filepath.Join(t.TempDir(), "to")
	cfg := node.RestoreConfig{Config: node.Config{Dir: to}, Keys: keys}
	if _, err := restoreBackup(t, b, cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(to, "restoring"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(node.LogDir(to), filepath.Join(to, "restoring", "jetstream")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, node.Config{Dir: to}); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("before the rename: %v", err)
	}
	// And without the directory that says so, the mark does.
	if err := os.RemoveAll(filepath.Join(to, "restoring")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, node.Config{Dir: to}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "the log is not there") {
		t.Errorf("a mark without a log: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(to, "views")); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreBackup(t, b, cfg); err != nil { // what the refused start left of a log holds nothing
		t.Errorf("again: %v", err)
	}
	createRole(t, open(t, node.Config{Dir: to}), "goes-on")
	if opened == 0 {
		t.Error("no restore was interrupted while it wrote")
	}
}

// failing is a file that cannot be read any more after some reads.
type failing struct {
	io.ReaderAt
	after int64
}

func (f *failing) ReadAt(b []byte, at int64) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("the disk is gone")
	}
	return f.ReaderAt.ReadAt(b, at)
}

// In another NATS nothing is moved to its place: a restore that was broken off goes on where it was, and one that was
// not begun here touches nothing.
func TestRestoreExternal(t *testing.T) {
	n := open(t, node.Config{Dir: t.TempDir()})
	for i := range 30 {
		createRole(t, n, events.Role(fmt.Sprintf("role-%d", i)))
		_, err := n.Ledger.Submit(t.Context(), keyed(n, fmt.Sprint(i), ledger.CreateRole{Role: events.Role(fmt.Sprintf("role-%d", i))})) // nothing to record
		if err != nil {
			t.Fatal(err)
		}
	}
	b, keys := backedUp(t, n, true), trusted(t, n)
	nats := natsServer(t)
	to := filepath.Join(t.TempDir(), "to")
	cfg := node.RestoreConfig{Config: node.Config{Dir: to, NATSURL: nats.ClientURL()}, Keys: keys}
	if brokenOff(t, b, cfg) == 0 {
		t.Fatal("no restore was broken off while it wrote")
	}
	if _, err := tryOpen(t, cfg.Config); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("half a ledger: %v", err)
	}
	elsewhere := cfg
	elsewhere.Dir = filepath.Join(t.TempDir(), "elsewhere")
	if _, err := restoreBackup(t, b, elsewhere); !errors.Is(err, node.ErrNotEmpty) {
		t.Errorf("over what somebody else is restoring: %v", err)
	}
	if _, err := restoreBackup(t, b, cfg); err != nil {
		t.Fatal(err)
	}
	r := open(t, cfg.Config)
	if got, want := r.Projector.Head(), n.Projector.Head(); got.Hash != want.Hash {
		t.Errorf("restored to %+v, it was %+v", got, want)
	}
	createRole(t, r, "goes-on")
	closed(t, r)
	if _, err := restoreBackup(t, b, elsewhere); !errors.Is(err, node.ErrNotEmpty) {
		t.Errorf("over a ledger: %v", err)
	}
}

// brokenOff breaks restores off, each later than the one before, until one has written something of the log. It says
// how often.
func brokenOff(t testing.TB, b []byte, cfg node.RestoreConfig) (times int) {
	t.Helper()
	for reads := int64(1); reads < 1<<20; reads++ {
		_, err := node.Restore(t.Context(), &failing{ReaderAt: bytes.NewReader(b), after: reads}, int64(len(b)), cfg)
		if err == nil {
			return 0
		}
		if strings.Contains(err.Error(), "write the log") || strings.Contains(err.Error(), "write the journal") {
			times++
		}
		if times > 0 && strings.Contains(err.Error(), "write the journal") {
			return times
		}
	}
	return times
}
