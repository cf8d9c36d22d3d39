// Package catalogs gives the permissions of known systems as data, ready to load into a tenant: APIs,
// permissions and their prerequisites, resource types, default roles. Three are built in; a file of the same
// form (data/README.md) is read the same way.
//
//	contents, err := catalogs.Load("flowable-control")
//	receipt, err := l.Submit(ctx, ledger.Request{…, Commands: []ledger.Command{ledger.LoadCatalog{Contents: contents}}})
package catalogs

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/permledger/permledger/ledger"
)

//go:embed data/*.json
var embedded embed.FS

// ErrUnknown: no built-in catalog has this name.
var ErrUnknown = errors.New("no such built-in catalog")

// MaxBytes is the largest file Read takes. A catalog is loaded in one commit, and those are smaller than this.
const MaxBytes = 8 << 20

// Names lists the built-in catalogs, sorted.
func Names() []string {
	entries, err := embedded.ReadDir("data")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".json")
	}
	return names
}

// Load reads a built-in catalog, or gives ErrUnknown.
func Load(name string) (ledger.CatalogFile, error) {
	if !slices.Contains(Names(), name) {
		return ledger.CatalogFile{}, fmt.Errorf("load catalog %q: %w (there are %s)", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	f, err := embedded.Open("data/" + name + ".json")
	if err != nil {
		return ledger.CatalogFile{}, fmt.Errorf("load catalog %q: %w", name, err)
	}
	defer f.Close()
	return Read(f)
}

// Read reads a catalog file. What it refuses it names: the error is an *events.InvalidError whose field is the
// place in the file, as in apis[0].permissions[3].name.
func Read(r io.Reader) (ledger.CatalogFile, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return ledger.CatalogFile{}, fmt.Errorf("read catalog: %w", err)
	}
	if len(b) > MaxBytes {
		return ledger.CatalogFile{}, fmt.Errorf("read catalog: larger than %d bytes", MaxBytes)
	}
	f, err := decode(b)
	if err != nil {
		return ledger.CatalogFile{}, fmt.Errorf("read catalog: %w", err)
	}
	contents, err := build(f)
	if err != nil {
		return ledger.CatalogFile{}, fmt.Errorf("read catalog: %w", err)
	}
	sum := sha256.Sum256(b)
	contents.Info.Digest = hex.EncodeToString(sum[:])
	return contents, nil
}
