package handshake_test

import (
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/rookery-chat/rookery/internal/handshake"
)

// What a handshake costs, its peer's part included, which is the same in both.
func BenchmarkHandshake(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	for _, by := range []string{"server", "listener"} {
		b.Run(by, func(b *testing.B) {
			var l net.Listener
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			addr := l.Addr().String()
			done := make(chan struct{})
			if by == "listener" {
				own := handshake.Listen(l, h)
				go func() { defer close(done); own.Run() }()
				l = own
			} else {
				close(done)
			}
			server := &http.Server{Handler: h}
			go server.Serve(l)
			defer func() { server.Close(); <-done }()
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				io.WriteString(conn, shake)
				io.Copy(io.Discard, conn)
				conn.Close()
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu returns the process's CPU time in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
