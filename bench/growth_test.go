package bench_test

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/node"
)

// Sessions that publish as fast as they are answered are all answered.
func TestPublish(t *testing.T) {
	t.Parallel()
	opts := &node.Options{Drain: time.Second, Limits: node.Limits{Publishes: 1e9, Frames: 1e9, Bytes: 1e9, UserPublishes: 1e9}}
	found := measure(t, &bench.Publish{Sessions: 5, Window: 7, Duration: time.Second, Payload: 64}, &bench.Options{URLs: serve(t, 2, opts), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": 5, "publishes_refused": 0})
	if found["published"] < 100 || found["publishes_per_second"] < 1 || found["publishes_per_second"] > found["published"] {
		t.Errorf("found %v", found)
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Topics{Topics: 130, Each: 60, Duration: time.Millisecond}, &bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": 3, "topics": 130})
}

// Those who come to one room within a few seconds are told of each other in few frames: no more a member than there
// are intervals of the roster, with its names at most. The answer to a join names up to a thousand, or else a hundred:
// so a room that N join costs O(N) names in all, not O(N²).
func TestGather(t *testing.T) {
	t.Parallel()
	const people = 1200           // more than an answer names
	const whole, part = 1000, 100 // users up to which all are named in an answer; names in others, and in a frame
	found := measure(t, &bench.Gather{Sessions: people, Within: 5 * time.Second}, &bench.Options{URLs: serve(t, 2, &node.Options{Drain: time.Second, Handshakes: 1e6}), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": people, "sessions_lost": 0})
	intervals := 4*found["seconds_until_all_know"] + 1
	t.Logf("%.2f frames a member, %.0f bytes, and %.0f names in an answer, in %.1f s", found["presence_frames_per_member"], found["presence_bytes_per_member"], found["roster_names_per_join"], found["seconds_until_all_know"])
	if n := found["presence_frames_per_member"]; n > intervals || n > people/10 {
		t.Errorf("%.1f frames a member within %.1f intervals: they are not coalesced", n, intervals)
	}
	if n := found["presence_names_per_member"]; n > people || n > part*found["presence_frames_per_member"] {
		t.Errorf("%.0f names a member, in %.2f frames", n, found["presence_frames_per_member"])
	}
	if n, most := found["roster_names_per_join"]*people, float64(whole*whole/2+part*people); n > most {
		t.Errorf("%.0f names in the answers to %d joins, want at most %.0f", n, people, most)
	}
}
