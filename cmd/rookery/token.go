package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/wire"
)

type tokenCmd struct {
	AuthSecret string        `required:"" env:"ROOKERY_AUTH_SECRET" placeholder:"SECRET" help:"The secret that the nodes have as --auth-secret."`
	User       string        `required:"" env:"ROOKERY_USER" help:"Whom the token is for."`
	For        time.Duration `default:"1h" env:"ROOKERY_TOKEN_FOR" help:"How long it is good."`
	Join       []string      `env:"ROOKERY_TOKEN_JOIN" placeholder:"PATTERN" help:"Rooms that the user may join: lobby, team:*. Without --join, --publish and --signal the nodes' rule for rooms holds."`
	Publish    []string      `env:"ROOKERY_TOKEN_PUBLISH" placeholder:"PATTERN" help:"Topics to publish to: rooms, @* for inboxes, ** for everyone."`
	Signal     []string      `env:"ROOKERY_TOKEN_SIGNAL" placeholder:"PATTERN" help:"Topics to signal to."`
}

// Run prints a token.
func (c *tokenCmd) Run(context.Context) error {
	user, err := wire.CheckUser(c.User)
	if err != nil {
		return err
	}
	if c.For <= 0 {
		return fmt.Errorf("--for %s: want a time to come, such as 1h", c.For)
	}
	var p *auth.Permissions
	if len(c.Join)+len(c.Publish)+len(c.Signal) > 0 {
		granted := auth.Grant(c.Join, c.Publish, c.Signal)
		p = &granted
	}
	token, err := auth.Mint(c.AuthSecret, user, c.For, p)
	if err != nil {
		return fmt.Errorf("--auth-secret: %w", err)
	}
	fmt.Println(token)
	return nil
}
