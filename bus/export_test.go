package bus

// What the tests of this package may see of its inside.
var (
	ParseLive    = parseLive
	ParsePage    = parsePage
	ParseReceipt = parseReceipt
	PartitionOf  = partitionOf
	Tags         = tags
)

// LiveMessage returns what publish.lua sends for d.
func LiveMessage(epoch, offset, time string, d Draft) string {
	return string(appendBody([]byte("m"+epoch+" "+offset+" "+time+" "), d))
}
