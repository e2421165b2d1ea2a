package main_test

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/exampletest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// as is the README's command, for another name than its own.
func as(t *testing.T, name string) []string {
	t.Helper()
	command := exampletest.Command(t)
	if command[len(command)-1] != "alice" {
		t.Fatalf("the README's command does not end with a name: %q", command)
	}
	return append(slices.Clone(command[:len(command)-1]), name)
}

// Alice and bob, each on a node of their own, see each other come, talk and leave. Then bob's
// machine loses power: alice sees him leave, and come back.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	start := func(name string) *exampletest.Program {
		return exampletest.Run(t, as(t, name), "ROOKERY_REDIS="+redis.URL(),
			"ROOKERY_LISTEN="+processtest.FreeAddr(t), "ROOKERY_ADMIN="+processtest.FreeAddr(t))
	}
	alice := start("alice")
	alice.Await(0, "* in the room: alice")
	alice.Await(0, `alice says "hello"`)

	bob := start("bob")
	bob.Await(0, "* in the room: alice, bob")
	alice.Await(0, "* bob joined, 2 online")
	at := alice.Await(0, `bob says "hello"`)
	alice.Type("how are you?")
	bob.Await(0, `alice says "how are you?"`)
	bob.Type("\x1b[2J") // would clear a terminal
	alice.Await(at, `bob says "\x1b[2J"`)

	bob.Interrupt()
	at = alice.Await(at, "* bob left, 1 online")

	bob = start("bob")
	at = alice.Await(at, "* bob joined, 2 online")
	bob.Await(0, `bob says "hello"`)
	bob.Kill()
	at = alice.Await(at, "* bob left, 1 online")
	start("bob")
	at = alice.Await(at, "* bob joined, 2 online")
	alice.Await(at, `bob says "hello"`)

	alice.EndInput()
	if code := alice.Wait(); code != 0 { // and her node with her
		t.Errorf("alice's program ended with code %d", code)
	}

	// Nothing came twice.
	for text, want := range map[string]int{`bob says "hello"`: 3, "* bob joined": 3, "* bob left": 2, `alice says "hello"`: 1} {
		if n := strings.Count(strings.Join(alice.Lines(), "\n"), text); n != want {
			t.Errorf("alice saw %q %d times, want %d", text, n, want)
		}
	}
}

// The second program finds the first one's node. When the node ends, it says so, tries again,
// and goes on when a node is there.
func TestReconnect(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	where := []string{"ROOKERY_REDIS=" + redis.URL(), "ROOKERY_LISTEN=" + processtest.FreeAddr(t), "ROOKERY_ADMIN=" + processtest.FreeAddr(t)}
	alice := exampletest.Run(t, as(t, "alice"), where...)
	alice.Await(0, `alice says "hello"`)
	bob := exampletest.Run(t, as(t, "bob"), where...)
	at := bob.Await(0, `bob says "hello"`)
	bob.Await(0, "* in the room: alice, bob")

	alice.Kill() // and the node, which she brought
	at = bob.Await(at, "trying again")
	bob.Type("is anybody there?")
	alice = exampletest.Run(t, as(t, "alice"), where...)
	at = bob.Await(at, "* connected to node")
	bob.Await(at, `bob says "is anybody there?"`)
	bob.Await(at, `alice says "hello"`)
	alice.Type("yes")
	bob.Await(at, `alice says "yes"`)
}

// Who makes a mistake is told what to do.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command, url, want string
	}{
		{"examples/run", "", "say which example: "},
		{"examples/run nosuch", "", "say which example: "},
		{"examples/run datasync", "ws://127.0.0.1:1/ws", "say who you are: datasync alice"},
		{"examples/run datasync alice", "127.0.0.1", "should look like ws://host:8000/ws"},
		{"examples/run datasync @alice", "ws://127.0.0.1:1/ws", "does a node run? make run starts one"},
	} {
		p := exampletest.Run(t, strings.Fields(test.command), "ROOKERY_URL="+test.url)
		p.Await(0, test.want)
	}
}
