package catalogs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
)

// The two documents are the reference: every permission they name is in its catalog under exactly that name.
// The tests read the documents themselves and take nothing from the catalogs but the answer.

func document(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
}

// A row of the Camunda table is | component | `API` | <p><ul><li>`permission`: what it gives</li>… |, the list
// items with or without a paragraph inside. Other code in an item (`POST`) is not at its start.
var (
	camundaRow        = regexp.MustCompile("^\\| ([^|]+?) *\\| `([^`]+)` *\\| (.*) \\|$")
	camundaPermission = regexp.MustCompile("<li>(?:<p>)?`([^`]+)`: ")
)

func TestCamundaDocument(t *testing.T) {
	c := load(t, "camunda-8")
	if c.Info.Document != "camunda-access-management-overview.txt" {
		t.Errorf("the catalog is of document %q", c.Info.Document)
	}
	type row struct {
		Component, API string
		Permissions    []string
	}
	var documented []row
	for _, line := range document(t, c.Info.Document) {
		if m := camundaRow.FindStringSubmatch(line); m != nil {
			r := row{Component: m[1], API: m[2]}
			for _, p := range camundaPermission.FindAllStringSubmatch(m[3], -1) {
				r.Permissions = append(r.Permissions, p[1])
			}
			documented = append(documented, r)
		}
	}
	permissions := 0
	for _, r := range documented {
		permissions += len(r.Permissions)
	}
	if len(documented) != 6 || permissions != 14 {
		t.Fatalf("the document has %d APIs and %d permissions, want 6 and 14: %v", len(documented), permissions, documented)
	}

	var catalogued []row
	for _, a := range c.APIs {
		r := row{Component: a.Def.Component, API: a.Def.Name}
		for _, p := range c.Permissions {
			if p.Permission.API == a.API && p.Def.InDocument {
				r.Permissions = append(r.Permissions, string(p.Permission.Name))
			}
		}
		if a.Def.InDocument {
			catalogued = append(catalogued, r)
		} else if r.Permissions != nil {
			t.Errorf("%s is not in the document, but %v of it are", a.API, r.Permissions)
		}
	}
	if diff := cmp.Diff(documented, catalogued); diff != "" {
		t.Errorf("rows of the document (-) and of the catalog (+):\n%s", diff)
	}
}

// The Flowable document lost its table cells: "Access dashboardEnables users to …" is the permission Access
// dashboard. Its description always begins with "Enables", and no name holds that word.
func TestFlowableDocument(t *testing.T) {
	c := load(t, "flowable-control")
	if c.Info.Document != "flowable-permissions-in-control.txt" {
		t.Errorf("the catalog is of document %q", c.Info.Document)
	}
	defs := permissionsOf(c, "flowable-control")
	headings := map[string]string{
		"Access Permissions": "Access", "Administration Permission": "Administration",
		"Destructive Permissions": "Destructive", "Control Permissions": "Control",
	}
	section, inList := "", false
	count, documented := map[string]int{}, map[events.PermissionName]bool{}
	for _, line := range document(t, c.Info.Document) {
		if heading, ok := headings[line]; ok {
			section, inList = heading, false
			continue
		}
		switch {
		case line == "PermissionDescription":
			inList = true
			continue
		case line == "":
			inList = false
			continue
		case !inList:
			continue
		}
		cut, _, found := strings.Cut(line, "Enables")
		if !found {
			t.Errorf("%q has no description that begins with Enables", line)
			continue
		}
		name := events.PermissionName(cut)
		count[section]++
		documented[name] = true
		def, ok := defs[name]
		if !ok {
			t.Errorf("%q of the document is not in the catalog", name)
			continue
		}
		if def.Category != section || !def.InDocument {
			t.Errorf("%q is of category %q (in document: %v), want %q", name, def.Category, def.InDocument, section)
		}
		// "Edit idm user" begins two lines; with its description it begins one.
		var matches []events.PermissionName
		for candidate := range defs {
			if strings.HasPrefix(line, string(candidate)+"Enables") {
				matches = append(matches, candidate)
			}
		}
		if len(matches) != 1 || matches[0] != name {
			t.Errorf("%q begins with the names %q", line, matches)
		}
	}
	if diff := cmp.Diff(map[string]int{"Access": 20, "Administration": 17, "Destructive": 9, "Control": 15}, count); diff != "" {
		t.Errorf("permissions by category (-want +in the document):\n%s", diff)
	}
	if len(documented) != 61 {
		t.Errorf("%d names in the document, want 61", len(documented))
	}
	for name, def := range defs {
		if def.InDocument != documented[name] {
			t.Errorf("%q says it is in the document: %v", name, def.InDocument)
		}
	}
}

// What the document says in words of prerequisites is stated in the catalog, not derived.
func TestFlowableStatedPrerequisites(t *testing.T) {
	text := strings.Join(document(t, "flowable-permissions-in-control.txt"), "\n")
	defs := permissionsOf(load(t, "flowable-control"), "flowable-control")
	for sentence, names := range map[string][]events.PermissionName{
		"The permission Modify instance requires either Access cases or Access processes.": {"Modify instance"},
		"The permission Delete instance requires either Access cases or Access processes.": {"Delete instance"},
		"Access Control Cluster is required to add, edit or delete cluster configuration":  {"Add cluster", "Edit cluster", "Delete cluster"},
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("the document does not say %q", sentence)
		}
		for _, name := range names {
			if defs[name].RequiresBasis != "stated" {
				t.Errorf("%s is %q", name, defs[name].RequiresBasis)
			}
		}
	}
}
