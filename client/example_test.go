package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	// A node of its own; usually it is another process.
	b := bus.NewMemory(nil).Attach()
	p := presence.NewMemory().Attach("", func(topic string, change []byte) { b.Signal(ctx, topic, change) })
	n := node.New(b, p, store.NewMemory(), &node.Options{Drain: time.Second})
	running.Go(func() { n.Run(ctx) })
	server := httptest.NewServer(n.Handler())
	defer server.Close()

	c := client.New("ws"+strings.TrimPrefix(server.URL, "http")+"/ws", &client.Options{User: "alice"})
	running.Go(func() { c.Run(ctx) })

	if _, err := c.Join(ctx, "lobby", nil); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Publish(ctx, "lobby", map[string]string{"text": "hello"}, nil); err != nil {
		log.Fatal(err)
	}
	for event := range c.Events(ctx) {
		switch e := event.(type) {
		case *client.Connected:
			fmt.Println("connected as", e.User)
		case *wire.Message:
			var data struct{ Text string }
			json.Unmarshal(e.Data, &data)
			fmt.Printf("%s in %s: %s\n", e.From, e.Topic, data.Text)
			return
		}
	}
	// Output:
	// connected as alice
	// alice in lobby: hello
}
