package bus

import "hash/fnv"

// partitions is how many parts the topics are divided into. In Redis all keys of a
// part share a hash tag; in memory they share a lock.
const partitions = 64

// partitionOf returns the partition of a topic: the 64-bit FNV-1a hash of its name,
// modulo 64. It is part of the layout in Redis, and must never change.
func partitionOf(topic string) int {
	h := fnv.New64a()
	h.Write([]byte(topic))
	return int(h.Sum64() % partitions)
}
