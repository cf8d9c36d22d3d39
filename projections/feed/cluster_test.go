package feed_test

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/feed"
)

// Three servers, three replicas, and two processes publishing the same feed: the leader of the stream goes
// away in the middle.
func TestReplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a cluster")
	}
	servers := startCluster(t)
	jetStream := func() jetstream.JetStream {
		nc, err := nats.Connect(servers[0].ClientURL()+","+servers[1].ClientURL()+","+servers[2].ClientURL(),
			nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	js := jetStream()
	h := consumertest.NewHistory(ledgerID)
	all := consumertest.Traffic(9, 3000)
	appendAll(t, h, all[:1000])
	var feeds []*feed.Feed
	for range 2 {
		f, err := feed.Start(testContext(t), feed.Config{JetStream: jetStream(), Source: h, Replicas: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		feeds = append(feeds, f)
	}
	appendAll(t, h, all[1000:2000])
	leader := streamInfo(t, js).Cluster.Leader
	for _, s := range servers {
		if s.Name() == leader {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
	appendAll(t, h, all[2000:])
	for _, f := range feeds {
		wait(t, f, h)
	}
	checkStream(t, js, ledgerID, h.Events())
	if err := feeds[0].Rebuild(testContext(t)); err != nil {
		t.Fatal(err)
	}
	checkStream(t, js, ledgerID, h.Events())
	if info := streamInfo(t, js); info.Config.Replicas != 3 || info.Config.Name != events.FeedStream {
		t.Errorf("the stream is %+v", info.Config)
	}
}

func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var servers []*server.Server
	var routes []*url.URL
	for range 3 { // ports that are free now
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: listener.Addr().String()})
		listener.Close()
	}
	for i := range routes {
		port, err := strconv.Atoi(routes[i].Port())
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("node-%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
			Routes:  routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers = append(servers, s)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		leaders, peers := 0, 0
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				leaders, peers = leaders+1, len(s.JetStreamClusterPeers())
			}
		}
		if leaders == 1 && peers == 3 {
			return servers
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster does not form")
		}
	}
}
