package bus

import "hash/fnv"

// partitions is how many parts the topics are divided into. In Redis all keys of a
// part share a hash tag, and so a slot; in memory they share a lock.
const partitions = 64

// tags are the hash tags of the partitions: the slot of tags[p] (CRC16 modulo 16384)
// is 256*p + 128, so that partitions spread evenly over any number of primaries that
// share the slots out in the usual way. They are part of the layout in Redis, and
// must never change.
var tags = [partitions]string{
	"abeu", "jwb", "acwt", "kec", "hpt", "ayik", "akm", "aapb",
	"afix", "frw", "aora", "oin", "dua", "adnn", "mnx", "xw",
	"abtw", "box", "acfv", "kta", "hav", "ahzy", "azo", "aihx",
	"afxz", "fcu", "aocc", "gqt", "ddc", "alvt", "evb", "iu",
	"jvr", "abde", "cmk", "acvd", "ahjk", "hqd", "aaqr", "ice",
	"fsg", "afhh", "gaf", "agzi", "alff", "dtq", "yg", "efp",
	"bnh", "abug", "kuq", "acgf", "aqpa", "qkn", "aiih", "irg",
	"fbe", "afyj", "gpd", "agkk", "alwd", "des", "he", "ewr",
}

// Partitions are the hash tags, with their braces, of which every live channel has one.
func Partitions() []string {
	list := make([]string, partitions)
	for i, tag := range tags {
		list[i] = "{" + tag + "}"
	}
	return list
}

// partitionOf returns the partition of a topic: the 64-bit FNV-1a hash of its name,
// modulo 64. It is part of the layout in Redis, and must never change.
func partitionOf(topic string) int {
	h := fnv.New64a()
	h.Write([]byte(topic))
	return int(h.Sum64() % partitions)
}
