// Package rawtest is a WebSocket peer that keeps no rules, for tests of what a node does about it.
package rawtest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Patience bounds every wait. It is only reached when something is wrong.
const Patience = 20 * time.Second

// What the first byte of a frame is made of: RFC 6455, section 5.2.
const (
	Final, RSV1, RSV2, RSV3          = 0x80, 0x40, 0x20, 0x10
	Continuation, Text, Binary       = 0x0, 0x1, 0x2
	Close, Ping, Pong, TextWhole     = 0x8, 0x9, 0xa, Final | Text
	PingWhole, PongWhole, CloseWhole = Final | Ping, Final | Pong, Final | Close
)

// A Conn is a connection that was upgraded, or is meant to be.
type Conn struct {
	net.Conn
	tb testing.TB
	r  *bufio.Reader
}

// Dial connects to host:port, without a word.
func Dial(tb testing.TB, addr string) *Conn {
	tb.Helper()
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		tb.Fatal(err)
	}
	return New(tb, c)
}

// New is a peer on a connection that somebody has made.
func New(tb testing.TB, c net.Conn) *Conn {
	tb.Cleanup(func() { c.Close() })
	return &Conn{c, tb, bufio.NewReader(c)}
}

// Upgrade is a request for a WebSocket, with more lines of header.
func Upgrade(header ...string) string {
	request := "GET /ws HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rookery.v1\r\n"
	for _, line := range header {
		request += line + "\r\n"
	}
	return request + "\r\n"
}

// Open dials and upgrades.
func Open(tb testing.TB, addr string, header ...string) (*Conn, *http.Response) {
	tb.Helper()
	c := Dial(tb, addr)
	return c, c.upgrade(header...)
}

func (c *Conn) upgrade(header ...string) *http.Response {
	c.tb.Helper()
	r, err := c.request(header...)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		c.tb.Fatalf("upgrade: %+v, %v", r, err)
	}
	return r
}

func (c *Conn) request(header ...string) (*http.Response, error) {
	c.Send([]byte(Upgrade(header...)))
	c.SetReadDeadline(time.Now().Add(Patience))
	return http.ReadResponse(c.r, nil)
}

// Enter opens and says hello as a user.
func Enter(tb testing.TB, addr, user string) *Conn {
	tb.Helper()
	return Dial(tb, addr).Enter(user)
}

// Enter upgrades and says hello as a user.
func (c *Conn) Enter(user string) *Conn {
	c.tb.Helper()
	c.upgrade()
	c.Say(fmt.Sprintf(`{"type":"hello","id":1,"user":%q}`, user))
	if _, b, err := c.Next(); err != nil || !strings.Contains(string(b), `"welcome"`) {
		c.tb.Fatalf("hello was answered with %q, %v", b, err)
	}
	return c
}

// Upgraded upgrades where Open would fail: it reports whether the node did.
func (c *Conn) Upgraded() bool {
	r, err := c.request()
	return err == nil && r.StatusCode == http.StatusSwitchingProtocols
}

// Entered is Enter likewise.
func (c *Conn) Entered(user string) bool {
	if !c.Upgraded() {
		return false
	}
	c.Say(fmt.Sprintf(`{"type":"hello","id":1,"user":%q}`, user))
	_, b, err := c.Next()
	return err == nil && strings.Contains(string(b), `"welcome"`)
}

// Frame is a frame as peers must send it: masked.
func Frame(first byte, payload string) []byte {
	b := header(first, 0x80, len(payload))
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// Unmasked is a frame as only nodes may send it.
func Unmasked(first byte, payload string) []byte {
	return append(header(first, 0, len(payload)), payload...)
}

func header(first, mask byte, n int) []byte {
	switch {
	case n < 126:
		return []byte{first, mask | byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, mask | 126}, uint16(n))
	}
	return binary.BigEndian.AppendUint64([]byte{first, mask | 127}, uint64(n))
}

// Say sends a text frame.
func (c *Conn) Say(text string) { c.tb.Helper(); c.Send(Frame(TextWhole, text)) }

// Send sends bytes. That the node has ended the connection meanwhile is no failure.
func (c *Conn) Send(b []byte) {
	c.SetWriteDeadline(time.Now().Add(Patience))
	c.Write(b)
}

// Next returns the next frame of the node.
func (c *Conn) Next() (opcode byte, payload []byte, err error) {
	c.SetReadDeadline(time.Now().Add(Patience))
	var h [2]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	if h[0]&(Final|RSV1|RSV2|RSV3) != Final || h[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("a frame begins with %x", h)
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(c.r, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(c.r, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err == nil && n > 4<<20 {
		err = fmt.Errorf("a frame of %d bytes", n)
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.r, payload)
	return h[0] & 0x0f, payload, err
}

// Ended reads on until the node ends the connection, and returns the code of its close frame, which
// is answered: 0 when it sent none. Text frames go to take, which may be nil.
func (c *Conn) Ended(take func(text []byte)) (code int) {
	c.tb.Helper()
	for {
		opcode, payload, err := c.Next()
		if opcode == Text && err == nil && take != nil {
			take(payload)
		}
		if net, ok := err.(net.Error); ok && net.Timeout() {
			c.tb.Fatal("the node does not end the connection")
		}
		if err != nil {
			return code
		}
		if opcode == Close && len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
			c.Send(Frame(CloseWhole, string(payload[:2])))
		}
	}
}
