package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/transparency-dev/formats/witness"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func (c *cli) checkProofVerb() *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "check-proof FILE --key KEY",
		Short: "Check a proof without a server, and say what it proves; exit 6 if it does not hold",
		Long: `Check that an event is in a ledger by a proof that somebody brought (see prove), and say what that proves and
what it does not. Neither a server nor a data directory is needed, only the keys of the ledger, which must come
from elsewhere than the proof: a key as "permledger key list" prints it, or a file of such lines. It must be the
key in force when the checkpoint was signed: a proof does not hold the commit that announces a new key, so it cannot
be followed from an old one. An audit pack that spans the replacement shows the new key (see audit verify).

With --policy the checkpoint must also be cosigned by the witnesses that the policy asks for
(c2sp.org/tlog-witness), who have seen that the ledger only ever grew.

Exit code 0: the proof holds. 6: it does not. 2: the file is no proof.`,
		Example: `  permledger check-proof 4711.tlog-proof --key ledger.keys
  permledger check-proof 4711.tlog-proof --key ledger.keys --policy witnesses.policy -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			keys, policy, err := trust.read()
			if err != nil {
				return err
			}
			b, err := readSmall(args[0])
			if err != nil {
				return err
			}
			r, err := checkProof(b, keys, policy)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return c.print(answer{value: r, text: r.text})
		},
	}
	trust.add(cmd)
	must(cmd.MarkFlagRequired("key"))
	return cmd
}

// provedEvent is what a proof shows, for people and for programs.
type provedEvent struct {
	Ledger     events.LedgerID `json:"ledger"`
	Position   events.Position `json:"position"`
	AtMost     events.Revision `json:"revision_at_most"`
	Event      json.RawMessage `json:"event"` // as stored
	Checkpoint provedUnder     `json:"checkpoint"`

	recorded events.Recorded
}

// provedUnder is the checkpoint under which something was proved.
type provedUnder struct {
	Size     events.Position `json:"size"`
	Root     events.Hash     `json:"root"`
	Revision events.Revision `json:"revision"`
	Head     events.Hash     `json:"head_hash"`
	At       events.Instant  `json:"signed_at"`
	Policy   bool            `json:"policy_met,omitempty"` // the cosignatures asked for are there
}

func underOf(cp checkpoint.Checkpoint, policy bool) provedUnder {
	return provedUnder{cp.Size, cp.Root, cp.Revision, cp.Head, cp.At, policy}
}

// cosigned makes sure that a checkpoint has the cosignatures that a policy asks for, if there is one.
func cosigned(signed []byte, policy *witness.Group) error {
	if policy != nil && !policy.Satisfied(signed) {
		return integrityError{errors.New("the checkpoint is not cosigned by the witnesses that the policy asks for")}
	}
	return nil
}

func checkProof(b []byte, keys checkpoint.Keys, policy *witness.Group) (provedEvent, error) {
	p, err := checkpoint.ParseProof(b)
	if errors.Is(err, checkpoint.ErrNoProof) {
		return provedEvent{}, usageError{err}
	}
	if err != nil {
		return provedEvent{}, err
	}
	proved, err := p.Verify(keys)
	if err != nil {
		return provedEvent{}, err
	}
	if err := cosigned(p.Checkpoint, policy); err != nil {
		return provedEvent{}, err
	}
	cp := proved.Checkpoint
	return provedEvent{
		Ledger: cp.Ledger, Position: p.Position, AtMost: cp.Revision, Event: p.Event,
		Checkpoint: underOf(cp, policy != nil),
		recorded:   proved.Event,
	}, nil
}

func (p provedEvent) text(w io.Writer) {
	e := p.recorded
	fmt.Fprintf(w, "the proof holds: this event is in ledger %s\n", p.Ledger)
	fmt.Fprintf(w, "  what         %s\n", oneLine(eventLine(api.Event{Recorded: e})))
	if e.Tenant != "" {
		fmt.Fprintf(w, "  tenant       %s\n", oneLine(string(e.Tenant)))
	}
	fmt.Fprintf(w, "  who          %s\n", oneLine(eventWho(e)))
	if why := strings.TrimSpace(e.Reason + " " + e.Ticket); why != "" {
		fmt.Fprintf(w, "  why          %s\n", oneLine(why))
	}
	fmt.Fprintf(w, "  recorded at  %s\n", e.RecordedAt)
	fmt.Fprintf(w, "  event        %s\n", e.ID)
	fmt.Fprintf(w, "  position     %d, at revision %d or before it\n", p.Position, p.AtMost)
	fmt.Fprintf(w, "under a checkpoint of %d events, signed at %s by a key that was given\n", p.Checkpoint.Size, p.Checkpoint.At)
	if p.Checkpoint.Policy {
		fmt.Fprintln(w, "and cosigned by the witnesses that the policy asks for: the ledger they saw only ever grew")
	}
	fmt.Fprintln(w, "not proved by this:")
	fmt.Fprintln(w, "  that it still was so later: it may have been ended or corrected by a later event")
	fmt.Fprintln(w, "  that who acted is who the ledger took them for, or that the clock was right")
	if !p.Checkpoint.Policy {
		fmt.Fprintln(w, "  that the ledger shows everybody the same history: compare checkpoints, or ask for witnesses with --policy")
	}
}

func eventWho(e events.Recorded) string {
	who := e.Actor.String()
	if e.AuthMethod != "" {
		who += ", known by " + e.AuthMethod
	}
	if e.Source != "" {
		who += ", from " + e.Source
	}
	if !e.OnBehalfOf.IsZero() {
		who += ", on behalf of " + e.OnBehalfOf.String()
	}
	return who
}
