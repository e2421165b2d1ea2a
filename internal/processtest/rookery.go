package processtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const rookery = "github.com/rookery-chat/rookery/cmd/rookery"

// Rookery returns the path of the binary under test.
func Rookery(tb testing.TB) string {
	tb.Helper()
	path, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// built links the binary once for the tests of all packages: go run leaves it in Go's build cache, and what it would
// run there is what echo prints.
var built = sync.OnceValues(func() (path string, err error) {
	mod, err := run("env", "GOMOD")
	if err != nil {
		return "", err
	}
	// One at a time, also of several test processes: no file can be run while it is written. (The lock of go.mod
	// itself is the go command's.)
	root := filepath.Dir(mod)
	lock, err := os.Open(root)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", root, err)
	}
	find := func() (string, error) { return run("run", "-exec", "echo", rookery) }
	path, err = find()
	if _, gone := os.Stat(path); err == nil && gone != nil { // it was linked just now, in a folder that did not last
		path, err = find()
	}
	return path, err
})

// run runs the go command, and returns what it prints.
func run(args ...string) (string, error) {
	var complaint strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &complaint)
	}
	return strings.TrimSpace(string(out)), nil
}
