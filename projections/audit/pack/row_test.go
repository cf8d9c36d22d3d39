package pack

import "testing"

// No cell begins as a formula does, in any script, and no two values are one cell.
func TestGuarded(t *testing.T) {
	for value, cell := range map[string]string{
		"": "", "why": "why", "a=b": "a=b", "'quoted'": "'quoted'",
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx", "\n=1": "'\n=1",
		"＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠x": "'＠x", "'=1+1": "''=1+1",
	} {
		if got := guarded(value); got != cell {
			t.Errorf("guarded(%q) = %q, want %q", value, got, cell)
		}
	}
}
