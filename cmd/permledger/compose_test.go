package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
