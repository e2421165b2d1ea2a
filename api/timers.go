package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// Intervals of a timer: a claim on one is a lease of a second.
const (
	minEvery = time.Second
	maxEvery = 366 * 24 * time.Hour
)

type timerJSON struct {
	ID    string          `json:"id"`
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
	Every string          `json:"every,omitempty"`
	Next  time.Time       `json:"next"`
}

func toTimerJSON(t Timer) timerJSON {
	out := timerJSON{ID: t.ID, Topic: t.Topic, Data: t.Data, Next: t.Next.UTC()}
	if t.Every > 0 {
		out.Every = t.Every.String()
	}
	return out
}

func (s *server) addTimer(r *http.Request) (any, error) {
	b, err := object(r)
	if err != nil {
		return nil, err
	}
	t, err := parseTimer(b)
	if err != nil {
		return nil, err
	}
	if t, err = s.backend.AddTimer(r.Context(), t); err != nil {
		return nil, err
	}
	return toTimerJSON(t), nil
}

func parseTimer(b []byte) (t Timer, err error) {
	var in struct {
		Topic *string         `json:"topic"`
		Data  json.RawMessage `json:"data"`
		Every *string         `json:"every"`
		At    *string         `json:"at"`
	}
	if err := decode(b, &in); err != nil {
		return t, err
	}
	if t.Topic, err = parseTopic(in.Topic); err != nil {
		return t, err
	}
	if t.Data, err = parseData(in.Data); err != nil {
		return t, err
	}
	if in.Every == nil && in.At == nil {
		return t, bad(`give "every" (a duration, as 1s or 24h) or "at" (a time), or both: first at, then every`)
	}
	if in.Every != nil {
		if t.Every, err = time.ParseDuration(*in.Every); err != nil || t.Every < minEvery || t.Every > maxEvery {
			return t, bad("every must be a duration from 1s to %dh, as 90s or 1h30m", int(maxEvery.Hours()))
		}
		if t.Every%time.Millisecond != 0 {
			return t, bad("every must be in whole milliseconds, as 1500ms")
		}
	}
	if in.At != nil {
		t.Next, err = instant("at", *in.At)
	}
	return t, err
}

func (s *server) timers(r *http.Request) (any, error) {
	cursor, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	p, err := s.backend.Timers(r.Context(), cursor, limit)
	if err != nil {
		return nil, err
	}
	out := struct {
		Timers []timerJSON `json:"timers"`
		Next   string      `json:"next,omitempty"`
	}{make([]timerJSON, 0, len(p.Timers)), p.Next}
	for _, t := range p.Timers {
		out.Timers = append(out.Timers, toTimerJSON(t))
	}
	return out, nil
}

func (s *server) deleteTimer(r *http.Request) (any, error) {
	id, err := short("the timer's id", r.PathValue("id"), maxID)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.DeleteTimer(r.Context(), id)
}
