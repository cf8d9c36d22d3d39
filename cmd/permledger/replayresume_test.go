package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
)

// lineFormats are those a replay can go on with.
var lineFormats = []format{formatJSONL, formatCSV, formatCloudEvents, formatOCSF}

// replayed is a place for replays of a ledger in memory: the head that its views know, a cursor and an output.
type replayed struct {
	t       *testing.T
	commits commitList
	format  format
	flags   replayFlags
	known   *knownHead // nil: the head of commits
	stdout  bytes.Buffer
	stderr  bytes.Buffer
}

func newReplayed(t *testing.T, f format) *replayed {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // a crash is played here by what it leaves, so nothing need be durable
	}
	dir := t.TempDir()
	return &replayed{
		t: t, commits: replayCommits(t), format: f,
		flags: replayFlags{cursor: filepath.Join(dir, "cursor"), out: filepath.Join(dir, "out")},
	}
}

func (r *replayed) run() error {
	c := &cli{out: &r.stdout, err: &r.stderr, format: string(r.format), getenv: os.Getenv}
	if err := r.flags.check(r.format); err != nil {
		return err
	}
	filter, err := c.replayFilter(r.flags, false)
	if err != nil {
		return err
	}
	known := headOf(r.commits)
	if r.known != nil {
		known = *r.known
	}
	return c.replay(context.Background(), &replay{log: r.commits, known: known}, r.flags, filter)
}

func (r *replayed) mustRun() {
	r.t.Helper()
	if err := r.run(); err != nil {
		r.t.Fatal(err)
	}
}

// upTo replays to a revision, as if the log had ended there or the replay had been broken off there.
func (r *replayed) upTo(revision int) {
	r.t.Helper()
	r.flags.to = uint64(revision)
	r.mustRun()
	r.flags.to = 0
}

func (r *replayed) written() string {
	r.t.Helper()
	return readFile(r.t, r.flags.out)
}

func (r *replayed) cursor() replayCursor {
	r.t.Helper()
	var c replayCursor
	if err := json.Unmarshal([]byte(readFile(r.t, r.flags.cursor)), &c); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// whole is what one replay prints that nobody breaks off.
func (r *replayed) whole() string {
	r.t.Helper()
	one := *r
	one.flags.cursor, one.flags.out, one.flags.to = "", "", 0
	one.stdout.Reset()
	one.mustRun()
	return one.stdout.String()
}

func (r *replayed) leave(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

type knownHead events.Head

func (h knownHead) Head() events.Head { return events.Head(h) }

func headOf(commits commitList) knownHead { return knownHead(commits[len(commits)-1].Head()) }

// A replay that is broken off at any commit and goes on writes the same bytes, to a file and to standard output.
func TestReplayGoesOn(t *testing.T) {
	filters := map[string]func(*replayFlags){
		"everything":   func(*replayFlags) {},
		"one actor":    func(f *replayFlags) { f.actor = "user:boss" },
		"a period":     func(f *replayFlags) { f.since, f.until = "2026-03-01T12:00:00Z", "2026-03-02T06:00:00Z" },
		"nothing":      func(f *replayFlags) { f.principal = "user:nobody" },
		"from later":   func(f *replayFlags) { f.from = 9 },
		"no such time": func(f *replayFlags) { f.until = "2026-01-01" },
	}
	for _, f := range lineFormats {
		for name, set := range filters {
			t.Run(string(f)+"/"+name, func(t *testing.T) {
				r := newReplayed(t, f)
				set(&r.flags)
				want := r.whole()
				if empty := strings.Count(want, "\n") <= 1; empty != strings.HasPrefix(name, "no") {
					t.Fatalf("a replay of %q prints %d bytes", name, len(want))
				}
				for at := max(int(r.flags.from), 1); at < len(r.commits); at += 7 {
					r.upTo(at)
				}
				r.mustRun()
				if r.written() != want {
					t.Errorf("in parts\n%s\nat once\n%s", r.written(), want)
				}
				r.mustRun() // there is nothing new
				if r.written() != want || !strings.Contains(r.stderr.String(), "nothing after revision") {
					t.Errorf("a replay of nothing new wrote something, or does not say so: %s", &r.stderr)
				}

				r.flags.out, r.flags.cursor = "", r.flags.cursor+"2"
				for at := max(int(r.flags.from), 1); at < len(r.commits); at += 5 {
					r.upTo(at)
				}
				r.mustRun()
				if r.stdout.String() != want {
					t.Errorf("in parts, on standard output\n%s\nat once\n%s", &r.stdout, want)
				}
			})
		}
	}
}

// Whatever a crash can leave, the next replay makes it whole: every cursor there ever was, with the file at every
// length from what that cursor knows to what was written before the next one was kept, and further, since a disk may
// keep more than it was asked to. The control is the same without the cut: the torn line is there to be seen.
func TestReplayAfterEveryCrash(t *testing.T) {
	for _, f := range lineFormats {
		t.Run(string(f), func(t *testing.T) {
			r := newReplayed(t, f)
			want := r.whole()
			crashes, torn := 0, 0
			for at := 1; at < len(r.commits); at += 11 {
				r.flags.cursor, r.flags.out = filepath.Join(t.TempDir(), "cursor"), filepath.Join(t.TempDir(), "out")
				r.upTo(at)
				cursor, kept := readFile(t, r.flags.cursor), r.cursor()
				if int(kept.Revision) != at || kept.Hash != r.commits[at-1].Hash || want[:kept.Out.Bytes] != r.written() {
					t.Fatalf("the cursor at revision %d is %+v", at, kept)
				}
				for _, length := range crashLengths(int(kept.Out.Bytes), len(want)) {
					r.leave(r.flags.cursor, cursor)
					r.leave(r.flags.out, want[:length])
					r.mustRun()
					if r.written() != want {
						t.Fatalf("revision %d, %d bytes kept of %d: the output differs", at, length, kept.Out.Bytes)
					}
					crashes++
				}
				if length := int(kept.Out.Bytes) + 5; length < len(want) {
					kept.Out = resealed(want[:length])
					kept.Out.File = r.flags.out
					b, err := encodeJSON(kept, "")
					if err != nil {
						t.Fatal(err)
					}
					r.leave(r.flags.cursor, string(b))
					r.leave(r.flags.out, want[:length])
					r.mustRun()
					if r.written() == want || whole(f, r.written()) == nil {
						t.Errorf("control: revision %d, without the cut nothing is torn", at)
					}
					torn++
				}
			}
			if crashes < 10 || torn < 3 || whole(f, want) != nil {
				t.Errorf("%d crashes, %d controls, uninterrupted: %v", crashes, torn, whole(f, want))
			}
		})
	}
}

// crashLengths are lengths a file may be found with.
func crashLengths(from, to int) (lengths []int) {
	if full() {
		for n := from; n <= to; n += 211 {
			lengths = append(lengths, n)
		}
		return lengths
	}
	for _, n := range []int{from, from + 1, from + 100, from + 1000, from + 5000, to - 1, to} {
		if n <= to {
			lengths = append(lengths, n)
		}
	}
	return lengths
}

// resealed is what a cursor that trusts the length of a file would hold.
func resealed(content string) *writtenOut {
	o := stdoutOf(&bytes.Buffer{})
	_, _ = o.Write([]byte(content))
	c := replayCursor{Out: &writtenOut{}}
	c.Out.of(o)
	return c.Out
}

// whole reports whether every line is one of the format.
func whole(f format, content string) error {
	if f == formatCSV {
		records, err := parseCSV(content)
		for _, r := range records {
			if len(r) != len(recordHeader) {
				return errors.New("a record is too short or too long")
			}
		}
		return err
	}
	for line := range strings.Lines(content) {
		if err := oneObject(line); err != nil {
			return err
		}
	}
	return nil
}

// A crash before anything was written leaves a cursor that knows of nothing; what the file then holds is cut, too.
func TestReplayAfterACrashAtTheStart(t *testing.T) {
	for _, f := range lineFormats {
		r := newReplayed(t, f)
		want := r.whole()
		filter, err := (&cli{}).replayFilter(r.flags, false)
		if err != nil {
			t.Fatal(err)
		}
		fresh := replayCursor{Ledger: exampleID(0), Question: replayQuestion(f, false, 1, filter)}
		if _, to, err := openCursor(r.flags.cursor, fresh, &r.stdout, r.flags.out); err != nil || to.close() != nil {
			t.Fatal(err)
		}
		r.leave(r.flags.out, want[:20])
		r.mustRun()
		if r.written() != want {
			t.Errorf("%s: the output differs", f)
		}
	}
}

// A cursor goes with one ledger, one question, one file and one history, and a replay that would mix two says so.
func TestReplayRefusesAnotherCursor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *replayed)
		want   exit
		says   string
	}{
		"another ledger": {func(r *replayed) {
			other := headOf(r.commits)
			other.Ledger = exampleID(1)
			r.known = &other
		}, exitUsage, "is of ledger"},
		"another actor":  {func(r *replayed) { r.flags.actor = "user:root" }, exitUsage, "is of another question"},
		"another format": {func(r *replayed) { r.format = formatOCSF }, exitUsage, "is of another question"},
		"another file":   {func(r *replayed) { r.flags.out += "2" }, exitUsage, "belongs to"},
		"no file":        {func(r *replayed) { r.flags.out = "" }, exitUsage, "not to standard output"},
		"a table":        {func(r *replayed) { r.format = formatTable }, exitUsage, "needs a format with a line for each event"},
		"a moving end":   {func(r *replayed) { r.flags.since = "-24h" }, exitUsage, "fixed ends"},
		"one file twice": {func(r *replayed) { r.flags.out = r.flags.cursor }, exitUsage, "the same file"},
		"no cursor":      {func(r *replayed) { r.leave(r.flags.cursor, `{"ledger":`) }, exitUsage, "is no cursor"},
		"another cursor": {func(r *replayed) { r.leave(r.flags.cursor, `{"position":7}`) }, exitUsage, "is no cursor"},
		"an edited file": {func(r *replayed) {
			r.leave(r.flags.out, strings.Replace(r.written(), "user:root", "user:r00t", 1))
		}, exitUsage, "no longer begins with"},
		"a shorter file": {func(r *replayed) { r.leave(r.flags.out, r.written()[:10]) }, exitUsage, "no longer begins with"},
		"a shorter log":  {func(r *replayed) { r.commits = r.commits[:8] }, exitIntegrity, "the log ends at revision 8, an earlier replay has read 9"},
		"another history": {func(r *replayed) {
			r.commits = resealedFrom(t, r.commits, 9)
		}, exitIntegrity, "an earlier replay has read it with"},
		"beyond the log": {func(r *replayed) { r.flags.to = 1000 }, exitUsage, "the log ends at"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplayed(t, formatJSONL)
			r.upTo(9)
			cursor, written := readFile(t, r.flags.cursor), r.written()
			c.change(r)
			err := r.run()
			if exitOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, exit %d; want %d and %q", err, exitOf(err), c.want, c.says)
			}
			if name == "a shorter log" || name == "another history" || name == "another actor" {
				// What is refused changes nothing, and the right question still goes on.
				again := newReplayed(t, formatJSONL)
				again.flags.cursor, again.flags.out = r.flags.cursor, r.flags.out
				if readFile(t, r.flags.cursor) != cursor || again.written() != written {
					t.Error("a refused replay wrote something")
				}
				again.mustRun()
				if again.written() != again.whole() {
					t.Error("after a refusal the output differs")
				}
			}
		})
	}
}

// resealedFrom is the same ledger with another history from a revision on.
func resealedFrom(t *testing.T, commits commitList, from int) commitList {
	t.Helper()
	other := append(commitList{}, commits[:from-1]...)
	head := other[len(other)-1].Head()
	for _, c := range commits[from-1:] {
		list := append([]events.Recorded{}, c.Events...)
		list[0].Reason = "told otherwise"
		sealed, err := events.Seal(head, events.Header{RecordedAt: c.RecordedAt, Writer: c.Writer}, list, goldenKey)
		if err != nil {
			t.Fatal(err)
		}
		other, head = append(other, sealed), sealed.Head()
	}
	return other
}

// A file that is there is somebody's, and one that cannot be written is said to be so.
func TestReplayOutput(t *testing.T) {
	r := newReplayed(t, formatJSONL)
	r.leave(r.flags.out, "mine\n")
	for _, cursor := range []string{"", r.flags.cursor} {
		r.flags.cursor = cursor
		if err := r.run(); exitOf(err) != exitUsage || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	if r.written() != "mine\n" {
		t.Error("it was overwritten")
	}
	if _, err := os.Stat(r.flags.cursor); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cursor was left for a file that is somebody's: %v", err)
	}
	good := r.flags
	for name, spoil := range map[string]func(){
		"output": func() { r.flags.cursor, r.flags.out = "", filepath.Join(t.TempDir(), "no", "out") },
		"cursor": func() { r.flags.cursor, r.flags.out = filepath.Join(t.TempDir(), "no", "cursor"), "" },
	} {
		r.flags = good
		spoil()
		if err := r.run(); exitOf(err) != exitServer || !strings.Contains(err.Error(), name) {
			t.Errorf("%s that cannot be written: %v", name, err)
		}
	}
	r.flags = good
	r.flags.cursor, r.flags.out = "", filepath.Join(t.TempDir(), "out")
	r.mustRun()
	if r.written() != r.whole() {
		t.Error("a file without a cursor differs from standard output")
	}
}
