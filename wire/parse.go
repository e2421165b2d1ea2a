package wire

import (
	"encoding/json"
	"fmt"
)

// A parsed is any server frame. Pointers tell fields that are missing from zeros.
type parsed struct {
	Type      string            `json:"type"`
	ID        uint64            `json:"id"`
	Topic     string            `json:"topic"`
	Session   string            `json:"session"`
	User      string            `json:"user"`
	Node      string            `json:"node"`
	Heartbeat int               `json:"heartbeat"`
	MaxFrame  int               `json:"max_frame"`
	Topics    map[string]parsed `json:"topics"`
	Epoch     string            `json:"epoch"`
	Offset    uint64            `json:"offset"`
	After     *uint64           `json:"after"`
	Recovered *bool             `json:"recovered"`
	Read      uint64            `json:"read"`
	Duplicate bool              `json:"duplicate"`
	Reached   *int              `json:"reached"`
	Version   uint64            `json:"version"`
	Online    *int              `json:"online"`
	Members   []string          `json:"members"`
	More      bool              `json:"more"`
	Next      string            `json:"next"`
	Joined    []string          `json:"joined"`
	Left      []string          `json:"left"`
	Reads     map[string]uint64 `json:"reads"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	Time      int64             `json:"time"`
	Data      json.RawMessage   `json:"data"`
	Messages  []parsed          `json:"messages"`
	Reason    string            `json:"reason"`
	Code      string            `json:"code"`
	Message   string            `json:"message"`
	Retry     bool              `json:"retry"`
	Reconnect bool              `json:"reconnect"`
	Error     *parsed           `json:"error"`
}

// ParseFrame reads one frame from a server: a *Welcome, *OK, *Message, *Signal, *Presence,
// *Read, *Skip, *Reset, *Error, *Goodbye, *History or *Members. A frame of a type that this
// version does not know is nil without an error: clients ignore it.
func ParseFrame(b []byte) (any, error) {
	if err := validObject(b); err != nil {
		return nil, fmt.Errorf("frame from the server: %w", err)
	}
	var p parsed
	err := json.Unmarshal(b, &p)
	frame := p.frame()
	if frame == nil {
		return nil, nil // what its fields hold is of no concern here
	}
	if err != nil {
		return nil, fmt.Errorf("%s frame from the server: %w", p.Type, err)
	}
	return frame, nil
}

// frame returns the frame that p is, nil for an unknown type.
func (p *parsed) frame() any {
	switch p.Type {
	case "welcome":
		w := &Welcome{ID: p.ID, Session: p.Session, User: p.User, Node: p.Node, Heartbeat: p.Heartbeat, MaxFrame: p.MaxFrame, Topics: make(map[string]Joined, len(p.Topics))}
		for topic, t := range p.Topics {
			w.Topics[topic] = *t.joined()
		}
		return w
	case "ok":
		o := &OK{ID: p.ID, Topic: p.Topic}
		switch {
		case p.After != nil:
			o.Joined = p.joined()
		case p.Epoch != "":
			o.Published = &Published{Position: p.position(), Duplicate: p.Duplicate, Reached: p.Reached}
		}
		return o
	case "message":
		m := p.message()
		return &m
	case "signal":
		return &Signal{Topic: p.Topic, From: p.From, Session: p.Session, Data: p.data()}
	case "presence":
		f := &Presence{Topic: p.Topic, Version: p.Version, Online: deref(p.Online), Joined: p.Joined, Left: p.Left}
		if p.Members != nil {
			r := p.roster()
			f.Roster, f.Joined, f.Left = &r, nil, nil
		}
		return f
	case "read":
		return &Read{Topic: p.Topic, From: p.From, Offset: p.Offset}
	case "skip":
		return &Skip{Topic: p.Topic, Offset: p.Offset}
	case "reset":
		return &Reset{Topic: p.Topic, Position: p.position(), After: deref(p.After), Reason: p.Reason, Recovered: deref(p.Recovered)}
	case "error":
		return &Error{ID: p.ID, Topic: p.Topic, Code: Code(p.Code), Message: p.Message, Retry: p.Retry}
	case "goodbye":
		return &Goodbye{Code: p.Code, Reconnect: p.Reconnect, After: int(deref(p.After))}
	case "history":
		h := &History{ID: p.ID, Topic: p.Topic, More: p.More}
		for i := range p.Messages {
			h.Messages = append(h.Messages, p.Messages[i].message())
		}
		return h
	case "members":
		return &Members{ID: p.ID, Topic: p.Topic, Roster: p.roster(), Reads: p.Reads}
	}
	return nil
}

func (p *parsed) position() Position { return Position{Epoch: p.Epoch, Offset: p.Offset} }

func (p *parsed) joined() *Joined {
	if p.Error != nil {
		return &Joined{Err: &Error{Code: Code(p.Error.Code), Message: p.Error.Message, Retry: p.Error.Retry}}
	}
	j := &Joined{Position: p.position(), After: deref(p.After), Recovered: deref(p.Recovered), Read: p.Read}
	if p.Online != nil {
		r := p.roster()
		j.Roster = &r
	}
	return j
}

func (p *parsed) roster() Roster {
	return Roster{Version: p.Version, Online: deref(p.Online), Members: p.Members, More: p.More, Next: p.Next}
}

func (p *parsed) message() Message {
	return Message{Topic: p.Topic, Offset: p.Offset, From: p.From, Session: p.Session, To: p.To, Time: p.Time, Data: p.data()}
}

// data is null where a frame lacks it, so that Data is always JSON.
func (p *parsed) data() json.RawMessage {
	if p.Data == nil {
		return json.RawMessage("null")
	}
	return p.Data
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
