package node

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/wire"
)

const (
	helloTimeout   = 5 * time.Second
	commandTimeout = 10 * time.Second // for one command, Redis included
	lostGrace      = 5 * time.Second  // a lost connection's user is seen leaving only after this
	ownRoom        = 16 << 10         // own frames that may wait before the reader stops reading
)

// A session is one connection of one user. Its reader, a goroutine that there is only while
// it has something to do, reads frames and runs their commands one at a time; its shard writes.
type session struct {
	node   *Node          // Fixed at construction.
	shard  *shard         // Fixed at construction.
	kind   kind           // Fixed at construction.
	socket *socket        // Fixed at construction.
	input  input          // Fixed at construction.
	id     string         // Fixed at construction.
	from   netip.AddrPort // who calls, the port 0 where it is unknown. Fixed at construction.
	since  int64          // when it connected, Unix milliseconds. Fixed at construction.
	agent  agent          // what the peer says it is. Fixed at construction.

	// Owned by the reader, and constant once the session has joined its first topics.
	user string
	was  string // the session that this one continues

	// Owned by the reader.
	bearer   string            // token from the handshake, until hello
	may      *auth.Permissions // what its token grants; nil: the node's rule holds
	frames   meter             // what it sent, against the limits
	bytes    meter
	acts     meter // publishes and signals
	joined   []*membership
	gathered *gathering // publishes that were read and not stored yet; nil: none
	unread   int        // bytes of replies since the reader last saw the session's own frames drained

	// One command of the session at a time, also those of the server API: what the reader
	// owns may be touched by who holds turn.
	turn sync.Mutex
	over bool // the session has ended: there is nothing to be changed any more. Guarded by turn.

	spot spot // Guarded by shard.lot.mu.

	closing atomic.Bool // set by the shard when it closes the session: the reader runs no more commands

	// Guarded by shard.mu.
	entered               bool // user is set for good
	dirty                 bool // in shard.dirty
	last                  bool // out ends with a close frame
	gone                  bool // nothing more is written
	pinged                bool
	index                 int // in shard.sessions
	firstDirty, lastDirty *subscription
	out                   [][]byte
	outBytes              int
	drained               chan struct{}  // closed when out is empty; nil when nobody waits
	code                  wire.CloseCode // why the node closes it; 0 while it does not
	closeBy               int64          // when the peer's time to answer a close frame is over, Unix milliseconds
	expires               int64          // when the token ends, Unix milliseconds; 0 for an anonymous session
	acked                 uint64         // bytes that the peer's TCP had confirmed when last looked at
	ackedAt               int64          // when acked last grew, Unix milliseconds; 0 while nobody looks
	lifeAt                int64          // the last sign of life besides frames, Unix milliseconds
}

// A membership is a topic that a session joined. Owned by its reader.
type membership struct {
	topic    string
	sub      *subscription
	presence bool // holds a use of the topic's roster
	counted  bool // counts in the topic's presence
}

// hasRoom tells whether a frame that may be skipped should be sent.
func (s *session) hasRoom() bool { return s.outBytes < ownRoom }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errClosed ends a reader whose session was told why.
var errClosed = errors.New("session closed")

// start gives a session that was taken its first reader.
func (s *session) start() { s.shard.readers.Go(s.run) }

// run is the first reader of a session.
func (s *session) run() {
	s.socket.onRead = s.charge
	s.socket.onReady = func() { s.shard.mail.post(func() { s.shard.markSession(s) }) }
	s.shard.step(func() { s.shard.attach(s) })
	s.goOn(s.kind.begin(s))
}

// resume is the reader of a session that was parked. An error is why there is nothing to read.
func (s *session) resume(err error) {
	if err == nil {
		err = s.handleNext()
	}
	s.goOn(err)
}

// goOn reads and handles frames, after what came before ended with err: until there are none for now,
// and the session is parked, or until the connection ends.
func (s *session) goOn(err error) {
	for err == nil {
		if s.park() {
			return
		}
		if err = s.await(); err == nil {
			err = s.handleNext()
		}
	}
	if errors.Is(err, errLeft) {
		s.finish()
	}
	s.end(err)
}

// park parks the session when there is nothing to read, and reports whether it did. One that has to say
// hello in time does not park.
func (s *session) park() bool {
	return s.user != "" && s.input.idle() && len(s.socket.early) == 0 && s.shard.lot.park(s)
}

// await waits, on little stack and without a buffer, until there is something to read.
func (s *session) await() error {
	if !s.input.idle() {
		return nil
	}
	return s.tooLate(s.socket.awaitInput())
}

// tooLate closes the session when err is that its hello did not come in time.
func (s *session) tooLate(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	s.socket.SetReadDeadline(time.Time{})
	return s.refuse(wire.ClosePolicy, &wire.Error{Code: wire.BadRequest, Message: "no hello within 5 s: say first who you are"})
}

// handleNext reads and handles one frame. What publishes were gathered is stored unless the next frame
// is there.
func (s *session) handleNext() error {
	err := s.handleOne()
	if err != nil || !s.input.more() {
		s.storeGathered()
	}
	return err
}

// handleOne reads one frame into a buffer that it borrows, and handles it. Of a session that the node
// closes, it reads the rest.
func (s *session) handleOne() error {
	if s.closing.Load() {
		s.storeGathered()
		s.input.discard()
		return errClosed
	}
	b := buffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= 16<<10 {
			b.Reset()
			buffers.Put(b)
		}
	}()
	err := s.next(b)
	blank := errors.Is(err, errBlank)
	if err != nil && !blank {
		return err
	}
	if blank {
		return nil
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.kind.handle(s, b.Bytes())
}

// next reads one frame's bytes into b.
func (s *session) next(b *bytes.Buffer) error {
	err := s.input.next(b)
	var wrong *breach
	switch {
	case errors.As(err, &wrong):
		s.storeGathered()
		return s.refuse(wrong.code, wrong.error)
	case err != nil:
		return s.tooLate(err)
	case !utf8.Valid(b.Bytes()):
		s.storeGathered()
		return s.refuse(wire.CloseInvalid, refusal(wire.BadRequest, "invalid UTF-8: send text in UTF-8"))
	}
	s.node.metrics.framesIn.Add(1)
	s.node.metrics.bytesIn.Add(uint64(b.Len()))
	return nil
}

// refuse tells an error, closes the session, and waits until the peer went away.
func (s *session) refuse(code wire.CloseCode, e *wire.Error) error {
	s.node.metrics.failed(e.Code)
	s.reply(e.Append(nil))
	s.shard.mail.post(func() { s.shard.close(s, nil, code, e.Message) })
	s.socket.SetReadDeadline(time.Now().Add(closeLinger))
	s.input.discard()
	s.settle()
	return errClosed
}

// finish waits until the peer, which says nothing more but may listen, has what it asked for.
func (s *session) finish() {
	s.shard.mail.post(func() { s.shard.finish(s) })
	s.settle()
}

// settle waits until the kernel has the last of what the session writes.
func (s *session) settle() {
	if s.waitDrained() == nil {
		s.socket.helper.Wait()
	}
}

// reply sends one of the session's own frames.
func (s *session) reply(json []byte) {
	s.send(s.kind.own(json))
}

// send sends frames of the session's own, as its peer reads them.
func (s *session) send(b []byte) {
	if len(b) == 0 {
		return
	}
	s.unread += len(b)
	s.shard.step(func() { s.shard.own(s, b) })
}

// waitRoom blocks while too many of the session's own frames wait to be written: a peer
// that does not read gets no more replies, and so no memory.
func (s *session) waitRoom(limit int) error {
	if s.unread <= limit {
		return nil
	}
	return s.waitDrained()
}

// waitDrained blocks until the session's own frames are written.
func (s *session) waitDrained() error {
	drained := make(chan struct{})
	s.shard.mail.post(func() {
		if s.gone || s.outBytes == 0 {
			close(drained)
		} else {
			s.drained = drained
		}
	})
	select {
	case <-drained:
		s.unread = 0
		return nil
	case <-s.node.stopped.Done():
		return errClosed
	}
}

// onShard runs do as a step of the shard, and waits for it.
func (s *session) onShard(do func()) error {
	done := make(chan struct{})
	s.shard.step(func() { do(); close(done) })
	select {
	case <-done:
		return nil
	case <-s.node.stopped.Done():
		return errClosed
	}
}

// end undoes what the session did, after its reader ended with err.
func (s *session) end(err error) {
	code := closeCode(err)
	grace := lostGrace
	if code == wire.CloseNormal && !s.closing.Load() {
		grace = 0 // the peer said that it is leaving
	}
	s.turn.Lock()
	s.over = true
	joined := s.joined
	s.turn.Unlock()
	s.shard.step(func() {
		for _, m := range joined {
			s.shard.leave(m.sub)
		}
		s.shard.detach(s, code)
	})
	for _, m := range joined {
		s.forget(m, grace)
	}
	s.input.close()
	s.socket.linger()
	if s.user != "" {
		s.node.metrics.sessions.Add(-1)
		s.node.users.remove(s.user)
	}
	s.node.metrics.connections.Add(-1)
	s.depart()
}

// closeCode is how the connection ended, as its reader saw it. When the frame was too
// large, the library has sent the close frame.
func closeCode(err error) wire.CloseCode {
	const lost = 1006 // RFC 6455, section 7.1.5: closed abnormally
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return wire.CloseTooBig
	}
	if code := websocket.CloseStatus(err); code >= 0 {
		return wire.CloseCode(code)
	}
	if errors.Is(err, errLeft) {
		return wire.CloseNormal
	}
	if errors.Is(err, syscall.ETIMEDOUT) {
		return wire.CloseLost // as the kernel found out
	}
	return lost
}

// forget gives back what a membership held outside the shard.
func (s *session) forget(m *membership, grace time.Duration) {
	if m.counted {
		s.node.presence.Leave(m.topic, s.user, grace)
	}
	if m.presence {
		s.node.rosters.release(m.topic)
	}
}

func (s *session) member(topic string) *membership {
	for _, m := range s.joined {
		if m.topic == topic {
			return m
		}
	}
	return nil
}
