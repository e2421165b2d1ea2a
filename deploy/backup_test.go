package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/redistest"
)

// A snapshot that failed is told. When there is room again, the next copy is one, though Redis still remembers
// the failure while it writes.
func TestBackupAfterFailure(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	ask := func(words ...any) {
		t.Helper()
		if _, err := redis.Ask(words...); err != nil {
			t.Fatal(err)
		}
	}
	ask("mset", "a", 1, "b", 2, "c", 3, "d", 4)
	_, port, _ := strings.Cut(redis.Addr, ":")
	compose := filepath.Join(t.TempDir(), "compose") // config --services; exec -T redis COMMAND
	script := "#!/bin/bash\ncase $1 in config) echo redis; exit;; esac\nshift 3\nredis-cli() { command redis-cli -p " + port + " \"$@\"; }\n" +
		"case $1 in sh) set -e; eval \"${3//\\/data/" + redis.Dir + "}\";; *) \"$@\";; esac\n"
	if err := os.WriteFile(compose, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "copy.rdb")
	backup := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "./backup", file)
		cmd.Env = append(os.Environ(), "COMPOSE="+compose)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	full := filepath.Join(redis.Dir, "dump.rdb") // no file can take its name
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if said, err := backup(); err == nil || !strings.Contains(said, "cannot write a snapshot") {
		t.Errorf("a snapshot that cannot be written: %q, %v", said, err)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	ask("config", "set", "rdb-key-save-delay", 300_000) // µs: it takes a second
	if said, err := backup(); err != nil {
		t.Errorf("the next one: %q, %v", said, err)
	}
	if content, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(content), "REDIS") {
		t.Errorf("the copy is %.20q, %v", content, err)
	}
}
