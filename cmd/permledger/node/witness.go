package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// A witness (https://c2sp.org/tlog-witness) remembers the largest tree of a ledger that it has seen and cosigns a
// checkpoint only if the tree has grown from that one. A ledger that shows different people different histories
// would need its witnesses to join in.

// witnessPatience is how long one round waits for the witnesses. Nobody waits for the round.
const witnessPatience = 10 * time.Second

// witnesses ask for cosignatures of each checkpoint, the newest first, and add what they get to it.
type witnesses struct {
	signs  *Checkpoints
	trail  *audit.Trail
	logger *slog.Logger
	policy witness.Group
	client *http.Client
	seen   map[string]int64 // by URL: the size that the witness has seen; of the coordinator

	mu     sync.Mutex
	failed map[string]error // by the name of the witness: why it did not cosign the last time, or nil
}

func newWitnesses(signs *Checkpoints, policy witness.Group) *witnesses {
	w := &witnesses{
		signs: signs, trail: signs.trail, logger: signs.logger, policy: policy, client: &http.Client{},
		seen: map[string]int64{}, failed: map[string]error{},
	}
	for _, key := range policy.Endpoints() {
		w.failed[key.Name()] = errors.New("not asked yet")
	}
	return w
}

// Witnesses says of each witness of the policy, by name, why it did not cosign the last time it was asked; nil when
// it did.
func (c *Checkpoints) Witnesses() map[string]error {
	if c.witnesses == nil {
		return nil
	}
	c.witnesses.mu.Lock()
	defer c.witnesses.mu.Unlock()
	return maps.Clone(c.witnesses.failed)
}

// run asks about every new checkpoint until ctx ends. Those that are signed while a round is under way are passed
// over, but for the newest.
func (w *witnesses) run(ctx context.Context) {
	asked := ""
	for ctx.Err() == nil {
		changed := w.signs.Changed() // asked for before looking: what comes after wakes us
		signed := w.signs.Latest()
		if text := noteText(signed); text != asked {
			asked = text
			w.round(ctx, signed)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// cosignature is what came of asking one witness.
type cosignature struct {
	url, name string
	lines     []byte
	seen      int64
	err       error
}

// round asks every witness about a checkpoint and adds each cosignature as it comes.
func (w *witnesses) round(ctx context.Context, signed []byte) {
	ctx, cancel := context.WithTimeout(ctx, witnessPatience)
	defer cancel()
	endpoints := w.policy.Endpoints()
	answers := make(chan cosignature)
	for url, key := range endpoints {
		seen := w.seen[url]
		go func() { answers <- w.ask(ctx, url, key, seen, signed) }()
	}
	cosigned := slices.Clone(signed)
	for range endpoints {
		a := <-answers
		w.seen[a.url] = a.seen
		if a.err == nil {
			cosigned = append(cosigned, a.lines...)
			a.err = w.signs.cosigned(slices.Clone(cosigned), w.policy)
		}
		w.note(a)
	}
}

// note remembers what came of it, and tells when it is another thing than before.
func (w *witnesses) note(a cosignature) {
	w.mu.Lock()
	before := w.failed[a.name]
	w.failed[a.name] = a.err
	w.mu.Unlock()
	switch {
	case a.err != nil && (before == nil || before.Error() != a.err.Error()):
		w.logger.Warn("a witness does not cosign", "witness", a.name, "error", a.err)
	case a.err == nil && before != nil:
		w.logger.Info("a witness cosigns", "witness", a.name)
	}
}

// ask asks one witness, a second time if it has seen another size than we thought.
func (w *witnesses) ask(ctx context.Context, url string, key note.Verifier, seen int64, signed []byte) cosignature {
	a := cosignature{url: url, name: key.Name()}
	cp, err := checkpoint.Parse(signed)
	if err != nil {
		a.err = err
		return a
	}
	a.seen = min(seen, int64(cp.Size)) // one that says it has seen more is asked again each time
	for range 2 {
		var body []byte
		if body, a.err = w.request(ctx, a.seen, cp, signed); a.err != nil {
			return a
		}
		var size int64
		if a.lines, size, a.err = w.post(ctx, url, key, body, signed); !errors.Is(a.err, errOtherSize) {
			break
		}
		a.seen = size
	}
	if a.err == nil {
		a.seen = int64(cp.Size)
	}
	return a
}

// request is the body of add-checkpoint: the size the witness has seen, the proof that the tree has grown from it,
// and the checkpoint.
func (w *witnesses) request(ctx context.Context, seen int64, cp checkpoint.Checkpoint, signed []byte) ([]byte, error) {
	if seen > int64(cp.Size) {
		return nil, fmt.Errorf("it has seen %d events of this ledger, which has signed %d", seen, cp.Size)
	}
	body := fmt.Appendf(nil, "old %d\n", seen)
	if 0 < seen && seen < int64(cp.Size) {
		tree, err := w.trail.Tree(ctx)
		if err != nil {
			return nil, err
		}
		defer tree.Close()
		proof, err := tlog.ProveTree(int64(cp.Size), seen, tree.Hashes)
		if err != nil {
			return nil, err
		}
		for _, h := range proof {
			body = append(base64.StdEncoding.AppendEncode(body, h[:]), '\n')
		}
	}
	return append(append(body, '\n'), signed...), nil
}

// errOtherSize: the witness has seen another size than the request says.
var errOtherSize = errors.New("it has seen another size")

// post gives the signature lines of the witness, which verify, or with errOtherSize the size it has seen.
func (w *witnesses) post(ctx context.Context, url string, key note.Verifier, body, signed []byte) ([]byte, int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, 0, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusConflict && kind == "text/x.tlog.size":
		size, err := strconv.ParseInt(strings.TrimSuffix(string(answer), "\n"), 10, 64)
		if err != nil || size < 0 {
			return nil, 0, fmt.Errorf("it answers with the size %q", answer)
		}
		return nil, size, errOtherSize
	case resp.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("it answers %s: %.200s", resp.Status, answer)
	}
	opened, err := note.Open([]byte(noteText(signed)+"\n"+string(answer)), note.VerifierList(key))
	if err != nil || len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) > 0 {
		return nil, 0, fmt.Errorf("it answers with something else than its cosignature: %.200s", answer)
	}
	return answer, 0, nil
}

// noteText is the signed part of a note.
func noteText(signed []byte) string {
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	return string(text) + "\n"
}

// cosigned takes over a checkpoint with more signatures. If it is still the newest one it is shown like a new one;
// if it has all that the policy asks for, proofs are made under it as long as it covers what is to be proved.
func (c *Checkpoints) cosigned(signed []byte, policy witness.Group) error {
	cp, err := checkpoint.Parse(signed)
	if err != nil {
		return err
	}
	c.signing.Lock()
	defer c.signing.Unlock()
	if cp == c.kept {
		err = c.keep(cp, signed)
	} else {
		err = c.projector.KeepCheckpoint(cp.Size, cp.At, signed)
	}
	if err == nil && policy.Satisfied(signed) {
		c.witnessed, c.witnessedSize = signed, cp.Size
	}
	return err
}
