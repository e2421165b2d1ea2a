package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/api"
)

// Who sends more than is taken, slowly, gets to read why it was refused: the answer comes when all is sent, and
// no connection is reset before.
func TestLargeBodyIsRefusedWhenItIsThere(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(api.NewHTTP(newHall(), nil))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := strings.Repeat("x", 2*api.MaxData+api.MaxData)
	fmt.Fprintf(conn, "POST /v1/topics/lobby/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	half := 2*api.MaxData + 1000
	io.WriteString(conn, body[:half])
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	b := make([]byte, 600)
	if n, err := conn.Read(b); n > 0 || err == nil {
		t.Errorf("an answer, or the end, before all was sent: %q, %v", b[:n], err)
	}
	io.WriteString(conn, body[half:])
	conn.SetReadDeadline(time.Time{})
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %v, %v", r, err)
	}
}
