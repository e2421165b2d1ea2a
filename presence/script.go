package presence

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// A script is one of the .lua files behind the head that it needs.
type script struct{ text, sha string }

// Every script that only reads or takes away is let through when Redis is out of
// memory: what it writes is little, and it makes room.
const evenFull = "#!lua flags=allow-oom\n"

func newScript(head, body string, flags string) script {
	text := flags + historyHead + head + body
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

var (
	//go:embed history.lua
	historyHead string
	//go:embed topic.lua
	topicHead string
	//go:embed open.lua
	openBody string
	//go:embed join.lua
	joinBody string
	//go:embed leave.lua
	leaveBody string
	//go:embed reap.lua
	reapBody string
	//go:embed present.lua
	presentBody string
	//go:embed roster.lua
	rosterBody string

	//go:embed lease.lua
	leaseHead string
	//go:embed renew.lua
	renewBody string
	//go:embed reserve.lua
	reserveBody string
	//go:embed release.lua
	releaseBody string
	//go:embed reserved.lua
	reservedBody string
	//go:embed condemn.lua
	condemnBody string
)

var (
	openScript    = newScript(topicHead, openBody, evenFull)
	joinScript    = newScript(topicHead, joinBody, "#!lua\n")
	leaveScript   = newScript(topicHead, leaveBody, evenFull)
	reapScript    = newScript(topicHead, reapBody, evenFull)
	presentScript = newScript(topicHead, presentBody, evenFull)
	rosterScript  = newScript(topicHead, rosterBody, evenFull)

	renewScript    = newScript(leaseHead, renewBody, evenFull)
	reserveScript  = newScript(leaseHead, reserveBody, "#!lua\n")
	releaseScript  = newScript(leaseHead, releaseBody, evenFull)
	reservedScript = newScript(leaseHead, reservedBody, evenFull)
	condemnScript  = newScript(leaseHead, condemnBody, evenFull)
)

// A call is one run of a script.
type call struct {
	script script
	keys   []string
	args   []any
	cmd    *redis.Cmd // after exec
}

// answerTime is how long a pipeline may take until it is given up.
const answerTime = 4 * time.Second

// maxCalls is how many calls share a pipeline.
const maxCalls = 256

// exec runs the calls, in order, as few pipelines as it takes. Each call's cmd tells its own error.
func (r *redisNode) exec(ctx context.Context, calls ...*call) {
	r.count.Add(uint64(len(calls)))
	for some := range slices.Chunk(calls, maxCalls) {
		r.pipeline(ctx, some, false)
		var unknown []*call
		for _, c := range some {
			if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
				unknown = append(unknown, c)
			}
		}
		if len(unknown) > 0 {
			r.pipeline(ctx, unknown, true)
		}
	}
}

// pipeline runs calls by the digest or by the text of their scripts.
func (r *redisNode) pipeline(ctx context.Context, calls []*call, byText bool) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	pipe := r.rdb.Pipeline()
	for _, c := range calls {
		if byText {
			c.cmd = pipe.Eval(ctx, c.script.text, c.keys, c.args...)
		} else {
			c.cmd = pipe.EvalSha(ctx, c.script.sha, c.keys, c.args...)
		}
		c.cmd.SetErr(errUnanswered)
	}
	_, err := pipe.Exec(ctx)
	for _, c := range calls { // each command has its error
		if err != nil && c.cmd.Err() == errUnanswered {
			c.cmd.SetErr(fmt.Errorf("%w: %w", errUnanswered, err))
		}
	}
}

// errUnanswered is the error of a command until its answer is read. When a new connection is
// refused with an error of Redis' own (BUSY, LOADING), the library runs no command of the pipeline
// and gives them no error either: each would seem to have succeeded, with nothing.
var errUnanswered = errors.New("the connection to Redis was refused")

// do runs one script.
func (r *redisNode) do(ctx context.Context, s script, keys []string, args ...any) (any, error) {
	c := &call{script: s, keys: keys, args: args}
	r.exec(ctx, c)
	reply, err := c.cmd.Result()
	return reply, meaning(err)
}

// meaning finds the error that a script's refusal stands for.
func meaning(err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "CONDEMNED"):
		return errCondemned
	case redis.HasErrorPrefix(err, "STALE"):
		return errStale
	case redis.HasErrorPrefix(err, "NOLEASE"):
		return errNoLease
	case redis.HasErrorPrefix(err, "LOST"):
		return errLost
	}
	return err
}
