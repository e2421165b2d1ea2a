// Command ticker shows a clock that the cluster sends to everybody each second, and who is
// online. When something fails it says so, and tries again.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// overdue is how long no tick may come before the program wonders.
const overdue = 4 * time.Second

func main() {
	log.SetFlags(0)
	url := flag.String("url", cmp.Or(os.Getenv("ROOKERY_URL"), "ws://127.0.0.1:8000/ws"), "any node of the cluster")
	api := flag.String("api", cmp.Or(os.Getenv("ROOKERY_API"), "http://127.0.0.1:9000"), "the server API of any node")
	end := flag.Bool("stop", false, "end the clock, which otherwise goes on without this program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *end {
		if err := (API{*api}).Stop(ctx); err != nil {
			log.Fatal("ticker: ", err)
		}
		return
	}
	if flag.NArg() != 1 {
		log.Fatal("ticker: say who you are: ticker alice")
	}

	c := client.New(*url, &client.Options{User: flag.Arg(0)})
	var work sync.WaitGroup
	work.Go(func() { startClock(ctx, API{*api}) })
	work.Go(func() { watch(ctx, c) })
	work.Go(func() { show(c) })
	err := c.Run(ctx) // connects, again and again, unless that is of no use
	stop()
	work.Wait()
	if err != nil {
		log.Fatal("ticker: ", err)
	}
}

// startClock tries until the clock runs.
func startClock(ctx context.Context, api API) {
	for {
		err := api.Start(ctx)
		switch {
		case err == nil:
			fmt.Println("* the clock runs")
			return
		case ctx.Err() != nil:
			return
		}
		fmt.Println("* cannot see to the clock, trying again:", err)
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
	}
}

// watch asks to be told who is online. Every session is in the topic * anyway.
func watch(ctx context.Context, c *client.Client) {
	joined, err := c.Join(ctx, wire.Everyone, &client.JoinOptions{Presence: true})
	switch {
	case err == nil:
		fmt.Println("* online:", strings.Join(joined.Roster.Members, ", "))
	case ctx.Err() == nil:
		fmt.Println("* cannot see who is online:", err)
	}
}

// show prints the events of c.
func show(c *client.Client) {
	late := time.AfterFunc(overdue, func() { fmt.Println("* no tick came for", overdue) })
	defer late.Stop()
	for event := range c.Events(context.Background()) {
		switch e := event.(type) {
		case *wire.Message:
			var tick struct {
				Clock time.Time
				Count uint64 `json:",string"`
			}
			if e.Topic == wire.Everyone && json.Unmarshal(e.Data, &tick) == nil {
				fmt.Println(tick.Clock.Local().Format(time.TimeOnly), "tick", tick.Count)
				late.Reset(overdue)
			}
		case *wire.Presence:
			for _, name := range e.Joined {
				fmt.Println("*", name, "came")
			}
			for _, name := range e.Left {
				fmt.Println("*", name, "left")
			}
			if roster, known := c.Roster(wire.Everyone); known {
				fmt.Println("* online:", strings.Join(roster.Members, ", "))
			}
		case *client.Connected:
			fmt.Println("* connected to node", e.Node)
		case *client.Disconnected:
			fmt.Printf("* no connection: %v; reconnecting in %.1f s (does a node run? make run starts one)\n", e.Err, e.Delay.Seconds())
		case *wire.Reset:
			if !e.Recovered {
				fmt.Println("* ticks are missing: the log no longer holds them")
			}
		}
	}
}
