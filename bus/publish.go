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
	if r.invalid != nil {
		return Receipt{}, r.invalid
	}
	if len(d.Payload) == 0 {
		return Receipt{}, errEmptyPayload
	}
	name := newEpoch() // of this call: tells its own earlier attempt from another's publish
	key, life := name, chosenKeyLife
	if d.Key != "" {
		key, life = hashKey(topic, d.User, d.Key), keyLife
	}
	p := partitionOf(topic)
	length, age := r.opts.logBounds(topic)
	keys := []string{r.key(p, "history", "id"), r.key(p, "meta", topic), r.key(p, "log", topic), r.key(p, "key", key)}
	live := r.key(p, r.live, topic)
	body := appendBody(make([]byte, 0, len(d.Payload)+8+32*len(d.Except)), d)
	positionLife := r.positionLife(topic)

	answer, err := r.of(p).writes.insist(ctx, func() *redis.Cmd {
		return publishScript.cmd(keys, live, name, body, length, age.Milliseconds(), positionLife, life.Milliseconds())
	})
	if err != nil {
		if ctx.Err() == nil {
			r.refusals.begin(r.opts.Logger, err)
		}
		return Receipt{}, err
	}
	r.refusals.pass(r.opts.Logger)
	return parseReceipt(answer, name)
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

// parseReceipt reads the answer of publish.lua to the call of that name.
func parseReceipt(answer any, name string) (Receipt, error) {
	s, _ := answer.(string)
	f := strings.Fields(s)
	if len(f) != 5 {
		return Receipt{}, fmt.Errorf("bus: Redis answered a publish with %q", answer)
	}
	receivers, err1 := strconv.Atoi(f[0])
	offset, err2 := strconv.ParseUint(f[1], 10, 64)
	time, err3 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Receipt{}, fmt.Errorf("bus: Redis answered a publish with %q", answer)
	}
	return Receipt{
		Position:  Position{Epoch: f[2], Offset: offset},
		Time:      time,
		Duplicate: f[4] != name,
		Receivers: receivers,
	}, nil
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
