package main

import (
	"context"
	"errors"
	"os"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/cmd/rookery/chat"
)

// connectFlags say where to connect, and as whom.
type connectFlags struct {
	URL   string `name:"url" default:"ws://127.0.0.1:8000/ws" env:"ROOKERY_URL" help:"Address of a node or a load balancer (ws:// or wss://)."`
	As    string `name:"as" placeholder:"NAME" env:"ROOKERY_AS,USER" help:"User name, where anonymous users are let in."`
	Token string `name:"token" placeholder:"JWT" env:"ROOKERY_TOKEN" help:"Token that says who you are, instead of --as."`
}

func (f connectFlags) options() (*client.Options, error) {
	switch {
	case f.Token != "":
		return &client.Options{Token: func(context.Context) (string, error) { return f.Token, nil }}, nil
	case f.As != "":
		return &client.Options{User: f.As}, nil
	}
	return nil, errors.New("say who you are, with --as NAME or --token JWT")
}

type chatCmd struct {
	connectFlags
	Room   string `name:"room" default:"lobby" env:"ROOKERY_ROOM" help:"Room to enter."`
	Recent int    `name:"recent" default:"20" env:"ROOKERY_RECENT" help:"Begin with so many of the room's newest messages."`
}

// Help is what rookery chat --help says at the end.
func (*chatCmd) Help() string {
	return `On a terminal, chat shows your rooms, the people in them and what they say: /help there tells
the commands and keys, and NO_COLOR=1 turns colours off.

Elsewhere each line of the input is sent to the room. Messages are printed to standard output,
notices (lines that begin with "* ") to standard error. At the end of the input, chat
waits until everything is stored and exits, so that it works in a pipe.

  /msg NAME TEXT   send to one user, wherever that user is
  /who             who is in the room
  /join ROOM       enter one more room, and talk there from now on
  /quit            leave
  //TEXT           send a line that begins with a /`
}

// Run chats until the input ends or ctx is done.
func (cmd *chatCmd) Run(ctx context.Context) error {
	opts, err := cmd.options()
	if err != nil {
		return err
	}
	c := client.New(cmd.URL, opts)
	o := chat.Options{Room: cmd.Room, Recent: cmd.Recent}
	if chat.OnTerminal(os.Stdin, os.Stdout) {
		return chat.Screen(ctx, c, o)
	}
	return chat.Lines(ctx, c, o, os.Stdin, os.Stdout, os.Stderr)
}
