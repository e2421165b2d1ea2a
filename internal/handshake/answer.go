package handshake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/rookery-chat/rookery/internal/nowait"
)

// An answer writes what a handler answers to a handshake. Where it does not hijack the connection, that ends it.
type answer struct {
	conn   net.Conn
	early  []byte // came behind the handshake
	header http.Header
	status int
	body   bytes.Buffer
	taken  bool // by Hijack
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Hijack implements http.Hijacker. It writes what was answered before.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	a.header.Write(&b)
	b.WriteString("\r\n")
	if _, err := nowait.NewConn(a.conn).Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	a.taken = true
	r := bufio.NewReaderSize(bytes.NewReader(a.early), len(a.early))
	r.Peek(len(a.early)) // so that they are there, and the connection's other bytes are read from it
	return a.conn, bufio.NewReadWriter(r, bufio.NewWriterSize(a.conn, 1)), nil
}

// finish answers what was not hijacked.
func (a *answer) finish() {
	if a.taken {
		return
	}
	defer a.conn.Close()
	a.WriteHeader(http.StatusOK)
	a.header.Del("Connection") // that is told by Close
	a.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	a.conn.SetWriteDeadline(time.Now().Add(firstWait))
	r := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Close: true,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()),
	}
	r.Write(a.conn)
}
