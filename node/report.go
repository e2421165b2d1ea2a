package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

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
	Version string    `json:"version"` // of the node
	Agent   string    `json:"agent"`   // what the peer says it is
}

// An Info is a node as it describes itself.
type Info struct {
	ID       string    `json:"id"`
	State    State     `json:"state"`
	Address  string    `json:"address"`
	Since    time.Time `json:"since"` // when it started
	Version  string    `json:"version"`
	Sessions int       `json:"sessions"`
	Users    int       `json:"users"` // with a session on it
}

// A State is whether a node serves.
type State string

const (
	Serving  State = "ready"
	Unready  State = "unready" // it does not reach the cluster
	Draining State = "draining"
	Silent   State = "silent" // it did not answer in time: all else of it is unknown
)

// A report is a node's answer to a question, on the topic of the node that asked.
type report struct {
	Question string        `json:"question"`
	Sessions []SessionInfo `json:"sessions,omitempty"`
	Info     *Info         `json:"info,omitempty"`
	Topics   []string      `json:"topics,omitempty"`
	Shed     int           `json:"shed,omitempty"`
}

// Sessions lists a user's sessions on all nodes. Silent is on how many nodes more the user is
// online, as far as Redis knows, that did not answer in time, as when they are frozen.
func (n *Node) Sessions(ctx context.Context, user string) (sessions []SessionInfo, silent int, err error) {
	reports, silent, err := n.ask(ctx, order{Do: doReport}, wire.Inbox(user))
	for _, r := range reports {
		sessions = append(sessions, r.Sessions...)
	}
	return sessions, silent, err
}

// Nodes lets the nodes of these ids describe themselves, and returns them in the order of
// their ids. Those that do not answer in time are Silent.
func (n *Node) Nodes(ctx context.Context, ids []string) ([]Info, error) {
	reports, _, err := n.ask(ctx, order{Do: doDescribe}, nodeTopics(ids)...)
	if err != nil {
		return nil, err
	}
	nodes := make([]Info, 0, len(ids))
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		info := Info{ID: id, State: Silent}
		for _, r := range reports {
			if r.Info != nil && r.Info.ID == id {
				info = *r.Info
			}
		}
		nodes = append(nodes, info)
	}
	return nodes, nil
}

// Topics lists the topics that sessions of the nodes of these ids are in, in byte order, at most
// limit of those after the name after. Silent is how many of the nodes did not answer
// in time: topics that only they hear are missing.
func (n *Node) Topics(ctx context.Context, ids []string, after string, limit int) (topics []string, silent int, err error) {
	reports, _, err := n.ask(ctx, order{Do: doTopics, After: after, Limit: limit}, nodeTopics(ids)...)
	if err != nil {
		return nil, 0, err
	}
	for _, r := range reports {
		topics = append(topics, r.Topics...)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	return topics[:min(limit, len(topics))], max(0, len(ids)-len(reports)), nil
}

func nodeTopics(ids []string) []string {
	topics := make([]string, len(ids))
	for i, id := range ids {
		topics[i] = nodeTopic(id)
	}
	return topics
}

// questions are what this node has asked others and waits for.
type questions struct {
	mu   sync.Mutex
	last uint64                 // Guarded by mu.
	open map[string]chan report // Guarded by mu.
}

// begin numbers a question, and returns where its answers come, at most most of them.
func (q *questions) begin(most int) (id string, answers chan report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	id, answers = strconv.FormatUint(q.last, 10), make(chan report, most)
	q.open[id] = answers
	return id, answers
}

func (q *questions) end(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, id)
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

// maxReports is how many nodes may answer one question.
const maxReports = 256

// ask sends a question to whoever hears one of the topics, and returns the answers that come
// in time, and how many heard it and did not answer.
func (n *Node) ask(ctx context.Context, o order, topics ...string) (reports []report, silent int, err error) {
	var answers chan report
	o.Question, answers = n.questions.begin(maxReports)
	defer n.questions.end(o.Question)
	o.Topic = nodeTopic(n.id)
	heard, err := n.sendAll(ctx, o, topics)
	if err != nil {
		return nil, 0, err
	}
	patience := time.NewTimer(reportPatience)
	defer patience.Stop()
	for len(reports) < heard {
		select {
		case r := <-answers:
			reports = append(reports, r)
		case <-patience.C:
			return reports, heard - len(reports), nil
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	return reports, 0, nil
}

// sendAll sends an order to many topics at once, and tells on how many nodes it was heard.
func (n *Node) sendAll(ctx context.Context, o order, topics []string) (heard int, err error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, len(topics)), make([]error, len(topics))
	for i, topic := range topics {
		wg.Go(func() { counts[i], errs[i] = n.send(ctx, topic, o) })
	}
	wg.Wait()
	for i := range topics {
		if errs[i] != nil {
			return 0, errs[i]
		}
		heard += counts[i]
	}
	return heard, nil
}

// answer answers a question that was heard on a topic.
func (n *Node) answer(topic string, o order) {
	n.helpers.Go(func() {
		r := report{Question: o.Question}
		switch o.Do {
		case doReport:
			r.Sessions = n.sessionsOf(strings.TrimPrefix(topic, "@"))
		case doDescribe:
			info := n.describe()
			r.Info = &info
		case doTopics:
			r.Topics = n.interest.list(o.After, o.Limit)
		case doShed:
			r.Shed = n.shed(o.Percent)
		}
		b, err := json.Marshal(r)
		if err != nil {
			slog.Error("report", "err", err)
			return
		}
		ctx, cancel := context.WithTimeout(n.stopped, reportPatience)
		defer cancel()
		if _, err := n.bus.Signal(ctx, o.Topic, append([]byte{reportSignal}, b...)); err != nil {
			n.failures.Warn("report", "err", err)
		}
	})
}

// sessionsOf lists this node's sessions of a user.
func (n *Node) sessionsOf(user string) (all []SessionInfo) {
	parts := make(chan []SessionInfo, len(n.shards))
	for _, sh := range n.shards {
		sh.mail.post(func() {
			var part []SessionInfo
			for _, s := range sh.sessions {
				if s.entered && s.user == user && !s.gone {
					part = append(part, SessionInfo{
						ID: s.id, Node: n.id, Address: address(s.from), Since: time.UnixMilli(s.since),
						Version: n.version, Agent: s.agent.Value(),
					})
				}
			}
			parts <- part
		})
	}
	for range n.shards {
		select {
		case part := <-parts:
			all = append(all, part...)
		case <-n.stopped.Done():
			return all
		}
	}
	return all
}

func (n *Node) describe() Info {
	state := Serving
	switch {
	case n.Draining():
		state = Draining
	case n.Ready() != nil:
		state = Unready
	}
	return Info{
		ID: n.id, State: state, Address: n.address, Since: n.started, Version: n.version,
		Sessions: int(n.metrics.sessions.Load()), Users: n.users.len(),
	}
}

// An agent is a User-Agent. Sessions share it: most peers run one of few programs.
type agent = unique.Handle[string]

func newAgent(s string) agent {
	const most = 128 // bytes
	return unique.Make(strings.ToValidUTF8(s[:min(most, len(s))], ""))
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
