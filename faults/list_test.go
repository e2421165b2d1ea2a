package faults_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rookery-chat/rookery/internal/redistest"
)

// What a back end asks of any node is about the whole cluster: its nodes, a user's sessions,
// and all topics with their counts, page by page. A node that is frozen is told as one that is
// silent, and so is what is missing because of it.
func TestListings(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	asked, other := serve(t, redis), serve(t, redis)
	want := map[string]float64{"*": 3}
	for i, p := range []*process{asked, other} {
		for _, user := range []string{"alice", fmt.Sprint("user", i)} {
			m := enter(t, p.URL(), user)
			want["@"+user] = 1
			for n := range 30 {
				room := fmt.Sprintf("room%d-%s", n, user)
				m.join(room, nil)
				want[room] = 1
			}
			m.join("lobby", nil)
		}
	}
	want["lobby"] = 3

	got, order := map[string]float64{}, []string{}
	for cursor, more := "", true; more; {
		answer := whole(t, asked, "/v1/topics?limit=7&cursor="+strings.NewReplacer("*", "%2A", "@", "%40").Replace(cursor))
		for _, x := range answer["topics"].([]any) {
			topic := x.(map[string]any)
			order = append(order, topic["topic"].(string))
			got[order[len(order)-1]] = topic["online"].(float64)
		}
		cursor, more = answer["next"].(string)
	}
	if !slices.IsSorted(order) || len(order) != len(want) || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("topics %v, want %v", got, want)
	}

	for _, x := range whole(t, asked, "/v1/nodes")["nodes"].([]any) {
		n, p := x.(map[string]any), asked
		if n["node"] == other.ID {
			p = other
		}
		if n["node"] != p.ID || n["state"] != "ready" || n["address"] != p.Addr || n["version"] != "dev" ||
			n["sessions"] != 2.0 || n["users"] != 2.0 || n["since"] == "" {
			t.Errorf("node %v", n)
		}
	}
	sessions := whole(t, asked, "/v1/users/alice")["sessions"].([]any)
	on := map[any]bool{}
	for _, x := range sessions {
		s := x.(map[string]any)
		on[s["node"]] = true
		for _, field := range []string{"session", "address", "since", "version", "client"} {
			if text, _ := s[field].(string); text == "" {
				t.Errorf("a session has no %s: %v", field, s)
			}
		}
	}
	if len(sessions) != 2 || !on[asked.ID] || !on[other.ID] {
		t.Errorf("alice's sessions: %v", sessions)
	}

	// All at once: after some seconds the node is taken for dead.
	var asking sync.WaitGroup
	var nodes, topics, user map[string]any
	other.freeze()
	asking.Go(func() { _, nodes = call(t, asked, "GET", "/v1/nodes", "") })
	asking.Go(func() { _, topics = call(t, asked, "GET", "/v1/topics", "") })
	asking.Go(func() { _, user = call(t, asked, "GET", "/v1/users/user1", "") })
	asking.Wait()
	other.Signal(syscall.SIGCONT)
	list, _ := nodes["nodes"].([]any)
	silent := slices.ContainsFunc(list, func(x any) bool {
		n := x.(map[string]any)
		return n["node"] == other.ID && n["state"] == "silent" && n["address"] == nil && n["sessions"] == nil
	})
	if !silent || topics["silent"] != 1.0 || user["silent"] != 1.0 || user["online"] != true {
		t.Errorf("a frozen node is listed as silent: %v; topics %v; its user %v", silent, topics["silent"], user)
	}
}

// A node that runs alone, in memory, tells of itself likewise.
func TestListingsAlone(t *testing.T) {
	t.Parallel()
	alone := serve(t, nil)
	enter(t, alone.URL(), "alice").join("lobby", nil)
	n := must(t, alone, "GET", "/v1/nodes", "")["nodes"].([]any)[0].(map[string]any)
	if n["node"] != alone.ID || n["state"] != "ready" || n["sessions"] != 1.0 {
		t.Errorf("node %v", n)
	}
	if topics := must(t, alone, "GET", "/v1/topics", ""); fmt.Sprint(topics["topics"]) != "[map[online:1 topic:*] map[online:1 topic:@alice] map[online:1 topic:lobby]]" {
		t.Errorf("topics %v", topics)
	}
}
