package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"
)

// composeFile is as much of docker-compose.yml as its promises are about.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Build       string
		Command     []string
		Ports       []string
		Volumes     []string
		Environment map[string]string
		HealthCheck struct{ Test []string }
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	Volumes map[string]any
	Configs map[string]struct{ Content string }
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var f composeFile
	if err := yaml.Unmarshal([]byte(readFile(t, repository+"/docker-compose.yml")), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// A tag with a version in it; "latest" and no tag at all are not pinned.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$`)

func TestCompose(t *testing.T) {
	f := readCompose(t)
	if len(f.Services) != 4 {
		t.Fatalf("%d services, want the ledger and three of NATS", len(f.Services))
	}
	for name, s := range f.Services {
		if !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned to a version", name, s.Image)
		}
		if len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, p)
			}
		}
		if len(s.Volumes) != 1 {
			t.Errorf("%s keeps its data in %v, want one volume", name, s.Volumes)
		}
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, ok := f.Volumes[volume]; !ok {
				t.Errorf("%s: %s is no named volume", name, v)
			}
		}
		for variable := range s.Environment {
			if regexp.MustCompile(`(?i)token|password|secret|key`).MatchString(variable) {
				t.Errorf("%s: %s looks like a secret", name, variable)
			}
		}
	}
	ledger := f.Services["ledger"]
	if err := knownCommand(ledger.Command); err != nil {
		t.Errorf("the ledger's command: %v", err)
	}
	if err := knownCommand(ledger.HealthCheck.Test[2:]); err != nil {
		t.Errorf("the ledger's health check: %v", err)
	}
	for name := range f.Services {
		if name != "ledger" && ledger.DependsOn[name].Condition != "service_healthy" {
			t.Errorf("the ledger does not wait for %s to be healthy", name)
		}
	}
}

// The configuration inside the file is one nats-server takes, and it acknowledges after the disk has it.
func TestComposeNATSConfiguration(t *testing.T) {
	content := strings.ReplaceAll(readCompose(t).Configs["nats"].Content, "$$", "$")
	t.Setenv("NATS_NAME", "nats-1")
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := natsserver.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !o.SyncAlways || !o.JetStream || o.MaxPayload < 8<<20 || o.ServerName != "nats-1" || len(o.Routes) != 3 || o.HTTPHost != "127.0.0.1" {
		t.Errorf("sync always %t, jetstream %t, max payload %d, name %q, %d routes, monitoring on %q",
			o.SyncAlways, o.JetStream, o.MaxPayload, o.ServerName, len(o.Routes), o.HTTPHost)
	}
}

// Where the client is installed, it reads the file, too.
func TestComposeConfig(t *testing.T) {
	if exec.Command("docker", "compose", "version").Run() != nil {
		t.Log("there is no docker compose here; the file was parsed by the other tests")
		return
	}
	out, err := exec.Command("docker", "compose", "-f", repository+"/docker-compose.yml", "config", "--quiet").CombinedOutput()
	if err != nil {
		t.Errorf("docker compose config: %v\n%s", err, out)
	}
}

// The image is built with the Go version of the module, and does not run as root.
func TestDockerfile(t *testing.T) {
	text := readFile(t, repository+"/Dockerfile")
	version := regexp.MustCompile(`(?m)^go ([0-9]+\.[0-9]+)`).FindStringSubmatch(readFile(t, repository+"/go.mod"))[1]
	for _, line := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1) {
		if image := line[1]; image != "scratch" && !pinned.MatchString(image) {
			t.Errorf("image %s is not pinned to a version", image)
		}
	}
	if !strings.Contains(text, "FROM golang:"+version+".") {
		t.Errorf("not built with Go %s", version)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9][0-9]*:`).MatchString(text) {
		t.Error("runs as root")
	}
}

// TestComposeCluster runs what docker-compose.yml runs, without containers: three NATS servers with that
// configuration, and a ledger on them with that command. One of the three goes away, and nothing is lost.
func TestComposeCluster(t *testing.T) {
	servers := composeServers(t)
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.ClientURL()
	}
	command := readCompose(t).Services["ledger"].Command
	dir := t.TempDir()
	for i, word := range command {
		switch {
		case word == "/data":
			command[i] = filepath.Join(dir, "data")
		case strings.HasPrefix(word, "nats://"):
			command[i] = strings.Join(urls, ",")
		}
	}
	env := append(os.Environ(), "PERMLEDGER_SERVER="+startServe(t, dir, command))
	env = append(env, "PERMLEDGER_TOKEN="+strings.TrimSpace(readFile(t, filepath.Join(dir, "data", "root.token"))))
	permledger := func(args ...string) {
		t.Helper()
		cmd := exec.Command("permledger", args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("permledger %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	permledger("catalog", "load", "camunda-8")
	permledger("assign", "user:carol", "operate")
	servers[1].Shutdown()
	servers[1].WaitForShutdown()
	// The two that are left elect a leader if the one that went away was it; until then there is no answer,
	// and a request with a key may be sent again.
	for try := 0; ; try++ {
		cmd := exec.Command("permledger", "assign", "user:dan", "operate", "--idempotency-key", "once")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if try == 20 {
			t.Fatalf("%v\n%s", err, out)
		}
		time.Sleep(500 * time.Millisecond)
	}
	permledger("check", "user:carol", "read:*", "api:operate-api")
	permledger("check", "user:dan", "read:*", "api:operate-api")
}

// composeServers starts three servers with the configuration in the file, on free ports of this machine.
func composeServers(t *testing.T) []*natsserver.Server {
	t.Helper()
	content := strings.ReplaceAll(readCompose(t).Configs["nats"].Content, "$$", "$")
	var routes []string
	var taken []net.Listener // until all three ports are known, so that they differ
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		taken, routes = append(taken, l), append(routes, l.Addr().String())
	}
	var all []*natsserver.Server
	for i := range 3 {
		own := strings.NewReplacer(
			"0.0.0.0:4222", "127.0.0.1:-1", "http: 127.0.0.1:8222", "", "/data", t.TempDir(), "0.0.0.0:6222", routes[i],
			"nats-1:6222", routes[0], "nats-2:6222", routes[1], "nats-3:6222", routes[2],
		).Replace(content)
		path := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("NATS_NAME", fmt.Sprintf("nats-%d", i+1))
		o, err := natsserver.ProcessConfigFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o.NoSigs, o.NoLog = true, true
		s, err := natsserver.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		all = append(all, s)
	}
	for i, s := range all {
		if err := taken[i].Close(); err != nil {
			t.Fatal(err)
		}
		s.Start()
	}
	for _, s := range all {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatalf("%s did not start", s.Name())
		}
	}
	// What the health check waits for: one of them leads, and the others know.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		leads := slices.ContainsFunc(all, (*natsserver.Server).JetStreamIsLeader)
		if leads && !slices.ContainsFunc(all, func(s *natsserver.Server) bool { return !s.JetStreamIsCurrent() }) {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatal("the servers chose no leader")
		}
	}
}
