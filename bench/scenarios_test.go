package bench_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// Every member of a room gets what each of them says, the one who said it too.
func TestRooms(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Rooms{Rooms: 7, Members: 3, Rate: 100, Duration: time.Second, Payload: 64},
		&bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{
		"sessions": 21, "published": 200, "deliveries_expected": 600, "deliveries_received": 600, "deliveries_measured": 300,
		"deliveries_doubled": 0, "deliveries_missing": 0, "deliveries_disordered": 0,
	})
}

func TestConnect(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Connect{Sessions: 60, AtOnce: 10}, &bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": 60, "connections_refused": 0, "sessions_lost": 0})
	if found["connects_per_second"] <= 0 || found["welcome_p50_ms"] <= 0 {
		t.Errorf("found %v", found)
	}
}

// A node that is taking others in says 503 and Retry-After: whoever is refused stays away for so long, and then gets in.
func TestConnectIsToldToComeBack(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Connect{Sessions: 8, AtOnce: 8}, &bench.Options{URLs: serve(t, 1, &node.Options{Handshakes: 4, Drain: time.Second}), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": 8})
	// Who does not stay away is refused a hundred times before there is room.
	if n := found["connections_refused"]; n < 1 || n > 16 {
		t.Errorf("%v times were refused 8 sessions where 4 a second are let in", n)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Idle{Sessions: 40, Members: 10, Duration: 200 * time.Millisecond}, &bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{"sessions": 40, "sessions_lost": 0})
}

// A server's pings are answered, with what was in them.
func TestPings(t *testing.T) {
	t.Parallel()
	answered := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err == nil {
			_, _, err = conn.Read(r.Context())
		}
		if err != nil {
			answered <- err
			return
		}
		defer conn.CloseNow()
		closed := conn.CloseRead(r.Context())
		ctx, stop := context.WithTimeout(closed, patience)
		defer stop()
		say(conn, string(wire.Welcome{ID: 1}.Append(nil)))
		answered <- conn.Ping(ctx)
		<-closed.Done()
	}))
	t.Cleanup(server.Close)
	measure(t, &bench.Connect{Sessions: 1, AtOnce: 1}, &bench.Options{URLs: []string{"ws" + strings.TrimPrefix(server.URL, "http")}})
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Sessions that were cut off get what they missed, and nothing twice.
func TestResume(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Resume{Sessions: 40, Rooms: 4, Missed: 6, Payload: 32, AtOnce: 20}, &bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{
		"sessions": 44, "published": 28, "deliveries_expected": 280, "deliveries_received": 280, "deliveries_measured": 240,
		"deliveries_doubled": 0, "deliveries_missing": 0, "sessions_level": 40, "resets": 0,
	})
}

// Members see who comes and goes in fewer frames than there are changes, and have the truth at the end.
func TestChurn(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Churn{Members: 10, Churners: 40, Rate: 200, Duration: time.Second}, &bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{
		"changes":  240, // 40 churners change five times each, and then all are in and leave
		"sessions": 50, "members_wrong_at_the_end": 0, "contradictions": 0,
	})
	if found["frames_received"] < 10 || found["names_per_frame"] < 1 {
		t.Errorf("found %v", found)
	}
}

// A run that is interrupted tells what there was until then.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(4*time.Second, stop)
	r, err := (&bench.Fanout{Subscribers: 5, Rate: 50, Duration: time.Hour, Payload: 64}).Run(ctx, &bench.Options{URLs: serve(t, 1, nil), UserPrefix: "bench"})
	if err != nil {
		t.Fatal(err)
	}
	found := values(r)
	if !r.Interrupted || r.Err() != nil || found["published"] < 10 || found["deliveries_received"] < 50 {
		t.Errorf("interrupted: %v, error %v, found %v", r.Interrupted, r.Err(), found)
	}
}

// Sessions say who they are with a token, where the nodes want one, and are told what is missing without.
func TestTokens(t *testing.T) {
	t.Parallel()
	const secret = "a secret of at least 32 bytes, for HS256"
	verifier, err := auth.New(t.Context(), auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	urls := serve(t, 1, &node.Options{Auth: verifier, Drain: time.Second})
	opts := &bench.Options{URLs: urls, UserPrefix: "bench", Token: func(user string) (string, error) { return auth.Mint(secret, user, time.Minute, nil) }}
	found := measure(t, &bench.Connect{Sessions: 5, AtOnce: 5}, opts)
	exactly(t, found, map[string]float64{"sessions": 5})
	fails(t, &bench.Options{URLs: urls, UserPrefix: "bench"}, "--token")

	one := &bench.Options{URLs: urls, Token: func(string) (string, error) { return auth.Mint(secret, "alice", time.Minute, nil) }}
	if _, err := (&bench.Churn{Members: 2, Churners: 2, Rate: 10, Duration: time.Second}).Run(t.Context(), one); err == nil || !strings.Contains(err.Error(), "--auth-secret") {
		t.Errorf("with one user for all: %v", err)
	}
}

// fails runs a small scenario that must fail, saying so.
func fails(t *testing.T, opts *bench.Options, says string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	r, err := (&bench.Connect{Sessions: 3, AtOnce: 3}).Run(ctx, opts)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%v: found %v, error %v, want one that says %q", opts.URLs, r, err, says)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "ws://" + l.Addr().String()
	l.Close()
	for status, says := range map[int]string{http.StatusOK: "200 OK", http.StatusForbidden: "403"} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(web.Close)
		fails(t, &bench.Options{URLs: []string{"ws" + strings.TrimPrefix(web.URL, "http")}}, says)
	}
	for _, row := range []struct{ url, sources, says string }{
		{nobody, "", "connection refused: is a server listening"},
		{"wss://127.0.0.1", "", "ws://"},
		{"http://127.0.0.1", "", "ws://127.0.0.1:8000/ws"},
		{"127.0.0.1:8000", "", "--url"},
		{"ws://127.0.0.1:70000", "", "65535"},
		{nobody, "127.0.0.9", "--source-range"},
		{nobody, "127.0.0.9-127.0.0.2", "--source-range"},
		{nobody, "192.0.2.1-192.0.2.2", "source ports or addresses"},
	} {
		fails(t, &bench.Options{URLs: []string{row.url}, Sources: row.sources}, row.says)
	}
	fails(t, &bench.Options{}, "--url")
	fails(t, &bench.Options{URLs: []string{nobody}, PIDs: []int{1 << 30}}, "--pid")
	for says, s := range map[string]scenario{
		"--subscribers": &bench.Fanout{Rate: 1, Duration: 1, Payload: 32},
		"--rate":        &bench.Fanout{Subscribers: 1, Duration: 1, Payload: 32},
		"--duration":    &bench.Rooms{Rooms: 1, Members: 1, Rate: 1, Payload: 32},
		"--payload":     &bench.Rooms{Rooms: 1, Members: 1, Rate: 1, Duration: 1, Payload: 31},
		"--rooms":       &bench.Rooms{},
		"--sessions":    &bench.Idle{},
		"--at-once":     &bench.Connect{},
		"--missed":      &bench.Resume{},
		"--churners":    &bench.Churn{},
	} {
		if _, err := s.Run(t.Context(), &bench.Options{URLs: []string{nobody}}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%T with a bad %s: %v", s, says, err)
		}
	}
}
