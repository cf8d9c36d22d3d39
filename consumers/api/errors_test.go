package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "print docs/errors.md anew")

const errorsPage = "../../docs/errors.md"

// docs/errors.md is printed from the catalogue, so that neither can say what the other does not.
func TestErrorsPageIsTheCatalogue(t *testing.T) {
	want := printCatalogue()
	if *update {
		if err := os.WriteFile(errorsPage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the catalogue says; run go test ./consumers/api -update and read the difference", errorsPage)
	}
}

func printCatalogue() []byte {
	var b bytes.Buffer
	b.WriteString(`# Errors

Printed from ` + "`consumers/api/errors.go`" + ` by ` + "`go test ./consumers/api -update`" + `; do not edit.

Every answer of the server that is no success is ` + "`application/problem+json`" + ` (RFC 9457):

` + "```json\n")
	e := NewError(CodeUnknownRole, "assign operate: no such role")
	e.Instance = "5f0c2d4e-3a57-4a3e-9d7c-0f6f5a1b2c3d"
	example, _ := json.MarshalIndent(e, "", "  ")
	b.Write(example)
	b.WriteString("\n```\n\n" + `Switch on ` + "`code`" + `, which is stable; show ` + "`detail`" + ` to people. ` + "`field`" + ` names the member or parameter at fault,
` + "`instance`" + ` is the request id, which stands in the server's log and in the header ` + "`X-Request-ID`" + `. "Retry" says whether the same
request may help: *never* as it is; *later*; or *after catching up*, when the present state has been looked at again. A request that
carries an idempotency key may always be sent again.

AuthZEN endpoints answer the same errors as plain text, and with status 400 for whatever is wrong with the payload.

| code | status | retry | meaning |
|---|---|---|---|
`)
	for _, e := range Catalogue {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", e.Code, e.Status, e.Retry, e.Meaning)
	}
	return b.Bytes()
}

func TestCatalogueIsWellFormed(t *testing.T) {
	seen := map[Code]bool{}
	for _, e := range Catalogue {
		if seen[e.Code] {
			t.Errorf("%s stands twice", e.Code)
		}
		seen[e.Code] = true
		if http.StatusText(e.Status) == "" || e.Status < 400 {
			t.Errorf("%s: status %d is no error", e.Code, e.Status)
		}
		if e.Retry != RetryNever && e.Retry != RetryLater && e.Retry != RetryAfterCatchingUp {
			t.Errorf("%s: retry %q", e.Code, e.Retry)
		}
		if e.Meaning == "" || e.Meaning[len(e.Meaning)-1] != '.' {
			t.Errorf("%s: %q is no sentence", e.Code, e.Meaning)
		}
	}
}

func TestErrorBody(t *testing.T) {
	e := NewError(CodeCycle, "include a in b: b is in a")
	e.Field, e.Instance = "commands[0]", "r-1"
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"https://permledger.dev/errors/cycle","title":"A role or group would be inside itself.",` +
		`"status":409,"detail":"include a in b: b is in a","code":"cycle","field":"commands[0]","instance":"r-1"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !errors.Is(fmt.Errorf("submit: %w", e), &Error{Code: CodeCycle}) || errors.Is(e, &Error{Code: CodeExists}) {
		t.Error("errors.Is does not match by code")
	}
}

func TestRetryOfUnknownCodes(t *testing.T) {
	for status, want := range map[int]Retry{
		http.StatusTooManyRequests: RetryLater, http.StatusBadGateway: RetryLater, http.StatusServiceUnavailable: RetryLater,
		http.StatusBadRequest: RetryNever, http.StatusInternalServerError: RetryNever,
	} {
		if got := (&Error{Status: status, Code: "of_a_newer_server"}).Retry(); got != want {
			t.Errorf("status %d: retry %q, want %q", status, got, want)
		}
	}
	if got := NewError("no_such_code", "").Code; got != CodeInternal {
		t.Errorf("an uncatalogued code became %s", got)
	}
}
