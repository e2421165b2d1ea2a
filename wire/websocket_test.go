package wire_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/wire"
)

// An upgrade is an http.RoundTripper that agrees to any WebSocket handshake (RFC 6455,
// section 4.2.2) and goes on over conn.
type upgrade struct{ conn net.Conn }

func (u upgrade) RoundTrip(r *http.Request) (*http.Response, error) {
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols,
		Header: http.Header{
			"Connection":           {"Upgrade"},
			"Upgrade":              {"websocket"},
			"Sec-Websocket-Accept": {base64.StdEncoding.EncodeToString(accept[:])},
		},
		Body: u.conn,
	}, nil
}

// connect returns the ends of a connection: raw bytes go in, and the library reads them.
func connect(t *testing.T, opts *websocket.DialOptions) (server net.Conn, peer *websocket.Conn) {
	t.Helper()
	server, client := net.Pipe()
	opts.HTTPClient = &http.Client{Transport: upgrade{client}}
	peer, _, err := websocket.Dial(t.Context(), "ws://pipe", opts)
	if err != nil {
		t.Fatal(err)
	}
	peer.SetReadLimit(1 << 20)
	deadline := time.Now().Add(20 * time.Second)
	server.SetDeadline(deadline)
	client.SetDeadline(deadline)
	t.Cleanup(func() { peer.CloseNow(); server.Close() })
	return server, peer
}

// Another implementation reads our headers as we mean them.
func TestTextHeader(t *testing.T) {
	t.Parallel()
	server, peer := connect(t, &websocket.DialOptions{})
	sizes := []int{0, 1, 125, 126, 127, 65535, 65536, 100_000}
	go func() {
		for _, n := range sizes {
			server.Write(append(wire.AppendTextHeader(nil, n), bytes.Repeat([]byte("x"), n)...))
		}
	}()
	for _, n := range sizes {
		typ, b, err := peer.Read(t.Context())
		if err != nil || typ != websocket.MessageText || len(b) != n {
			t.Fatalf("%d bytes: read %v of %d bytes, %v", n, typ, len(b), err)
		}
		if got := len(wire.AppendTextHeader(nil, n)); got > 10 {
			t.Errorf("the header for %d bytes has %d", n, got)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	heard := make(chan struct{}, 1)
	server, peer := connect(t, &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		heard <- struct{}{}
		return true
	}})
	go peer.Read(context.Background())
	if _, err := server.Write(wire.AppendPing(nil)); err != nil {
		t.Fatal(err)
	}
	pong := make([]byte, 6) // header and mask of an empty frame
	if _, err := io.ReadFull(server, pong); err != nil || pong[0] != 0x8a || pong[1] != 0x80 {
		t.Fatalf("answered % x, %v", pong, err)
	}
	<-heard
}

// A ping as another implementation sends it, of which one byte more comes each time, is known once it is
// there, and answered as that implementation expects.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	server, peer := connect(t, &websocket.DialOptions{})
	go peer.Read(context.Background())
	answered := make(chan error, 1)
	go func() { answered <- peer.Ping(t.Context()) }()
	var p []byte
	for {
		b := make([]byte, 1)
		if _, err := io.ReadFull(server, b); err != nil {
			t.Fatal(err)
		}
		p = append(p, b...)
		size, answer := wire.Heartbeat(p)
		if size == 0 {
			continue
		}
		if more, _ := wire.Heartbeat(append(p, "more"...)); size != len(p) || more != size {
			t.Errorf("% x takes %d bytes, and %d with more behind it", p, size, more)
		}
		if _, err := server.Write(answer); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// What is no ping or pong of a client's, or must be refused, is not taken for one.
func TestWholeText(t *testing.T) {
	t.Parallel()
	mask := "abcd"
	for _, whole := range []string{
		"\x81\x80" + mask, "\x81\x82" + mask + "{}", "\x81\xfe\x00\x7e" + mask + strings.Repeat("x", 126),
	} {
		for i := range len(whole) {
			if wire.WholeText([]byte(whole[:i])) {
				t.Errorf("%d bytes of %q are taken for all", i, whole)
			}
		}
		if !wire.WholeText([]byte(whole)) || !wire.WholeText([]byte(whole+"\x81")) {
			t.Errorf("%q is not taken for a whole frame", whole)
		}
	}
	for _, other := range []string{
		"\x01\x82" + mask + "{}", "\x82\x82" + mask + "{}", "\x80\x82" + mask + "{}", "\xc1\x82" + mask + "{}", "\x89\x82" + mask + "{}", "\x88\x80" + mask,
		"\x81\x02{}      ", "\x81\xff\x00\x00\x00\x00\x00\x00\x00\x02" + mask + "{}",
	} {
		if wire.WholeText([]byte(other)) {
			t.Errorf("%q is taken for a whole text frame", other)
		}
	}
}

func TestNoHeartbeat(t *testing.T) {
	t.Parallel()
	for what, p := range map[string]string{
		"text":             "\x81\x82abcdhi",
		"close":            "\x88\x80abcd",
		"in pieces":        "\x09\x80abcd",
		"reserved bit":     "\xc9\x80abcd",
		"unmasked":         "\x89\x04abcd",
		"too long":         "\x89\xfe\x00\x7eabcd" + strings.Repeat("x", 126),
		"too long by far":  "\x89\xff\x00\x00\x00\x00\x00\x00\x00\x01abcdx",
		"unknown opcode":   "\x8b\x80abcd",
		"nothing":          "",
		"header in pieces": "\x89",
	} {
		if size, answer := wire.Heartbeat([]byte(p)); size != 0 || answer != nil {
			t.Errorf("%s: %d bytes, answered % x", what, size, answer)
		}
	}
	if size, answer := wire.Heartbeat([]byte("\x8a\x81abcdx")); size != 7 || answer != nil {
		t.Errorf("a pong: %d bytes, answered % x", size, answer)
	}
}

// However a stream is cut, its frames are counted: the short, the long, and those without a payload.
func TestFrameCounter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOf(rapid.SampledFrom([]int{0, 1, 4, 125, 126, 127, 65535, 65536, 70_000})).Draw(t, "sizes")
		var stream []byte
		for i, n := range sizes {
			stream = append(stream, rawtest.Frame(byte(i), strings.Repeat("\x81", n))...)
		}
		var c wire.FrameCounter
		count := 0
		for len(stream) > 0 {
			n := min(rapid.IntRange(1, 20_000).Draw(t, "piece"), len(stream))
			most := rapid.IntRange(1, 3).Draw(t, "most")
			before := c
			size, frames := c.Count(stream[:n], most)
			if frames > most || size < n && frames < most {
				t.Fatalf("counted %d frames, at most %d, in %d of %d bytes", frames, most, size, n)
			}
			if again, all := before.Count(stream[:size], most); again != size || all != frames {
				t.Fatalf("what was taken has %d frames, and %d when counted again", frames, all)
			}
			count += frames
			stream = stream[size:]
		}
		if count != len(sizes) {
			t.Fatalf("counted %d, want %d", count, len(sizes))
		}
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, reason, want string }{
		{"no reason", "", ""},
		{"a reason", "draining", "draining"},
		{"as long as it may be", strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{"too long", strings.Repeat("x", 124), strings.Repeat("x", 123)},
		{"much too long", strings.Repeat("x", 70_000), strings.Repeat("x", 123)},
		{"two bytes a character", strings.Repeat("é", 70), strings.Repeat("é", 61)},
		{"three bytes a character", strings.Repeat("€", 70), strings.Repeat("€", 41)},
		{"four bytes a character", strings.Repeat("😀", 70), strings.Repeat("😀", 30)},
		{"four bytes, ending at the edge", "xxx" + strings.Repeat("😀", 31), "xxx" + strings.Repeat("😀", 30)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			frame := wire.AppendClose(nil, wire.CloseKicked, row.reason)
			if len(frame) > 2+125 {
				t.Fatalf("%d bytes: a control frame has at most 125 behind its header (RFC 6455, section 5.5)", len(frame))
			}
			server, peer := connect(t, &websocket.DialOptions{})
			go func() {
				server.Write(frame)
				io.Copy(io.Discard, server) // the answer
			}()
			_, _, err := peer.Read(t.Context())
			var ce websocket.CloseError
			if !errors.As(err, &ce) || ce.Code != websocket.StatusCode(wire.CloseKicked) || ce.Reason != row.want {
				t.Fatalf("read %v, want %d %q", err, wire.CloseKicked, row.want)
			}
			if !utf8.ValidString(ce.Reason) {
				t.Error("cut inside a character")
			}
		})
	}
}
