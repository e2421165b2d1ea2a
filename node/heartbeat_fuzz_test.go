package node

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
)

// A recorded is a connection on which data comes, and then the peer's end. It keeps what is written to it.
type recorded struct {
	net.Conn
	data    []byte
	written bytes.Buffer
}

func (c *recorded) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

func (c *recorded) Write(p []byte) (int, error)      { return c.written.Write(p) }
func (c *recorded) SetReadDeadline(time.Time) error  { return nil }
func (c *recorded) SetWriteDeadline(time.Time) error { return nil }

// inside is a session that said hello, of a node that does not run.
func inside(k kind, data []byte) (*session, *recorded) {
	n := New(bus.NewMemory(nil).Attach(), presence.NewMemory().Attach("n", func(string, []byte) {}), store.NewMemory(), nil)
	for _, sh := range n.shards {
		if sh.lot != nil {
			sh.lot.epoll.Close()
		}
	}
	conn := &recorded{data: data}
	s, done, _ := n.take(netip.AddrPort{}, k)
	done()
	s.user, s.socket = "alice", newSocket(conn, nil)
	s.socket.onReady = func() {}
	s.input = &webSocketInput{session: s}
	if _, ok := k.(lineKind); ok {
		s.input = &lineInput{socket: s.socket, most: n.maxFrame, begun: true}
	}
	return s, conn
}

// What a lot takes for one heartbeat alone is that for a reader, too: the answers are the same bytes, and
// what is counted and charged is the same. What it does not take, it leaves as it is.
func FuzzHeartbeat(f *testing.F) {
	for _, data := range []string{
		"\x89\x80\x01\x02\x03\x04", "\x89\x84\x01\x02\x03\x04beat", "\x8a\x80\x01\x02\x03\x04", "\x89\x85\x01\x02\x03\x04beat", "\x89\x04beat",
		"\x09\x80\x01\x02\x03\x04", "\x89\xfe\x00\x00\x00\x00\x00\x00", "\x89\x80\x01\x02\x03\x04\x89\x80\x01\x02\x03\x04",
		"\x81\x96\x00\x00\x00\x00" + `{"type":"ping","id":7}`, "\x81\x8f\x00\x00\x00\x00" + `{"type":"ping"}`, "\x81\xfe\x00\x0f\x00\x00\x00\x00" + `{"type":"ping"}`,
		"\x81\x97\x00\x00\x00\x00" + `{"type":"ping","id":07}`, "\x81\xa5\x00\x00\x00\x00" + `{"type":"ping","id":9007199254740992}`,
		`{"type":"ping","id":7}` + "\n", `{"type":"ping"}` + "\r\n", `{"type":"ping"}`, `{"type":"ping"}` + "\n\n", `{"type":"ping","id":7}` + "\r\r\n", "\n",
	} {
		for kind := range 3 {
			f.Add(data, kind)
		}
	}
	f.Fuzz(func(t *testing.T, data string, which int) {
		k := []kind{protocolKind{}, plainKind{topic: "lobby"}, lineKind{}}[uint(which)%3]
		quick, seen := inside(k, nil)
		frames, bytes := quick.frames, quick.bytes
		beaten := quick.beat([]byte(data))
		quick.socket.helper.Wait()
		if !beaten {
			if seen.written.Len() > 0 || quick.frames != frames || quick.bytes != bytes || quick.node.metrics.framesIn.Load() > 0 || quick.unread > 0 {
				t.Fatalf("%q is not taken, but does something", data)
			}
			return
		}
		plain, want := inside(k, []byte(data))
		plain.socket.onRead = plain.charge
		if err := plain.handleNext(); err != nil || len(want.data) > 0 || !plain.input.idle() {
			t.Fatalf("%q is no heartbeat alone: %v", data, err)
		}
		plain.socket.helper.Wait()
		if seen.written.String() != want.written.String() {
			t.Errorf("%q is answered with %q, and by a reader with %q", data, &seen.written, &want.written)
		}
		type count struct {
			frames, bytesIn, bytesOut uint64
			unread                    int
		}
		counts := func(s *session) count {
			m := s.node.metrics
			return count{m.framesIn.Load(), m.bytesIn.Load(), m.bytesOut.Load(), s.unread}
		}
		if got, want := counts(quick), counts(plain); got != want {
			t.Errorf("%q counts as %+v, and for a reader as %+v", data, got, want)
		}
		charged := func(s *session) [2]bool { return [2]bool{s.frames > 0, s.bytes > 0} }
		if charged(quick) != charged(plain) {
			t.Errorf("%q is charged as %v, and for a reader as %v", data, charged(quick), charged(plain))
		}
	})
}
