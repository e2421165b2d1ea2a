package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Baseline serves on l until ctx is done: as little as can be done in Go to deliver the same frames, one Write for each
// message and session, in one process and without anything to keep, to resume from or to look after. What a
// scenario costs beside it, in the same minutes on the same machine, says more than the figure alone.
func Baseline(ctx context.Context, l net.Listener) error {
	b := &baseline{rooms: make(map[string]*bareRoom), conns: make(map[net.Conn]struct{})}
	server := &http.Server{Handler: b, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(l)
	b.closeAll()
	b.readers.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

type baseline struct {
	readers sync.WaitGroup

	mu    sync.Mutex
	rooms map[string]*bareRoom  // Guarded by mu.
	conns map[net.Conn]struct{} // Guarded by mu. Nil when closing.
}

type bareRoom struct {
	mu      sync.Mutex
	offset  uint64                // Guarded by mu.
	members map[net.Conn]struct{} // Guarded by mu.
}

func (b *baseline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-WebSocket-Key") != upgradeKey {
		http.Error(w, "the baseline serves rookery bench only", http.StatusBadRequest)
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	if !b.add(conn) {
		conn.Close()
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		upgradeAnswer, wire.Subprotocol)
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	rest := append([]byte(nil), early...)
	go func() {
		defer b.readers.Done()
		s := &bareSession{server: b, conn: conn}
		s.run(bufio.NewReaderSize(conn, 4096), rest)
		s.leave()
		b.mu.Lock()
		delete(b.conns, conn)
		b.mu.Unlock()
		conn.Close()
	}()
}

func (b *baseline) add(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		return false
	}
	b.conns[conn] = struct{}{}
	b.readers.Add(1)
	return true
}

func (b *baseline) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		conn.Close()
	}
	b.conns = nil
}

func (b *baseline) room(name string) *bareRoom {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[name]
	if r == nil {
		r = &bareRoom{members: make(map[net.Conn]struct{})}
		b.rooms[name] = r
	}
	return r
}

// A bareSession is one connection. All of it is owned by its reader.
type bareSession struct {
	server *baseline
	conn   net.Conn
	user   string
	room   *bareRoom
}

func (s *bareSession) leave() {
	if s.room != nil {
		s.room.mu.Lock()
		delete(s.room.members, s.conn)
		s.room.mu.Unlock()
	}
}

func (s *bareSession) run(r *bufio.Reader, rest []byte) {
	chunk := make([]byte, 4096)
	for {
		f, size, err := nextFrame(rest, true)
		if err != nil || f.opcode == opClose {
			return
		}
		if size == 0 {
			n, err := r.Read(chunk)
			if err != nil {
				return
			}
			rest = append(rest, chunk[:n]...)
			continue
		}
		if f.opcode == opText {
			s.serve(f.payload)
		}
		rest = append(rest[:0], rest[size:]...)
	}
}

// serve does what a scenario needs of a command.
func (s *bareSession) serve(text []byte) {
	var c struct {
		Type, Topic, User string
		ID                uint64
		Data              json.RawMessage
		Echo              *bool
	}
	if json.Unmarshal(text, &c) != nil {
		return
	}
	switch c.Type {
	case "hello":
		s.user = c.User
		s.write(wire.Welcome{ID: c.ID, Session: "bare", User: c.User, Node: "bare", Heartbeat: 25, MaxFrame: wire.MaxFrame})
	case "join":
		s.room = s.server.room(c.Topic)
		s.room.mu.Lock()
		s.room.members[s.conn] = struct{}{}
		at := wire.Position{Epoch: "bare", Offset: s.room.offset}
		s.room.mu.Unlock()
		s.write(wire.OK{ID: c.ID, Topic: c.Topic, Joined: &wire.Joined{Position: at, After: at.Offset, Recovered: true}})
	case "publish":
		if s.room != nil {
			at := s.publish(c.Topic, c.Data, c.Echo == nil || *c.Echo)
			s.write(wire.OK{ID: c.ID, Topic: c.Topic, Published: &wire.Published{Position: at}})
		}
	case "ping":
		s.write(wire.OK{ID: c.ID})
	}
}

// publish is the bare write loop.
func (s *bareSession) publish(topic string, data []byte, echo bool) wire.Position {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.offset++
	m := wire.Message{Topic: topic, Offset: s.room.offset, From: s.user, Session: "bare", Time: time.Now().UnixMilli(), Data: data}
	frame := pack(m)
	for conn := range s.room.members {
		if conn != s.conn || echo {
			conn.Write(frame)
			continue
		}
		conn.Write(pack(wire.Skip{Topic: topic, Offset: s.room.offset}))
	}
	return wire.Position{Epoch: "bare", Offset: s.room.offset}
}

type appender interface{ Append(dst []byte) []byte }

func (s *bareSession) write(f appender) { s.conn.Write(pack(f)) }

// pack makes a server's WebSocket frame.
func pack(f appender) []byte {
	text := f.Append(nil)
	return append(wire.AppendTextHeader(nil, len(text)), text...)
}
