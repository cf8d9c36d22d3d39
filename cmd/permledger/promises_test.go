package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every promise names the tests that would break, and they are there: docs/promises.md is rows of a promise and
// of tests, each written `folder TestName`.
func TestPromisesPage(t *testing.T) {
	exists := map[string]bool{}
	for _, p := range packages(t) {
		for _, name := range testsIn(t, p.dir) {
			exists[p.dir+" "+name] = true
		}
	}
	page := readFile(t, filepath.Join(repository, "docs", "promises.md"))
	for _, fault := range promiseFaults(page, exists) {
		t.Error(fault)
	}
	// The control: a promise without a test, and one whose test is not there.
	for row, want := range map[string]int{
		"| It never loses anything. | |":                                   1,
		"| It never loses anything. | `events TestThatIsNot` |":            1,
		"| It never loses anything. | `events TestGoldenCommit` |":         0,
		"| It never | loses | `events TestGoldenCommit`, `events TestX` |": 1,
	} {
		if got := promiseFaults(row, exists); len(got) != want {
			t.Errorf("%s: %q", row, got)
		}
	}
}

var (
	promiseRow  = regexp.MustCompile(`(?m)^\| .* \|$`)
	promiseTest = regexp.MustCompile("`([a-z/]+) ((?:Test|Fuzz)\\w+)`")
)

func promiseFaults(page string, exists map[string]bool) (faults []string) {
	rows := 0
	for _, row := range promiseRow.FindAllString(page, -1) {
		if strings.HasPrefix(row, "| promise |") {
			continue
		}
		rows++
		tests := promiseTest.FindAllStringSubmatch(row, -1)
		if len(tests) == 0 {
			faults = append(faults, "no test would break: "+row)
		}
		for _, test := range tests {
			if !exists[test[1]+" "+test[2]] {
				faults = append(faults, "there is no test "+test[0]+": "+row)
			}
		}
	}
	if rows == 0 {
		faults = append(faults, "it promises nothing")
	}
	return faults
}

// testsIn lists the tests of a package.
func testsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
