package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) importVerb() *cobra.Command {
	return parent("import", "Bring in what was decided elsewhere", c.importHistoryVerb())
}

func (c *cli) importHistoryVerb() *cobra.Command {
	var owner, rejects, ticket string
	cmd := &cobra.Command{
		Use:   "history FILE.jsonl[.gz] --api NAME",
		Short: "Bring in a history of permission changes, one operation a line; exit 1 if any was rejected",
		Long: `Bring in a history of permission changes, one operation a line (docs/formats.md lists them). The operations
of one source commit become one commit of the ledger, valid from the time of the source and recorded on
behalf of its actor. Permissions and resource types that are not defined yet are defined for the API
named by --api, whose audience is the same name.

The import may be broken off and started again, and be done twice: every source commit has an idempotency
key, so nothing is recorded twice. A source commit that cannot be read whole, or that the ledger refuses,
goes to the rejects file unchanged, behind a line that says why, and the import goes on. Mend the rejects
file and import it.`,
		Example: `  permledger import history ops.jsonl.gz --api github --rejects rejects.jsonl
  permledger import history rejects.jsonl --api github --rejects again.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := events.API(owner).Check(); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			i := &historyImport{c: c, client: client, tenant: events.Tenant(c.tenant), api: owner, ticket: ticket}
			summary, err := i.file(cmd.Context(), args[0], rejects)
			if err == nil || summary.Commits > 0 {
				c.say("%s", summary)
			}
			if err != nil && summary.Commits > 0 {
				c.say("what is imported stays; the same command goes on where this one stopped")
			}
			if err != nil {
				return err
			}
			if format(c.format) != formatTable {
				if err := c.print(answer{value: summary, header: importHeader, rows: []row{{summary, summary.cells()}}}); err != nil {
					return err
				}
			}
			if summary.RejectedCommits > 0 {
				return errNo
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&owner, "api", "", "the API the permissions belong to")
	cmd.Flags().StringVar(&rejects, "rejects", "", "where source commits go that cannot be imported; default FILE.rejects")
	cmd.Flags().StringVar(&ticket, "ticket", "", "why, by reference")
	must(cmd.MarkFlagRequired("api"))
	return cmd
}

// importSummary says what an import did.
type importSummary struct {
	Operations      int    `json:"operations"` // read, the rejected ones too
	Commits         int    `json:"commits"`    // of the source
	Recorded        int    `json:"recorded_events"`
	Replayed        int    `json:"replayed_commits"` // imported before
	Defined         int    `json:"defined_events"`   // APIs, permissions and types that were missing
	RejectedCommits int    `json:"rejected_commits"`
	RejectedLines   int    `json:"rejected_lines"`
	RejectsFile     string `json:"rejects_file,omitempty"`
}

var importHeader = []string{"operations", "commits", "recorded_events", "replayed_commits", "defined_events", "rejected_commits", "rejected_lines", "rejects_file"}

func (s importSummary) cells() []string {
	return []string{
		fmt.Sprint(s.Operations), fmt.Sprint(s.Commits), fmt.Sprint(s.Recorded), fmt.Sprint(s.Replayed),
		fmt.Sprint(s.Defined), fmt.Sprint(s.RejectedCommits), fmt.Sprint(s.RejectedLines), s.RejectsFile,
	}
}

func (s importSummary) String() string {
	text := fmt.Sprintf("%s in %s: %s recorded, %s imported before", counted(s.Operations, "operation"),
		counted(s.Commits, "source commit"), counted(s.Recorded, "event"), counted(s.Replayed, "commit"))
	if s.Defined > 0 {
		text += ", " + counted(s.Defined, "definition") + " added"
	}
	if s.RejectedCommits > 0 {
		text += fmt.Sprintf("; %s with %s rejected, see %s", counted(s.RejectedCommits, "commit"), counted(s.RejectedLines, "line"), s.RejectsFile)
	}
	return text
}

// historyImport is one run over one file.
type historyImport struct {
	c       *cli
	client  *consumers.Client
	tenant  events.Tenant
	api     string // its id, and the audience too
	ticket  string
	defined *definitions
	rejects *rejectsFile
	summary importSummary
}

func (i *historyImport) file(ctx context.Context, path, rejects string) (_ importSummary, err error) {
	if rejects == "" {
		rejects = path + ".rejects"
	}
	if rejects == path {
		return i.summary, usagef("the rejects file cannot be the file that is read")
	}
	f, err := os.Open(path)
	if err != nil {
		return i.summary, usageError{fmt.Errorf("open history: %w", err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return i.summary, err
	}
	counted := &countingReader{r: f}
	var lines io.Reader = counted
	if strings.HasSuffix(path, ".gz") {
		unzipped, err := gzip.NewReader(counted)
		if err != nil {
			return i.summary, usageError{fmt.Errorf("open history %s: %w", path, err)}
		}
		lines = unzipped
	}
	if i.defined, err = readDefinitions(ctx, i.client, i.tenant, events.API(i.api)); err != nil {
		return i.summary, err
	}
	i.rejects = &rejectsFile{path: rejects}
	defer func() { err = errors.Join(err, i.rejects.close()) }()

	b := i.c.bar("importing "+filepath.Base(path), info.Size(), progress.UnitsBytes)
	err = i.commits(ctx, newHistoryReader(lines), func() { b.set(counted.n.Load()) })
	b.done(err)
	return i.summary, err
}

func (i *historyImport) commits(ctx context.Context, r *historyReader, step func()) error {
	for {
		commit, err := r.read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := i.commit(ctx, commit); err != nil {
			return fmt.Errorf("commit %s, line %d: %w", commit.id, commit.lines[0].number, err)
		}
		step()
	}
}

// commit imports one source commit, or rejects it. An error ends the import.
func (i *historyImport) commit(ctx context.Context, commit *historyCommit) error {
	i.summary.Commits++
	i.summary.Operations += len(commit.lines)
	err := commit.bad
	if err == nil {
		if err = i.define(ctx, commit); err == nil {
			err = i.record(ctx, commit)
		}
		if err != nil && !refused(err) {
			return err
		}
	}
	if err == nil {
		return nil
	}
	i.summary.RejectedCommits++
	i.summary.RejectedLines += len(commit.lines)
	i.summary.RejectsFile = i.rejects.path
	i.c.say("rejected: commit %s, lines %d to %d: %v", commit.id, commit.lines[0].number, commit.lines[len(commit.lines)-1].number, err)
	return i.rejects.add(commit, err)
}

// refused reports whether err is the ledger's answer to this one commit. Everything else would meet the
// next commit, too.
func refused(err error) bool {
	var answered *api.Error
	if !errors.As(err, &answered) {
		return false
	}
	switch answered.Code {
	case api.CodeUnknownTenant, api.CodeTenantDeleted, api.CodeConflict, api.CodeNotFound, api.CodeMethodNotAllowed, api.CodeUnsupportedMediaType:
		return false
	}
	e := exits[answered.Code]
	return e == exitUsage || e == exitConflict
}

// define adds the definitions that the commit uses and the tenant lacks. They go ahead in a request of their
// own: the request of the commit must depend on the file alone, or its key would not find it again; and what
// somebody else has defined in more words must not be defined anew.
func (i *historyImport) define(ctx context.Context, commit *historyCommit) error {
	missing := i.defined.missing(commit.ops)
	if len(missing) == 0 {
		return nil
	}
	receipt, err := i.submit(ctx, api.Request{
		Tenant: i.tenant, Commands: missing, Origin: events.OriginImport, Ticket: i.ticket,
		Reason: "used by the history imported for API " + i.api,
	}, "")
	if err != nil {
		return fmt.Errorf("define what the commit uses: %w", err)
	}
	i.summary.Defined += len(receipt.Events)
	i.defined.add(missing)
	return nil
}

func (i *historyImport) record(ctx context.Context, commit *historyCommit) error {
	first := commit.ops[0]
	r := api.Request{
		Tenant: i.tenant, Origin: events.OriginImport, Reason: first.Reason, Ticket: i.ticket,
		OnBehalfOf: events.User(first.Actor), ValidFrom: first.Time,
	}
	for _, op := range commit.ops {
		command, err := op.command(i.api)
		if err != nil {
			return err
		}
		r.Commands = append(r.Commands, command)
	}
	key := fmt.Sprintf("import:%s:%s:%d", i.api, commit.id, first.N)
	if commit.attempt > 1 {
		key += fmt.Sprintf(":%d", commit.attempt)
	}
	receipt, err := i.submit(ctx, r, key)
	switch {
	case err != nil:
		return err
	case receipt.Replayed:
		i.summary.Replayed++
	default:
		i.summary.Recorded += len(receipt.Events)
	}
	return nil
}

// submit tries again what may come right by itself. That is safe: a commit has a key, and definitions that
// are there already record nothing.
func (i *historyImport) submit(ctx context.Context, r api.Request, key string) (receipt api.Receipt, err error) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		receipt, err = i.client.Submit(ctx, r, key)
		var network *consumers.NetworkError
		var answered *api.Error
		again := errors.As(err, &network) || errors.As(err, &answered) && answered.Retry() == api.RetryLater ||
			errors.Is(err, &api.Error{Code: api.CodeConflict})
		if err == nil || !again || ctx.Err() != nil || wait > 5*time.Second {
			return receipt, err
		}
		select {
		case <-ctx.Done():
			return receipt, err
		case <-time.After(wait):
		}
	}
}

// command is an operation as the ledger's own.
func (op historyOp) command(owner string) (api.Command, error) {
	scope, err := op.scope()
	if err != nil {
		return api.Command{}, err
	}
	permission, resource := events.PermissionName(op.Permission), resourceOf(scope, owner)
	switch op.Op {
	case "role.define":
		return api.Command{Do: "role.create", Role: op.Role}, nil
	case "role.permission.add", "role.permission.remove":
		do := "role.add-permission"
		if op.Op == "role.permission.remove" {
			do = "role.remove-permission"
		}
		return api.Command{Do: do, Role: op.Role, Permission: permission, Resource: api.Resource{Audience: owner}}, nil
	case "group.create", "group.delete":
		return api.Command{Do: op.Op, Group: op.Group}, nil
	case "group.parent.set":
		return api.Command{Do: "group.set-parent", Group: op.Group, Parent: op.Parent}, nil
	case "group.parent.unset":
		return api.Command{Do: "group.unset-parent", Group: op.Group, Parent: op.Parent}, nil
	case "member.add":
		return api.Command{Do: "group.add-member", Group: op.Group, Member: events.User(op.User)}, nil
	case "member.remove":
		return api.Command{Do: "group.remove-member", Group: op.Group, Member: events.User(op.User)}, nil
	case "grant", "revoke":
		if op.Permission != "" {
			return api.Command{Do: op.Op, Principal: op.holder(), Permission: permission, Resource: resource}, nil
		}
		do := map[string]string{"grant": "assign", "revoke": "unassign"}[op.Op]
		if scope.IsZero() {
			resource = api.Resource{} // a role on nothing in particular is a role
		}
		return api.Command{Do: do, Principal: op.holder(), Role: op.Role, Resource: resource}, nil
	}
	return api.Command{}, fmt.Errorf("unknown operation %q", op.Op)
}

func resourceOf(s events.Scope, audience string) api.Resource {
	switch s.Kind {
	case events.ScopeAny:
		return api.Resource{Type: s.Type, Any: true}
	case events.ScopeID:
		return api.Resource{Type: s.Type, ID: s.Value}
	case events.ScopeProperty:
		return api.Resource{Type: s.Type, Property: s.Value}
	default:
		return api.Resource{Audience: audience}
	}
}

// rejectsFile is made when the first source commit is rejected, so that a clean import leaves none. It is
// a history file again: each commit stands as it stood, behind a line that says why.
type rejectsFile struct {
	path string
	file *os.File
	w    *bufio.Writer
}

func (r *rejectsFile) add(commit *historyCommit, why error) error {
	if r.file == nil {
		f, err := os.Create(r.path)
		if err != nil {
			return fmt.Errorf("create rejects file: %w", err)
		}
		r.file, r.w = f, bufio.NewWriter(f)
	}
	mark := historyRejected{Commit: commit.id, Line: commit.lines[0].number, Attempt: commit.attempt, Code: "unreadable", Reason: why.Error()}
	var answered *api.Error
	if errors.As(why, &answered) {
		mark.Code = string(answered.Code)
	}
	line, err := encodeJSON(map[string]any{"rejected": mark}, "")
	if err != nil {
		return err
	}
	r.w.Write(line)
	for _, l := range commit.lines {
		r.w.Write(l.raw)
		r.w.WriteByte('\n')
	}
	// Flushed each time: an import that is broken off has told where its rejects are.
	if err := r.w.Flush(); err != nil {
		return fmt.Errorf("write rejects file: %w", err)
	}
	return nil
}

func (r *rejectsFile) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// countingReader counts what is read of the file itself, so that the bar is right for packed files, too.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n.Add(int64(n))
	return n, err
}
