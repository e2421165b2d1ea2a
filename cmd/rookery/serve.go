package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/internal/handshake"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/web"
)

type serveCmd struct {
	Listen string   `default:"127.0.0.1:8000" env:"ROOKERY_LISTEN" help:"Address of the chat page, /rookery.js, /ws and /plain."`
	Admin  string   `default:"127.0.0.1:9000" env:"ROOKERY_ADMIN" help:"Address of /healthz, /readyz, /metrics, /debug/pprof/ and the server API, /v1/."`
	TCP    string   `name:"tcp" env:"ROOKERY_TCP" placeholder:"ADDRESS" help:"Address of raw TCP sessions: the frames of /ws, one a line, so that nc can chat; over TLS with --tls-cert. Off without it."`
	Redis  []string `sep:" " env:"ROOKERY_REDIS" placeholder:"URL" help:"Redis that carries the cluster: redis://host:6379, redis+cluster://host:6379,host…, redis+sentinel://host:26379,host…/name; rediss with TLS. Several URLs (with spaces between them) are a Redis Cluster. Without it the node runs alone, in memory."`
	Prefix string   `default:"rookery:" env:"ROOKERY_PREFIX" help:"Prefix of every Redis key."`

	APIKey      []string `name:"api-key" env:"ROOKERY_API_KEY" placeholder:"KEY" help:"Key that callers of /v1/, /metrics and /debug/pprof/ of --admin present; two while one is changed for another. Without any, only this machine is served."`
	OpenMetrics bool     `env:"ROOKERY_OPEN_METRICS" help:"Serve /metrics without a key, for a Prometheus that had better not hold one that can do everything. Only for an --admin that nobody else reaches."`
	Push        string   `env:"ROOKERY_PUSH" placeholder:"ADDRESS" help:"Address of the push port: one JSON object a line, answered by ok or fail. Off without it."`
	PushSecret  string   `env:"ROOKERY_PUSH_SECRET" placeholder:"SECRET" help:"What each line on the push port must have as its secret."`

	AuthSecret   string   `env:"ROOKERY_AUTH_SECRET" placeholder:"SECRET" help:"Secret of at least 32 bytes that signs users' tokens (HS256)."`
	AuthKey      string   `env:"ROOKERY_AUTH_KEY" type:"existingfile" placeholder:"FILE" help:"Public key in PEM that verifies users' tokens (RS256…, ES256…, EdDSA)."`
	AuthJwks     string   `env:"ROOKERY_AUTH_JWKS" placeholder:"URL" help:"JSON Web Key Set that verifies users' tokens."`
	AuthAudience string   `env:"ROOKERY_AUTH_AUDIENCE" placeholder:"AUD" help:"What a token's aud must contain."`
	AuthIssuer   string   `env:"ROOKERY_AUTH_ISSUER" placeholder:"ISS" help:"What a token's iss must be."`
	Anonymous    bool     `env:"ROOKERY_ANONYMOUS" help:"Let anyone in under a freely chosen name, also on addresses beyond loopback. Beside tokens, such names get a ~ before them."`
	Rooms        string   `default:"open" enum:"open,closed" env:"ROOKERY_ROOMS" help:"Who has no permissions in a token may enter every room and write to every inbox (open), or none (closed)."`
	TLSCert      string   `name:"tls-cert" env:"ROOKERY_TLS_CERT" type:"existingfile" placeholder:"FILE" help:"Certificate chain in PEM for --listen and --tcp; read again when the file changes."`
	TLSKey       string   `name:"tls-key" env:"ROOKERY_TLS_KEY" type:"existingfile" placeholder:"FILE" help:"Its private key in PEM."`
	Proxies      []string `name:"trusted-proxies" env:"ROOKERY_TRUSTED_PROXIES" placeholder:"CIDR" help:"Load balancers and proxies before --listen and --tcp: networks, addresses, or loopback. Of them alone the PROXY protocol (1 and 2) and X-Forwarded-For are believed. One that passes on bytes as they come (TCP) must send PROXY itself, or its callers could."`
	Origins      []string `env:"ROOKERY_ORIGINS" placeholder:"HOST" help:"Sites whose pages may connect, beside the node's own: chat.example.com, *.example.com."`

	Hook hookFlags `embed:""`

	LogLength int           `default:"1000" env:"ROOKERY_LOG_LENGTH" help:"Messages that a topic's log keeps."`
	LogAge    time.Duration `default:"24h" env:"ROOKERY_LOG_AGE" help:"How long a log is kept after its last message."`
	Log       []string      `env:"ROOKERY_LOG" sep:";" placeholder:"PATTERN=COUNT,AGE" help:"Other bounds for the topics of a pattern: team:*=5000,72h. The first that names a topic holds; patterns are those of tokens."`

	Limits limitFlags `embed:"" prefix:"limit-"`

	Handshakes int           `default:"2000" env:"ROOKERY_HANDSHAKES" help:"Connections taken a second; others are told to come back."`
	DrainDelay time.Duration `default:"3s" env:"ROOKERY_DRAIN_DELAY" help:"After a signal, so long the node goes on while load balancers notice that it is not ready."`
	Drain      time.Duration `default:"15s" env:"ROOKERY_DRAIN" help:"The longest an orderly end may take, the delay included. A second signal ends at once."`

	LogFormat string `default:"text" enum:"text,json" env:"ROOKERY_LOG_FORMAT" help:"text or json."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"ROOKERY_LOG_LEVEL" help:"debug, info, warn or error."`
}

// Run serves until ctx is done and the node has drained.
func (c *serveCmd) Run(ctx context.Context) error {
	c.tidy()
	if err := c.check(); err != nil {
		return err
	}
	c.setLogger()
	signal.Ignore(syscall.SIGPIPE) // or the death of who reads the log would be the node's
	if os.Getenv("GOGC") == "" {
		// Most of a node's memory is what idle sessions hold, and little of its work makes garbage:
		// collecting twice as often costs next to nothing, and saves what storms of connects leave.
		debug.SetGCPercent(50)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	id := node.NewID()
	ways, err := c.connect(id)
	if err != nil {
		return err
	}
	defer ways.close()
	b, p, st := ways.bus, ways.presence, ways.store
	verifier, err := c.verifier(ctx)
	if err != nil {
		return err
	}
	proxies, err := proxy.ParseTrusted(c.Proxies)
	if err != nil {
		return fmt.Errorf("--trusted-proxies: %w", err)
	}
	h, err := c.Hook.new(registry)
	if err != nil {
		return err
	}
	l, err := c.listen(ctx, proxies)
	if err != nil {
		return err
	}
	defer l.close()
	n := node.New(b, p, st, &node.Options{
		Auth: verifier, Anonymous: c.Anonymous, Closed: c.Rooms == "closed", Origins: c.Origins,
		Limits: c.Limits.node(), Proxies: proxies, Review: c.Hook.review(h),
		ID: id, Address: reachable(l.public.Addr()), Version: version, Handshakes: c.Handshakes, DrainDelay: c.DrainDelay, Drain: c.Drain, Registerer: registry,
	})
	slog.Info("listening", "addr", l.public.Addr().String(), "admin", l.admin.Addr().String(), "node", id, "version", version)

	mux := http.NewServeMux()
	mux.Handle("/ws", n.Handler())
	mux.Handle("/plain", n.Handler())
	mux.Handle("/", web.Handler(c.tokens()))
	cluster := backend{n, b, p, st}
	var public http.Handler = mux
	if !c.Anonymous && !c.authenticated() {
		public = ownPagesOnly(mux, c.Origins)
	}
	servers := []*http.Server{newServer(public), newServer(c.adminHandler(n, registry, cluster))}
	servers[1].WriteTimeout = 0 // profiles take their time

	// The servers outlive ctx: a draining node is still asked for its readiness.
	running, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	open := []net.Listener{l.public, l.admin} // for the servers
	if c.TLSCert == "" {
		handshakes := handshake.Listen(l.public, public)
		wg.Go(handshakes.Run)
		open[0] = handshakes
	}
	for i, open := range open {
		wg.Go(func() {
			if err := servers[i].Serve(open); !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
		})
	}
	if l.push != nil {
		line := api.NewLine(cluster, &api.LineOptions{Secret: c.PushSecret})
		wg.Go(func() {
			if err := line.Serve(running, l.push); err != nil {
				cancel(err)
			}
		})
	}
	taking, stopTaking := context.WithCancel(context.WithoutCancel(ctx)) // a draining node takes sessions for a while
	defer stopTaking()
	if l.tcp != nil {
		wg.Go(func() {
			if err := n.ServeTCP(taking, l.tcp); err != nil {
				cancel(err)
			}
		})
	}
	telling, stopTelling := outlast(running, c.Drain)
	defer stopTelling()
	// What still waits for a Redis that is away when the time is over would wait for seconds more.
	defer context.AfterFunc(telling, ways.close)()
	if h != nil {
		wg.Go(func() { h.Run(telling, ways.journal) })
	}
	err = n.Run(running)
	if h != nil {
		h.Finish()
	}
	if cause := context.Cause(running); err == nil && cause != nil && ctx.Err() == nil {
		err = cause
	}
	cancel(nil)
	stopTaking()
	for _, s := range servers {
		s.Close()
	}
	wg.Wait()
	slog.Info("ended", "node", id)
	return err
}

// tidy takes off white space at the ends of what lists hold: in a variable it stands between two of them,
// and as a part of one it would let no key, pattern or site ever match.
func (c *serveCmd) tidy() {
	for _, list := range [][]string{c.APIKey, c.Hook.Secret, c.Origins, c.Log} {
		for i, s := range list {
			list[i] = strings.TrimSpace(s)
		}
	}
	c.Redis = slices.DeleteFunc(c.Redis, func(url string) bool { return strings.TrimSpace(url) == "" })
}

// check refuses settings that would open the node to the world by mistake, or that cannot be meant.
func (c *serveCmd) check() error {
	if err := c.checkListeners(); err != nil {
		return err
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	if c.Handshakes < 1 {
		return fmt.Errorf("--handshakes %d: want at least 1", c.Handshakes)
	}
	for _, key := range c.APIKey {
		if len(key) < minAPIKey {
			return fmt.Errorf("--api-key: a key of %d bytes is easily guessed: want at least %d", len(key), minAPIKey)
		}
		if strings.ContainsFunc(key, unicode.IsSpace) {
			return errors.New("--api-key: a key with white space in it cannot be presented: want one word, and a comma between two keys")
		}
	}
	if err := c.Hook.check(); err != nil {
		return err
	}
	if c.LogLength < 1 {
		return fmt.Errorf("--log-length %d: want at least 1", c.LogLength)
	}
	if c.LogAge < minLogAge {
		return fmt.Errorf("--log-age %s: want at least %s", c.LogAge, minLogAge)
	}
	if c.DrainDelay < 0 {
		return fmt.Errorf("--drain-delay %s: want 0s or more", c.DrainDelay)
	}
	if c.Drain <= c.DrainDelay {
		return fmt.Errorf("--drain %s must be longer than --drain-delay %s", c.Drain, c.DrainDelay)
	}
	return nil
}

// minAPIKey is the least length of an API key, in bytes.
const minAPIKey = 16

func (c *serveCmd) authenticated() bool {
	return c.AuthSecret != "" || c.AuthKey != "" || c.AuthJwks != ""
}

// tokens tells the page how to let people in.
func (c *serveCmd) tokens() web.Tokens {
	switch {
	case !c.authenticated():
		return web.NoTokens
	case c.Anonymous:
		return web.TokensToo
	}
	return web.TokensOnly
}

// verifier returns what verifies tokens, nil when none are configured.
func (c *serveCmd) verifier(ctx context.Context) (*auth.Verifier, error) {
	if !c.authenticated() {
		return nil, nil
	}
	o := auth.Options{Secret: c.AuthSecret, JWKS: c.AuthJwks, Audience: c.AuthAudience, Issuer: c.AuthIssuer}
	if c.AuthKey != "" {
		var err error
		if o.Key, err = os.ReadFile(c.AuthKey); err != nil {
			return nil, fmt.Errorf("--auth-key: %w", err)
		}
	}
	v, err := auth.New(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("--auth-secret, --auth-key, --auth-jwks: %w", err)
	}
	return v, nil
}

func (c *serveCmd) setLogger() {
	var level slog.Level
	level.UnmarshalText([]byte(c.LogLevel)) // kong has checked it
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, opts)
	if c.LogFormat == "json" {
		h = slog.NewJSONHandler(os.Stderr, opts)
	}
	slog.SetDefault(slog.New(h))
}

// connPrefix begins the names of a node's connections to Redis; its id follows.
const connPrefix = "rookery-"

// ways are a node's to the cluster.
type ways struct {
	bus      bus.Bus
	presence presence.Presence
	store    store.Store
	journal  presence.Journal // nil without a hook
	close    func()
}

// connect makes the node's ways to the cluster: in Redis, or alone in memory.
func (c *serveCmd) connect(id string) (w ways, err error) {
	rules, err := parseRetentions(c.Log)
	if err != nil {
		return w, fmt.Errorf("--log: %w", err)
	}
	busOpts := &bus.Options{Prefix: c.Prefix, LogLength: c.LogLength, LogAge: c.LogAge, LogFor: logFor(rules)}
	if len(c.Redis) == 0 {
		slog.Info("running alone in memory: messages and logs end with this process; give --redis to make a cluster")
		b := bus.NewMemory(busOpts).Attach()
		people := presence.NewMemory()
		w = ways{bus: b, store: store.NewMemory(), close: func() {}}
		if c.Hook.URL != "" {
			w.journal = people.Journal(journalLength)
		}
		w.presence = people.Attach(connPrefix+id, func(topic string, change []byte) { b.Signal(context.Background(), topic, change) })
		return w, nil
	}
	opts, err := bus.ParseURLs(c.Redis)
	if err != nil {
		return w, fmt.Errorf("--redis: %w", err)
	}
	opts.ClientName = connPrefix + id
	// The library's 64 KiB a connection are as much as a dozen sessions; what we send and get is small.
	opts.ReadBufferSize, opts.WriteBufferSize = redisBuffer, redisBuffer
	redis.SetLogger(redisLogger{})
	client := redis.NewUniversalClient(opts)
	b := bus.NewRedis(client, busOpts)
	w = ways{bus: b, store: store.NewRedis(client, c.Prefix), close: func() { client.Close() }}
	people := &presence.Options{Prefix: c.Prefix, ConnName: opts.ClientName}
	if c.Hook.URL != "" {
		people.Journal = journalLength
		w.journal = presence.NewJournal(client, bus.Partitions(), people)
	}
	w.presence = presence.NewRedis(client, b.Live, people)
	return w, nil
}

const redisBuffer = 8 << 10

// redisLogger keeps what the Redis library says for those who look for it: what matters of
// it, the bus and presence say themselves.
type redisLogger struct{}

func (redisLogger) Printf(ctx context.Context, format string, args ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, args...))
}
