package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// AppendPayload appends what the bus stores of a message or signal: the JSON object
//
//	{"from":"alice","session":"n7f3-12","to":"bob","data":…}
//
// without the fields that are "". data must be one value of compact JSON. A frame is made of a payload
// without parsing it: see AppendMessage.
func AppendPayload(dst []byte, from, session, to string, data []byte) []byte {
	dst = append(dst, '{')
	for _, f := range [...]struct{ name, value string }{{"from", from}, {"session", session}, {"to", to}} {
		if f.value != "" {
			dst = appendString(append(append(append(dst, '"'), f.name...), '"', ':'), f.value)
			dst = append(dst, ',')
		}
	}
	dst = append(append(dst, `"data":`...), data...)
	return append(dst, '}')
}

// ParsePayload reads a payload. Topic, Offset and Time are left zero.
func ParsePayload(b []byte) (Message, error) {
	var p struct {
		From    string          `json:"from"`
		Session string          `json:"session"`
		To      string          `json:"to"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return Message{}, fmt.Errorf("stored payload: %w", err)
	}
	if p.Data == nil {
		return Message{}, errors.New("stored payload without data")
	}
	return Message{From: p.From, Session: p.Session, To: p.To, Data: p.Data}, nil
}
