package deploy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/wire"
)

// readRarely lets people on a node read only once a second, in a room where more comes meanwhile than the node's ring
// and their connections hold: each time, each of them reads on from the log.
func (c *cluster) readRarely(f front, host string) (end func()) {
	c.t.Helper()
	readers := make([]*rawtest.Conn, 8)
	for i := range readers {
		readers[i] = enterNews(c.t, c.at(host), fmt.Sprint("reader", i))
	}
	const messages = 48
	draft := fmt.Sprintf(`{"topic": "news", "data": %q}`, strings.Repeat("x", 16<<10))
	batch := "[" + strings.Repeat(draft+",", messages-1) + draft + "]"
	came := 0
	stop := repeat(time.Second, func() {
		var reading sync.WaitGroup
		for _, r := range readers {
			reading.Go(func() { readNews(c.t, r, came) })
		}
		reading.Wait()
		came = 0
		r, _ := http.NewRequestWithContext(c.t.Context(), "POST", "http://"+f.api+"/v1/messages", strings.NewReader(batch))
		r.Header.Set("Authorization", "Bearer "+apiKey)
		r.Header.Set("Content-Type", "application/json")
		w, err := direct.Do(r)
		if err != nil {
			c.t.Error(err)
			return
		}
		defer w.Body.Close()
		results, _ := io.ReadAll(w.Body)
		if came = strings.Count(string(results), `"receipt"`); came == 0 {
			c.t.Errorf("nothing was published: %s", results)
		}
	})
	return func() {
		stop()
		for _, r := range readers {
			r.Close()
		}
	}
}

// enterNews enters the room as somebody whose kernel takes little.
func enterNews(t *testing.T, addr, user string) *rawtest.Conn {
	t.Helper()
	r := rawtest.Enter(t, addr, user)
	r.Conn.(*net.TCPConn).SetReadBuffer(32 << 10)
	r.Say(`{"type":"join","id":2,"topic":"news"}`)
	for {
		_, b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), `"id":2`) {
			return r
		}
	}
}

func readNews(t *testing.T, r *rawtest.Conn, messages int) {
	for got := 0; got < messages; {
		_, b, err := r.Next()
		if err != nil {
			t.Errorf("who reads rarely got %d of %d messages: %v", got, messages, err)
			return
		}
		frame, _ := wire.ParseFrame(b)
		if _, ok := frame.(*wire.Message); ok {
			got++
		}
	}
}
