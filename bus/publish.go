package bus

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// chosenKeyLife is how long a key lives that the bus chose itself: well beyond the
// patience with which the bus repeats such a publish.
const chosenKeyLife = 30 * time.Second

// Publish is one script and one round trip, shared with other publishes that come at the same time.
func (r *Redis) Publish(ctx context.Context, topic string, d Draft) (Receipt, error) {
	receipts, err := r.PublishAll(ctx, topic, []Draft{d})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// PublishAll is one step of a script: nothing comes between its messages, and none is stored without
// those before it.
func (r *Redis) PublishAll(ctx context.Context, topic string, drafts []Draft) ([]Receipt, error) {
	if r.invalid != nil {
		return nil, r.invalid
	}
	if err := checkDrafts(drafts); err != nil || len(drafts) == 0 {
		return nil, err
	}
	name := newEpoch() // of this call: tells its own earlier attempt from another's publish
	g := r.newGroup(topic, name, drafts)
	answers, err := insist(ctx, func(ctx context.Context) ([]any, error) {
		return r.of(g.partition).publishes.publish(ctx, g)
	})
	if err != nil {
		if ctx.Err() == nil {
			r.refusals.begin(r.opts.Logger, err)
		}
		return nil, err
	}
	r.refusals.pass(r.opts.Logger)
	if len(answers) != len(drafts) {
		return nil, fmt.Errorf("bus: Redis answered %d publishes with %q", len(drafts), answers)
	}
	receipts := make([]Receipt, len(answers))
	for i, answer := range answers {
		if receipts[i], err = parseReceipt(answer, g.name(name, i)); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}

// A group is a part of a call of publish.lua: the messages of one caller for one topic. It never changes.
type group struct {
	partition int
	keys      []string
	args      []any
	messages  int
	bytes     int
}

func (r *Redis) newGroup(topic, name string, drafts []Draft) *group {
	p := partitionOf(topic)
	length, age := r.opts.logBounds(topic)
	g := &group{
		partition: p,
		keys:      append(make([]string, 0, 2+len(drafts)), r.key(p, "meta", topic), r.key(p, "log", topic)),
		args:      append(make([]any, 0, 6+3*len(drafts)), len(drafts), r.key(p, r.live, topic), name, length, age.Milliseconds(), r.positionLife(topic)),
		messages:  len(drafts),
	}
	for i, d := range drafts {
		name := g.name(name, i)
		key, life := name, chosenKeyLife
		if d.Key != "" {
			key, life = hashKey(topic, d.User, d.Key), keyLife
		}
		body := appendBody(make([]byte, 0, len(d.Payload)+8+32*len(d.Except)), d)
		g.keys = append(g.keys, r.key(p, "key", key))
		g.args = append(g.args, name, body, life.Milliseconds())
		g.bytes += len(body)
	}
	return g
}

// name returns the name of a message of a call.
func (g *group) name(call string, i int) string {
	if g.messages == 1 {
		return call
	}
	return call + "." + strconv.Itoa(i)
}

// hashKey names a publish by topic, user and key, none of which can imitate another's part.
func hashKey(topic, user, key string) string {
	h := sha256.New()
	for _, s := range []string{topic, user, key} {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// parseReceipt reads what publish.lua answered of the message of that name.
func parseReceipt(answer any, name string) (Receipt, error) {
	s, _ := answer.(string)
	receivers, rest, _ := strings.Cut(s, " ")
	offset, rest, _ := strings.Cut(rest, " ")
	epoch, rest, _ := strings.Cut(rest, " ")
	time, first, _ := strings.Cut(rest, " ")
	r := Receipt{Position: Position{Epoch: epoch}, Duplicate: first != name}
	var err1, err2, err3 error
	r.Receivers, err1 = strconv.Atoi(receivers)
	r.Offset, err2 = strconv.ParseUint(offset, 10, 64)
	r.Time, err3 = strconv.ParseInt(time, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || epoch == "" || first == "" {
		return Receipt{}, fmt.Errorf("bus: Redis answered a publish with %q", answer)
	}
	return r, nil
}

// Signal is tried once: what is stored nowhere is not worth saying twice.
func (r *Redis) Signal(ctx context.Context, topic string, payload []byte) (int, error) {
	if r.invalid != nil {
		return 0, r.invalid
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	channel, prefix := r.Live(topic)
	receivers, err := spublish(ctx, r.of(partitionOf(topic)).writes, channel, append([]byte(prefix), payload...))
	return int(receivers), failure(err)
}

// spublish sends payload over a channel and tells how many received it.
func spublish(ctx context.Context, b *batcher, channel string, payload []byte) (receivers int64, err error) {
	cmd := redis.NewCmd(context.Background(), "spublish", channel, payload)
	cmd.SetFirstKeyPos(1)
	answers, err := b.do(ctx, cmd)
	if err != nil {
		return 0, err
	}
	receivers, _ = answers[0].(int64)
	return receivers, nil
}
