package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// reportPatience is how long an asker waits for nodes that heard it and do not answer.
const reportPatience = time.Second

// A SessionInfo is one session as its node describes it.
type SessionInfo struct {
	ID      string    `json:"id"`
	Node    string    `json:"node"`
	Address string    `json:"address"` // where it calls from, as trusted proxies have it
	Since   time.Time `json:"since"`   // when it connected
}

// A report is a node's answer to an order to report, on the topic of the node that asked.
type report struct {
	Question string        `json:"question"`
	Sessions []SessionInfo `json:"sessions"`
}

// questions are what this node has asked others and waits for.
type questions struct {
	mu   sync.Mutex
	last uint64                 // Guarded by mu.
	open map[string]chan report // Guarded by mu.
}

// Sessions lists a user's sessions on all nodes. A node that does not answer in time, as
// when it is frozen, is left out.
func (n *Node) Sessions(ctx context.Context, user string) ([]SessionInfo, error) {
	q := &n.questions
	q.mu.Lock()
	q.last++
	id := strconv.FormatUint(q.last, 10)
	answers := make(chan report, 64)
	q.open[id] = answers
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.open, id)
		q.mu.Unlock()
	}()
	nodes, err := n.send(ctx, wire.Inbox(user), order{Do: doReport, Topic: nodeTopic(n.id), Question: id})
	if err != nil {
		return nil, err
	}
	var sessions []SessionInfo
	patience := time.NewTimer(reportPatience)
	defer patience.Stop()
	for range nodes {
		select {
		case r := <-answers:
			sessions = append(sessions, r.Sessions...)
		case <-patience.C:
			return sessions, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sessions, nil
}

// answer reports this node's sessions of the user whose inbox inbox is.
func (n *Node) answer(inbox string, o order) {
	parts := make(chan []SessionInfo, len(n.shards))
	for _, sh := range n.shards {
		sh.mail.post(func() {
			var part []SessionInfo
			for _, s := range sh.sessions {
				if s.entered && wire.Inbox(s.user) == inbox && !s.gone {
					part = append(part, SessionInfo{ID: s.id, Node: n.id, Address: address(s.from), Since: time.UnixMilli(s.since)})
				}
			}
			parts <- part
		})
	}
	n.helpers.Go(func() {
		r := report{Question: o.Question}
		for range n.shards {
			select {
			case part := <-parts:
				r.Sessions = append(r.Sessions, part...)
			case <-n.stopped.Done():
				return
			}
		}
		b, err := json.Marshal(r)
		if err != nil {
			slog.Error("report of sessions", "err", err)
			return
		}
		ctx, cancel := context.WithTimeout(n.stopped, reportPatience)
		defer cancel()
		if _, err := n.bus.Signal(ctx, o.Topic, append([]byte{reportSignal}, b...)); err != nil {
			slog.Warn("report of sessions", "err", err)
		}
	})
}

// address tells where somebody calls from, with the port where it is known.
func address(from netip.AddrPort) string {
	switch {
	case !from.IsValid():
		return ""
	case from.Port() == 0:
		return from.Addr().String()
	}
	return from.String()
}

// heard takes a report that another node, or this one, sent.
func (q *questions) heard(payload []byte) {
	var r report
	if err := json.Unmarshal(payload, &r); err != nil {
		slog.Warn("report ignored: it is of another version")
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case q.open[r.Question] <- r: // nil, and so passed by, when nobody waits any more
	default:
	}
}
