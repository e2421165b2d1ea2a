package node

import (
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

// gatherMost is how many publishes are stored in one step.
const gatherMost = 64

// A gathering is publishes of a session to one room that were read together: they are stored together, in
// their order, before anything else of what the session sent is looked at. Nobody waits for one more to
// come: only what is there as a whole is gathered.
type gathering struct {
	topic  string
	drafts []bus.Draft
	ids    []uint64 // of the commands; 0 where nobody wants to know
}

// gathers tells whether a command may wait for those behind it. A direct message is two publishes,
// and one that is reviewed may be refused.
func (s *session) gathers(c wire.Command) bool {
	return c.Type == "publish" && s.node.review == nil && !wire.IsInbox(c.Topic)
}

// gather adds a publish to those that wait. The caller holds turn.
func (s *session) gather(c wire.Command) error {
	if g := s.gathered; g != nil && (g.topic != c.Topic || len(g.drafts) == gatherMost) {
		s.store()
	}
	p, err := s.publication(c)
	if err != nil {
		return err
	}
	if s.gathered == nil {
		s.gathered = &gathering{topic: c.Topic}
	}
	s.gathered.drafts = append(s.gathered.drafts, p.draft())
	s.gathered.ids = append(s.gathered.ids, c.ID)
	return nil
}

// store stores what was gathered, and answers. The caller holds turn.
func (s *session) store() {
	g := s.gathered
	if g == nil {
		return
	}
	s.gathered = nil
	begin := time.Now()
	receipts, err := s.node.bus.PublishAll(s.node.stopped, g.topic, g.drafts)
	took := time.Since(begin)
	var answers []byte
	for i, id := range g.ids {
		s.node.metrics.published(took, err)
		switch {
		case err != nil:
			s.fail(wire.Command{Type: "publish", ID: id, Topic: g.topic}, err)
		case id != 0:
			done := wire.Published{Position: wire.Position(receipts[i].Position), Duplicate: receipts[i].Duplicate}
			answers = append(answers, s.kind.own(wire.OK{ID: id, Topic: g.topic, Published: &done}.Append(nil))...)
		}
	}
	s.send(answers)
}

// storeGathered is store for who does not hold turn.
func (s *session) storeGathered() {
	if s.gathered != nil {
		s.turn.Lock()
		defer s.turn.Unlock()
		s.store()
	}
}
