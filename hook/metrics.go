package hook

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what a hook does.
type metrics struct {
	told, refused prometheus.Counter
	lost          prometheus.Counter
	attempts      prometheus.Counter
	oldest        atomic.Int64 // time of the oldest event that waits, Unix milliseconds; 0 for none
	took          prometheus.Histogram
	outcomes      *prometheus.CounterVec
}

func newMetrics(h *Hook, r prometheus.Registerer) *metrics {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_hook_events_total",
		Help: "Events that the back end took (told), or would not have (refused)."}, []string{"outcome"})
	m := &metrics{
		told: events.WithLabelValues("told"), refused: events.WithLabelValues("refused"),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "rookery_hook_lost_total", Help: "Changes that were more than the journal keeps, and were never told."}),
		attempts: prometheus.NewCounter(prometheus.CounterOpts{Name: "rookery_hook_failures_total", Help: "Requests with events that have to be sent again."}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "rookery_hook_review_seconds", Help: "Time that the review of a publish took, waiting included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12)}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rookery_hook_reviews_total",
			Help: "Publishes that were passed, rewritten or refused, whose review failed, or which were too many (overflow)."}, []string{"outcome"}),
	}
	if r == nil {
		return m
	}
	r.MustRegister(events, m.lost, m.attempts, m.took, m.outcomes)
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rookery_hook_lag_seconds", Help: "Age of the oldest event that this node has to tell; 0 when there is none."}, func() float64 {
		oldest := m.oldest.Load()
		if oldest == 0 {
			return 0
		}
		return max(time.Since(time.UnixMilli(oldest)).Seconds(), 0)
	}))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rookery_hook_reviews_waiting", Help: "Publishes that wait until one of those under review is answered."}, func() float64 {
		return float64(max(len(h.places)-len(h.slots), 0))
	}))
	return m
}

// lag takes down the time of the oldest event that waits, the zero time for none.
func (m *metrics) lag(oldest time.Time) {
	if oldest.IsZero() {
		m.oldest.Store(0)
		return
	}
	m.oldest.Store(oldest.UnixMilli())
}

func (m *metrics) reviewed(outcome string) { m.outcomes.WithLabelValues(outcome).Inc() }
