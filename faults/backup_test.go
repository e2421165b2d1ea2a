package faults_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// A snapshot of Redis is taken while people talk, as deploy/backup does: nobody notices. They talk on, then Redis is
// lost, and starts with the snapshot, as deploy/restore has it. What was said since is gone, who had it is told so, no
// position names two messages, people are still in their rooms, and what the server knew at the time of the copy it knows again.
func TestBackup(t *testing.T) {
	t.Parallel()
	redis := newBackend(t, "single").(*single)
	s := newStorm(t, redis, 1, nil)
	s.log.Add(judge.Record{Act: judge.Lossy})
	await(t, "everybody hears", s.hears())
	api := s.seats[0].node.Load()
	ban := func(user string) {
		t.Helper()
		must(t, api, "PUT", "/v1/topics/*/bans/"+user, "")
		await(t, user+" is banned", func() bool { return knock(t, api, user) == wire.Forbidden })
	}
	ban("before")
	snapshot := save(t, redis.Server)
	ban("since")
	await(t, "everybody hears what will be lost", s.hears())
	for _, n := range s.nodes() {
		if resets := n.Metric("rookery_resets_total"); resets != 0 {
			t.Errorf("the copy made %v resets", resets)
		}
	}

	s.log.Add(judge.Record{Act: judge.Fault, Kind: "an old copy of Redis is put back"})
	redis.Kill()
	putBack(t, redis.Server, snapshot)
	redis.Restart()
	s.healed("an old copy of Redis was put back")
	for _, n := range s.nodes() {
		n.AwaitReady(true)
	}
	await(t, "the ban since the copy is gone", func() bool { return knock(t, api, "since") == "" })
	if code := knock(t, api, "before"); code != wire.Forbidden {
		t.Errorf("who was banned before the copy gets %q", code)
	}
	s.acquitted(s.calm(), true)
}

// save has Redis write a snapshot beside its work, and returns it.
func save(t *testing.T, s *redistest.Server) []byte {
	t.Helper()
	file := filepath.Join(s.Dir, "dump.rdb")
	if _, err := s.Ask("bgsave", "schedule"); err != nil {
		t.Fatal(err)
	}
	var content []byte
	await(t, "the snapshot is there", func() (there bool) { // Redis renames it when it is whole
		var err error
		content, err = os.ReadFile(file)
		return err == nil
	})
	return content
}

// putBack gives a server that does not run a snapshot to start with, in the place of what it has.
func putBack(t *testing.T, s *redistest.Server, snapshot []byte) {
	t.Helper()
	folder := filepath.Join(s.Dir, "appendonlydir")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"appendonly.aof.1.base.rdb": snapshot,
		"appendonly.aof.manifest":   []byte("file appendonly.aof.1.base.rdb seq 1 type b\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
