package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// Three nodes become five. The old ones shed two fifths of their sessions, as docs/operations.md has it, and all
// five have as many then, give or take a tenth; nobody misses a message, and nobody is seen leaving.
func TestRebalance(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for i := 1; i <= 3; i++ {
		c.start(fmt.Sprint("127.0.1.", i))
	}
	f := c.haproxy()
	await(t, "haproxy has found all three", func() bool { return servers(f) == 3 })
	const people = 300
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var mu sync.Mutex
	heard, left := make(map[int]int), 0
	clients := make([]*client.Client, people)
	for i := range clients {
		clients[i] = client.New("ws://"+f.public+"/ws", &client.Options{User: fmt.Sprint("user", i)})
		wg.Go(func() { clients[i].Run(ctx) })
		wg.Go(func() {
			for ev := range clients[i].Events(ctx) {
				mu.Lock()
				switch ev := ev.(type) {
				case *wire.Message:
					heard[i]++
				case *wire.Reset:
					t.Errorf("user%d: %+v", i, ev)
				case *wire.Presence:
					left += len(ev.Left)
				}
				mu.Unlock()
			}
		})
		if _, err := clients[i].Join(ctx, "lobby", &client.JoinOptions{Presence: i == 0}); err != nil {
			t.Fatal(err)
		}
	}
	c.start("127.0.1.4")
	c.start("127.0.1.5")
	await(t, "haproxy has found all five", func() bool { return servers(f) == 5 })
	said := 0
	say := func() {
		if _, err := clients[said%people].Publish(ctx, "lobby", said, nil); err != nil {
			t.Fatal(err)
		}
		said++
	}
	say()
	shed := 0
	for _, n := range nodes(t, f) {
		if n.Sessions == 0 {
			continue
		}
		var answer struct{ Shed int }
		if status := call(t, "POST", "http://"+f.api+"/v1/nodes/"+n.Node+"/shed?percent=40", &answer); status != 200 {
			t.Fatalf("shed: %d", status)
		}
		shed += answer.Shed
		say()
	}
	if shed < 118 || shed > 122 {
		t.Errorf("%d of 300 sessions were shed, by 40 %% of three nodes", shed)
	}
	for range clients {
		say() // while they move
	}
	level := func() bool {
		const fair = people / 5
		for _, n := range nodes(t, f) {
			if n.Sessions < fair*9/10 || n.Sessions > fair*11/10 {
				return false
			}
		}
		return true
	}
	await(t, "all five have a fifth, give or take a tenth", level)
	await(t, "everybody has everything", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := range clients {
			if heard[i] < said {
				return false
			}
		}
		return true
	})
	mu.Lock()
	defer mu.Unlock()
	for i := range clients {
		if heard[i] != said {
			t.Errorf("user%d got %d messages of %d", i, heard[i], said)
		}
	}
	if left > 0 {
		t.Errorf("%d were seen leaving", left)
	}
	t.Logf("%d sessions were shed; in the end: %+v", shed, nodes(t, f))
	if status := call(t, "POST", "http://"+f.api+"/v1/nodes/0000000000000000/shed?percent=40", nil); status != 404 {
		t.Errorf("a node that is not there: %d", status)
	}
}

// servers is how many nodes haproxy sends sessions to.
func servers(f front) (n int) {
	_, body := get("http://" + f.inner + "/metrics")
	_, after, _ := strings.Cut(body, "\nhaproxy_backend_active_servers{proxy=\"nodes\"} ")
	fmt.Sscan(after, &n)
	return n
}

type nodeInfo struct {
	Node     string
	Sessions int
}

// nodes asks the server API.
func nodes(t *testing.T, f front) []nodeInfo {
	t.Helper()
	var answer struct{ Nodes []nodeInfo }
	if status := call(t, "GET", "http://"+f.api+"/v1/nodes", &answer); status != 200 {
		t.Fatalf("nodes: %d", status)
	}
	return answer.Nodes
}

func call(t *testing.T, method, url string, answer any) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiKey)
	w, err := direct.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if answer != nil && w.StatusCode == 200 {
		if err := json.NewDecoder(w.Body).Decode(answer); err != nil {
			t.Fatal(err)
		}
	}
	return w.StatusCode
}
