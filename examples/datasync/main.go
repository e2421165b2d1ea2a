// Command datasync enters a room, says hello, and prints who comes, who goes and who says
// what. What you type, everyone gets. When its node dies, it goes on where it was.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

func main() {
	log.SetFlags(0)
	url := flag.String("url", cmp.Or(os.Getenv("ROOKERY_URL"), "ws://127.0.0.1:8000/ws"), "any node of the cluster")
	room := flag.String("room", "datasync", "the room to enter")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("datasync: say who you are: datasync alice")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)

	c := client.New(*url, &client.Options{User: flag.Arg(0)})
	var work sync.WaitGroup
	var ended error
	work.Go(func() { ended = c.Run(ctx); stop() }) // connects, again and again, unless that is of no use
	work.Go(func() { show(c, *room) })             // until Run has returned

	err := talk(ctx, c, *room)
	stop()
	work.Wait()
	if ended == nil && !errors.Is(err, context.Canceled) { // Ctrl-C is no error
		ended = err
	}
	if ended != nil {
		log.Fatal("datasync: ", ended)
	}
}

// talk says hello, and then what is typed, until the input ends or ctx is done.
func talk(ctx context.Context, c *client.Client, room string) error {
	joined, err := c.Join(ctx, room, &client.JoinOptions{Presence: true})
	if err != nil {
		return err
	}
	fmt.Println("* in the room:", strings.Join(joined.Roster.Members, ", "))
	lines := make(chan string)
	go read(lines) // the one goroutine that outlives us: nothing ends a read of standard input
	for text, more := "hello", true; more; {
		if _, err := c.Publish(ctx, room, text, nil); err != nil { // returns when it is stored, once
			return err
		}
		select {
		case text, more = <-lines:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// read sends the lines that are typed, and closes lines at their end.
func read(lines chan<- string) {
	defer close(lines)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if line := strings.TrimSpace(in.Text()); line != "" {
			lines <- strings.ToValidUTF8(line, "\uFFFD")
		}
	}
}

// show prints the events of c.
func show(c *client.Client, room string) {
	for event := range c.Events(context.Background()) {
		switch e := event.(type) {
		case *wire.Message:
			if text := ""; json.Unmarshal(e.Data, &text) == nil && e.Topic == room {
				fmt.Printf("%s says %q\n", e.From, text) // quoted: who knows what others write
			}
		case *wire.Presence:
			for _, name := range e.Joined {
				fmt.Printf("* %s joined, %d online\n", name, e.Online)
			}
			for _, name := range e.Left {
				fmt.Printf("* %s left, %d online\n", name, e.Online)
			}
		case *client.Connected:
			fmt.Println("* connected to node", e.Node)
		case *client.Disconnected:
			fmt.Printf("* no connection: %v; trying again in %.1f s (does a node run? make run starts one)\n", e.Err, e.Delay.Seconds())
		case *wire.Reset:
			if !e.Recovered {
				fmt.Println("* the log no longer holds what was said meanwhile in", e.Topic)
			}
		}
	}
}
