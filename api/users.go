package api

import (
	"net/http"
	"strconv"
	"time"
)

type nodeJSON struct {
	Node     string    `json:"node"`
	State    string    `json:"state"`
	Address  string    `json:"address,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Version  string    `json:"version,omitempty"`
	Sessions *int      `json:"sessions,omitempty"`
	Users    *int      `json:"users,omitempty"`
}

type sessionJSON struct {
	Session string    `json:"session"`
	Node    string    `json:"node"`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
	Version string    `json:"version"`
	Client  string    `json:"client,omitempty"`
}

func (s *server) nodes(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	all, err := s.backend.Nodes(r.Context())
	if err != nil {
		return nil, err
	}
	nodes := make([]nodeJSON, 0, len(all))
	for _, n := range all {
		out := nodeJSON{Node: n.ID, State: n.State}
		if !n.Since.IsZero() { // it has answered
			out.Address, out.Since, out.Version = n.Address, n.Since.UTC(), n.Version
			out.Sessions, out.Users = &n.Sessions, &n.Users
		}
		nodes = append(nodes, out)
	}
	return map[string]any{"nodes": nodes}, nil
}

// shed sends a part of a node's sessions elsewhere.
func (s *server) shed(r *http.Request) (any, error) {
	node, err := short("the node", r.PathValue("node"), maxSession)
	if err != nil {
		return nil, err
	}
	q, err := query(r, "percent")
	if err != nil {
		return nil, err
	}
	percent, err := strconv.Atoi(q.Get("percent"))
	if err != nil || percent < 1 || percent > 100 {
		return nil, bad("percent must be a whole number from 1 to 100: how many of the node's sessions to send away")
	}
	shed, err := s.backend.Shed(r.Context(), node, percent)
	if err != nil {
		return nil, err
	}
	return map[string]int{"shed": shed}, nil
}

// onlyUser returns the user that the path names, for operations that take nothing else.
func onlyUser(r *http.Request) (string, error) {
	user, err := pathUser(r)
	if err != nil {
		return "", err
	}
	_, err = query(r)
	return user, err
}

func (s *server) user(r *http.Request) (any, error) {
	user, err := onlyUser(r)
	if err != nil {
		return nil, err
	}
	sessions, silent, err := s.backend.Sessions(r.Context(), user)
	if err != nil {
		return nil, err
	}
	out := struct {
		User     string        `json:"user"`
		Online   bool          `json:"online"`
		Sessions []sessionJSON `json:"sessions"`
		Silent   int           `json:"silent,omitempty"`
	}{user, len(sessions)+silent > 0, make([]sessionJSON, 0, len(sessions)), silent}
	for _, x := range sessions {
		out.Sessions = append(out.Sessions, sessionJSON{x.ID, x.Node, x.Address, x.Since.UTC(), x.Version, x.Client})
	}
	return out, nil
}

func (s *server) deleteUser(r *http.Request) (any, error) {
	user, err := onlyUser(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.DeleteUser(r.Context(), user)
}

func (s *server) kick(r *http.Request) (any, error) {
	user, err := onlyUser(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.Kick(r.Context(), user)
}

func (s *server) kickSession(r *http.Request) (any, error) {
	session, err := short("the session", r.PathValue("session"), maxSession)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.KickSession(r.Context(), session)
}
