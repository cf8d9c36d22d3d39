package consumers

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/permledger/permledger/consumers/api"
)

// AuditPack writes the report of a period, with what it takes to verify it without the ledger. What was written
// before an error is no pack; whether what was written without one is true, only verifying it tells.
func (c *Client) AuditPack(ctx context.Context, q api.PackQuery, to io.Writer) error {
	return c.download(ctx, "/v1/audit/pack", q.Values(), to)
}

// Backup writes the ledger of this moment. The private keys of the ledger are in it only if they are asked for. As with
// AuditPack it counts when it is verified.
func (c *Client) Backup(ctx context.Context, withKeys bool, to io.Writer) error {
	query := url.Values{}
	if withKeys {
		query.Set("with_keys", "true")
	}
	return c.download(ctx, "/v1/backup", query, to)
}

func (c *Client) download(ctx context.Context, path string, query url.Values, to io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return &NetworkError{http.MethodGet + " " + path, err}
	}
	return nil
}
