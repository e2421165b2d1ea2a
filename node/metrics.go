package node

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/wire"
)

// metrics counts what a node does. The hot counters are plain atomics, read when scraped.
type metrics struct {
	connections atomic.Int64 // upgraded, hello or not
	sessions    atomic.Int64
	taken       atomic.Uint64
	refused     atomic.Uint64
	framesIn    atomic.Uint64
	bytesIn     atomic.Uint64
	bytesOut    atomic.Uint64
	received    atomic.Uint64
	delivered   atomic.Uint64
	resets      atomic.Uint64
	overflows   atomic.Uint64
	logReads    atomic.Uint64

	catchups *prometheus.CounterVec
	closes   *prometheus.CounterVec
	errors   *prometheus.CounterVec
	limits   *prometheus.CounterVec
	latency  prometheus.Histogram
	failures prometheus.Counter
}

func newMetrics(n *Node, r prometheus.Registerer) *metrics {
	m := &metrics{
		catchups: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_catchups_total", Help: "Cursors that had to read the log, by cause."}, []string{"cause"}),
		closes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_closes_total", Help: "Sessions closed, by close code; 1006 is a connection that was lost."}, []string{"code"}),
		errors:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_command_errors_total", Help: "Error frames sent, by code."}, []string{"code"}),
		limits:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_limited_total", Help: "Times that a limit held somebody back, by limit."}, []string{"limit"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "rookery_bus_publish_seconds", Help: "Time from a publish to its receipt.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "rookery_bus_publish_failures_total", Help: "Publishes whose outcome was an error."}),
	}
	// What has not happened yet is 0, and not unknown: rates need both.
	for _, cause := range []string{causeResume, causeSlow, causeEpoch, causeUnknown} {
		m.catchups.WithLabelValues(cause)
	}
	for _, code := range []wire.CloseCode{wire.CloseNormal, wire.CloseDraining, 1006, wire.ClosePolicy, wire.CloseUnauthorized, wire.CloseKicked, wire.CloseLost} {
		m.closes.WithLabelValues(strconv.Itoa(int(code)))
	}
	for _, code := range []wire.Code{wire.BadRequest, wire.Forbidden, wire.RateLimited, wire.Unavailable, wire.Internal} {
		m.errors.WithLabelValues(string(code))
	}
	for _, limit := range []string{"publishes", "user_publishes", "sessions", "topics"} {
		m.limits.WithLabelValues(limit)
	}
	if r == nil {
		return m
	}
	r.MustRegister(m.catchups, m.closes, m.errors, m.limits, m.latency, m.failures)
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	counter := func(name, help string, value func() uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("rookery_connections", "Open connections, with or without a hello.", func() float64 { return float64(m.connections.Load()) })
	gauge("rookery_sessions", "Sessions of this node.", func() float64 { return float64(m.sessions.Load()) })
	gauge("rookery_users", "Users with a session on this node.", func() float64 { return float64(n.users.len()) })
	gauge("rookery_ips", "Addresses whose limits are kept: of sessions, and of those who connected lately.", func() float64 { return float64(n.addresses.ledger.len()) })
	gauge("rookery_publishers", "Users who published lately.", func() float64 { return float64(n.publishers.len()) })
	gauge("rookery_topics", "Topics that this node hears.", func() float64 { return float64(n.interest.count()) })
	gauge("rookery_ready", "1 when the node is ready.", func() float64 {
		if n.Ready() != nil {
			return 0
		}
		return 1
	})
	gauge("rookery_shard_queue_high_water", "Most letters that ever waited in one shard's mailbox.", func() float64 {
		high := 0
		for _, sh := range n.shards {
			high = max(high, sh.mail.highWater())
		}
		return float64(high)
	})
	gauge("rookery_shard_queue", "Letters that wait in the fullest shard's mailbox.", func() float64 {
		most := 0
		for _, sh := range n.shards {
			most = max(most, sh.mail.waiting())
		}
		return float64(most)
	})
	gauge("rookery_shard_wait_seconds", "How long the oldest letter has waited that its shard has not worked off.", func() float64 {
		now, longest := time.Now(), time.Duration(0)
		for _, sh := range n.shards {
			longest = max(longest, sh.mail.wait(now))
		}
		return longest.Seconds()
	})
	gauge("rookery_bus_behind", "Topics that are not level with their logs: just subscribed, or with a hole to heal.", func() float64 { return float64(n.bus.Stats().Behind) })
	counter("rookery_handshakes_total", "Connections that were taken.", m.taken.Load)
	counter("rookery_handshakes_refused_total", "Connections that were not taken.", m.refused.Load)
	counter("rookery_frames_received_total", "Frames from sessions.", m.framesIn.Load)
	counter("rookery_received_bytes_total", "Bytes of frames from sessions.", m.bytesIn.Load)
	counter("rookery_sent_bytes_total", "Bytes written to sessions.", m.bytesOut.Load)
	counter("rookery_messages_received_total", "Messages from the bus.", m.received.Load)
	counter("rookery_deliveries_total", "Messages written to sessions.", m.delivered.Load)
	counter("rookery_resets_total", "Resets of topics.", m.resets.Load)
	counter("rookery_shard_overflows_total", "Topics whose messages did not fit into a shard's mailbox and were read from the log.", m.overflows.Load)
	counter("rookery_log_reads_total", "Pages read from logs for sessions.", m.logReads.Load)
	counter("rookery_bus_reconnects_total", "Live connections to the bus made anew.", func() uint64 { return n.bus.Stats().Reconnects })
	counter("rookery_bus_gaps_healed_total", "Holes in the live stream healed from the log.", func() uint64 { return n.bus.Stats().Gaps })
	counter("rookery_presence_scripts_total", "Round trips to Redis for presence.", func() uint64 { return n.presence.Stats().Scripts })
	counter("rookery_presence_reaped_total", "Dead nodes whose users this node removed.", func() uint64 { return n.presence.Stats().Reaped })
	counter("rookery_presence_reconciled_total", "Repairs of presence after Redis lost something.", func() uint64 { return n.presence.Stats().Reconciled })
	return m
}

func (m *metrics) catchup(cause string)  { m.catchups.WithLabelValues(cause).Inc() }
func (m *metrics) limited(limit string)  { m.limits.WithLabelValues(limit).Inc() }
func (m *metrics) failed(code wire.Code) { m.errors.WithLabelValues(string(code)).Inc() }

// closed counts a session's end. Peers may send any code: the number of label values is bounded.
func (m *metrics) closed(c wire.CloseCode) {
	label := "other"
	if c >= 1000 && c <= 1015 || c >= 4000 && c <= 4010 {
		label = strconv.Itoa(int(c))
	}
	m.closes.WithLabelValues(label).Inc()
}

func (m *metrics) published(took time.Duration, err error) {
	m.latency.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}
