package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/hook"
	"github.com/rookery-chat/rookery/node"
)

// hookFlags are the flags --hook and --hook-…
type hookFlags struct {
	URL     string   `name:"hook" env:"ROOKERY_HOOK" placeholder:"URL" help:"Back end that is told over HTTP who connects, disconnects, joins and leaves: docs/webhooks.md. All nodes of a cluster must have it."`
	Secret  []string `name:"hook-secret" env:"ROOKERY_HOOK_SECRET" placeholder:"SECRET" help:"Secret of at least 24 bytes that signs requests to --hook, or whsec_ and base64; two while one is changed for another."`
	Publish bool     `name:"hook-publish" env:"ROOKERY_HOOK_PUBLISH" help:"Ask --hook about each publish of a session: it may refuse it or put other data in its place."`
	Open    bool     `name:"hook-publish-open" env:"ROOKERY_HOOK_PUBLISH_OPEN" help:"Let publishes pass while --hook cannot be asked; without it they are unavailable then."`
}

// journalLength is how many changes each of the 64 partitions keeps for a back end that
// does not take them: 1.1 MiB of Redis where each is of one short name (MEMORY USAGE).
const journalLength = 20_000

// new makes the way to the back end, nil without --hook.
func (f hookFlags) new(registry prometheus.Registerer) (*hook.Hook, error) {
	if f.URL == "" {
		return nil, nil
	}
	h, err := hook.New(f.URL, f.Secret, &hook.Options{Open: f.Open, Registerer: registry})
	if err != nil {
		return nil, fmt.Errorf("--hook, --hook-secret: %w", err)
	}
	return h, nil
}

func (f hookFlags) check() error {
	switch {
	case f.URL == "" && (len(f.Secret) > 0 || f.Publish):
		return errors.New("--hook-secret and --hook-publish need --hook, the URL of the back end")
	case f.URL != "" && len(f.Secret) == 0:
		return errors.New("--hook needs a --hook-secret, by which the back end knows that a request is ours")
	case len(f.Secret) > 2:
		return fmt.Errorf("--hook-secret: %d of them: want one, or two while one is changed for another", len(f.Secret))
	case f.Open && !f.Publish:
		return errors.New("--hook-publish-open needs --hook-publish")
	}
	return nil
}

// review has the back end asked about publishes, where that is wanted.
func (f hookFlags) review(h *hook.Hook) node.Review {
	if !f.Publish {
		return nil
	}
	return func(ctx context.Context, topic string, p node.Publication) ([]byte, error) {
		return h.Review(ctx, hook.Publish{Topic: topic, User: p.From, Session: p.Session, Key: p.Key, Data: p.Data})
	}
}

// outlast makes a context that ends so long after ctx.
func outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, cancel
}
