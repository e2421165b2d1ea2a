package node

import "unsafe"

// IdleSize is how many bytes an idle session in *, its inbox and a room has in structs of ours.
const IdleSize = unsafe.Sizeof(session{}) + unsafe.Sizeof(socket{}) + unsafe.Sizeof(webSocketInput{}) +
	3*(unsafe.Sizeof(subscription{})+unsafe.Sizeof(membership{})) + unsafe.Sizeof(topic{}) + unsafe.Sizeof(heard{})

// KeepAwake makes the sessions of a node that has none yet keep a goroutine each, as those do of
// which the descriptor cannot be had, such as TLS.
func KeepAwake(n *Node) {
	for _, sh := range n.shards {
		if sh.lot != nil {
			sh.lot.epoll.Close()
			sh.lot = nil
		}
	}
}

// MakeLibraries makes as many libraries as are kept, and more, and gives them back.
func MakeLibraries() {
	var all []*library
	for range 2 * cap(libraries) {
		all = append(all, borrowLibrary())
	}
	for _, l := range all {
		l.giveBack()
	}
}
