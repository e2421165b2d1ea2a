package bus

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

func (r *Redis) Read(ctx context.Context, topic string, after uint64, limit int) (Page, error) {
	if r.invalid != nil {
		return Page{}, r.invalid
	}
	p := partitionOf(topic)
	keys := []string{r.key(p, "history", "id"), r.key(p, "meta", topic), r.key(p, "log", topic)}
	answer, err := r.of(p).reads.insist(ctx, func() *redis.Cmd {
		return readScript.cmd(keys, newEpoch(), after, limit, pageBytes, r.positionLife(topic))
	})
	if err != nil {
		return Page{}, err
	}
	page, err := parsePage(answer, after)
	if err != nil {
		return Page{}, fmt.Errorf("bus: log of %s: %w", topic, err)
	}
	return page, nil
}

// parsePage reads the answer of read.lua. Offsets that it passes over are those of
// removed messages; so is, for the reader, what is no message of this bus.
func parsePage(answer any, after uint64) (Page, error) {
	list, _ := answer.([]any)
	s := make([]string, len(list))
	for i := range list {
		s[i], _ = list[i].(string)
	}
	if len(s) < 6 || len(s)%2 != 0 {
		return Page{}, errRecord
	}
	var err error
	number := func(s string) uint64 {
		n, e := strconv.ParseUint(s, 10, 64)
		err = cmp.Or(err, e)
		return n
	}
	page := Page{Epoch: s[0], Head: number(s[1]), Previous: Position{s[2], number(s[3])}, First: number(s[4])}
	next, until := max(after+1, page.First), number(s[5])
	if err != nil {
		return Page{}, err
	}
	for s = s[6:]; len(s) > 0; s = s[2:] {
		offset := number(s[0])
		if e, bad := parseRecord(offset, s[1]); bad == nil && offset >= next && offset <= until {
			page.Entries = appendRemoved(page.Entries, next, offset)
			page.Entries = append(page.Entries, e)
			next = offset + 1
		}
	}
	page.Entries = appendRemoved(page.Entries, next, until+1)
	return page, nil
}

// appendRemoved appends removed messages from one offset to another, which is left out.
func appendRemoved(entries []Entry, from, to uint64) []Entry {
	for ; from < to; from++ {
		entries = append(entries, Entry{Offset: from})
	}
	return entries
}

// Remove leaves a hole in the stream, which Read fills.
func (r *Redis) Remove(ctx context.Context, topic string, offset uint64) error {
	log := r.key(partitionOf(topic), "log", topic)
	return r.edit(ctx, topic, func() *redis.Cmd {
		cmd := redis.NewCmd(context.Background(), "xdel", log, strconv.FormatUint(offset, 10)+"-0")
		cmd.SetFirstKeyPos(1)
		return cmd
	})
}

func (r *Redis) Clear(ctx context.Context, topic string) error {
	p := partitionOf(topic)
	keys := []string{r.key(p, "meta", topic), r.key(p, "log", topic)}
	return r.edit(ctx, topic, func() *redis.Cmd { return clearScript.cmd(keys) })
}

func (r *Redis) edit(ctx context.Context, topic string, attempt func() *redis.Cmd) error {
	if r.invalid != nil {
		return r.invalid
	}
	_, err := r.of(partitionOf(topic)).writes.insist(ctx, attempt)
	return err
}
