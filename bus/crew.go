package bus

import "sync"

// A crew works off a queue with at most size goroutines, which exist only while
// there is work: an idle crew costs nothing. Each takes up to batch items at once.
type crew[T any] struct {
	size, batch int // fixed at construction
	work        func([]T)

	mu    sync.Mutex
	idle  sync.Cond // busy fell to 0
	queue []T       // guarded by mu
	busy  int       // guarded by mu
}

func newCrew[T any](size, batch int, work func([]T)) *crew[T] {
	c := &crew[T]{size: size, batch: batch, work: work}
	c.idle.L = &c.mu
	return c
}

// add queues items. It does not wait.
func (c *crew[T]) add(items ...T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, items...)
	for range items {
		if c.busy < c.size {
			c.busy++
			go c.run()
		}
	}
}

func (c *crew[T]) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		n := min(c.batch, len(c.queue))
		items := append([]T(nil), c.queue[:n]...)
		clear(c.queue[:n])
		c.queue = c.queue[n:]
		c.mu.Unlock()
		c.work(items)
		c.mu.Lock()
	}
	if c.busy--; c.busy == 0 {
		c.idle.Broadcast()
	}
}

// wait returns when nothing is left to do.
func (c *crew[T]) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy > 0 {
		c.idle.Wait()
	}
}
