package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) demoVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Tell the whole story with a ledger of its own in a temporary directory",
		Long: `Tell the whole story with a ledger of its own in a temporary directory: catalogs, grants, a prerequisite
missing and met, a revoke, the same question yesterday and now, who and why, replay and rebuild. What it
shows are the commands anybody would type. It checks every answer, and exits with 6 if one is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "permledger-demo-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			s := &story{c: c, dir: dir, started: time.Now()}
			if err := s.online(cmd.Context()); err != nil {
				return err
			}
			return s.offline(cmd.Context())
		},
	}
}

// story runs command lines as a person would, shows them with what they print, and holds every answer
// against the one it must be.
type story struct {
	c       *cli
	dir     string
	started time.Time
	url     string
	token   string
	chapter int
	// elsewhere is the auditor's own directory.
	elsewhere string
	fault     error // the first answer that was wrong; nothing is run after it
}

func (s *story) tell(format string, args ...any) {
	if s.fault == nil {
		fmt.Fprintf(s.c.out, format+"\n", args...)
	}
}

func (s *story) title(text string) {
	s.chapter++
	s.tell("\n%d. %s\n", s.chapter, text)
}

// run carries out one command line, which must end with want, and returns what it printed.
func (s *story) run(ctx context.Context, want exit, args ...string) string {
	if s.fault != nil {
		return ""
	}
	var out, problems bytes.Buffer
	c := &cli{in: s.c.in, out: &out, err: &problems, getenv: func(name string) string {
		return map[string]string{"PERMLEDGER_SERVER": s.url, "PERMLEDGER_TOKEN": s.token}[name]
	}}
	got := exit(c.run(ctx, args))
	s.tell("   $ permledger %s", s.shown(args))
	for line := range strings.Lines(strings.ReplaceAll(out.String()+problems.String(), s.dir, "DIR")) {
		s.tell("   %s", strings.TrimRight(line, "\n"))
	}
	if got != want {
		s.fault = integrityError{fmt.Errorf("demo: permledger %s ended with %d, not %d", s.shown(args), got, want)}
	}
	return out.String()
}

// quiet is run for what only the story needs to know.
func (s *story) quiet(ctx context.Context, into any, args ...string) {
	if s.fault != nil {
		return
	}
	told := s.c.out
	s.c.out = &bytes.Buffer{}
	out := s.run(ctx, exitYes, args...)
	s.c.out = told
	if err := json.Unmarshal([]byte(out), into); err != nil && s.fault == nil {
		s.fault = fmt.Errorf("demo: permledger %s: %w", s.shown(args), err)
	}
}

func (s *story) must(ok bool, what string) {
	if s.fault == nil && !ok {
		s.fault = integrityError{errors.New("demo: " + what)}
	}
}

// shown writes a command line so that it can be typed.
func (s *story) shown(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		a = strings.ReplaceAll(a, s.dir, "DIR")
		if strings.ContainsAny(a, " *'\"") {
			a = "'" + a + "'"
		}
		words[i] = a
	}
	return strings.Join(words, " ")
}

// online is the part of the story that talks to a server.
func (s *story) online(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	service, err := open(ctx, node.Config{Dir: s.dir}, "127.0.0.1:0", "")
	if err != nil {
		return err
	}
	s.url, s.token = service.url, service.node.RootToken
	closed := make(chan error, 1)
	go func() { closed <- service.run(running) }()

	s.tell("A ledger runs in a temporary directory, DIR, as \"permledger serve --data DIR\" would run it.")
	s.catalogs(ctx)
	s.prerequisite(ctx)
	grant := s.revoke(ctx)
	s.correction(ctx, grant)
	s.why(ctx)
	s.camunda(ctx)
	s.prove(ctx)
	stop()
	if err := <-closed; err != nil && s.fault == nil {
		s.fault = err
	}
	return s.fault
}

func (s *story) catalogs(ctx context.Context) {
	s.title("The permissions of two products are data, and loading them is recorded")
	s.run(ctx, exitYes, "catalog", "load", "flowable-control", "--reason", "we run Flowable Control")
	s.run(ctx, exitYes, "catalog", "load", "camunda-8", "--reason", "and Camunda 8")
	s.run(ctx, exitYes, "catalog", "ls")
}

func (s *story) prerequisite(ctx context.Context) {
	s.title("In Flowable Control, \"Modify instance\" is worth nothing without access to processes or cases")
	s.run(ctx, exitYes, "group", "create", "operations")
	s.run(ctx, exitYes, "group", "add", "operations", "user:alice", "--reason", "joined the team")
	s.run(ctx, exitYes, "grant", "group:operations", "Modify instance", "api:flowable-control", "--reason", "on call", "--ticket", "OPS-7")
	out := s.run(ctx, exitNo, "check", "user:alice", "Modify instance", "api:flowable-control")
	s.must(strings.Contains(out, "Access processes"), "the answer does not name the missing prerequisite")
	s.tell("   She holds it, without effect. It comes to life with the prerequisite, wherever that comes from:")
	s.run(ctx, exitYes, "grant", "user:alice", "Access processes", "api:flowable-control")
	s.run(ctx, exitYes, "check", "user:alice", "Modify instance", "api:flowable-control")
}

// revoke gives the id of the grant that it ends.
func (s *story) revoke(ctx context.Context) string {
	s.title("What was, stays answerable: the same question yesterday and now")
	s.tell("   Bob had access before this ledger existed. Saying so is an import, and must say that it is one:")
	s.run(ctx, exitUsage, "grant", "user:bob", "Access cases", "api:flowable-control", "--valid-from", "-72h")
	s.run(ctx, exitYes, "grant", "user:bob", "Access cases", "api:flowable-control", "--valid-from", "-72h", "--import", "--reason", "taken over from the old system")
	var granted []api.Event
	s.quiet(ctx, &granted, "history", "user:bob", "-o", "json")
	s.must(len(granted) == 1, "the grant is not in the history of user:bob")
	s.run(ctx, exitYes, "revoke", "user:bob", "Access cases", "api:flowable-control", "--reason", "left the team", "--ticket", "HR-12")
	s.run(ctx, exitNo, "check", "user:bob", "Access cases", "api:flowable-control")
	s.run(ctx, exitYes, "check", "user:bob", "Access cases", "api:flowable-control", "--valid-at", "-24h")
	if len(granted) == 0 {
		return ""
	}
	return granted[0].ID.String()
}

func (s *story) correction(ctx context.Context, grant string) {
	s.title("Two times: what was true, and what was known")
	var before api.Status
	s.quiet(ctx, &before, "status", "-o", "json")
	s.tell("   It turns out that Bob had left two days ago already.")
	s.run(ctx, exitYes, "correct", grant, "--valid-until", "-48h", "--import", "--reason", "the list of leavers came late", "--ticket", "HR-13")
	s.run(ctx, exitNo, "check", "user:bob", "Access cases", "api:flowable-control", "--valid-at", "-24h")
	s.tell("   That is what was true yesterday. What would have been answered before the correction stays visible:")
	known := fmt.Sprint(before.Revision)
	s.run(ctx, exitYes, "check", "user:bob", "Access cases", "api:flowable-control", "--valid-at", "-24h", "--known-at", known)
	s.run(ctx, exitYes, "intervals", "user:bob", "Access cases", "api:flowable-control")
	s.run(ctx, exitYes, "intervals", "user:bob", "Access cases", "api:flowable-control", "--known-at", known)
}

func (s *story) why(ctx context.Context) {
	s.title("Who may do it, why, and what changed")
	out := s.run(ctx, exitYes, "who-can", "Modify instance", "api:flowable-control")
	s.must(strings.Contains(out, "user:alice") && !strings.Contains(out, "user:bob"), "who-can does not list user:alice alone")
	out = s.run(ctx, exitYes, "check", "user:alice", "Modify instance", "api:flowable-control", "--explain")
	s.must(strings.Contains(out, "OPS-7"), "the explanation does not name the ticket")
	var now api.Status
	s.quiet(ctx, &now, "status", "-o", "json")
	s.run(ctx, exitYes, "group", "remove", "operations", "user:alice", "--reason", "changed teams")
	out = s.run(ctx, exitNo, "diff", "--from", fmt.Sprint(now.Revision))
	s.must(strings.Contains(out, "Modify instance"), "the difference does not name what was lost")
	s.run(ctx, exitYes, "history", "group:operations")
}

func (s *story) camunda(ctx context.Context) {
	s.title("Camunda 8: names are compared byte for byte, and tokens carry what is effective")
	s.run(ctx, exitYes, "assign", "user:carol", "operate", "--reason", "operates processes")
	s.run(ctx, exitYes, "check", "user:carol", "read:*", "api:operate-api")
	s.tell("   The star is an ordinary character: read:* covers read:* of that one API and nothing else.")
	s.run(ctx, exitNo, "check", "user:carol", "read:users", "api:operate-api")
	s.run(ctx, exitNo, "check", "user:carol", "read:*", "api:tasklist-api")
	var claims api.Claims
	s.run(ctx, exitYes, "claims", "user:carol")
	s.quiet(ctx, &claims, "claims", "user:carol", "-o", "json")
	s.must(len(claims.Audiences) == 1 && len(claims.Permissions["operate-api"]) == 2, "the claims of user:carol are not those of role operate")
}

// prove gives an auditor what it needs, and shows that an edited copy is not believed.
func (s *story) prove(ctx context.Context) {
	s.title("An auditor need not trust us")
	s.tell("   The auditor has the ledger's key, from whom it trusts, and keeps it where we cannot write:")
	s.elsewhere = filepath.Join(s.dir, "auditor")
	if err := os.Mkdir(s.elsewhere, 0o700); err != nil && s.fault == nil {
		s.fault = err
	}
	keys := filepath.Join(s.elsewhere, "ledger.keys")
	s.keep(keys, s.run(ctx, exitYes, "key", "list"))
	s.tell("   One event, proved without a server:")
	proof := filepath.Join(s.elsewhere, "grant.tlog-proof")
	var granted []api.Event
	s.quiet(ctx, &granted, "history", "user:carol", "-o", "json")
	if s.must(len(granted) == 1, "the assignment is not in the history of user:carol"); s.fault != nil {
		return
	}
	s.run(ctx, exitYes, "prove", granted[0].ID.String(), "--out", proof)
	s.run(ctx, exitYes, "check-proof", proof, "--key", keys)
	s.tell("   Everything that was recorded until now, with a report that the auditor's side makes again from the bytes:")
	pack := filepath.Join(s.elsewhere, "audit.zip")
	s.run(ctx, exitYes, "audit", "export", "--all-tenants", "--pack", pack)
	out := s.run(ctx, exitYes, "audit", "verify", pack, "--key", keys)
	s.must(strings.Contains(out, "proved"), "the pack does not say what is proved")
	s.tell("   The same pack, with one byte changed:")
	if b, err := os.ReadFile(pack); err == nil {
		b[len(b)/2] ^= 1
		s.keep(pack, string(b))
	}
	s.run(ctx, exitIntegrity, "audit", "verify", pack, "--key", keys)
}

// keep writes a file that somebody keeps.
func (s *story) keep(file, content string) {
	if s.fault != nil {
		return
	}
	s.fault = os.WriteFile(file, []byte(content), 0o600)
}

// offline is the part that looks at the data with no server running.
func (s *story) offline(ctx context.Context) error {
	s.title("The log is the truth, and everything else can be made from it again")
	s.tell("   The server is closed. Replay reads the log itself and follows its hashes; these are the last two commits:")
	var all []json.RawMessage
	s.quiet(ctx, &all, "replay", "--data", s.dir, "-o", "json")
	s.must(len(all) > 100, "the replay is too short")
	var last struct {
		Revision events.Revision `json:"revision"`
	}
	if s.fault == nil {
		if err := json.Unmarshal(all[len(all)-1], &last); err != nil {
			return err
		}
	}
	s.run(ctx, exitYes, "replay", "--data", s.dir, "--from", fmt.Sprint(last.Revision-1))
	s.tell("   The log, the archive and the tree, held against each other:")
	s.run(ctx, exitYes, "verify", "--data", s.dir)
	out := s.run(ctx, exitYes, "rebuild", "--data", s.dir)
	s.must(!strings.Contains(out, " no\n"), "a rebuilt view differs")
	if s.fault != nil {
		return s.fault
	}
	s.tell("\nEvery answer was the right one. %d events, %.1f seconds; DIR is removed.", len(all), time.Since(s.started).Seconds())
	s.tell("Next: permledger serve --data ledger-data")
	return nil
}
