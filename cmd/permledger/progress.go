package main

import (
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// bar shows how far a long work is, on standard error and only to a person: it draws nothing when that is
// no terminal.
type bar struct {
	tracker *progress.Tracker
	drawn   chan struct{}
}

func (c *cli) bar(what string, total int64, units progress.Units) *bar {
	if !terminal(c.err) {
		return &bar{}
	}
	w := progress.NewWriter()
	w.SetOutputWriter(c.err)
	w.SetStyle(progress.StyleDefault)
	w.SetTrackerLength(30)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetAutoStop(true)
	b := &bar{&progress.Tracker{Message: what, Total: total, Units: units}, make(chan struct{})}
	w.AppendTracker(b.tracker)
	go func() {
		defer close(b.drawn)
		w.Render()
	}()
	return b
}

func (b *bar) set(n int64) {
	if b.tracker != nil {
		b.tracker.SetValue(n)
	}
}

// done draws the last state and gives the terminal back.
func (b *bar) done(err error) {
	if b.tracker == nil {
		return
	}
	if err != nil {
		b.tracker.MarkAsErrored()
	} else {
		b.tracker.MarkAsDone()
	}
	<-b.drawn
}
