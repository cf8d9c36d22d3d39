package main

import (
	"errors"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
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
and the exit code is 6. Views that cannot be read are replaced, which the answer says.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			n, err := c.openOffline(cmd.Context(), where)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.Close()) }()
			last, err := n.Log.Last(cmd.Context())
			if err != nil {
				return err
			}
			b := c.bar("rebuilding", int64(last), progress.UnitsDefault)
			rebuilt, err := n.Projector.Rebuild(cmd.Context(), func(done events.Head) { b.set(int64(done.Revision)) })
			b.done(err)
			if err != nil && !errors.Is(err, projections.ErrDiffers) {
				return err
			}
			return errors.Join(c.printRebuilt(rebuilt, err == nil), err)
		},
	}
	where.add(cmd)
	return cmd
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
		a.rows = append(a.rows, row{v, []string{v.View, v.Live, v.Rebuilt, yesNo(v.Equal)}})
	}
	a.value = value
	return c.print(a)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
