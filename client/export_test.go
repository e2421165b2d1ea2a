package client

import "time"

// SetJitter replaces what spreads the delays. It must be called before Run.
func (c *Client) SetJitter(f func(limit time.Duration) time.Duration) { c.jitter = f }

const (
	SoftBound   = softBound
	BackoffBase = backoffBase
	BackoffCap  = backoffCap
	Settled     = settled
	Grace       = grace
	DialTimeout = dialTimeout
)
