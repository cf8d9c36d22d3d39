package pack_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/pack"
)

// unpacked is a pack taken apart, to be put together otherwise by somebody who knows its form.
type unpacked struct {
	names []string
	parts map[string]string
}

func unpack(t testing.TB, b []byte) *unpacked {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	u := &unpacked{parts: map[string]string{}}
	for _, f := range z.File {
		u.names = append(u.names, f.Name)
		u.parts[f.Name] = part(t, b, f.Name)
	}
	return u
}

func (u *unpacked) pack(t testing.TB) []byte {
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

func (u *unpacked) remove(name string) {
	u.names = slices.DeleteFunc(u.names, func(n string) bool { return n == name })
}

// replace changes the first occurrence of something that must be there.
func (u *unpacked) replace(t testing.TB, name, old, new string) {
	t.Helper()
	if !strings.Contains(u.parts[name], old) {
		t.Fatalf("%s does not hold %q", name, old)
	}
	u.parts[name] = strings.Replace(u.parts[name], old, new, 1)
}

// lines of a part, without one of them, or in another order.
func (u *unpacked) lines(name string) []string {
	return strings.SplitAfter(strings.TrimSuffix(u.parts[name], "\n"), "\n")
}

func (u *unpacked) setLines(name string, lines []string) {
	u.parts[name] = strings.TrimRight(strings.Join(lines, ""), "\n") + "\n"
}

func period(t testing.TB) pack.Request {
	return pack.Request{From: at(t, "2026-03-02T00:00:00Z"), To: at(t, "2026-03-05T00:00:00Z")}
}

// Every part changed in every way that makes sense, with the file put together again as it should be. The messages
// are pinned: they must name the part.
func TestTampering(t *testing.T) {
	w := history(t)
	whole, only := period(t), period(t)
	only.OnlyMatching = true
	only.Filters.Principal = events.User("alice")
	packs := map[bool][]byte{false: w.export(whole), true: w.export(only)}
	later := unpack(t, w.export(pack.Request{From: at(t, "2026-03-03T00:00:00Z"), To: whole.To}))
	stranger := unpack(t, history(t).export(whole))
	for _, c := range []struct {
		what   string
		only   bool
		change func(*unpacked)
		want   string
	}{
		{"control: nothing", false, func(*unpacked) {}, ""},
		{"control: nothing, only matching", true, func(*unpacked) {}, ""},

		{"a reason in report.json", false, func(u *unpacked) { u.replace(t, "report.json", "on Monday", "on Friday") }, "report.json: revision 3: the row of position 9: it is not what the events say"},
		{"a name in report.csv", false, func(u *unpacked) { u.replace(t, "report.csv", "user:alice", "user:alicf") }, "report.csv: revision 3: the row of position 9: it is not what the events say"},
		{"a dropped row of report.json", false, func(u *unpacked) { l := u.lines("report.json"); u.setLines("report.json", slices.Delete(l, 3, 4)) }, "report.json: revision 4: the row of position 10"},
		{"the last row of report.csv dropped", false, func(u *unpacked) { l := u.lines("report.csv"); u.setLines("report.csv", l[:len(l)-1]) }, "report.csv: revision"},
		{"a row of report.csv twice", false, func(u *unpacked) { l := u.lines("report.csv"); u.setLines("report.csv", append(l, "\n", l[len(l)-1])) }, "report.csv: it goes on where the events end"},
		{"text after report.json", false, func(u *unpacked) { u.parts["report.json"] += " " }, "report.json: it goes on where the events end"},
		{"a total", false, func(u *unpacked) { u.replace(t, "counts.json", `"gained": `, `"gained": 1`) }, "counts.json: it is not what the events say"},
		{"a sentence of the README", false, func(u *unpacked) { u.replace(t, "README.txt", "KEEP IT CONFIDENTIAL", "publish it") }, "README.txt: it is not what the events say"},
		{"the README that says complete", true, func(u *unpacked) { u.parts["README.txt"] = stranger.parts["README.txt"] }, "README.txt: it is not what the events say"},

		{"another period", false, func(u *unpacked) { u.replace(t, "parameters.json", "2026-03-02T", "2026-03-03T") }, "report.json: it is not what the events say"},
		{"another period, everywhere", false, func(u *unpacked) {
			for _, name := range []string{"parameters.json", "report.json", "README.txt"} {
				u.parts[name] = strings.ReplaceAll(u.parts[name], "2026-03-05T00", "2026-03-09T00")
			}
		}, "report.json: revision 10: the row of position 21"},
		{"a filter", false, func(u *unpacked) { u.replace(t, "parameters.json", `"filters": {}`, `"filters": {"tenant":"other"}`) }, "parameters.json: damaged file"},
		{"an unknown parameter", false, func(u *unpacked) { u.replace(t, "parameters.json", `"format": 1,`, `"format": 1, "x": 1,`) }, "parameters.json: damaged file"},
		{"another format", false, func(u *unpacked) { u.replace(t, "parameters.json", `"format": 1`, `"format": 2`) }, "parameters.json: damaged file: it has format 2, this build reads 1"},
		{"matching only, said of a whole pack", false, func(u *unpacked) { u.replace(t, "parameters.json", `"only_matching": false`, `"only_matching": true`) }, "damaged file: its parts are"},
		{"whole, said of a pack of matching events", true, func(u *unpacked) { u.replace(t, "parameters.json", `"only_matching": true`, `"only_matching": false`) }, "damaged file: its parts are"},

		{"a commit dropped", false, func(u *unpacked) { l := u.lines("commits.jsonl"); u.setLines("commits.jsonl", slices.Delete(l, 2, 3)) }, "commits.jsonl: revision 4: broken chain: after revision 3 comes 5"},
		{"the last commit dropped", false, func(u *unpacked) { l := u.lines("commits.jsonl"); u.setLines("commits.jsonl", l[:len(l)-1]) }, "commits.jsonl: it ends at revision"},
		{"the first commit dropped", false, func(u *unpacked) { u.setLines("commits.jsonl", u.lines("commits.jsonl")[1:]) }, "commits.jsonl: revision 2: broken chain: the commit of revision 2 has hash"},
		{"no commits", false, func(u *unpacked) { u.parts["commits.jsonl"] = "" }, "commits.jsonl: the commit of the first checkpoint is missing"},
		{"commits swapped", false, func(u *unpacked) {
			l := u.lines("commits.jsonl")
			l[2], l[3] = l[3], l[2]
			u.setLines("commits.jsonl", l)
		}, "commits.jsonl: revision 4: broken chain: after revision 3 comes 5"},
		{"a commit twice", false, func(u *unpacked) {
			l := u.lines("commits.jsonl")
			u.setLines("commits.jsonl", slices.Insert(l, 2, l[1]))
		}, "commits.jsonl: revision 4: broken chain: after revision 3 comes 3"},
		{"a commit of after the period", false, func(u *unpacked) {
			l := unpack(t, w.export(pack.Request{})).lines("commits.jsonl")
			u.parts["commits.jsonl"] += l[len(l)-1]
		}, "commits.jsonl: revision"},
		{"an edited event", false, func(u *unpacked) { u.replace(t, "commits.jsonl", "on Monday", "on Friday") }, "commits.jsonl: revision 3: broken chain: revision=3: the signature is not that of key"},
		{"an edited commit of the first checkpoint", false, func(u *unpacked) { u.replace(t, "commits.jsonl", `"Files"`, `"Filet"`) }, "commits.jsonl: revision 2: broken chain: the commit of revision 2 has hash"},
		{"blank space in a commit", false, func(u *unpacked) { u.replace(t, "commits.jsonl", `{"format"`, `{ "format"`) }, "commits.jsonl: revision 2: broken chain"},
		{"an empty line", false, func(u *unpacked) { u.parts["commits.jsonl"] += "\n" }, "commits.jsonl: revision 11: damaged file: it has an empty line"},
		{"a cut line", false, func(u *unpacked) { u.parts["commits.jsonl"] = strings.TrimSuffix(u.parts["commits.jsonl"], "\n") }, "damaged file: its last line is cut"},

		{"the checkpoints swapped", false, func(u *unpacked) {
			p := u.parts
			p["checkpoints/first"], p["checkpoints/last"] = p["checkpoints/last"], p["checkpoints/first"]
		}, "checkpoints/last: it is of revision 2, the pack says 13"},
		{"a later first checkpoint", false, func(u *unpacked) { u.parts["checkpoints/first"] = later.parts["checkpoints/first"] }, "checkpoints/first: it is of revision 4, the pack says 2"},
		{"an edited checkpoint", false, func(u *unpacked) { u.replace(t, "checkpoints/last", "revision=13", "revision=14") }, "checkpoints/last: not signed by the ledger's key: it was changed after it was signed"},
		{"a checkpoint without signature", false, func(u *unpacked) {
			u.parts["checkpoints/last"] = strings.Split(u.parts["checkpoints/last"], "\n\n")[0] + "\n\n"
		}, "checkpoints/last: malformed note"},
		{"a later checkpoint signed by the older key", false, func(u *unpacked) { u.parts["checkpoints/last"] = resigned(t, u.parts["checkpoints/last"], key(1)) }, "checkpoints/last: not signed by the ledger's key: the key that signed it is not valid at revision 13"},
		{"an earlier checkpoint signed by the newer key", false, func(u *unpacked) { u.parts["checkpoints/first"] = resigned(t, u.parts["checkpoints/first"], key(2)) }, "checkpoints/first: not signed by the ledger's key: the key that signed it is not valid at revision 2"},
		{"another ledger's checkpoint", false, func(u *unpacked) { u.parts["checkpoints/last"] = stranger.parts["checkpoints/last"] }, "checkpoints/last: not signed by the ledger's key: no known key signed it"},
		{"a key", false, func(u *unpacked) { u.replace(t, "keys.txt", " -\n", " 99\n") }, "keys.txt: it is not what the events say"},

		{"a consistency proof", false, func(u *unpacked) { u.parts["proofs/consistency.json"] = later.parts["proofs/consistency.json"] }, "proofs/consistency.json: the last checkpoint does not continue the first"},
		{"the tree before", false, func(u *unpacked) { u.replace(t, "proofs/consistency.json", `"before": [`, `"before": [ `) }, "proofs/consistency.json: damaged file: it is not in the form"},
		{"an inclusion proof dropped", false, func(u *unpacked) { u.setLines("proofs/inclusion.jsonl", u.lines("proofs/inclusion.jsonl")[1:]) }, "proofs/inclusion.jsonl: revision 3: position 9: its proof is missing"},
		{"an inclusion proof of another", false, func(u *unpacked) {
			l := u.lines("proofs/inclusion.jsonl")
			l[1] = strings.Replace(l[0], `"position":9`, `"position":10`, 1)
			u.setLines("proofs/inclusion.jsonl", l)
		}, "proofs/inclusion.jsonl: revision 4: position 10: the event is not in the tree of the last checkpoint"},
		{"an inclusion proof too many", false, func(u *unpacked) {
			u.parts["proofs/inclusion.jsonl"] += u.lines("proofs/inclusion.jsonl")[0]
		}, "proofs/inclusion.jsonl: it goes on where the events end"},

		{"an extra part", false, func(u *unpacked) { u.names = append(u.names, "summary.txt"); u.parts["summary.txt"] = "all is well" }, "damaged file: its parts are"},
		{"a part missing", false, func(u *unpacked) { u.remove("keys.txt") }, "damaged file: its parts are"},
		{"parts in another order", false, func(u *unpacked) { u.names[0], u.names[1] = u.names[1], u.names[0] }, "damaged file: its parts are"},
		{"no parameters", false, func(u *unpacked) { u.remove("parameters.json") }, "parameters.json: damaged file: it has no part called parameters.json"},

		{"an edited event, only matching", true, func(u *unpacked) {
			u.replace(t, "events.jsonl", "on Monday", "on Friday")
			u.replace(t, "report.json", "on Monday", "on Friday")
			u.replace(t, "report.csv", "on Monday", "on Friday")
		}, "proofs/inclusion.jsonl: position 9: the event is not in the tree of the last checkpoint"},
		{"an event twice, only matching", true, func(u *unpacked) {
			for _, name := range []string{"events.jsonl", "proofs/inclusion.jsonl", "report.csv"} {
				l := u.lines(name)
				u.setLines(name, append(l, "\n", l[len(l)-1]))
			}
		}, "proofs/inclusion.jsonl: after position"},
		{"an event that the filters do not mean, only matching", true, func(u *unpacked) {
			u.replace(t, "parameters.json", "user:alice", "user:alicf")
			u.replace(t, "report.json", "user:alice", "user:alicf")
		}, "events.jsonl: position 9 does not meet the filters"},
	} {
		t.Run(c.what, func(t *testing.T) {
			u := unpack(t, packs[c.only])
			c.change(u)
			_, err := verify(u.pack(t), w.trusted())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && err == nil:
				t.Error("accepted")
			case c.want != "" && !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), c.want):
				t.Errorf("%v\nwant %s", err, c.want)
			}
			var fault *pack.Fault
			if err != nil && !errors.As(err, &fault) {
				t.Errorf("%T is no fault of the pack", err)
			}
		})
	}
}

func resigned(t testing.TB, signed string, k events.Signer) string {
	t.Helper()
	c, err := checkpoint.Parse([]byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := checkpoint.Sign(c, k)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// forge is the same history with an event changed, and everything after it chained and signed anew
// with the ledger's own keys: what an operator can do who regrets something.
func forge(t testing.TB, w *world, change func([]events.Recorded) []events.Recorded) *world {
	t.Helper()
	log := memlog.Open(memlog.Config{})
	var head events.Head
	for _, b := range w.commits() {
		c, err := events.DecodeCommit(b)
		if err != nil {
			t.Fatal(err)
		}
		evs := change(c.Events)
		signer, err := keys.Signer(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := events.Seal(head, events.Header{Ledger: c.Ledger, RecordedAt: c.RecordedAt, Writer: c.Writer}, evs, signer)
		if err == nil {
			err = log.Append(t.Context(), head.Revision, sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
		head = sealed.Head()
	}
	f := newWorld(t, log)
	f.now = w.now
	return f
}

// The operator has every key and changes the past, then makes the whole pack anew: report, totals, proofs, chain,
// signatures. Only the checkpoints that were signed before, and which the auditor insists on, are in the way. The
// control: without them the same pack passes.
func TestOnlyTheCheckpointsAreInTheWay(t *testing.T) {
	w := history(t)
	r := period(t)
	genuine := w.export(r)
	// Control of the forger: a history that is not changed is the same pack.
	same := forge(t, w, func(evs []events.Recorded) []events.Recorded { return evs })
	same.kept = w.kept
	if part(t, same.export(r), "commits.jsonl") != part(t, genuine, "commits.jsonl") {
		t.Fatal("a forgery that changes nothing is another history")
	}
	for name, change := range map[string]func([]events.Recorded) []events.Recorded{
		"a changed reason": func(evs []events.Recorded) []events.Recorded {
			for i := range evs {
				evs[i].Reason = strings.Replace(evs[i].Reason, "Monday", "Friday", 1)
			}
			return evs
		},
		"an event in place of another": func(evs []events.Recorded) []events.Recorded {
			for i, r := range evs {
				if r.Event == (events.AdministratorAdded{Principal: events.User("alice")}) {
					evs[i].Event = events.AdministratorAdded{Principal: events.User("carol")}
				}
			}
			return evs
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := forge(t, w, change)
			f.kept = w.kept[:1]
			b := f.export(r)
			if part(t, b, "report.csv") == part(t, genuine, "report.csv") {
				t.Fatal("the forgery changed nothing")
			}
			// With a last checkpoint that the operator signs for it, the forgery is a whole history. That is what the
			// result says that it does not prove; an auditor who kept a checkpoint of the time between finds out.
			if _, err := verify(b, w.trusted()); err != nil {
				t.Errorf("the forgery is not whole: %v", err)
			}
			if _, err := pack.Prepare(t.Context(), f.trail, f, pack.Request{From: at(t, "2026-03-05T00:00:00Z"), Since: w.kept[2]}); !errors.Is(err, pack.ErrOtherHistory) {
				t.Errorf("a pack that begins with a kept checkpoint: %v", err)
			}
			// With the checkpoint that was published.
			f.published = w.keep()
			b = f.export(r)
			if _, err := verify(b, w.trusted()); err == nil || !strings.Contains(err.Error(), "last checkpoint") {
				t.Errorf("in front of the published checkpoint: %v", err)
			}
			if _, err := pack.VerifyLoose(bytes.NewReader(b), int64(len(b)), w.trusted()); err != nil {
				t.Errorf("control: something else is in the way, too: %v", err)
			}
		})
	}
}

// A file that is not whole, or has bytes that no part owns, is refused, wherever it is cut or written into. A
// changed byte inside a packed part may unpack to the same content; then, and only then, it verifies.
func TestDamage(t *testing.T) {
	w := history(t)
	b := w.export(period(t))
	trusted := w.trusted()
	sample := 150
	if os.Getenv("PERMLEDGER_FULL") != "" {
		sample = len(b)
	}
	for n := 0; n < len(b); n += 1 + len(b)/50 {
		if _, err := verify(b[:n], trusted); !errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("cut after %d of %d bytes: %v", n, len(b), err)
		}
	}
	flips, refused := 0, 0
	genuine := unpack(t, b)
	for n := 0; n < len(b); n += 1 + len(b)/sample {
		flips++
		flipped := bytes.Clone(b)
		flipped[n] ^= 1 << (n % 8)
		if _, err := verify(flipped, trusted); err != nil {
			refused++
			continue
		}
		u := unpack(t, flipped)
		for _, name := range genuine.names {
			if u.parts[name] != genuine.parts[name] {
				t.Errorf("byte %d: %s is another, and accepted", n, name)
			}
		}
	}
	if refused < flips*95/100 {
		t.Errorf("only %d of %d flips were refused", refused, flips)
	}
	for name, other := range map[string][]byte{
		"empty":                   nil,
		"no zip":                  []byte(strings.Repeat("hello ", 100)),
		"bytes before it":         append([]byte("#!/bin/sh\n"), b...),
		"bytes after it":          append(bytes.Clone(b), "more"...),
		"it twice":                append(bytes.Clone(b), b...),
		"packed by another":       foreign(t, genuine, func(*zip.FileHeader) {}),
		"with a comment":          foreign(t, genuine, func(h *zip.FileHeader) { h.Comment = "hello" }),
		"a name twice":            foreign(t, &unpacked{append(genuine.names, "README.txt"), genuine.parts}, plain),
		"a name that climbs":      foreign(t, &unpacked{append(genuine.names, "../README.txt"), genuine.parts}, plain),
		"a name from the root":    foreign(t, &unpacked{append(genuine.names, "/etc/passwd"), genuine.parts}, plain),
		"a name with backslashes": foreign(t, &unpacked{append(genuine.names, `..\x`), genuine.parts}, plain),
		"a link":                  foreign(t, genuine, func(h *zip.FileHeader) { plain(h); h.SetMode(0o777 | 1<<27) }),
	} {
		if _, err := verify(other, trusted); !errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func plain(h *zip.FileHeader) { h.Method = zip.Deflate }

// foreign packs with the standard library.
func foreign(t testing.TB, u *unpacked, change func(*zip.FileHeader)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range u.names {
		h := &zip.FileHeader{Name: name}
		change(h)
		part, err := w.CreateHeader(h)
		if err == nil {
			_, err = part.Write([]byte(u.parts[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A few kilobytes that unpack to much more are refused without being unpacked.
func TestBomb(t *testing.T) {
	w := history(t)
	genuine := unpack(t, w.export(period(t)))
	const size = 256 << 20
	var packed bytes.Buffer
	sum := crc32.NewIEEE()
	deflate, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err == nil {
		_, err = io.CopyN(io.MultiWriter(deflate, sum), zeros{}, size)
	}
	if err == nil {
		err = deflate.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, bomb := range genuine.names {
		var b bytes.Buffer
		out := zip.NewWriter(&b)
		for _, name := range genuine.names {
			h := &zip.FileHeader{Name: name, Method: zip.Deflate}
			create, content := out.CreateHeader, []byte(genuine.parts[name])
			if name == bomb { // in the form of the others, with the packed bytes made before
				h.Flags, h.CreatorVersion, h.ReaderVersion = 0x8, 20, 20
				h.CRC32, h.CompressedSize64, h.UncompressedSize64 = sum.Sum32(), uint64(packed.Len()), size
				create, content = out.CreateRaw, packed.Bytes()
			}
			part, err := create(h)
			if err == nil {
				_, err = part.Write(content)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := verify(b.Bytes(), w.trusted()); err == nil || !strings.Contains(err.Error(), bomb+":") {
			t.Errorf("%s: %v", bomb, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 512<<20 { // a line is read up to 64 MiB, growing
			t.Errorf("%s: %d MiB were allocated", bomb, took>>20)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// FuzzVerify: whatever the bytes, Verify returns.
func FuzzVerify(f *testing.F) {
	w := history(f)
	b := w.export(period(f))
	f.Add(b)
	only := period(f)
	only.OnlyMatching = true
	f.Add(w.export(only))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	trusted := w.trusted()
	want := unpack(f, b).parts["report.csv"]
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := verify(b, trusted)
		if err == nil && !r.Parameters.OnlyMatching && part(t, b, "report.csv") != want {
			t.Error("another report is accepted")
		}
	})
}
