//go:build compose

package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/wire"
)

// A composed cluster is what docker-compose.yml brings up, as scripts/test-compose has started it,
// and a crowd that talks through its haproxy.
type composed struct {
	*crowd
	public, api, prometheus string // addresses
}

// People talk through haproxy while the containers of docker-compose.yml become five nodes, shed, are exchanged one after the
// other, lose Redis, lose a node, and become two. Nothing is lost, all of it is seen by Prometheus, and every
// query of the dashboards has data. To run it: make test-compose
func TestCompose(t *testing.T) {
	c := newComposed(t, "compose")
	c.awaitNodes(3)
	for i := range 60 {
		c.enter(i < 8, nil, c.rooms[i%4], c.rooms[(i+1+i/4%3)%4])
	}
	for range 6 {
		c.talk(100 * time.Millisecond)
	}
	step := c.step
	step("three nodes become five", func() { c.scale(5) })
	step("each sheds two fifths", func() {
		for _, n := range c.nodes() {
			c.ask("POST", "/v1/nodes/"+n.Node+"/shed?percent=40", nil, nil)
		}
	})
	step("every node is exchanged", func() {
		for _, id := range c.containers("node") {
			c.docker("restart", "-t", "30", id)
			c.awaitNodes(5)
		}
	})
	step("Redis is killed, and started", func() {
		redis := c.containers("redis")[0]
		c.docker("kill", redis)
		time.Sleep(2 * time.Second)
		c.docker("start", redis)
		c.awaitNodes(5)
	})
	step("a node is killed, and started", func() {
		node := c.containers("node")[0]
		c.docker("kill", node)
		time.Sleep(2 * time.Second)
		c.docker("start", node)
		c.awaitNodes(5)
	})
	step("five nodes become two", func() { c.scale(2) })
	c.watched()
	verdict := c.over()
	if verdict.Acked < 1000 || verdict.Deliveries < verdict.Acked {
		t.Errorf("%d publishes and %d deliveries are no traffic to judge by", verdict.Acked, verdict.Deliveries)
	}
	if verdict.Losses > 0 {
		t.Errorf("%d resets told of losses: Redis kept its file", verdict.Losses)
	}
}

// People talk through haproxy on two nodes above what deploy/compose.sentinel.yml or deploy/compose.cluster.yml
// puts in the place of Redis. A primary dies, another server takes over, the dead one comes back, and both nodes
// go on by themselves: each message comes to everybody, or who missed it is told. A copy that was taken before is put back after it.
func TestComposeFailover(t *testing.T) {
	c := newComposed(t, "failover")
	c.log.Add(judge.Record{Act: judge.Lossy})
	c.awaitNodes(2)
	led := make(map[string]bool)
	await(t, "haproxy knows both", func() bool { led[c.knock()] = true; delete(led, ""); return len(led) == 2 })
	for i := range 8 {
		c.enter(i < 4, nil, c.rooms[i%4], c.rooms[(i+1)%4])
	}
	for range 4 {
		c.talk(100 * time.Millisecond)
	}
	await(t, "people are on both nodes", func() bool {
		at := make(map[string]bool)
		for _, m := range c.members {
			if s, ok := m.newest(); ok {
				at[s.node] = true
			}
		}
		return len(at) == 2
	})
	var replicas []string
	for i := range 5 {
		for _, id := range c.containers(fmt.Sprint("redis-", i+2)) {
			if says(id, "role:slave", "info", "replication") {
				replicas = append(replicas, id)
			}
		}
	}
	await(t, "replicas follow", func() bool {
		return !slices.ContainsFunc(replicas, func(id string) bool { return !says(id, "master_link_status:up", "info", "replication") })
	})
	for i := range 3 {
		for _, id := range c.containers(fmt.Sprint("sentinel-", i+1)) {
			await(t, "Sentinels know everybody", func() bool { return says(id, "slaves=2,sentinels=3", "-p", "26379", "info", "sentinel") })
		}
	}
	primary, file := c.containers("redis")[0], t.TempDir()+"/redis.rdb"
	c.step("a copy is taken", func() { c.run("deploy/backup", file) })
	c.step("a primary is killed", func() {
		c.docker("kill", primary)
		await(t, "a replica takes over", func() bool {
			return slices.ContainsFunc(replicas, func(id string) bool { return says(id, "role:master", "info", "replication") })
		})
		c.awaitNodes(2)
	})
	c.step("it comes back", func() {
		c.docker("start", primary)
		await(t, "it follows", func() bool {
			return says(primary, "role:slave", "info", "replication") && says(primary, "master_link_status:up", "info", "replication")
		})
		c.awaitNodes(2)
	})
	if len(c.containers("sentinel-1")) > 0 && !says(primary, "OK", "config", "rewrite") {
		t.Error("whom a server follows, as Sentinel told it, is forgotten when it starts again")
	}
	c.step("the copy is put back", func() {
		c.run("deploy/restore", file)
		c.awaitNodes(2)
	})
	if verdict := c.over(); verdict.Acked < 100 || verdict.Resets == 0 || verdict.Losses == 0 {
		t.Errorf("%d publishes, %d resets and %d told of losses: was there a failover, and was the copy put back?", verdict.Acked, verdict.Resets, verdict.Losses)
	}
}

// says tells whether the Redis in a container answers, and says something.
func says(container, something string, command ...string) bool {
	out, err := exec.Command("docker", append([]string{"exec", container, "redis-cli"}, command...)...).Output()
	return err == nil && strings.Contains(string(out), something)
}

// A copy of Redis is taken by deploy/backup while people talk, and after a while put back by deploy/restore, below nodes that
// go on: what was said meanwhile is gone, and who had it is told.
func TestComposeBackup(t *testing.T) {
	c := newComposed(t, "backup")
	c.log.Add(judge.Record{Act: judge.Lossy})
	c.awaitNodes(2)
	for i := range 8 {
		c.enter(i < 4, nil, c.rooms[i%4], c.rooms[(i+1)%4])
	}
	c.talkers = 100 // others have spoken here before, under the first names
	for range 4 {
		c.talk(100 * time.Millisecond)
	}
	file := t.TempDir() + "/redis.rdb"
	c.step("a copy is taken", func() { c.run("deploy/backup", file) })
	c.step("a copy is put back", func() {
		c.run("deploy/restore", file)
		c.awaitNodes(2)
	})
	if verdict := c.over(); verdict.Losses == 0 {
		t.Error("nobody was told of a loss: was the copy put back?")
	}
}

// newComposed returns what the environment tells of, with a crowd that has yet to come.
func newComposed(t *testing.T, name string) *composed {
	c := &composed{newCrowd(t, name, 1, 4), os.Getenv("ROOKERY_PUBLISH"), os.Getenv("ROOKERY_API_PUBLISH"), os.Getenv("PROMETHEUS_PUBLISH")}
	c.way = func(int) func() string { return func() string { return "ws://" + c.public + "/ws" } }
	return c
}

// knock comes in through haproxy and goes again, and returns which node that was.
func (c *composed) knock() string {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, c.way(0)(), &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return ""
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, wire.Command{Type: "hello", ID: 1, User: "knocker"}.Append(nil)); err != nil {
		return ""
	}
	_, b, err := conn.Read(ctx)
	if err != nil {
		return ""
	}
	if welcome, ok := parse(b).(*wire.Welcome); ok {
		return welcome.Node
	}
	return ""
}

// step does something to the cluster, and tells how long that took.
func (c *composed) step(kind string, do func()) {
	c.t.Helper()
	begun := time.Now()
	c.log.Add(judge.Record{Act: judge.Fault, Kind: kind})
	do()
	c.t.Logf("%s: %v", kind, time.Since(begun).Round(100*time.Millisecond))
	time.Sleep(2 * time.Second) // some talk
}

func (c *composed) run(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, err.(*exec.ExitError).Stderr)
	}
	return string(out)
}

func (c *composed) docker(args ...string) string { c.t.Helper(); return c.run("docker", args...) }

// containers are those of a service, without the ones that ended.
func (c *composed) containers(service string) []string {
	c.t.Helper()
	return strings.Fields(c.docker("ps", "-q", "--filter", "label=com.docker.compose.service="+service,
		"--filter", "label=com.docker.compose.project="+os.Getenv("COMPOSE_PROJECT_NAME")))
}

func (c *composed) scale(n int) {
	c.t.Helper()
	compose := strings.Fields(os.Getenv("COMPOSE"))
	c.run(compose[0], append(compose[1:], "up", "-d", "--no-deps", "--no-recreate", "--scale", fmt.Sprint("node=", n), "node")...)
	c.awaitNodes(n)
}

// ask asks the server API, and returns the status of its answer.
func (c *composed) ask(method, path string, body io.Reader, answer any) int {
	c.t.Helper()
	r, err := http.NewRequest(method, "http://"+c.api+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+os.Getenv("ROOKERY_API_KEY"))
	r.Header.Set("Content-Type", "application/json")
	w, err := unkept.Do(r)
	if err != nil {
		return 0
	}
	defer w.Body.Close()
	if answer != nil && w.StatusCode == http.StatusOK {
		if err := json.NewDecoder(w.Body).Decode(answer); err != nil {
			c.t.Fatal(err)
		}
	}
	return w.StatusCode
}

type listed struct{ Node, State string }

func (c *composed) nodes() []listed {
	var answer struct{ Nodes []listed }
	c.ask("GET", "/v1/nodes", nil, &answer)
	return answer.Nodes
}

// awaitNodes waits until so many nodes, and no others, are there and ready.
func (c *composed) awaitNodes(n int) {
	c.t.Helper()
	await(c.t, fmt.Sprint(n, " nodes are ready"), func() bool { return c.ready(n) })
}

func (c *composed) ready(n int) bool {
	nodes := c.nodes()
	return len(nodes) == n && !slices.ContainsFunc(nodes, func(l listed) bool { return l.State != "ready" })
}

// watched asks Prometheus for what the dashboards show.
func (c *composed) watched() {
	c.t.Helper()
	await(c.t, "two nodes and nothing else are targets, and all are up", func() bool {
		return c.values(`up{job="rookery"} == 1`) == 2 && c.values("up == 0") == 0 && c.values("up") == 5
	})
	for _, file := range []string{"cluster", "node"} {
		b, err := os.ReadFile("../deploy/grafana/dashboards/" + file + ".json")
		if err != nil {
			c.t.Fatal(err)
		}
		var board struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		if err := json.Unmarshal(b, &board); err != nil || len(board.Panels) == 0 {
			c.t.Fatalf("%s: %v", file, err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				query := strings.NewReplacer("$__rate_interval", "20s", "$node", ".*").Replace(target.Expr)
				await(c.t, "data for "+query, func() bool { return c.values(query) > 0 })
			}
		}
	}
}

// values is how many values a query has.
func (c *composed) values(query string) (n int) {
	w, err := unkept.Get("http://" + c.prometheus + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return -1
	}
	defer w.Body.Close()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	json.NewDecoder(w.Body).Decode(&answer)
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			n++
		}
	}
	return n
}

// over ends the talk, lets everybody get everything, and has it judged.
func (c *composed) over() judge.Verdict {
	c.t.Helper()
	c.hush()
	c.talking.Wait()
	log, err := judge.Create(c.dir, judge.Publisher, "last")
	if err != nil {
		c.t.Fatal(err)
	}
	topics := slices.Clone(c.rooms)
	for _, m := range c.members {
		if inbox := wire.Inbox(m.user); c.spoken[inbox] {
			topics = append(topics, inbox)
		}
	}
	last := make(map[string]wire.Position)
	for i, topic := range topics {
		key := fmt.Sprint(c.t.Name(), "-last-", i)
		var at wire.Position
		body := strings.NewReader(fmt.Sprintf(`{"data":{"key":%q},"key":%q}`, key, key))
		if status := c.ask("POST", "/v1/topics/"+topic+"/messages", body, &at); status != http.StatusOK {
			c.t.Fatalf("the last message to %s: %d", topic, status)
		}
		log.Add(judge.Record{Act: judge.Acked, Topic: topic, Key: key, Epoch: at.Epoch, Offset: at.Offset})
		last[topic] = at
	}
	if err := log.Close(); err != nil {
		c.t.Error(err)
	}
	for _, room := range c.rooms {
		c.log.Add(judge.Record{Act: judge.Truth, Topic: room, Users: c.inRoom(room)})
	}
	for _, m := range c.members {
		topics := slices.Clone(m.rooms)
		if _, ok := last[wire.Inbox(m.user)]; ok {
			topics = append(topics, wire.Inbox(m.user))
		}
		if slow := m.wait(topics, last, c.inRoom); slow != "" {
			c.t.Logf("%s is not level in %s", m.user, slow)
		}
		m.end(topics...)
	}
	for _, m := range c.members {
		m.leave()
	}
	if err := c.log.Close(); err != nil {
		c.t.Error(err)
	}
	verdict, err := judge.Dir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("%v", verdict)
	if verdict.Violated > 0 {
		c.t.Errorf("%d violations; their logs are in %s", verdict.Violated, c.keepLogs())
	}
	return verdict
}
