package consumers

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// Checkpoint gives the newest signed checkpoint or, with an instant, the newest one signed at or before it
// (c2sp.org/tlog-checkpoint).
func (c *Client) Checkpoint(ctx context.Context, at events.Instant) ([]byte, error) {
	query := url.Values{}
	if !at.IsZero() {
		query.Set("at", at.String())
	}
	return fetch(ctx, c, "/v1/checkpoint", query)
}

// Proof gives the proof that an event, named by its id or position, is in the ledger (c2sp.org/tlog-proof).
func (c *Client) Proof(ctx context.Context, event string) ([]byte, error) {
	return fetch(ctx, c, "/v1/events/"+segment(event)+"/proof", nil)
}

// Keys lists the keys of the ledger.
func (c *Client) Keys(ctx context.Context) (api.Keys, error) {
	return get[api.Keys](ctx, c, "/v1/keys", nil)
}

// RotateKey replaces the key of the ledger. After a NetworkError, Keys tells whether it was done.
func (c *Client) RotateKey(ctx context.Context, r api.KeyRotation) (api.Receipt, error) {
	return post[api.Receipt](ctx, c, "/v1/keys/rotate", r, nil)
}

// fetch gives an answer as its bytes.
func fetch(ctx context.Context, c *Client, path string, query url.Values) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &NetworkError{http.MethodGet + " " + path, err}
	}
	return b, nil
}
