package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/cmd/permledger/server"
)

// nodeFlags say where a ledger's data is: for the verbs that open it themselves.
type nodeFlags struct {
	data        string
	natsURL     string
	natsCreds   string
	natsReplica int
	keys        string
}

func (f *nodeFlags) add(cmd *cobra.Command) {
	f.addTo(cmd)
	must(cmd.MarkFlagRequired("data"))
}

// addTo is add for a verb that can do without.
func (f *nodeFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", "", "the data directory")
	cmd.Flags().StringVar(&f.natsURL, "nats-url", "", "keep the log in this NATS instead of an embedded one; several URLs are separated by commas")
	cmd.Flags().StringVar(&f.natsCreds, "nats-creds", "", "credentials file for --nats-url (or PERMLEDGER_NATS_USER and PERMLEDGER_NATS_PASSWORD)")
	cmd.Flags().IntVar(&f.natsReplica, "nats-replicas", 1, "how many servers at --nats-url keep each stream: 1, 3 or 5")
	cmd.Flags().StringVar(&f.keys, "keys", "", "the directory of the ledger's private keys, shared by those who write one log; default keys in --data")
	must(cmd.MarkFlagDirname("keys"))
	must(cmd.MarkFlagDirname("data"))
}

// check refuses what would be ignored: a ledger that was to be kept three times must not be kept once.
func (f *nodeFlags) check() error {
	switch {
	case f.natsURL == "" && f.natsReplica != 1:
		return usagef("--nats-replicas %d: needs --nats-url; an embedded NATS keeps each stream once", f.natsReplica)
	case f.natsURL == "" && f.natsCreds != "":
		return usagef("--nats-creds %s: needs --nats-url", f.natsCreds)
	case !slices.Contains([]int{1, 3, 5}, f.natsReplica):
		return usagef("--nats-replicas %d: must be 1, 3 or 5", f.natsReplica)
	}
	return nil
}

func (c *cli) nodeConfig(f nodeFlags) node.Config {
	return node.Config{
		Dir: f.data, KeysDir: f.keys, NATSURL: f.natsURL, NATSCredentialsFile: f.natsCreds, NATSReplicas: f.natsReplica,
		Preflight: preflight,
		NATSUser:  c.getenv("PERMLEDGER_NATS_USER"), NATSPassword: c.getenv("PERMLEDGER_NATS_PASSWORD"),
	}
}

// openOffline opens the data of a ledger that nobody serves at the moment. It makes none where there is none.
func (c *cli) openOffline(ctx context.Context, f nodeFlags, replace node.Replace) (*node.Node, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	place := f.data
	if f.natsURL == "" {
		place = node.LogDir(f.data)
	}
	if info, err := os.Stat(place); err != nil || !info.IsDir() {
		return nil, usagef("there is no ledger in %s", f.data)
	}
	cfg := c.nodeConfig(f)
	cfg.Offline, cfg.ReplaceViews = true, replace
	return node.Open(ctx, cfg)
}

func (c *cli) serveVerb() *cobra.Command {
	var where nodeFlags
	var listen, natsListen, publicURL, level, policy string
	var limits limitFlags
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run a ledger",
		Long: `Run a ledger. At the first start it makes the data directory and, in it, root.token: the token of the first
administrator, readable by its owner only. It ends at an interrupt, after the requests under way.`,
		Example: `  permledger serve --data ledger-data
  permledger serve --data ledger-data --nats-listen 127.0.0.1:4222
  permledger serve --data ledger-data --nats-url nats://nats.example.org:4222 --nats-replicas 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := where.check(); err != nil {
				return err
			}
			if err := errors.Join(limits.check(), checkListen("--listen", listen), checkListen("--nats-listen", natsListen)); err != nil {
				return err
			}
			logger, err := c.logger(level)
			if err != nil {
				return err
			}
			cfg := c.nodeConfig(where)
			cfg.NATSListen, cfg.Logger = natsListen, logger
			limits.set(&cfg)
			if cfg.WitnessPolicy, err = readPolicy(policy); err != nil {
				return err
			}
			return c.serve(cmd.Context(), cfg, listen, publicURL)
		},
	}
	where.add(cmd)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "where HTTP is answered; port 0 picks one")
	cmd.Flags().StringVar(&natsListen, "nats-listen", "", "where the embedded NATS takes services that read the feed; default nowhere")
	cmd.Flags().StringVar(&publicURL, "public-url", "", "how clients reach this server; default http:// and the address it listens on")
	cmd.Flags().StringVar(&policy, "witness-policy", "", "a file that names the witnesses who are asked to cosign checkpoints (c2sp.org/tlog-witness)")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	limits.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("nats-url", "nats-listen")
	return cmd
}

// limitFlags say when to write less, or not to start.
type limitFlags struct {
	low, full float64
	headroom  int64
	clockGap  time.Duration
}

func (f *limitFlags) add(cmd *cobra.Command) {
	cmd.Flags().Float64Var(&f.low, "disk-low", 0.90, "the share of the disk of --data in use from which on only what takes away (revoke, unassign, remove, delete) is recorded; 0: never")
	cmd.Flags().Float64Var(&f.full, "disk-full", 0.97, "the share from which on nothing is recorded; checks are always answered; 0: never")
	cmd.Flags().Int64Var(&f.headroom, "disk-headroom", 8<<30, "while that many bytes are free, --disk-low and --disk-full do not count")
	cmd.Flags().DurationVar(&f.clockGap, "max-clock-gap", 365*24*time.Hour, "refuse to start when the clock is later than the data were last used by more than that; 0: never")
}

// check says which flag is no share, or does not fit the other.
func (f *limitFlags) check() error {
	for _, share := range []struct {
		flag  string
		value float64
	}{{"--disk-low", f.low}, {"--disk-full", f.full}} {
		if !(share.value >= 0 && share.value <= 1) { // which no number that is none is, either
			return usagef("%s %v: must be a share of the disk between 0 and 1, as in 0.9", share.flag, share.value)
		}
	}
	if f.low > f.full && f.full > 0 {
		return usagef("--disk-full %v: must not be smaller than --disk-low, which is %v", f.full, f.low)
	}
	return nil
}

// checkListen reports whether one could listen at an address; "" is nowhere.
func checkListen(flag, address string) error {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return usagef("%s %s: must be HOST:PORT, as in 127.0.0.1:8080: %w", flag, address, err)
	}
	return nil
}

// set turns a zero, which people read as never, into the negative that means it.
func (f *limitFlags) set(cfg *node.Config) {
	cfg.DiskLow, cfg.DiskFull, cfg.DiskHeadroom, cfg.MaxClockGap = f.low, f.full, f.headroom, f.clockGap
	if f.low <= 0 {
		cfg.DiskLow = -1
	}
	if f.full <= 0 {
		cfg.DiskFull = -1
	}
	if f.headroom <= 0 {
		cfg.DiskHeadroom = -1
	}
	if f.clockGap <= 0 {
		cfg.MaxClockGap = -1
	}
}

// logger writes to standard error: for people on a terminal, as JSON elsewhere.
func (c *cli) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %s: must be debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	if terminal(c.err) {
		return slog.New(slog.NewTextHandler(c.err, options)), nil
	}
	return slog.New(slog.NewJSONHandler(c.err, options)), nil
}

func (c *cli) serve(ctx context.Context, cfg node.Config, listen, publicURL string) error {
	s, err := open(ctx, cfg, listen, publicURL)
	if err != nil {
		return err
	}
	c.announce(s)
	if err := s.run(ctx); err != nil {
		return err
	}
	c.say("closed")
	return nil
}

// announce tells where everything is. The first line is what scripts wait for.
func (c *cli) announce(s *service) {
	c.say("permledger %s answers at %s", version(), s.url)
	c.say("the administrator's token is in %s", node.RootTokenFile(s.config.Dir))
	if url := s.node.Server.ClientURL(); url != "" {
		c.say("NATS is at %s", url)
	}
	if s.node.ReaderUser != "" {
		c.say("services log in there as %s with the password in %s", s.node.ReaderUser, filepath.Join(s.config.Dir, "reader.token"))
	}
	for _, address := range []string{s.listener.Addr().String(), s.config.NATSListen} {
		if address != "" && !loopback(address) {
			c.say("warning: %s is reached from beyond this machine, and what passes there is not encrypted: put TLS in front of it", address)
		}
	}
}

// loopback reports whether only this machine reaches an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// service is a node with its HTTP face on a port.
type service struct {
	config   node.Config
	node     *node.Node
	listener net.Listener
	server   *server.Server
	url      string
}

// open opens the node and then the port, so that nobody is answered before everything is there.
func open(ctx context.Context, cfg node.Config, listen, publicURL string) (_ *service, err error) {
	s := &service{config: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	connections, err := node.FilesLeft()
	if err != nil {
		return nil, err
	}
	if s.node, err = node.Open(ctx, cfg); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", listen); err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	s.listener = limitConns(s.listener, connections)
	s.url = "http://" + s.listener.Addr().String()
	if publicURL == "" {
		publicURL = s.url
	}
	config := server.ConfigFor(s.node)
	config.PublicURL, config.Version, config.Logger = publicURL, version(), cfg.Logger
	s.server, err = server.New(config)
	return s, err
}

// run answers until ctx ends, then closes in the reverse order of open.
func (s *service) run(ctx context.Context) error {
	return errors.Join(s.server.Serve(ctx, s.listener), s.close())
}

func (s *service) close() error {
	var errs []error
	if s.listener != nil {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	return errors.Join(errs...)
}
