package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// rebuildAnswer says what a rebuild found.
type rebuildAnswer struct {
	Revision   events.Revision `json:"revision"` // at which the digests were taken
	Events     events.Position `json:"events"`   // replayed
	Generation uint64          `json:"generation"`
	Equal      bool            `json:"equal"`
	Uncompared string          `json:"uncompared,omitempty"` // why there was nothing to compare with
	Diverged   events.Revision `json:"diverged,omitempty"`   // the first one after which the states differ
	Views      []viewDigests   `json:"views"`
}

type viewDigests struct {
	View    string `json:"view"`
	Live    string `json:"live"`
	Rebuilt string `json:"rebuilt"`
	Equal   bool   `json:"equal"`
}

func (c *cli) rebuildVerb() *cobra.Command {
	var where nodeFlags
	cmd := &cobra.Command{
		Use:   "rebuild --data DIR",
		Short: "Make the views anew from the log and compare them; exit 6 if they differ",
		Long: `Make every view anew from the first commit of the log, without a server, and compare its digest with that of
the view in use. If all are equal the new ones are used from then on. If one differs, the ones in use stay
and the exit code is 6. Views that are damaged are moved aside, to views.damaged-1 and so on, and made anew,
which the answer says.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			rebuilt, aside, err := c.rebuild(cmd.Context(), where, node.ReplaceDamaged)
			if damaged := errors.Join(rebuilt.Uncompared, err); !aside && errors.Is(damaged, pebblekv.ErrDamaged) {
				// The views opened, and somewhere in them is damage: what was made beside it would share their files.
				rebuilt, _, err = c.rebuild(cmd.Context(), where, node.ReplaceAll)
				rebuilt.Uncompared = damaged
			}
			if err != nil && !errors.Is(err, projections.ErrDiffers) {
				return err
			}
			return errors.Join(c.printRebuilt(rebuilt, err == nil), err)
		},
	}
	where.add(cmd)
	return cmd
}

// rebuild makes the views anew, beside those in use or, when they are moved aside, in their place.
func (c *cli) rebuild(ctx context.Context, where nodeFlags, replace node.Replace) (out projections.Rebuilt, aside bool, err error) {
	n, err := c.openOffline(ctx, where, replace)
	if err != nil {
		return out, false, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if n.Aside != "" {
		c.say("the views were damaged; they are kept in %s", n.Aside)
		out, err = replaced(ctx, n)
		return out, true, err
	}
	last, err := n.Log.Last(ctx)
	if err != nil {
		return out, false, err
	}
	b := c.bar("rebuilding", int64(last), progress.UnitsDefault)
	out, err = n.Projector.Rebuild(ctx, func(done events.Head) { b.set(int64(done.Revision)) })
	b.done(err)
	return out, false, errors.Join(err, n.ReadViews(ctx)) // what no view's digest covers, too
}

// replaced describes views that were made in the place of damaged ones, when the node opened.
func replaced(ctx context.Context, n *node.Node) (projections.Rebuilt, error) {
	if err := n.Projector.Halted(); err != nil {
		return projections.Rebuilt{}, err
	}
	revision, digests, err := n.Projector.Digests(ctx)
	out := projections.Rebuilt{
		Revision: revision, Generation: 1, Events: n.Projector.Head().Position, Uncompared: n.Replaced,
		Digests: map[string]projections.Digest{},
	}
	for view, d := range digests {
		out.Digests[view] = projections.Digest{Rebuilt: d}
	}
	return out, err
}

func (c *cli) printRebuilt(r projections.Rebuilt, equal bool) error {
	value := rebuildAnswer{
		Revision: r.Revision, Events: r.Events, Generation: r.Generation, Equal: equal && r.Uncompared == nil, Diverged: r.Diverged, Views: []viewDigests{},
	}
	if r.Uncompared != nil {
		value.Uncompared = r.Uncompared.Error()
		c.say("there was nothing to compare with: %v", r.Uncompared)
	}
	a := answer{header: []string{"view", "live", "rebuilt", "equal"}}
	for _, view := range slices.Sorted(maps.Keys(r.Digests)) {
		d := r.Digests[view]
		v := viewDigests{View: view, Live: d.Live, Rebuilt: d.Rebuilt, Equal: d.Live == d.Rebuilt}
		value.Views = append(value.Views, v)
		a.rows = append(a.rows, row{v, []string{v.View, v.Live, v.Rebuilt, compared(r.Uncompared, v.Equal)}})
	}
	a.value = value
	return c.print(a)
}

func compared(uncompared error, equal bool) string {
	if uncompared != nil {
		return "not compared"
	}
	return yesNo(equal)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
