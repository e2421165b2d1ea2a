package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/cmd/rookery/chat"
	"github.com/rookery-chat/rookery/wire"
)

type publishCmd struct {
	connectFlags
	Topic   string        `arg:"" help:"Where to: a room, or @NAME for a user's inbox, or * for everyone."`
	Data    string        `arg:"" help:"JSON, or else a text. - reads it from standard input, one message a line."`
	Key     string        `name:"key" env:"ROOKERY_KEY" help:"Makes it safe to run the command again: within two minutes the same key is the same message. With -, line n has the key KEY-n."`
	Timeout time.Duration `name:"timeout" default:"10s" env:"ROOKERY_TIMEOUT" help:"Give up on a message after this time."`
}

// Help is what rookery publish --help says at the end.
func (*publishCmd) Help() string {
	return `Prints where each message is stored, as one line of JSON. "reached" is the number of nodes
on which the user of an inbox is online.`
}

// A receipt is what publish prints, in the shape of the server API's answer.
type receipt struct {
	Epoch     string `json:"epoch"`
	Offset    uint64 `json:"offset"`
	Duplicate bool   `json:"duplicate"`
	Reached   *int   `json:"reached,omitempty"`
}

// Run publishes until everything is stored.
func (cmd *publishCmd) Run(ctx context.Context) error {
	opts, err := cmd.options()
	if err != nil {
		return err
	}
	c := client.New(cmd.URL, opts)
	ctx, stop := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	work.Go(func() { stop(c.Run(ctx)) })
	work.Go(func() {
		for range c.Events(ctx) { // the room's messages are of no interest
		}
	})
	err = cmd.run(ctx, c, os.Stdin, os.Stdout)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause // the client ended by itself
	}
	stop(nil)
	work.Wait()
	return chat.Harmless(err)
}

func (cmd *publishCmd) run(ctx context.Context, c *client.Client, in io.Reader, out io.Writer) error {
	if !wire.IsInbox(cmd.Topic) && cmd.Topic != wire.Everyone {
		if err := cmd.join(ctx, c); err != nil {
			return fmt.Errorf("cannot enter %s: %w", cmd.Topic, err)
		}
	}
	if cmd.Data != "-" {
		return cmd.publish(ctx, c, cmd.Data, cmd.Key, out)
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			key := cmd.Key
			if key != "" {
				key += "-" + strconv.Itoa(n)
			}
			if err := cmd.publish(ctx, c, line, key, out); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read standard input: %w", err)
		}
	}
}

// join enters the room: only members publish to it.
func (cmd *publishCmd) join(ctx context.Context, c *client.Client) error {
	ctx, stop := context.WithTimeout(ctx, cmd.Timeout)
	defer stop()
	_, err := c.Join(ctx, cmd.Topic, nil)
	return err
}

// publish stores one message and prints its receipt.
func (cmd *publishCmd) publish(ctx context.Context, c *client.Client, text, key string, out io.Writer) error {
	ctx, stop := context.WithTimeout(ctx, cmd.Timeout)
	defer stop()
	var data any = text
	if json.Valid([]byte(text)) {
		data = json.RawMessage(text)
	}
	got, err := c.Publish(ctx, cmd.Topic, data, &client.PublishOptions{Key: key, NoEcho: true})
	if err != nil {
		return fmt.Errorf("cannot publish to %s: %w", cmd.Topic, err)
	}
	return json.NewEncoder(out).Encode(receipt{got.Epoch, got.Offset, got.Duplicate, got.Reached})
}
