// Package client is the Go client of the protocol rookery.v1.
//
// A [Client] keeps one connection to a cluster, makes it anew when it is lost, and goes on
// in every topic where it was: each message comes once and in order for as long as the
// topic's log holds it, and a [wire.Reset] says when that was not possible.
//
//	c := client.New("ws://127.0.0.1:8000/ws", &client.Options{User: "alice"})
//	go c.Run(ctx)
//	if _, err := c.Join(ctx, "lobby", nil); err != nil { … }
//	if _, err := c.Publish(ctx, "lobby", "hello", nil); err != nil { … }
//	for event := range c.Events(ctx) {
//		switch event := event.(type) {
//		case *wire.Message:
//			fmt.Println(event.From, string(event.Data))
//		}
//	}
//
// # Goroutines
//
// Run's own goroutine connects and is the only one that reads: it moves the cursors and
// puts events into the queue. For each connection it owns, and waits for, one goroutine
// that writes, one that closes the connection when ctx is done, and short ones that repeat
// joins. A call (Publish, Join, …) runs in its caller's goroutine, hands its frame to the
// writer and waits for the reader to bring the reply; the caller repeats it when the
// connection is lost.
//
// There are two locks, Client.mu and queue.mu; neither is held while the other is taken,
// nor while anything waits.
package client
