package deploy_test

import (
	big "encoding/binary"
	"net"
	"testing"
)

// serveNames is a name server (RFC 1035), as Docker has one: every name has the addresses that are
// given at the time. It returns where it listens.
func serveNames(t *testing.T, addresses func() []net.IP) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := answerName(buffer[:n], addresses()); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func answerName(query []byte, addresses []net.IP) []byte {
	const header, typeA = 12, 1
	end := header // of the question: a name of labels, type and class
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	if len(query) < end {
		return nil
	}
	if big.BigEndian.Uint16(query[end-4:]) != typeA {
		addresses = nil // there is the name, without such addresses
	}
	answer := append([]byte(nil), query[:end]...)
	answer[2], answer[3] = 0x84, 0 // an answer, no error
	copy(answer[4:header], []byte{0, 1, 0, byte(len(addresses)), 0, 0, 0, 0})
	for _, ip := range addresses {
		answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 1, 0, 4)
		answer = append(answer, ip...)
	}
	return answer
}
