package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/wire"
)

type state byte

const (
	away       state = iota // no connection
	connecting              // TCP
	upgrading               // HTTP
	greeting                // hello is sent
	joining
	open
)

// Ids of a session's commands. Those of publishes begin at firstID.
const (
	helloID = 1
	joinID  = 2
	otherID = 3 // nobody waits for the answer
)

// A session is one connection of one user, perhaps in a room. All of it is owned by the loop's goroutine.
type session struct {
	pool   *pool
	target *target
	user   string
	room   *room // nil: none
	state  state
	fd     int
	begun  time.Time // when it began to connect

	rest  []byte    // read, and not a whole frame yet
	parts assembler // of a fragmented message
	out   []byte    // what the kernel did not take yet

	cursor    cursor
	lastID    uint64                   // of the publishes
	answers   uint64                   // to them
	id        string                   // as the server calls this session
	positions map[string]wire.Position // to resume from, where the pool resumes
}

// dial begins to connect.
func (s *session) dial() {
	fd, err := s.target.dial(s.pool.sources.take())
	if err == nil {
		err = s.pool.add(s, fd, unix.EPOLLOUT)
	}
	if err != nil {
		s.pool.fail(err)
		return
	}
	s.fd, s.state, s.begun = fd, connecting, time.Now()
	s.rest, s.out, s.parts = nil, nil, assembler{}
}

// ready is called by the loop when the socket can be read or written, or has failed.
func (s *session) ready(events uint32) {
	err := s.serve(events)
	if err != nil && s.state != away {
		s.lose(err)
	}
}

func (s *session) serve(events uint32) error {
	if s.state == connecting {
		if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			return s.target.explain(unix.Errno(code))
		}
		s.state = upgrading
		if err := s.pool.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN); err != nil {
			return err
		}
		return s.send(s.target.request)
	}
	if events&unix.EPOLLOUT != 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if events&^uint32(unix.EPOLLOUT) == 0 {
		return nil
	}
	return s.read()
}

// read takes what there is. What is no whole frame yet waits in rest.
func (s *session) read() error {
	buf := s.pool.buffer
	had := copy(buf, s.rest)
	n, err := unix.Read(s.fd, buf[had:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	s.pool.bytes += uint64(n)
	used, err := s.take(buf[:had+n])
	if err != nil || s.state == away {
		return err
	}
	s.rest = append(s.rest[:0], buf[used:had+n]...)
	return nil
}

// take serves all whole frames in buf and returns their length.
func (s *session) take(buf []byte) (used int, err error) {
	if s.state == upgrading {
		if used, err = s.upgrade(buf); err != nil || used == 0 {
			return 0, err
		}
	}
	now := s.pool.clock()
	for s.state != away {
		f, size, err := nextFrame(buf[used:], false)
		if err != nil || size == 0 {
			return used, err
		}
		used += size
		switch f.opcode {
		case opPing:
			err = s.send(appendFrame(nil, opPong, f.payload))
		case opPong:
		case opClose:
			err = closed(f.payload)
		case opBinary:
			err = errors.New("the server sent a binary frame")
		default:
			message, whole, e := s.parts.add(f)
			if err = e; whole {
				err = s.message(message, now)
			}
		}
		if err != nil {
			return used, err
		}
	}
	return used, nil
}

func closed(payload []byte) error {
	if len(payload) < 2 {
		return errors.New("the server closed the connection")
	}
	return fmt.Errorf("the server closed the connection with code %d %s", binary.BigEndian.Uint16(payload), payload[2:])
}

// message serves one message of the server. The way of most of them is the shortest.
func (s *session) message(b []byte, now time.Duration) error {
	p := s.pool
	if s.room != nil && bytes.HasPrefix(b, s.room.message) {
		offset, ok := number(b[len(s.room.message):])
		if !ok {
			return fmt.Errorf("a message without an offset: %s", b)
		}
		p.tally.take(&s.cursor, offset, true)
		if sent, ok := sentTime(b); ok {
			p.latency.RecordValue((now - sent).Microseconds())
		}
		if p.delivered != nil {
			p.delivered(s)
		}
		return nil
	}
	if bytes.HasPrefix(b, okBegin) {
		if id, _ := number(b[len(okBegin):]); id >= firstID {
			offset, _ := field(b, `"offset":`)
			p.acknowledged(s, offset)
			return nil
		}
	}
	if s.room != nil && bytes.HasPrefix(b, s.room.skip) {
		offset, _ := number(b[len(s.room.skip):])
		p.tally.take(&s.cursor, offset, false)
		return nil
	}
	f, err := wire.ParseFrame(b)
	if err != nil {
		return err
	}
	return s.frame(f, len(b))
}

// frame serves a frame that is not on the way of every message.
func (s *session) frame(f any, size int) error {
	p := s.pool
	switch f := f.(type) {
	case *wire.Welcome:
		return s.welcome(f)
	case *wire.OK:
		if f.ID == joinID && f.Joined != nil {
			s.cursor = cursor{offset: f.After}
			if s.positions != nil {
				s.positions[f.Topic] = f.Joined.Position
			}
			if p.joined != nil {
				p.joined(s, f.Joined)
			}
			if s.state == joining {
				s.opened()
			}
		}
	case *wire.Presence:
		if p.presence != nil {
			p.presence(s, f, size)
		}
	case *wire.Reset:
		if s.room != nil && f.Topic == s.room.name {
			p.resets++
			p.tally.end(&s.cursor, f.After)
			s.cursor = cursor{offset: f.After}
		}
	case *wire.Error:
		if f.ID >= firstID {
			p.denied(s, f)
			return nil
		}
		return f
	case *wire.Goodbye:
		return errors.New("the server says goodbye: " + f.Code)
	}
	return nil
}

func (s *session) welcome(w *wire.Welcome) error {
	s.id, s.user = w.Session, w.User
	p := s.pool
	if s.positions != nil {
		for topic, j := range w.Topics {
			if j.Err != nil {
				return fmt.Errorf("topic %s: %w", topic, j.Err)
			}
			at := j.Position
			at.Offset = j.After
			s.positions[topic] = at
		}
	}
	switch {
	case s.room == nil:
	case s.positions != nil && w.Topics[s.room.name].Epoch != "": // resumed
		if after := w.Topics[s.room.name].After; after != s.cursor.offset {
			p.resets++
			p.tally.end(&s.cursor, after)
		}
	default:
		s.state = joining
		return s.command(wire.Command{Type: "join", ID: joinID, Topic: s.room.name, Presence: true})
	}
	s.opened()
	return nil
}

func (s *session) opened() {
	s.state = open
	s.pool.hasOpened(s)
}

// upgrade reads the answer to the upgrade and says hello. used is 0 while the answer is not whole.
func (s *session) upgrade(buf []byte) (used int, err error) {
	end := bytes.Index(buf, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	head := buf[:end]
	status := 0
	if len(head) > 12 {
		status, _ = strconv.Atoi(string(head[9:12]))
	}
	switch {
	case status == 503:
		s.pool.comeBack(s, retryAfter(head))
		return 0, nil
	case status != 101:
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		return 0, fmt.Errorf("%s does not upgrade to a WebSocket: it answers %q", s.target.url, line)
	case !bytes.Contains(head, []byte(upgradeAnswer)) || !bytes.Contains(head, []byte(wire.Subprotocol)):
		return 0, fmt.Errorf("%s does not speak %s", s.target.url, wire.Subprotocol)
	}
	s.state = greeting
	hello := wire.Command{Type: "hello", ID: helloID, User: s.user}
	if token := s.pool.opts.Token; token != nil {
		hello.User = ""
		if hello.Token, err = token(s.user); err != nil {
			return 0, err
		}
	}
	if s.id != "" && s.positions != nil {
		if s.room != nil {
			at := s.positions[s.room.name]
			at.Offset = s.cursor.offset
			s.positions[s.room.name] = at
		}
		hello.Was, hello.Resume = s.id, s.positions
	}
	return end + 4, s.command(hello)
}

// retryAfter reads how long a refused connection should stay away.
func retryAfter(head []byte) time.Duration {
	const name = "\r\nretry-after: "
	at := bytes.Index(bytes.ToLower(head), []byte(name))
	if at < 0 {
		return time.Second
	}
	seconds, _ := number(head[at+len(name):])
	wait := time.Duration(min(max(seconds, 1), 60)) * time.Second
	return wait + rand.N(wait)
}

func (s *session) command(c wire.Command) error {
	return s.send(appendFrame(nil, opText, c.Append(nil)))
}

// publish sends a publication, made at a time of the pool's clock.
func (s *session) publish(p *publication, at time.Duration) {
	id := firstID + s.lastID
	s.lastID++
	s.pool.published++
	if err := s.send(p.stamp(id, at)); err != nil {
		s.lose(err)
	}
}

// publishMany sends a publication n times, in one write.
func (s *session) publishMany(p *publication, n int) {
	var all []byte
	for range n {
		all = append(all, p.stamp(firstID+s.lastID, s.pool.clock())...)
		s.lastID++
		s.pool.published++
	}
	if err := s.send(all); err != nil {
		s.lose(err)
	}
}

// send writes b, or keeps what does not fit.
func (s *session) send(b []byte) error {
	if len(s.out) > 0 {
		s.out = append(s.out, b...)
		return nil
	}
	n, err := unix.Write(s.fd, b)
	if err != nil && err != unix.EAGAIN {
		return err
	}
	if n = max(n, 0); n < len(b) {
		s.out = append(s.out, b[n:]...)
		return s.pool.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN|unix.EPOLLOUT)
	}
	return nil
}

func (s *session) flush() error {
	n, err := unix.Write(s.fd, s.out)
	if err != nil && err != unix.EAGAIN {
		return err
	}
	if s.out = s.out[max(n, 0):]; len(s.out) > 0 {
		return nil
	}
	s.out = nil
	return s.pool.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN)
}

// lose ends the session because of err.
func (s *session) lose(err error) {
	was := s.state
	s.hangUp()
	s.pool.hasLost(s, was, err)
}

// bye ends the session for good, so that its user is seen leaving at once.
func (s *session) bye() {
	if s.state == away {
		return
	}
	s.send(appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, uint16(wire.CloseNormal))))
	s.hangUp()
}

func (s *session) hangUp() {
	if s.state != away {
		s.pool.remove(s.fd)
		s.state = away
	}
}
