package faults_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// talk has both speakers publish until the test says that it is enough.
func (o *ordeal) talk() (enough func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var talking sync.WaitGroup
	for i, s := range o.speakers {
		talking.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprint("talk-", i, "-", n)
				if at, err := s.publish(key); err == nil {
					o.acked(s, key, *at)
				} else {
					o.t.Errorf("%s was answered %v", key, err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); talking.Wait() }
}

// Every second all live connections are killed while people talk: nobody is refused a publish,
// and nobody misses a message.
func TestLiveConnectionsKilled(t *testing.T) {
	t.Parallel()
	o := newOrdeal(t, redistest.Start(t))
	enough := o.talk()
	killed := int64(0)
	for range 20 {
		killed += o.ask("client", "kill", "type", "pubsub").(int64)
		time.Sleep(time.Second)
	}
	enough()
	if killed < 20 {
		t.Errorf("only %d connections were there to be killed", killed)
	}
	t.Logf("%d connections killed", killed)
	o.judged()
}

// Redis ends the live connections because their buffers are full, at every long message: their limit
// is far too low. It is read from the log then.
func TestLiveBuffersOverflow(t *testing.T) {
	t.Parallel()
	o := newOrdeal(t, redistest.Start(t, "--client-output-buffer-limit", "pubsub 10kb 0 0"))
	enough := o.talk()
	log, err := judge.Create(o.dir, judge.Publisher, "bursts")
	if err != nil {
		t.Fatal(err)
	}
	const bursts, each = 10, 5
	for i := range bursts * each {
		key := fmt.Sprint("long-", i)
		body := fmt.Sprintf(`{"from":"api","key":%q,"data":{"key":%q,"text":%q}}`, key, key, strings.Repeat("x", 30<<10))
		answer := must(t, o.nodes[i%2], "POST", "/v1/topics/lobby/messages", body)
		log.Add(judge.Record{Act: judge.Acked, Topic: ordealRoom, Key: key, Epoch: answer["epoch"].(string), Offset: uint64(answer["offset"].(float64))})
		if i%each == each-1 {
			time.Sleep(time.Second) // until the connection is back
		}
	}
	enough()
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	for _, n := range o.nodes {
		if ended := n.Metric("rookery_bus_reconnects_total"); ended < bursts/2 {
			t.Errorf("only %v connections were ended", ended)
		}
	}
	o.judged()
}
