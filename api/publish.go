package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rookery-chat/rookery/wire"
)

// draftJSON is a message as a caller sends it. Topic belongs to a batch.
type draftJSON struct {
	Topic  *string         `json:"topic"`
	Data   json.RawMessage `json:"data"`
	From   string          `json:"from"`
	Key    string          `json:"key"`
	Except []string        `json:"except"`
}

type receiptJSON struct {
	Epoch     string `json:"epoch"`
	Offset    uint64 `json:"offset"`
	Duplicate bool   `json:"duplicate"`
	Reached   *int   `json:"reached,omitempty"` // inboxes only
}

// resultJSON is the answer to one message of a batch: one of the two.
type resultJSON struct {
	Receipt *receiptJSON `json:"receipt,omitempty"`
	Problem *problem     `json:"problem,omitempty"`
}

func (s *server) publish(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	b, err := object(r)
	if err != nil {
		return nil, err
	}
	m, named, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	if named != nil {
		return nil, bad(`unknown field "topic": the path names it`)
	}
	return s.store(r.Context(), topic, m)
}

func (s *server) signal(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	b, err := object(r)
	if err != nil {
		return nil, err
	}
	var in struct {
		Data json.RawMessage `json:"data"`
		From string          `json:"from"`
	}
	if err := decode(b, &in); err != nil {
		return nil, err
	}
	data, err := parseData(in.Data)
	if err != nil {
		return nil, err
	}
	if in.From, err = from(in.From); err != nil {
		return nil, err
	}
	return nil, s.backend.Signal(r.Context(), topic, in.From, data)
}

// object reads a body that takes no parameters behind the path.
func object(r *http.Request) ([]byte, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return body(r, maxBody)
}

// store publishes one message.
func (s *server) store(ctx context.Context, topic string, m Message) (*receiptJSON, error) {
	receipt, err := s.backend.Publish(ctx, topic, m)
	if err != nil {
		return nil, err
	}
	out := &receiptJSON{Epoch: receipt.Epoch, Offset: receipt.Offset, Duplicate: receipt.Duplicate}
	if wire.IsInbox(topic) {
		out.Reached = &receipt.Reached
	}
	return out, nil
}

// parseMessage reads a message, and the topic that it names, if it does.
func parseMessage(b []byte) (m Message, topic *string, err error) {
	var in draftJSON
	if err := decode(b, &in); err != nil {
		return m, nil, err
	}
	if m.Data, err = parseData(in.Data); err != nil {
		return m, nil, err
	}
	if m.From, err = from(in.From); err != nil {
		return m, nil, err
	}
	if m.Key, err = short("key", in.Key, maxKey); err != nil {
		return m, nil, err
	}
	if len(in.Except) > maxExcept {
		return m, nil, bad("except names more than %d sessions", maxExcept)
	}
	for _, session := range in.Except {
		if session == "" {
			return m, nil, bad("except names a session without an id")
		}
		if _, err := short("a session in except", session, maxSession); err != nil {
			return m, nil, err
		}
	}
	m.Except = in.Except
	return m, in.Topic, nil
}

// from checks who a message is from: "" or a user.
func from(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if _, err := short("from", s, 8*wire.MaxName); err != nil {
		return "", err
	}
	name, err := wire.CheckUser(s)
	if err != nil {
		return "", bad("from: %s", detail(err))
	}
	return name, nil
}

func parseData(b json.RawMessage) (json.RawMessage, error) {
	if b == nil {
		return nil, bad("data is missing: any JSON value")
	}
	data, err := wire.ParseData(b)
	if err != nil {
		return nil, err
	}
	if len(data) > maxData {
		return nil, refuse(http.StatusRequestEntityTooLarge, "data is larger than %d bytes", maxData)
	}
	return data, nil
}

// parseTopic checks a topic that stands in a body.
func parseTopic(s *string) (string, error) {
	if s == nil {
		return "", bad("topic is missing")
	}
	if _, err := short("topic", *s, 8*wire.MaxName+1); err != nil {
		return "", err
	}
	return wire.ParseTopic(*s)
}

// detail returns what an error of package wire says without its code.
func detail(err error) string {
	p, _ := problemOf(err)
	return p.Detail
}

// batchWorkers is how many topics of a batch are published to at a time: their scripts share pipelines.
const batchWorkers = 16

// publishBatch publishes many messages, those of one topic in their order. Each has its own result.
func (s *server) publishBatch(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	b, err := body(r, maxBatch)
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(b, &items); err != nil {
		return nil, bad("the body must be a JSON array of messages")
	}
	switch {
	case len(items) == 0:
		return nil, bad("the batch is empty: send 1 to %d messages", maxItems)
	case len(items) > maxItems:
		return nil, refuse(http.StatusRequestEntityTooLarge, "the batch has more than %d messages", maxItems)
	}
	batch := newBatch(items)
	batch.run(r.Context(), s)
	return map[string]any{"results": batch.results}, nil
}

// A batch is one request's messages. One worker at a time works on a topic, and the
// results of its messages belong to it; down is shared.
type batch struct {
	messages []Message
	results  []resultJSON
	topics   []string         // in order of appearance
	order    map[string][]int // topic -> indexes of its messages
	down     atomic.Bool      // the cluster did not answer: no use to ask it for the rest
}

func newBatch(items []json.RawMessage) *batch {
	b := &batch{
		messages: make([]Message, len(items)),
		results:  make([]resultJSON, len(items)),
		order:    make(map[string][]int),
	}
	for i, item := range items {
		m, named, err := parseMessage(item)
		topic := ""
		if err == nil {
			topic, err = parseTopic(named)
		}
		if err != nil {
			b.results[i].Problem, _ = problemOf(err)
			continue
		}
		b.messages[i] = m
		if b.order[topic] == nil {
			b.topics = append(b.topics, topic)
		}
		b.order[topic] = append(b.order[topic], i)
	}
	return b
}

// run publishes, and returns when every message has a result.
func (b *batch) run(ctx context.Context, s *server) {
	work := make(chan string, len(b.topics))
	for _, topic := range b.topics {
		work <- topic
	}
	close(work)
	var workers sync.WaitGroup
	for range min(batchWorkers, len(b.topics)) {
		workers.Go(func() {
			for topic := range work {
				for _, i := range b.order[topic] {
					b.results[i] = b.publish(ctx, s, topic, b.messages[i])
				}
			}
		})
	}
	workers.Wait()
}

func (b *batch) publish(ctx context.Context, s *server, topic string, m Message) resultJSON {
	err := error(ErrUnavailable)
	if !b.down.Load() {
		var receipt *receiptJSON
		if receipt, err = s.store(ctx, topic, m); err == nil {
			return resultJSON{Receipt: receipt}
		}
	}
	p, known := problemOf(err)
	if !known && ctx.Err() == nil {
		s.log.Error("server API", "operation", "batch", "err", err)
	}
	if p.Status == http.StatusServiceUnavailable {
		b.down.Store(true)
	}
	return resultJSON{Problem: p}
}
