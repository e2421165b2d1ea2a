// Package dnstest is a name server, as Docker has one, for tests of load balancers that find nodes by name.
package dnstest

import (
	big "encoding/binary"
	"net"
	"testing"
)

// Serve is a name server (RFC 1035) until the test ends: every name has the IPv4 addresses that are given at the time.
// It returns where it listens.
func Serve(t *testing.T, addresses func() []net.IP) string {
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
			if a := answer(buffer[:n], addresses()); a != nil {
				conn.WriteTo(a, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func answer(query []byte, addresses []net.IP) []byte {
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
	a := append([]byte(nil), query[:end]...)
	a[2], a[3] = 0x84, 0 // an answer, no error
	copy(a[4:header], []byte{0, 1, 0, byte(len(addresses)), 0, 0, 0, 0})
	for _, ip := range addresses {
		a = append(a, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 1, 0, 4)
		a = append(a, ip.To4()...)
	}
	return a
}
