package node_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/internal/nettest"
	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// Peers vanish, over a network that drops what they and the node send from then on, and tells nobody:
// those who are silent, those to whom much is said, one within a message, over each transport. The node
// finds out, others see them leave, and nothing of them stays behind. Who is silent but there stays.
func TestVanishedPeers(t *testing.T) {
	t.Parallel()
	if !nettest.Inside(t) {
		return
	}
	const far = "127.0.0.2" // where those find the node who will vanish
	e := newCluster(t, 1, &node.Options{Heartbeat: 4 * time.Second, Drain: time.Second}).nodes[0]
	onFar := func(ln net.Listener) net.Listener {
		ln.Close()
		ln, err := net.Listen("tcp", far+":0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	lines := serveTCPOn(t, e, onFar)
	plain, secure := httptest.NewUnstartedServer(e.Handler()), httptest.NewUnstartedServer(e.Handler())
	for _, s := range []*httptest.Server{plain, secure} {
		s.Listener = onFar(s.Listener)
		t.Cleanup(s.Close)
	}
	plain.Start()
	secure.StartTLS()

	watch := enter(t, e, "watch")
	j := watch.join(wire.Command{Topic: "hall", Presence: true})
	go func() { // watch reads only while it waits: so it shows life otherwise
		for t.Context().Err() == nil {
			time.Sleep(100 * time.Millisecond)
			watch.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`))
		}
	}()
	there := enter(t, e, "there")
	there.join(wire.Command{Topic: "hall"})
	there.conn.CloseRead(t.Context()) // it only answers pings
	watch.until(j.Roster.Members, "there", "watch")
	goroutines, descriptors := runtime.NumGoroutine(), openFiles(t)

	join := func(topic string) string { return fmt.Sprintf(`{"type":"join","topic":%q}`, topic) }
	var gone []net.Conn
	dial := func(addr string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		gone = append(gone, c)
		return c
	}
	dialTLS := func() net.Conn {
		return tls.Client(dial(secure.Listener.Addr().String()), &tls.Config{InsecureSkipVerify: true})
	}
	var users []string
	for how, connect := range map[string]func() net.Conn{
		"plain": func() net.Conn { return dial(plain.Listener.Addr().String()) }, "tls": dialTLS,
	} {
		for what, say := range map[string]func(*rawtest.Conn){
			"silent": func(*rawtest.Conn) {},
			"told":   func(c *rawtest.Conn) { c.Say(join("noise")) },
			"within": func(c *rawtest.Conn) { c.Send(rawtest.Frame(rawtest.Text, `{"type":`)) },
		} {
			user := how + "-" + what
			c := rawtest.New(t, connect()).Enter(user)
			c.Say(join("hall"))
			say(c)
			users = append(users, user)
		}
	}
	for what, topic := range map[string]string{"silent": "hall", "told": "noise"} {
		user := "lines-" + what
		fmt.Fprintf(dial(lines), "{\"type\":\"hello\",\"user\":%q}\n%s\n%s\n", user, join("hall"), join(topic))
		users = append(users, user)
	}
	io.WriteString(dial(lines), `{"type":`)
	users = append(users, "there", "watch")
	slices.Sort(users)
	watch.until([]string{"there", "watch"}, users...)

	nettest.Drop(t, far)
	for range 40 { // more than a connection holds
		if _, err := e.Publish(t.Context(), "noise", node.Publication{Data: quote(strings.Repeat("x", 60_000))}); err != nil {
			t.Fatal(err)
		}
	}
	dropped := time.Now()
	watch.until(users, "there", "watch")
	t.Logf("all seen leaving after %v", time.Since(dropped).Round(10*time.Millisecond))
	settled(t, goroutines)
	await(t, "descriptors besides the peers' own", descriptors, func() int { return openFiles(t) - len(gone) })
	t.Logf("all let go after %v", time.Since(dropped).Round(10*time.Millisecond))
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
