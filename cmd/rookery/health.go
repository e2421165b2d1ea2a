package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthCmd struct {
	Admin string `default:"127.0.0.1:9000" env:"ROOKERY_ADMIN" help:"The node's --admin."`
}

// Run asks a node on this machine whether it is ready: for health checks of containers that have
// no other program in them.
func (c *healthCmd) Run(ctx context.Context) error {
	host, port, err := net.SplitHostPort(c.Admin)
	if err != nil {
		return fmt.Errorf("--admin %q: want host:port, such as 127.0.0.1:9000: %w", c.Admin, err)
	}
	switch host { // it listens everywhere, here too
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("--admin %q: %w", c.Admin, err)
	}
	direct := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy of the environment's
	w, err := direct.Do(r)
	if err != nil {
		return fmt.Errorf("no node answers at --admin %s: %w", c.Admin, err)
	}
	defer w.Body.Close()
	const most = 512
	said, _ := io.ReadAll(io.LimitReader(w.Body, most))
	answer := strings.TrimSpace(string(said))
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of --admin %s: %s", w.Status, c.Admin, answer)
	}
	fmt.Println(answer)
	return nil
}
