package presence

import (
	"context"
	"strconv"
	"time"
)

// A memoryJournal is that of a cluster in memory. Guarded by Memory.mu.
type memoryJournal struct {
	keep    int
	records []Record // oldest first
	lost    int      // older than all of them
	count   uint64   // numbers the records
	teller  *memoryTeller
	until   time.Time // so long the journal is teller's
}

// A memoryTeller is one node's way to the journal.
type memoryTeller struct{ m *Memory }

// Journal gives the cluster a journal that keeps so many changes, from the first call on,
// and makes one node's way to it.
func (m *Memory) Journal(keep int) Journal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.journal == nil {
		m.journal = &memoryJournal{keep: keep}
	}
	return &memoryTeller{m}
}

// write takes down a change.
func (j *memoryJournal) write(topic string, c Change) {
	j.count++
	j.records = append(j.records, Record{ID: c.Epoch + "-" + strconv.FormatUint(j.count, 10), Time: time.UnixMilli(time.Now().UnixMilli()), Topic: topic, Change: c})
	if over := len(j.records) - j.keep; over > 0 {
		j.lost += over
		j.records = j.records[over:]
	}
}

func (t *memoryTeller) Claim(context.Context) (bool, error) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	j := t.m.journal
	if j.teller != nil && j.teller != t && time.Now().Before(j.until) {
		return false, nil
	}
	j.teller, j.until = t, time.Now().Add(ClaimTime)
	return true, nil
}

func (t *memoryTeller) Release(context.Context) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if j := t.m.journal; j.teller == t {
		j.teller = nil
	}
	return nil
}

func (t *memoryTeller) Pending(context.Context) ([]Record, error) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	j := t.m.journal
	var some []Record
	if j.lost > 0 {
		first := j.records[0]
		some = append(some, Record{ID: first.ID + "-lost-" + strconv.Itoa(j.lost), Time: first.Time, Lost: j.lost})
	}
	return append(some, j.records[:min(len(j.records), maxRecords)]...), nil
}

func (t *memoryTeller) Told(_ context.Context, records []Record) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	j := t.m.journal
	told := make(map[string]bool, len(records))
	for _, r := range records {
		told[r.ID] = true
		j.lost -= min(r.Lost, j.lost)
	}
	var left []Record
	for _, r := range j.records {
		if !told[r.ID] {
			left = append(left, r)
		}
	}
	j.records = left
	return nil
}
