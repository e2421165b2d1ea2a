// Package compose_test reads the compose files as the compose plugin of docker does.
package compose_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const base = "../../docker-compose.yml"

// Each way that the documentation tells to start a cluster: its files, and the Redis that nodes are told of.
var ways = map[string]struct {
	files []string
	redis string
	more  []string // services that the base has not
}{
	"one Redis": {[]string{base}, "redis://:secret@redis:6379", nil},
	"Sentinel": {[]string{base, "../compose.sentinel.yml"}, "redis+sentinel://:secret@sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/main",
		[]string{"redis-2", "redis-3", "sentinel-1", "sentinel-2", "sentinel-3"}},
	"Redis Cluster": {[]string{base, "../compose.cluster.yml"}, "redis+cluster://:secret@redis:6379,redis-2:6379,redis-3:6379",
		[]string{"redis-2", "redis-3", "redis-4", "redis-5", "redis-6", "redis-form"}},
}

// env is .env.example with secrets, as `make up` leaves it in .env.
func env(t *testing.T) (lines []string) {
	t.Helper()
	content, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if value == "" && name != "ROOKERY_AUTH_SECRET" {
			value = "secret"
		}
		lines = append(lines, name+"="+value)
	}
	return lines
}

func load(t *testing.T, env []string, files ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory("../.."), cli.WithEnv(env), cli.WithResolvedPaths(false))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

// The plugin takes the files, alone and together, by its own schema, and comes to what is meant.
func TestFiles(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			project, err := load(t, env(t), way.files...)
			if err != nil {
				t.Fatal(err)
			}
			services := append([]string{"grafana", "haproxy", "node", "prometheus", "redis", "redis-exporter"}, way.more...)
			slices.Sort(services)
			if got := slices.Sorted(maps.Keys(project.Services)); !slices.Equal(got, services) {
				t.Errorf("services %v, want %v", got, services)
			}
			node := project.Services["node"]
			if node.GetScale() != 3 || len(node.Ports) > 0 || node.ContainerName != "" {
				t.Errorf("nodes do not scale: %d of them, ports %v, name %q", node.GetScale(), node.Ports, node.ContainerName)
			}
			if got := node.Environment["ROOKERY_REDIS"]; got == nil || *got != way.redis {
				t.Errorf("nodes are told of %v", got)
			}
			if got := slices.Sorted(maps.Keys(node.Networks)); !slices.Equal(got, []string{"data", "edge"}) {
				t.Errorf("nodes are on the networks %v", got)
			}
			if !project.Networks["data"].Internal {
				t.Error("Redis' network leads out")
			}
			for name, s := range project.Services {
				judge(t, name, s)
				if _, data := s.Networks["data"]; data != (name == "node" || strings.HasPrefix(name, "redis") || strings.HasPrefix(name, "sentinel")) {
					t.Errorf("%s is on the networks %v", name, slices.Sorted(maps.Keys(s.Networks)))
				}
			}
		})
	}
}

// judge asks of every service what keeps a broken one from doing harm.
func judge(t *testing.T, name string, s types.ServiceConfig) {
	t.Helper()
	if !s.ReadOnly || s.Privileged || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("%s is not hardened: read_only %v, cap_drop %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
	}
	if s.MemLimit <= 0 || s.PidsLimit <= 0 || s.Restart == "" || s.Logging == nil || s.Logging.Options["max-size"] == "" {
		t.Errorf("%s has no bounds: memory %d, processes %d, restart %q, logs %+v", name, s.MemLimit, s.PidsLimit, s.Restart, s.Logging)
	}
	for _, p := range s.Ports {
		if p.HostIP != "127.0.0.1" {
			t.Errorf("%s: port %s is open on %q, unless told otherwise", name, p.Published, p.HostIP)
		}
	}
}

// Without its secrets no cluster starts, and the plugin says what to do.
func TestSecretsAreAsked(t *testing.T) {
	for _, secret := range []string{"REDIS_PASSWORD", "ROOKERY_API_KEY", "GRAFANA_PASSWORD"} {
		without := slices.DeleteFunc(env(t), func(line string) bool { return strings.HasPrefix(line, secret+"=") })
		if _, err := load(t, without, base); err == nil || !strings.Contains(err.Error(), "Run make up") {
			t.Errorf("without %s: %v", secret, err)
		}
	}
}

// A key that the plugin does not know is seen.
func TestStrictness(t *testing.T) {
	content, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	wrong := t.TempDir() + "/docker-compose.yml"
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(content), "    scale: 3", "    skale: 3", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, env(t), wrong); err == nil || !strings.Contains(err.Error(), "skale") {
		t.Errorf("skale: %v", err)
	}
}
