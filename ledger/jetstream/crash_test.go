package jetstream

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/logtest"
)

// crashDirEnv makes the test binary a process that appends until it is killed.
const crashDirEnv = "PERMLEDGER_TEST_CRASH_DIR"

// appendUntilKilled appends to the log in dir and says each revision on stdout once it is acknowledged.
func appendUntilKilled(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	head, err := readAll(ctx, s.Log())
	for err == nil {
		c, sealErr := logtest.Commit(head, 3, "crash")
		if sealErr != nil {
			break
		}
		if err = s.Log().Append(ctx, head.Revision, c); err == nil {
			head = c.Head()
			fmt.Println(head.Revision)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestKilledAtAnyMomentLosesNothingAcknowledged(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	acknowledged := events.Revision(0)
	for _, appends := range []int{1, 50, 173} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+cfg.Dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); {
			r, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
			if err != nil {
				t.Fatalf("the appending process says %q", lines.Text())
			}
			acknowledged = events.Revision(r)
			if n++; n == appends {
				if err := cmd.Process.Kill(); err != nil { // and read on what it said until then
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()

		cfg.Mark = acknowledged
		s := mustOpen(t, cfg) // the lock of a killed process is free
		head, err := readAll(t.Context(), s.Log())
		if err != nil {
			t.Fatal(err)
		}
		if head.Revision < acknowledged || head.Revision > acknowledged+1 {
			t.Errorf("revision %d was acknowledged, the log ends at %d", acknowledged, head.Revision)
		}
		mustClose(t, s)
	}
	if acknowledged < 224 {
		t.Errorf("only %d commits were acknowledged", acknowledged)
	}
}
