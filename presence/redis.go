package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Options are what NewRedis can be told. The zero value is good for a node whose
// pub/sub connections have no name.
type Options struct {
	// Prefix of every key: "rookery:" if empty.
	Prefix string
	// ConnName is the name (CLIENT SETNAME) of this node's pub/sub connections, which
	// nobody else has, nor an earlier process of the node. Who reaps the node cuts those
	// connections, so that nobody is taken to hear who does not. It is also what Nodes
	// lists. It has no white space.
	ConnName string
	// Journal is how many changes each partition of the cluster's [Journal] keeps; without
	// it there is none. All nodes of a cluster must have the same.
	Journal int
	// Timing is for tests, which have no time.
	Timing *Timing
}

// NewRedis makes one node's part in the presence of a cluster that meets in Redis ≥ 7.0,
// be that a single server, one behind Sentinels, or a Redis Cluster.
//
// Live names a topic's live channel, and what the payloads on it begin with: the
// scripts publish each Change there. The channel has a hash tag ({…}), which the keys of the topic share.
//
// The scripts may be repeated, and go-redis may do so; but with long read timeouts and
// many retries of its own a node is late to see that Redis is away. Connections with
// MaxRetries -1 and ContextTimeoutEnabled serve it best.
func NewRedis(rdb redis.UniversalClient, live func(topic string) (channel, prefix string), opts *Options) Presence {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if o.Prefix == "" {
		o.Prefix = "rookery:"
	}
	t := defaultTiming
	if o.Timing != nil {
		t = *o.Timing
	}
	_, cluster := rdb.(*redis.ClusterClient)
	return newLocal(&redisNode{rdb: rdb, live: live, prefix: o.Prefix, journal: o.Journal, timing: t, cluster: cluster}, o.ConnName, t)
}

// redisNode is one node's way to Redis. But for count, all is fixed at construction.
type redisNode struct {
	rdb     redis.UniversalClient
	live    func(topic string) (channel, prefix string)
	prefix  string
	journal int
	timing  Timing
	cluster bool
	count   atomic.Uint64
}

func (r *redisNode) steps() uint64 { return r.count.Load() }

// partition is the hash tag that the keys of the topic share.
func (r *redisNode) partition(topic string) string {
	channel, _ := r.live(topic)
	return tag(channel)
}

// lane: a single server is there or not, while the primaries of a cluster fail one by one.
func (r *redisNode) lane(topic string) string {
	if !r.cluster {
		return ""
	}
	return r.partition(topic)
}

// tag is the hash tag of a key or channel, with its braces.
func tag(key string) string {
	begin := strings.IndexByte(key, '{')
	if begin < 0 {
		return ""
	}
	length := strings.IndexByte(key[begin:], '}')
	return key[begin : begin+length+1]
}

func (r *redisNode) leaseKeys(m member) []string {
	p := r.prefix + "{presence}:presence:"
	return []string{p + "nodes", p + "lease:" + m.inc, p + "topics:" + m.inc}
}

func (m member) String() string { return m.inc + " " + m.name }

func parseMember(s string) member {
	inc, name, _ := strings.Cut(s, " ")
	return member{inc, name}
}

// topicKeys are those of a topic and a member, in a partition. Whoever wants no journal does
// not name its keys: while a slot moves, Redis Cluster refuses scripts some of whose keys are not there.
func (r *redisNode) topicKeys(partition, topic string, m member) []string {
	p := r.prefix + partition + ":presence:"
	keys := []string{p + "roster:" + topic, p + "online:" + topic, p + "users:" + m.inc + ":" + topic, p + "fence:" + m.inc}
	if r.journal > 0 {
		journal, lost := r.journalKeys(partition)
		keys = append(keys, journal, lost)
	}
	return keys
}

func (r *redisNode) journalKeys(partition string) (journal, lost string) {
	p := r.prefix + partition + ":presence:"
	return p + "journal", p + "lost"
}

// topicCall begins a call of a script on a topic.
func (r *redisNode) topicCall(s script, topic string, m member, args ...any) *call {
	channel, prefix := r.live(topic)
	return &call{
		script: s,
		keys:   r.topicKeys(tag(channel), topic, m),
		args:   append([]any{newID(), channel, prefix, r.journal}, args...),
	}
}

func (r *redisNode) renew(ctx context.Context, m member) (renewal, error) {
	reply, err := r.do(ctx, renewScript, r.leaseKeys(m), m.String(), r.timing.Lease.Milliseconds())
	if err != nil {
		return renewal{}, err
	}
	parts, _ := reply.([]any)
	if len(parts) != 3 {
		return renewal{}, fmt.Errorf("renewal answered by %v", reply)
	}
	lapsed := texts(parts[2])
	known, _ := parts[0].(int64)
	run, _ := parts[1].(string)
	answer := renewal{known: known == 1, run: run}
	for i := 0; i+1 < len(lapsed); i += 2 {
		answer.lapsed = append(answer.lapsed, suspect{parseMember(lapsed[i]), lapsed[i+1]})
	}
	return answer, nil
}

func (r *redisNode) primaries(ctx context.Context) (string, error) {
	if !r.cluster {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var mu sync.Mutex
	var runs []string
	err := r.eachPrimary(ctx, func(ctx context.Context, rdb redis.UniversalClient) error {
		info, err := rdb.Info(ctx, "replication").Result()
		_, run, _ := strings.Cut(info, "master_replid:")
		run, _, _ = strings.Cut(run, "\r\n")
		mu.Lock()
		runs = append(runs, run)
		mu.Unlock()
		return err
	})
	slices.Sort(runs)
	return strings.Join(runs, " "), err
}

// eachPrimary calls f for each primary of a cluster, or for the one server.
func (r *redisNode) eachPrimary(ctx context.Context, f func(context.Context, redis.UniversalClient) error) error {
	if cluster, ok := r.rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, rdb *redis.Client) error { return f(ctx, rdb) })
	}
	return f(ctx, r.rdb)
}

func (r *redisNode) reserve(ctx context.Context, m member, lane string, turn uint64, topics []string) error {
	return r.index(ctx, reserveScript, m, lane, turn, topics)
}

func (r *redisNode) release(ctx context.Context, m member, lane string, turn uint64, topics []string) error {
	return r.index(ctx, releaseScript, m, lane, turn, topics)
}

func (r *redisNode) index(ctx context.Context, s script, m member, lane string, turn uint64, topics []string) error {
	var calls []*call
	for some := range slices.Chunk(topics, maxTopics) {
		args := append([]any{m.String(), lane, turn}, anys(some)...)
		calls = append(calls, &call{script: s, keys: r.leaseKeys(m), args: args})
	}
	r.exec(ctx, calls...)
	return firstError(calls)
}

func firstError(calls []*call) error {
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil {
			return meaning(err)
		}
	}
	return nil
}

func (r *redisNode) reserved(ctx context.Context, m member, lane string, turn uint64) ([]string, error) {
	var topics []string
	for cursor := "0"; ; {
		reply, err := r.do(ctx, reservedScript, r.leaseKeys(m), m.String(), lane, turn, cursor, maxTopics)
		if err != nil {
			return nil, err
		}
		var some []string
		if cursor, some, err = page(reply); err != nil {
			return nil, err
		}
		topics = append(topics, some...)
		if cursor == "0" {
			return topics, nil
		}
	}
}

func (r *redisNode) open(ctx context.Context, m member, turn uint64, partitions []string) error {
	var calls []*call
	for _, p := range partitions {
		calls = append(calls, &call{script: openScript, keys: r.topicKeys(p, "", m), args: []any{"", "", "", 0, turn}})
	}
	r.exec(ctx, calls...)
	return firstError(calls)
}

func (r *redisNode) change(ctx context.Context, m member, turn uint64, deltas []*delta) {
	var calls []*call
	var errs []*error // where the error of each call goes
	for _, d := range deltas {
		d.leaveErr, d.joinErr = nil, nil
		for users := range slices.Chunk(d.leave, maxUsers) {
			calls = append(calls, r.topicCall(leaveScript, d.topic, m, append([]any{turn}, anys(users)...)...))
			errs = append(errs, &d.leaveErr)
		}
		for users := range slices.Chunk(d.join, maxUsers) {
			calls = append(calls, r.topicCall(joinScript, d.topic, m, append([]any{turn}, anys(users)...)...))
			errs = append(errs, &d.joinErr)
		}
	}
	r.exec(ctx, calls...)
	for i, c := range calls {
		if err := meaning(c.cmd.Err()); err != nil {
			*errs[i] = err
		}
	}
}

func (r *redisNode) present(ctx context.Context, m member, turn uint64, topics []string) ([][]string, error) {
	users := make([][]string, len(topics))
	cursors := make([]string, len(topics))
	todo := make([]int, len(topics))
	for i := range topics {
		todo[i], cursors[i] = i, "0"
	}
	for len(todo) > 0 {
		var calls []*call
		for _, i := range todo {
			calls = append(calls, r.topicCall(presentScript, topics[i], m, turn, cursors[i], maxUsers))
		}
		r.exec(ctx, calls...)
		var more []int
		for j, i := range todo {
			reply, err := calls[j].cmd.Result()
			if err != nil {
				return nil, meaning(err)
			}
			var some []string
			if cursors[i], some, err = page(reply); err != nil {
				return nil, err
			}
			users[i] = append(users[i], some...)
			if cursors[i] != "0" {
				more = append(more, i)
			}
		}
		todo = more
	}
	return users, nil
}

func (r *redisNode) condemn(ctx context.Context, me member, s suspect, done []string) ([]string, verdict, error) {
	args := append([]any{s.String(), s.stamp, me.inc, r.timing.Lease.Milliseconds(), maxTopics}, anys(done)...)
	reply, err := r.do(ctx, condemnScript, r.leaseKeys(s.member), args...)
	if err != nil {
		return nil, spared, err
	}
	answer := texts(reply)
	if len(answer) == 0 {
		return nil, spared, fmt.Errorf("condemn answered by %v", reply)
	}
	switch answer[0] {
	case "condemned":
		return answer[1:], condemned, nil
	case "buried":
		return nil, buried, nil
	}
	return nil, spared, nil
}

func (r *redisNode) sever(ctx context.Context, m member) error {
	if m.name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return r.eachPrimary(ctx, func(ctx context.Context, rdb redis.UniversalClient) error {
		list, err := rdb.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
		if err != nil {
			return err
		}
		var errs []error
		for _, id := range connections(list, m.name) {
			errs = append(errs, rdb.Do(ctx, "CLIENT", "KILL", "ID", id).Err())
		}
		return errors.Join(errs...)
	})
}

// connections finds the ids of the connections of a name in what CLIENT LIST answers:
// a line each, of key=value pairs.
func connections(list, name string) []string {
	var ids []string
	for line := range strings.Lines(list) {
		var id string
		var named bool
		for _, pair := range strings.Fields(line) {
			switch key, value, _ := strings.Cut(pair, "="); key {
			case "id":
				id = value
			case "name":
				named = value == name
			}
		}
		if named && id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *redisNode) reap(ctx context.Context, dead member, topics []string) error {
	for len(topics) > 0 {
		calls := make([]*call, len(topics))
		for i, t := range topics {
			calls[i] = r.topicCall(reapScript, t, dead, maxUsers)
		}
		r.exec(ctx, calls...)
		var more []string
		for i, c := range calls {
			left, err := c.cmd.Int()
			if err != nil {
				return err
			}
			if left > 0 {
				more = append(more, topics[i])
			}
		}
		topics = more
	}
	return nil
}

func (r *redisNode) roster(ctx context.Context, topic, cursor string, limit int) (Roster, error) {
	if cursor == "" {
		cursor = "0"
	}
	c := r.topicCall(rosterScript, topic, member{}, cursor, limit)
	c.keys = c.keys[:2]
	r.exec(ctx, c)
	reply, err := c.cmd.Slice()
	if err != nil {
		return Roster{}, err
	}
	if len(reply) != 5 {
		return Roster{}, fmt.Errorf("roster answered by %v", reply)
	}
	epoch, _ := reply[0].(string)
	version, _ := reply[1].(string)
	online, _ := reply[2].(int64)
	next, _ := reply[3].(string)
	page := Roster{Epoch: epoch, Online: int(online), Users: texts(reply[4]), Next: next}
	if page.Version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return Roster{}, err
	}
	if next == "0" {
		page.Next = ""
	}
	return page, nil
}

// online is one round trip (one to each primary, in a cluster), however many topics.
func (r *redisNode) online(ctx context.Context, topics []string) ([]int, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	pipe := r.rdb.Pipeline()
	lengths := make([]*redis.IntCmd, len(topics))
	for i, t := range topics {
		lengths[i] = pipe.HLen(ctx, r.topicKeys(r.partition(t), t, member{})[1])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	counts := make([]int, len(topics))
	for i, length := range lengths {
		counts[i] = int(length.Val())
	}
	return counts, nil
}

func (r *redisNode) members(ctx context.Context) ([]member, error) {
	list, err := r.rdb.ZRange(ctx, r.leaseKeys(member{})[0], 0, -1).Result()
	if err != nil {
		return nil, err
	}
	members := make([]member, len(list))
	for i, s := range list {
		members[i] = parseMember(s)
	}
	return members, nil
}

// page reads the reply of a SCAN command.
func page(reply any) (cursor string, elements []string, err error) {
	parts, _ := reply.([]any)
	if len(parts) != 2 {
		return "", nil, fmt.Errorf("scan answered by %v", reply)
	}
	cursor, ok := parts[0].(string)
	if !ok {
		return "", nil, fmt.Errorf("scan answered by the cursor %v", parts[0])
	}
	return cursor, texts(parts[1]), nil
}

func texts(reply any) []string {
	parts, _ := reply.([]any)
	s := make([]string, 0, len(parts))
	for _, p := range parts {
		text, _ := p.(string)
		s = append(s, text)
	}
	return s
}

func anys(s []string) []any {
	a := make([]any, len(s))
	for i, v := range s {
		a[i] = v
	}
	return a
}
