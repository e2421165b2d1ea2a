package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"
)

// clock is what the timer publishes; the cluster fills it in each time.
const clock = `{"clock":"{{time}}","count":"{{count}}"}`

// An API is the server API of a node, of which any does.
type API struct {
	url string // as http://127.0.0.1:9000
}

// A timer is one as the API takes and lists it.
type timer struct {
	ID    string          `json:"id,omitempty"`
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
	Every string          `json:"every,omitempty"`
}

// Start makes the cluster send the clock to everyone each second, unless it does already.
func (a API) Start(ctx context.Context) error {
	ids, err := a.clocks(ctx)
	if err == nil && len(ids) == 0 {
		if err = a.call(ctx, "POST", "/v1/timers", timer{Topic: "*", Data: json.RawMessage(clock), Every: "1s"}, nil); err == nil {
			ids, err = a.clocks(ctx)
		}
	}
	if err == nil && len(ids) > 1 { // others started too, at the same time: all agree on the first
		err = a.end(ctx, ids[1:])
	}
	return err
}

// Stop ends the clock.
func (a API) Stop(ctx context.Context) error {
	ids, err := a.clocks(ctx)
	if err != nil {
		return err
	}
	return a.end(ctx, ids)
}

// clocks returns the ids of the timers that are our clock, in order.
func (a API) clocks(ctx context.Context) (ids []string, err error) {
	for cursor := ""; ; {
		var page struct {
			Timers []timer
			Next   string
		}
		if err := a.call(ctx, "GET", "/v1/timers?cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		for _, t := range page.Timers {
			if t.Topic == "*" && string(t.Data) == clock {
				ids = append(ids, t.ID)
			}
		}
		if cursor = page.Next; cursor == "" {
			slices.Sort(ids)
			return ids, nil
		}
	}
}

func (a API) end(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := a.call(ctx, "DELETE", "/v1/timers/"+id, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// call makes one request. To delete what is gone already is no error.
func (a API) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key := os.Getenv("ROOKERY_API_KEY"); key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	switch {
	case err != nil:
		return err
	case method == "DELETE" && w.StatusCode == http.StatusNotFound:
		return nil
	case w.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, w.Status, answer)
	case out == nil:
		return nil
	}
	return json.Unmarshal(answer, out)
}
