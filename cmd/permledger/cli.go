package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// cli is what every verb works with: the streams of the process and the flags all verbs share.
type cli struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string

	server    string
	tokenFile string
	tenant    string
	format    string
	noHeaders bool

	started bool // a verb has begun: what fails from now on is no longer usage
}

const defaultServer = "http://127.0.0.1:8080"

// run carries out one command line and says how it ended.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.started {
		err = usageError{err}
	}
	if err != nil && !errors.Is(err, errNo) {
		c.say("permledger: %v", c.atTerminal(err))
	}
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(c.err, `"permledger help" lists the verbs, "permledger VERB --help" what one takes.`)
	}
	return int(exitOf(err))
}

// atTerminal says of an error what is to be done about it here, where a server's words are for programs.
func (c *cli) atTerminal(err error) error {
	var answered *api.Error
	var dial *net.OpError
	switch {
	case errors.As(err, &answered) && answered.Code == api.CodeUnauthenticated:
		if token, _ := c.token(); token == "" {
			return fmt.Errorf("%s: no token was given: set PERMLEDGER_TOKEN to it, or name a file that holds it by --token-file", answered.Code)
		}
	case errors.As(err, new(*consumers.NetworkError)) && errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("%w; \"permledger serve\" starts a ledger, --server or PERMLEDGER_SERVER names another than %s", err, c.server)
	}
	return err
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "permledger",
		Short: "A ledger of permissions: who could do what, at any time, and why",
		Long: `permledger records every change of permissions as an event in an append-only, hash-chained log and
answers who may do what, now and at any point of the past.

"permledger demo" tells the whole story in a temporary directory. "permledger serve" runs a ledger.
The other verbs talk to a running one; they find it by --server or PERMLEDGER_SERVER and identify
themselves by the token in PERMLEDGER_TOKEN or in the file named by --token-file.

Times are RFC 3339 (2026-03-01T09:30:00Z), dates (2026-03-01) or spans back from now (-24h).
What a right is about is written api:AUDIENCE, TYPE:ID or TYPE/PROPERTY.

Exit codes: 0 yes or done, 1 no, differences or rejects, 2 usage, 3 server or network, 4 not allowed,
5 conflict, 6 integrity.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := emptyFlags(cmd); err != nil {
				return err
			}
			if known := formatsOf(cmd); !slices.Contains(known, c.format) {
				return fmt.Errorf("-o %s: must be one of %s", c.format, strings.Join(known, ", "))
			}
			return nil
		},
		Args: cobra.NoArgs,
		RunE: needsVerb,
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", c.or("PERMLEDGER_SERVER", defaultServer), "URL of the ledger (PERMLEDGER_SERVER)")
	f.StringVar(&c.tokenFile, "token-file", "", "file that holds the token (else PERMLEDGER_TOKEN, the token itself)")
	f.StringVar(&c.tenant, "tenant", c.or("PERMLEDGER_TENANT", string(events.DefaultTenant)), "tenant to work in (PERMLEDGER_TENANT)")
	f.StringVarP(&c.format, "output", "o", string(formatTable), "table, json, jsonl, csv or yaml; for events also cloudevents or ocsf")
	f.BoolVar(&c.noHeaders, "no-headers", false, "leave out the header of tables and CSV")
	must(root.RegisterFlagCompletionFunc("output", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return formatsOf(cmd), cobra.ShellCompDirectiveNoFileComp
	}))

	for _, g := range []struct {
		title string
		verbs []*cobra.Command
	}{
		{"Run:", []*cobra.Command{c.demoVerb(), c.serveVerb(), c.statusVerb(), c.replayVerb(), c.rebuildVerb(), c.verifyVerb(), c.repairVerb(),
			c.acceptForkVerb(), c.backupVerb(), c.restoreVerb(), c.versionVerb()}},
		{"Ask:", []*cobra.Command{c.checkVerb(), c.canWhatVerb(), c.whoCanVerb(), c.historyVerb(), c.intervalsVerb(),
			c.diffVerb(), c.claimsVerb(), c.exportVerb(), c.watchVerb()}},
		{"Change:", []*cobra.Command{c.catalogVerb(), c.roleVerb(), c.groupVerb(), c.grantVerb(), c.revokeVerb(),
			c.assignVerb(), c.unassignVerb(), c.correctVerb(), c.principalVerb(), c.eraseVerb(), c.tenantVerb(), c.adminVerb(), c.importVerb()}},
		{"Prove:", []*cobra.Command{c.auditVerb(), c.proveVerb(), c.checkProofVerb(), c.checkTilesVerb(), c.keyVerb()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, v := range g.verbs {
			v.GroupID = g.title
			root.AddCommand(v)
		}
	}
	root.AddCommand(c.preflightVerb())
	nameArguments(root)
	c.noteStart(root)
	return root
}

// noteStart lets every verb note that it has begun. Cobra looks at required and excluding flags after all its
// hooks, so the verb itself is the first to know that its command line was good.
func (c *cli) noteStart(cmd *cobra.Command) {
	carryOut := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.started = true
		return carryOut(cmd, args)
	}
	for _, v := range cmd.Commands() {
		c.noteStart(v)
	}
}

func must(err error) {
	if err != nil {
		panic(err) // a flag that does not exist: found by any test
	}
}

func (c *cli) or(name, otherwise string) string {
	if v := c.getenv(name); v != "" {
		return v
	}
	return otherwise
}

// parent makes a verb that only has verbs of its own.
func parent(use, short string, verbs ...*cobra.Command) *cobra.Command {
	p := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: needsVerb}
	p.AddCommand(verbs...)
	return p
}

func needsVerb(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, v := range cmd.Commands() {
		if v.IsAvailableCommand() {
			names = append(names, v.Name())
		}
	}
	return usagef("%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

func (c *cli) printer() printer {
	return printer{w: c.out, format: format(c.format), noHeaders: c.noHeaders}
}

func (c *cli) print(a answer) error { return c.printer().print(a) }

// say tells the person at the terminal something that is no data.
func (c *cli) say(format string, args ...any) {
	fmt.Fprintln(c.err, strings.Map(visible, fmt.Sprintf(format, args...)))
}

func (c *cli) now() time.Time { return time.Now() }

// token finds the credential. It comes from a file or the environment and never from the command line,
// which every user of the machine can read.
func (c *cli) token() (string, error) {
	if c.tokenFile == "" {
		return strings.TrimSpace(c.getenv("PERMLEDGER_TOKEN")), nil
	}
	b, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", usageError{fmt.Errorf("read token: %w", err)}
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", usagef("read token: %s is empty", c.tokenFile)
	}
	return token, nil
}

// client opens the way to the server.
func (c *cli) client() (*consumers.Client, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	return consumers.New(c.server, token, consumers.WithUserAgent("permledger/"+version()))
}

// emptyFlags refuses --valid-until "" and its like: in a script it is a variable that was never set, and taking it
// for "not given" would grant for ever what was meant to end. Texts may be empty.
func emptyFlags(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		texts := []string{"reason", "ticket", "name", "description"}
		if f.Value.Type() == "string" && f.Value.String() == "" && !slices.Contains(texts, f.Name) {
			err = fmt.Errorf("--%s must not be empty", f.Name)
			if _, required := f.Annotations[cobra.BashCompOneRequiredFlag]; !required {
				err = fmt.Errorf("%w; leave it out instead", err)
			}
		}
	})
	return err
}
