package hook_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/hook"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/wire"
)

// The back end of docs/webhooks.md verifies, takes events, and decides about publishes.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(page), "```php\n")
	code, _, _ = strings.Cut(code, "```")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hook.php"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := processtest.FreeAddr(t)
	cmd := exec.Command("php", "-S", addr, "hook.php")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOOK_SECRET="+secret)
	php := processtest.Start(t, cmd)
	await(t, "php listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})

	h := newHook(t, "http://"+addr+"/hook.php", nil)
	c := newCluster(t, 100)
	c.does("*", "alice")
	c.does("lobby", "alice")
	tells := c.tell(h)
	await(t, "the events are told", func() bool {
		left, err := c.m.Journal(0).Pending(t.Context())
		return err == nil && len(left) == 0
	})
	if data, err := h.Review(t.Context(), publish); err != nil || string(data) != string(publish.Data) {
		t.Errorf("passed: %s, %v", data, err)
	}
	var e *wire.Error
	if _, err := h.Review(t.Context(), hook.Publish{Data: []byte(`"a curse"`)}); !errors.As(err, &e) || e.Code != wire.Forbidden || e.Message != "mind your language" {
		t.Errorf("a curse: %v", err)
	}
	forger, err := hook.New("http://"+addr+"/hook.php", []string{"another secret than the hook's"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forger.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a forger: %v", err)
	}
	newCluster(t, 1).tell(forger)() // closes its connections
	tells()
	php.Kill() // now it has said all
	for _, line := range []string{"connect alice *", "join alice lobby"} {
		if !strings.Contains(php.Said(), line) {
			t.Errorf("php says nothing of %q", line)
		}
	}
}
