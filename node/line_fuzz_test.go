package node

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// pieces is a connection on which data comes in pieces of a size, and then the peer's end.
type pieces struct {
	net.Conn
	data []byte
	size int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (c *pieces) SetReadDeadline(time.Time) error { return nil }

// However a peer's bytes are cut, the same lines come of them, those that stand there, until
// something breaks the rules; and no line is longer than it may be.
func FuzzLines(f *testing.F) {
	const most = 5000 // more than the buffer has
	long := bytes.Repeat([]byte("x"), most)
	f.Add([]byte("{\"type\":\"ping\"}\r\n\n{}\n{"), 1)
	f.Add(append(append([]byte("{"), long[1:]...), "\r\n\n{"...), 4096)
	f.Add(append([]byte("{"), long...), 7)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add([]byte("\n{\x00}\n{}\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		want, broken := split(data, most)
		in := &lineInput{socket: newSocket(&pieces{data: bytes.Clone(data), size: max(1, size)}, nil), most: most}
		defer in.close()
		for i := 0; ; i++ {
			var b bytes.Buffer
			var err error
			if in.idle() {
				err = in.socket.awaitInput()
			}
			if err == nil {
				err = in.next(&b)
			}
			switch {
			case errors.Is(err, errBlank):
				b.Reset()
			case err != nil:
				var wrong *breach
				if errors.As(err, &wrong) != broken || !broken && !errors.Is(err, errLeft) {
					t.Fatalf("ended with %v; broken: %v", err, broken)
				}
				if i != len(want) {
					t.Fatalf("%d lines, want %d", i, len(want))
				}
				return
			}
			if i == len(want) || !bytes.Equal(b.Bytes(), want[i]) {
				t.Fatalf("line %d is %q", i, &b)
			}
		}
	})
}

// split is what FuzzLines wants: the lines of data, up to the first that breaks the rules.
func split(data []byte, most int) (lines [][]byte, broken bool) {
	if len(data) == 0 {
		return nil, false
	}
	if !bytes.ContainsRune([]byte("{ \t\r\n"), rune(data[0])) {
		return nil, true
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) > most || bytes.IndexByte(line, 0) >= 0 {
			return lines, true
		}
		lines = append(lines, line)
	}
	return lines, false
}
