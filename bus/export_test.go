package bus

import "context"

// What the tests of this package may see of its inside.
var (
	ParseLive   = parseLive
	PartitionOf = partitionOf
	Tags        = tags
)

// LiveMessage returns what publish.lua sends for d.
func LiveMessage(epoch, offset, time string, d Draft) string {
	return string(appendBody([]byte("m"+epoch+" "+offset+" "+time+" "), d))
}

// Idle tells whether nothing runs that a call of r has begun.
func (r *Redis) Idle(ctx context.Context) bool {
	for _, busy := range []func() int{r.writes.crew.running, r.reads.crew.running, r.heals.running} {
		if busy() > 0 {
			return false
		}
	}
	return true
}

func (c *crew[T]) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy
}
