package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A conn is one connection that hears. go-redis' PubSub makes a new connection by
// itself whenever it does not like the old one, says nothing of it, and what was published in
// between is lost. So each conn has a client of its own, which may dial only once: its
// PubSub is that connection, and fails with it.
type conn struct {
	client *redis.Client
	pubsub *redis.PubSub
	id     int64 // CLIENT ID, 0 when Redis did not tell

	mu     sync.Mutex
	dialed bool
	ended  bool // cut was called
	net    net.Conn
}

var errOnce = errors.New("the connection was lost")

// dial makes a connection, and subscribes it to the link's probe.
func (l *link) dial(ctx context.Context) (*conn, error) {
	var c conn
	opts, err := l.options(ctx)
	if err != nil {
		return nil, err
	}
	dial, hook := opts.Dialer, opts.OnConnect
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.dial(ctx, dial, network, addr)
	}
	opts.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		if hook != nil {
			if err := hook(ctx, cn); err != nil {
				return err
			}
		}
		c.id, _ = cn.Do(ctx, "client", "id").Int64()
		info, err := cn.Info(ctx).Result()
		if err != nil {
			return err
		}
		return l.r.check(info)
	}
	c.client = redis.NewClient(opts)
	c.pubsub = c.client.Subscribe(ctx)
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	if err := c.pubsub.SSubscribe(ctx, l.probe); err != nil {
		c.close()
		return nil, err
	}
	return &c, nil
}

// options returns how to reach the server of the link's partitions.
func (l *link) options(ctx context.Context) (*redis.Options, error) {
	client, ok := l.r.client.(*redis.Client)
	if !ok {
		var err error
		if client, err = l.r.client.(*redis.ClusterClient).MasterForKey(ctx, l.probe); err != nil {
			return nil, err
		}
	}
	opts := *client.Options()
	opts.Protocol = 2 // nothing but what was subscribed comes unasked
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opts.PushNotificationProcessor = nil
	opts.ClientSideCache, opts.ClientSideCacheConfig = nil, nil
	opts.MaxRetries = -1
	opts.PoolSize, opts.MinIdleConns, opts.PipelinePoolSize = 1, 0, -1
	return &opts, nil
}

func (c *conn) dial(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), network, addr string) (net.Conn, error) {
	c.mu.Lock()
	again := c.dialed
	c.dialed = true
	c.mu.Unlock()
	if again {
		return nil, errOnce
	}
	n, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		n.Close()
		return nil, errOnce
	}
	c.net = n
	return n, nil
}

// cut ends the connection, whoever is using it. PubSub.Close could wait for a write.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.net != nil {
		c.net.Close()
	}
}

func (c *conn) close() {
	c.cut()
	c.pubsub.Close()
	c.client.Close()
}

var infoLine = regexp.MustCompile(`(?m)^(redis_version|maxmemory_policy|cluster_enabled|role|loading):([^\r\n]*)`)

// check looks at a server's INFO: it refuses one that cannot work, and warns of one that is not safe.
func (r *Redis) check(info string) error {
	is := make(map[string]string)
	for _, m := range infoLine.FindAllStringSubmatch(info, -1) {
		is[m[1]] = m[2]
	}
	var major int
	fmt.Sscanf(is["redis_version"], "%d.", &major)
	if major > 0 && major < 7 {
		r.warn("bus: Redis is too old and lacks sharded pub/sub: upgrade it to 7.0 or newer", "version", is["redis_version"])
	}
	if p := is["maxmemory_policy"]; p != "" && p != "noeviction" {
		r.warn("bus: Redis may evict logs and positions when memory is short: set maxmemory-policy to noeviction", "policy", p)
	}
	if _, single := r.client.(*redis.Client); single && is["cluster_enabled"] == "1" {
		return errors.New("this Redis runs in cluster mode: name it so (redis+cluster://), or name several of its addresses")
	}
	if is["loading"] == "1" {
		return errors.New("this Redis is loading its data")
	}
	if role := is["role"]; role != "" && role != "master" {
		return errors.New("this Redis is a replica: name the primary, or the Sentinels")
	}
	return nil
}
