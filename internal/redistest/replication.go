package redistest

import (
	"errors"
	"net"
)

// prompt makes a server send its data to a replica without waiting for others.
var prompt = []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}

// Replicate makes s a replica of primary, and waits until it has the primary's data.
func (s *Server) Replicate(primary *Server) {
	s.tb.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	s.must("replicaof", host, port)
	eventually(s.tb, s.Addr+" is a replica in step", func() bool { return s.tells("master_link_status:up", "info", "replication") })
}

// Follows tells whether s is a replica that has its primary's data.
func (s *Server) Follows() bool {
	return s.tells("role:slave", "info", "replication") && s.tells("master_link_status:up", "info", "replication")
}

// Followed tells whether s is a primary with a replica.
func (s *Server) Followed() bool {
	return s.tells("role:master", "info", "replication") && !s.tells("connected_slaves:0", "info", "replication")
}

// Deaf keeps a replica from hearing its primary, and its primary's writes from reaching it: until Hear
// it only has what it has. All else is as before.
func (s *Server) Deaf() error {
	_, err := s.Ask("config", "set", "masteruser", "nobody", "masterauth", "nothing")
	_, kill := s.Ask("client", "kill", "type", "master")
	return errors.Join(err, kill)
}

// Hear ends Deaf, whatever the server has become meanwhile.
func (s *Server) Hear() error {
	_, err := s.Ask("config", "set", "masteruser", "", "masterauth", "")
	return err
}
