package bus_test

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/bus"
)

// crc16 is the CRC-16/XMODEM of the Redis Cluster specification.
func crc16(s string) (crc uint16) {
	for _, c := range []byte(s) {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func TestTags(t *testing.T) {
	if got := crc16("123456789"); got != 0x31C3 { // the specification's example
		t.Fatalf("crc16 is %#x", got)
	}
	for p, tag := range bus.Tags {
		if slot := int(crc16(tag) % 16384); slot != 256*p+128 {
			t.Errorf("tag %d, %q, leads to slot %d", p, tag, slot)
		}
	}
}

// The partitions of topics are part of the layout in Redis.
func TestPartitions(t *testing.T) {
	for topic, want := range map[string]int{"lobby": 51, "@alice": 9, "*": 61, "": 37} {
		if got := bus.PartitionOf(topic); got != want {
			t.Errorf("%q is in partition %d, want %d", topic, got, want)
		}
	}
	const each = 1000
	var count [64]int
	for i := range 64 * each {
		count[bus.PartitionOf(fmt.Sprintf("@user%d", i))]++
	}
	for p, n := range count {
		if n < each*3/4 || n > each*5/4 {
			t.Errorf("partition %d has %d topics of %d", p, n, 64*each)
		}
	}
}
