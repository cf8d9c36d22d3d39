package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// The conventions the project relies on, held by tests rather than by memory.

const (
	repository = "../.."
	module     = "github.com/permledger/permledger/"
)

// goPackage is a folder with Go code: what its files say they import, and whether one of them says what
// the package is for.
type goPackage struct {
	dir         string // from the top, with slashes
	imports     map[string]string
	testImports map[string]string
	doc         bool
	onlyTests   bool
}

func packages(t *testing.T) []*goPackage {
	t.Helper()
	found := make(map[string]*goPackage)
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != repository && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		dir, err := filepath.Rel(repository, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		p := found[dir]
		if p == nil {
			p = &goPackage{dir: dir, imports: map[string]string{}, testImports: map[string]string{}, onlyTests: true}
			found[dir] = p
		}
		return p.read(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]*goPackage, 0, len(found))
	for _, p := range found {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *goPackage) int { return strings.Compare(a.dir, b.dir) })
	return list
}

func (p *goPackage) read(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	into := p.testImports
	if !strings.HasSuffix(path, "_test.go") {
		into, p.onlyTests = p.imports, false
		p.doc = p.doc || documented(file)
	}
	for _, i := range file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		into[name] = filepath.Base(path)
	}
	return nil
}

func documented(f *ast.File) bool {
	text := f.Doc.Text()
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ") || f.Name.Name == "main" && strings.HasPrefix(text, "Command ")
}

// room is the first folder of a package, or "" for code at the top.
func room(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

func TestRooms(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains([]string{"cmd", "events", "ledger", "projections", "consumers"}, room(p.dir)) {
			t.Errorf("%s: Go code lives in cmd, events, ledger, projections and consumers", p.dir)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if !p.doc && !p.onlyTests {
			t.Errorf("%s has no package comment", p.dir)
		}
	}
}

// TestImports holds who may know whom. Imports point at the words; only cmd, and tests, bring a contract and
// its adapter together.
func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for path, file := range p.imports {
			if why := forbidden(p.dir, path); why != "" {
				t.Errorf("%s/%s imports %s: %s", p.dir, file, path, why)
			}
		}
	}
}

func forbidden(dir, path string) string {
	own, inside := strings.CutPrefix(path, module)
	standard := !strings.Contains(room(path), ".")
	switch from := room(dir); {
	case from == "events" && !standard && path != "github.com/google/uuid" && !inside:
		return "events uses the standard library and google/uuid only"
	case from == "events" && inside && room(own) != "events":
		return "events knows nobody"
	case from == "ledger" && inside && room(own) != "events" && room(own) != "ledger":
		return "ledger knows events only"
	case from == "projections" && inside && room(own) != "events" && room(own) != "projections":
		return "projections know events only"
	case from == "consumers" && inside && room(own) != "events" && room(own) != "consumers":
		return "consumers know events only"
	case strings.HasPrefix(path, "github.com/nats-io/") && from != "cmd" && from != "consumers" &&
		dir != "ledger/jetstream" && dir != "projections/feed":
		return "NATS is known in ledger/jetstream, projections/feed, consumers and cmd"
	case strings.HasPrefix(path, "github.com/nats-io/") && strings.HasPrefix(dir, "consumers/api"):
		return "consumers/api is what travels, whatever carries it"
	case strings.HasPrefix(path, "github.com/transparency-dev/tessera"):
		return "Tessera is the third party that tests bring"
	case strings.HasPrefix(path, "github.com/cockroachdb/pebble") && dir != "projections/pebblekv":
		return "Pebble is known in projections/pebblekv"
	}
	return ""
}

// TestForbidden is the control: a rule that forbids nothing would pass everything.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		want      bool
	}{
		{"events", "encoding/json", false},
		{"events", "github.com/google/uuid", false},
		{"events", "github.com/google/go-cmp/cmp", true},
		{"events", module + "ledger", true},
		{"ledger", module + "events", false},
		{"ledger/memlog", module + "ledger", false},
		{"ledger", module + "projections/access", true},
		{"projections/access", module + "ledger", true},
		{"projections", "github.com/cockroachdb/pebble/v2", true},
		{"projections/pebblekv", "github.com/cockroachdb/pebble/v2", false},
		{"ledger", "github.com/nats-io/nats.go", true},
		{"ledger/memlog", "github.com/nats-io/nats.go", true},
		{"ledger/jetstream", "github.com/nats-io/nats.go/jetstream", false},
		{"projections/feed", "github.com/nats-io/nats.go/jetstream", false},
		{"consumers", "github.com/nats-io/nats.go", false},
		{"consumers/api", "github.com/nats-io/nats.go", true},
		{"projections/audit/tiles", "github.com/transparency-dev/tessera/client", true},
		{"consumers", module + "cmd/permledger/server", true},
		{"cmd/permledger/node", module + "projections", false},
	} {
		if got := forbidden(c.dir, c.path) != ""; got != c.want {
			t.Errorf("%s importing %s: forbidden is %t", c.dir, c.path, got)
		}
	}
}

// Whatever the README and the docs tell a reader to type must be a verb, with flags it has.
func TestDocumentedCommandsExist(t *testing.T) {
	files, err := filepath.Glob(repository + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, repository+"/README.md") {
		for _, line := range commandLines(readFile(t, file)) {
			seen++
			if err := knownCommand(line); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), strings.Join(line, " "), err)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands were found", seen)
	}
}

// commandLines finds the command lines in the code blocks of a page, split into words.
func commandLines(page string) [][]string {
	var lines [][]string
	code := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			code = !code
			continue
		}
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		if code && len(words) > 1 && words[0] == "permledger" {
			lines = append(lines, words[1:])
		}
	}
	return lines
}

func knownCommand(words []string) error {
	c := &cli{getenv: os.Getenv}
	cmd, rest, err := c.root().Find(words)
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() && cmd.Name() != "permledger" {
		return needsVerb(cmd, nil)
	}
	for _, w := range rest {
		name, isFlag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && name != "" && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			return usagef("no flag --%s", name)
		}
	}
	return nil
}

// Every verb says what it does, and none is left without a way to be carried out.
func TestEveryVerbIsWhole(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.RunE == nil {
			t.Errorf("%q: short %q, can be run: %t", cmd.CommandPath(), cmd.Short, cmd.RunE != nil)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&cli{getenv: os.Getenv}).root())
}
