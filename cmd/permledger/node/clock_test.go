package node

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// world is a wall clock and the time that passes, which are two things.
type world struct {
	wall   time.Time
	passed time.Duration
	stuck  bool
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newWorld() *world { return &world{wall: noon, passed: 77 * time.Hour} }

func (w *world) now() time.Time         { return w.wall }
func (w *world) elapsed() time.Duration { return w.passed }
func (w *world) set(by time.Duration)   { w.wall = w.wall.Add(by) }

func (w *world) pass(d time.Duration) {
	w.passed += d
	if !w.stuck {
		w.wall = w.wall.Add(d)
	}
}

func (w *world) clock(floor time.Time) *clock {
	return newClock(w.now, w.elapsed, 365*24*time.Hour, events.At(floor))
}

func sound(t *testing.T, c *clock, what string, want bool) {
	t.Helper()
	if err := c.sound(); (err == nil) != want {
		t.Errorf("%s: sound is %v, want %t", what, err, want)
	}
}

func shows(t *testing.T, c *clock, what string, want time.Time) {
	t.Helper()
	if got := c.now(); !got.Equal(want) {
		t.Errorf("%s: it is %s, want %s", what, got, want)
	}
}

func TestClockIsTheWallClockWhileThatIsRight(t *testing.T) {
	w := newWorld()
	c := w.clock(noon.Add(-time.Hour))
	for range 100 {
		shows(t, c, "at any time", w.wall)
		sound(t, c, "at any time", true)
		w.pass(17 * time.Minute)
	}
	w.pass(20 * 24 * time.Hour) // asleep: it counts as elapsed
	sound(t, c, "after a long sleep", true)
	shows(t, c, "after a long sleep", w.wall)
}

// A clock that is slewed, even at the most an adjustment may be, stays near the time that passes for ever; one that
// is set ahead in steps, each too small to be noticed, does not get far.
func TestClockFollowsASlewAndNotSmallSteps(t *testing.T) {
	for _, ppm := range []time.Duration{-500, 500} {
		w := newWorld()
		c := w.clock(noon)
		for range 90 * 24 * 60 {
			w.pass(time.Minute)
			w.set(time.Minute * ppm / 1_000_000)
			if err := c.sound(); err != nil {
				t.Fatalf("%d parts in a million: %v", ppm, err)
			}
		}
	}
	w := newWorld()
	c := w.clock(noon)
	c.now()
	for range 60 {
		w.pass(time.Second)
		w.set(20 * time.Second)
		c.now()
	}
	sound(t, c, "20 minutes ahead in steps of 20 s", false)
	if ahead := c.now().Sub(noon.Add(time.Minute)); ahead > jump+time.Second {
		t.Errorf("in a minute it got %s ahead", ahead)
	}
}

func TestClockBehind(t *testing.T) {
	w := newWorld()
	c := w.clock(noon)
	shows(t, c, "at first", noon)
	w.set(-time.Second)
	sound(t, c, "a second back", true)
	shows(t, c, "a second back", noon)
	w.set(-29 * time.Second)
	sound(t, c, "30 s back", false)
	shows(t, c, "30 s back", noon)
	w.pass(20 * time.Second)
	sound(t, c, "20 s later", false)
	shows(t, c, "20 s later", noon)
	w.pass(15 * time.Second)
	sound(t, c, "when it caught up", true)
	shows(t, c, "when it caught up", w.wall)
}

// Beyond a minute it is not waited for: time passes all the same.
func TestClockFarOff(t *testing.T) {
	for _, by := range []time.Duration{-10 * 365 * 24 * time.Hour, -time.Hour, -5 * time.Minute, 2 * time.Minute, time.Hour, 10 * 365 * 24 * time.Hour} {
		w := newWorld()
		c := w.clock(noon)
		c.now()
		w.set(by)
		sound(t, c, by.String(), false)
		shows(t, c, by.String(), noon)
		w.pass(3 * time.Hour)
		sound(t, c, by.String()+", 3 h later", false)
		shows(t, c, by.String()+", 3 h later", noon.Add(3*time.Hour))
		w.set(-by)
		sound(t, c, by.String()+", set right", true)
		shows(t, c, by.String()+", set right", w.wall)
	}
}

func TestClockStuck(t *testing.T) {
	w := newWorld()
	c := w.clock(noon)
	c.now()
	w.stuck = true
	w.pass(time.Hour)
	sound(t, c, "an hour", false)
	shows(t, c, "an hour", noon.Add(time.Hour))
	w.stuck = false
	w.set(time.Hour)
	sound(t, c, "running again", true)
}

// What the ledger was at before counts, however long ago the process started.
func TestClockStarts(t *testing.T) {
	w := newWorld()
	c := w.clock(noon.Add(time.Hour))
	if err := c.checkGap(); err != nil {
		t.Error(err)
	}
	sound(t, c, "an hour behind", false)
	shows(t, c, "an hour behind", noon.Add(time.Hour))
	w.pass(30 * time.Minute)
	sound(t, c, "half an hour behind", false)
	shows(t, c, "half an hour behind", noon.Add(time.Hour)) // nobody knows how much time passed before
	w.set(3 * 365 * 24 * time.Hour)
	sound(t, c, "years ahead", false)
	shows(t, c, "years ahead", noon.Add(time.Hour))
	w.set(-3*365*24*time.Hour + 45*time.Minute) // right: it had not been held against anything yet
	sound(t, c, "set right", true)
	shows(t, c, "set right", w.wall)
	c.raise(events.At(w.wall.Add(time.Hour)))
	sound(t, c, "behind another's commit", false)

	c = w.clock(w.wall.Add(-366 * 24 * time.Hour))
	if err := c.checkGap(); err == nil || !strings.Contains(err.Error(), "--max-clock-gap 0") {
		t.Errorf("more than a year after: %v", err)
	}
	c.gap = -1
	if err := c.checkGap(); err != nil {
		t.Errorf("any gap: %v", err)
	}
	if err := w.clock(time.Time{}).checkGap(); err != nil {
		t.Errorf("a new ledger: %v", err)
	}
}

// desk is a node and somebody who asks it.
type desk struct {
	t *testing.T
	*Node
}

func openDesk(t *testing.T, w *world, dir string, adjust ...func(*Config)) *desk {
	t.Helper()
	cfg := Config{Dir: dir, Memory: dir == "", Clock: w.now, elapsed: w.elapsed, NoticeInterval: -1, CacheBytes: 8 << 20}
	for _, f := range adjust {
		f(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return &desk{t, n}
}

func (d *desk) submit(from, until time.Time, commands ...ledger.Command) error {
	q := ledger.Request{Tenant: events.DefaultTenant, Meta: events.Meta{Actor: d.Administrator}, Commands: commands}
	if !from.IsZero() {
		q.ValidFrom = events.At(from)
	}
	if !until.IsZero() {
		q.ValidUntil = events.At(until)
	}
	_, err := d.Ledger.Submit(d.t.Context(), q)
	return err
}

// grant gives alice the permission for a time.
func (d *desk) grant(name events.PermissionName, from, until time.Time) {
	d.t.Helper()
	for _, c := range []ledger.Command{
		ledger.DefineAPI{API: "app", Def: events.APIDefinition{Audience: "app"}},
		ledger.DefinePermission{Permission: events.Permission{API: "app", Name: name}},
	} {
		if err := d.submit(time.Time{}, time.Time{}, c); err != nil {
			d.t.Fatal(err)
		}
	}
	right := ledger.Right{Name: name, Audience: "app"}
	if err := d.submit(from, until, ledger.Grant{Principal: events.User("alice"), Right: right}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) allowed(v *access.View, name events.PermissionName) bool {
	d.t.Helper()
	s, err := v.At(d.t.Context(), events.DefaultTenant, access.When{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Close()
	a, err := s.Check(access.Question{Principal: events.User("alice"), Permission: name, Resource: access.Resource{Audience: "app"}})
	if err != nil {
		d.t.Fatal(err)
	}
	return a.Allowed
}

// decides checks that both grants are denied, and whether anything is recorded.
func (d *desk) decides(what string, writes bool) {
	d.t.Helper()
	for _, name := range []events.PermissionName{"over", "future"} {
		if d.allowed(d.Access, name) {
			d.t.Errorf("%s: the grant %q is allowed", what, name)
		}
	}
	err := d.submit(time.Time{}, time.Time{}, ledger.CreateRole{Role: events.Role(what)})
	if writes && err != nil || !writes && !errors.Is(err, ledger.ErrClock) {
		d.t.Errorf("%s: a write gives %v", what, err)
	}
	if ready := d.Ready(); (ready == nil) != writes || !writes && !errors.Is(ready, ledger.ErrClock) {
		d.t.Errorf("%s: ready is %v", what, ready)
	}
}

// However the wall clock is set: what ended stays ended, what has not begun does not begin, nothing is recorded at
// a wrong time, and when it is right again everything goes on. The control is a view of the same rows by the bare
// wall clock, which must get something wrong.
func TestClockSteps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, row := range map[string]struct {
		step, after time.Duration // how the clock is set, and the time that then passes
		stuck       bool
		wrong       events.PermissionName // what the bare wall clock allows
	}{
		"back 5 min": {step: -5 * time.Minute, wrong: "over"},
		"back 1 h":   {step: -time.Hour, wrong: "over"},
		"back 10 y":  {step: -10 * year, wrong: "over"},
		"ahead 1 d":  {step: 24 * time.Hour, wrong: "future"},
		"ahead 10 y": {step: 10 * year, wrong: "future"},
		"stuck":      {stuck: true, after: 10 * time.Minute, wrong: "ending"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			d := openDesk(t, w, "")
			d.grant("over", time.Time{}, noon.Add(18*time.Minute))
			d.grant("ending", time.Time{}, noon.Add(25*time.Minute))
			d.grant("future", noon.Add(20*time.Hour), time.Time{})
			if !d.allowed(d.Access, "over") {
				t.Fatal("the grant never held")
			}
			w.pass(20 * time.Minute)
			if d.allowed(d.Access, "over") || !d.allowed(d.Access, "ending") {
				t.Fatal("the grants do not end by themselves")
			}

			w.stuck = row.stuck
			w.set(row.step)
			w.pass(row.after)
			d.decides(name, false)
			bare := access.NewView(d.Projector, d.Audit, w.now)
			if !d.allowed(bare, row.wrong) {
				t.Errorf("control: the bare wall clock denies %q, too", row.wrong)
			}
			head := d.Projector.Head()
			w.pass(10 * time.Minute)
			d.decides(name+", 10 min later", false)
			if d.allowed(d.Access, "ending") {
				t.Error("what ended meanwhile is allowed")
			}
			if now := d.Projector.Head(); now != head {
				t.Errorf("the head moved to %+v", now)
			}

			w.stuck, w.wall = false, noon.Add(20*time.Minute+row.after+10*time.Minute)
			d.decides(name+", healed", true)
			if at := d.Projector.Head().RecordedAt; at > events.At(w.wall) {
				t.Errorf("recorded at %s, it is %s", at, w.wall)
			}
			w.pass(20 * time.Hour)
			if !d.allowed(d.Access, "future") {
				t.Error("the future never comes")
			}
		})
	}
}

// The same across a restart, where only the mark remembers what time it was. The control is the same directory
// whose mark has forgotten it.
func TestClockOlderAfterARestart(t *testing.T) {
	for _, remembered := range []bool{true, false} {
		w, dir := newWorld(), t.TempDir()
		d := openDesk(t, w, dir)
		d.grant("over", time.Time{}, noon.Add(10*time.Minute))
		d.grant("future", noon.Add(20*time.Hour), time.Time{})
		w.pass(20 * time.Minute)
		if d.allowed(d.Access, "over") {
			t.Fatal("the grant does not end")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if !remembered {
			m, err := readMark(dir)
			if err != nil {
				t.Fatal(err)
			}
			if m.At != events.At(w.wall) {
				t.Errorf("the mark says %s", m.At)
			}
			m.At = 0
			b, err := json.Marshal(m)
			if err == nil {
				err = os.WriteFile(markFile(dir), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.set(-15 * time.Minute)
		d = openDesk(t, w, dir)
		if !remembered {
			if !d.allowed(d.Access, "over") {
				t.Error("control: without the mark's time the ended grant is denied, too")
			}
			continue
		}
		d.decides("an older clock", false)
		w.pass(16 * time.Minute)
		d.decides("when the time has come", true)
	}
}

// A clock that is years later than the ledger is not believed without being told.
func TestClockFarAheadAtTheStart(t *testing.T) {
	w, dir := newWorld(), t.TempDir()
	d := openDesk(t, w, dir)
	d.grant("over", time.Time{}, noon.Add(time.Minute))
	d.grant("future", noon.Add(9*365*24*time.Hour), time.Time{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w.set(10 * 365 * 24 * time.Hour)
	cfg := Config{Dir: dir, Clock: w.now, elapsed: w.elapsed, NoticeInterval: -1, CacheBytes: 8 << 20}
	if n, err := Open(t.Context(), cfg); !errors.Is(err, ledger.ErrClock) || !strings.Contains(err.Error(), "--max-clock-gap 0") {
		t.Errorf("%v, %v", n, err)
	}
	cfg.Offline = true // reads what is there, at no time of its own
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	d = openDesk(t, w, dir, func(c *Config) { c.MaxClockGap = -1 })
	if !d.allowed(d.Access, "future") {
		t.Error("control: told to believe it, it does")
	}
}

// A checkpoint is signed for ever, and none says an earlier time than the one before. So a wall clock that is set
// years ahead, and back again, is in none of them. The control: the time that passes is.
func TestCheckpointsDoNotBelieveAClockThatIsSet(t *testing.T) {
	w := newWorld()
	d := openDesk(t, w, "")
	signedAt := func() time.Time {
		t.Helper()
		signed, err := d.Checkpoints.Sign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cp, err := checkpoint.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		return cp.At.Time()
	}
	for _, step := range []struct {
		what string
		set  time.Duration
	}{{"right", 0}, {"ahead", 10 * 365 * 24 * time.Hour}, {"right again", -10 * 365 * 24 * time.Hour}, {"back", -time.Hour}} {
		w.set(step.set)
		w.pass(10 * time.Second)
		if at, want := signedAt(), noon.Add(w.passed-newWorld().passed); !at.Equal(want) {
			t.Errorf("%s: signed at %s, want %s", step.what, at, want)
		}
	}
}
