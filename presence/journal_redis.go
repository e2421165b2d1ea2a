package presence

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed claim.lua
var claimBody string

var claimScript = newScript("", claimBody, evenFull)

// A redisJournal is one node's way to the journal of a cluster that meets in Redis: a
// stream a partition. All is fixed at construction.
type redisJournal struct {
	redisNode
	who        string
	partitions []string
}

// NewJournal makes one node's way to the journal of a cluster whose nodes have
// [Options].Journal. Partitions are all hash tags ({…}) that live channels have.
func NewJournal(rdb redis.UniversalClient, partitions []string, opts *Options) Journal {
	prefix := "rookery:"
	if opts != nil && opts.Prefix != "" {
		prefix = opts.Prefix
	}
	return &redisJournal{redisNode: redisNode{rdb: rdb, prefix: prefix}, who: newID(), partitions: partitions}
}

func (j *redisJournal) Claim(ctx context.Context) (bool, error) {
	return j.claim(ctx, ClaimTime)
}

func (j *redisJournal) Release(ctx context.Context) error {
	_, err := j.claim(ctx, 0)
	return err
}

func (j *redisJournal) claim(ctx context.Context, lasts time.Duration) (bool, error) {
	reply, err := j.do(ctx, claimScript, []string{j.prefix + "{presence}:presence:teller"}, j.who, lasts.Milliseconds())
	return reply == int64(1), err
}

func (j *redisJournal) Pending(ctx context.Context) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	pipe := j.rdb.Pipeline()
	steps := make([]*redis.XMessageSliceCmd, len(j.partitions))
	losses := make([]*redis.StringCmd, len(j.partitions))
	for i, p := range j.partitions {
		journal, lost := j.journalKeys(p)
		losses[i] = pipe.Get(ctx, lost) // first: what it counts is older than what is read then
		steps[i] = pipe.XRangeN(ctx, journal, "-", "+", maxRecords)
		losses[i].SetErr(errUnanswered)
		steps[i].SetErr(errUnanswered)
	}
	pipe.Exec(ctx) // each command has its error
	var records []Record
	var failed error
	for i, p := range j.partitions {
		list, err := steps[i].Result()
		lost, lostErr := losses[i].Int()
		if errors.Is(lostErr, redis.Nil) {
			lostErr = nil
		}
		if err := errors.Join(err, lostErr); err != nil {
			failed = fmt.Errorf("presence: journal: %w", err)
			continue
		}
		for _, m := range list {
			if lost > 0 {
				r := Record{Lost: lost, partition: p}
				r.ID, r.Time = recordID(p, m.ID)
				r.ID += "-lost-" + strconv.Itoa(lost)
				records, lost = append(records, r), 0
			}
			r, err := j.record(p, m)
			if err != nil {
				failed = err
				break
			}
			records = append(records, r)
		}
	}
	slices.SortStableFunc(records, func(a, b Record) int { return a.Time.Compare(b.Time) })
	return records, failed
}

// record reads an entry of a partition's stream: the roster's key, and the change.
func (j *redisJournal) record(partition string, m redis.XMessage) (r Record, err error) {
	r.partition, r.entry = partition, m.ID
	r.ID, r.Time = recordID(partition, m.ID)
	for key, value := range m.Values {
		var is bool
		r.Topic, is = strings.CutPrefix(key, j.topicKeys(partition, "", member{})[0])
		change, _ := value.(string)
		if r.Change, err = ParseChange([]byte(change)); err != nil || !is {
			return r, fmt.Errorf("presence: journal of %s has at %s under %q: %.60q", partition, m.ID, key, value)
		}
	}
	return r, nil
}

// recordID makes the id of a record, and finds its time in that of the entry, which begins with it.
func recordID(partition, entry string) (string, time.Time) {
	text, _, _ := strings.Cut(entry, "-")
	ms, _ := strconv.ParseInt(text, 10, 64) // Redis makes it
	return strings.Trim(partition, "{}") + "-" + entry, time.UnixMilli(ms)
}

func (j *redisJournal) Told(ctx context.Context, records []Record) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	entries := map[string][]string{}
	pipe := j.rdb.Pipeline()
	for _, r := range records {
		journal, lost := j.journalKeys(r.partition)
		if r.Lost > 0 {
			pipe.DecrBy(ctx, lost, int64(r.Lost))
		} else {
			entries[journal] = append(entries[journal], r.entry)
		}
	}
	for journal, ids := range entries {
		pipe.XDel(ctx, journal, ids...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("presence: journal: %w", err)
	}
	return nil
}
