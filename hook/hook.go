// Package hook tells a back end over HTTP what happens in the cluster, and asks it about
// publishes: webhooks, signed as Standard Webhooks (https://www.standardwebhooks.com) has it.
//
// Events come from the journal of presence: a user of the cluster connects, disconnects, joins
// a room, leaves it. One node of the cluster has the journal and tells it, in order,
// one POST at a time (tell.go). What cannot be told stays there, and is tried again.
//
// A publish is reviewed before it is stored, by the node of its session (review.go).
package hook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/internal/seldom"
)

// Options are a hook's settings. The zero value of each field is its default.
type Options struct {
	// Open lets publishes pass that could not be reviewed. Otherwise nobody publishes then.
	Open bool
	// MaxData is how many bytes the data may have that a review puts in the place of a
	// publish's own; 64 KiB.
	MaxData    int
	Registerer prometheus.Registerer
}

// A Hook is one node's way to a back end.
type Hook struct {
	url               string        // Fixed at construction, as is all of this group.
	secrets           [][]byte      //
	client            *http.Client  //
	open              bool          //
	maxData           int           //
	rhythm            rhythm        //
	metrics           *metrics      //
	slots             chan struct{} // holds one of each review under way
	places            chan struct{} // holds one of each review under way or waiting
	finished          chan struct{} // closed by Finish
	finish            sync.Once     //
	failures, reviews seldom.Log    // what the log is told of events and of reviews
}

// A rhythm is how fast events are told.
type rhythm struct {
	poll  time.Duration // between looks into the journal
	idle  time.Duration // between attempts to get the journal, while another node has it
	first time.Duration // the longest pause after a first failure; it doubles up to most
	most  time.Duration
}

// New makes the hook of a back end at an http or https URL. All signatures of the secrets go
// with each request: two while one is changed for another.
func New(address string, secrets []string, opts *Options) (*Hook, error) {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if o.MaxData == 0 {
		o.MaxData = 64 << 10
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("the hook's URL must be one of http:// or https:// with a host") // and is not shown: it may hold a password
	}
	if len(secrets) == 0 {
		return nil, errors.New("the hook has no secret: its requests would prove nothing")
	}
	h := &Hook{
		url: address, open: o.Open, maxData: o.MaxData,
		client:   newClient(),
		rhythm:   rhythm{poll: 250 * time.Millisecond, idle: time.Second, first: 500 * time.Millisecond, most: 30 * time.Second},
		slots:    make(chan struct{}, maxReviews),
		places:   make(chan struct{}, maxReviews+maxWaiting),
		finished: make(chan struct{}),
	}
	for _, s := range secrets {
		key, err := parseSecret(s)
		if err != nil {
			return nil, fmt.Errorf("the hook's secret: %w", err)
		}
		h.secrets = append(h.secrets, key)
	}
	h.metrics = newMetrics(h, o.Registerer)
	return h, nil
}
