package consumers

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Connect connects to the NATS server at url with what a subscriber needs: a connection that is never given
// up. Further options add to that or change it.
func Connect(url string, options ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.Name("permledger subscriber"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	return nc, nil
}
