package personal_test

import (
	"path/filepath"
	"testing"
)

const aReason = `{"reason":"covers for a colleague during the holidays","ticket":"HR-99"}`

// BenchmarkSeal and BenchmarkOpen read the key from its file each time, as requests do.
func BenchmarkSeal(b *testing.B) {
	k := open(b, filepath.Join(b.TempDir(), "personal"))
	for b.Loop() {
		seal(b, k, alice, aReason)
	}
}

func BenchmarkOpen(b *testing.B) {
	k := open(b, filepath.Join(b.TempDir(), "personal"))
	s := seal(b, k, alice, aReason)
	for b.Loop() {
		if _, err := k.Open(tenant, s); err != nil {
			b.Fatal(err)
		}
	}
}
