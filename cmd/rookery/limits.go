package main

import (
	"fmt"

	"github.com/rookery-chat/rookery/node"
)

// limitFlags are the flags --limit-…: what one session, user or address may do.
type limitFlags struct {
	Frames    int `default:"1000" env:"ROOKERY_LIMIT_FRAMES" help:"Frames that one session may send a second, pings and pongs included; more are read more slowly."`
	Bytes     int `default:"1048576" env:"ROOKERY_LIMIT_BYTES" help:"Bytes that one session may send a second; more are read more slowly."`
	Publishes int `default:"500" env:"ROOKERY_LIMIT_PUBLISHES" help:"Publishes and signals that one session may make a second; more are refused."`
	Topics    int `default:"1002" env:"ROOKERY_LIMIT_TOPICS" help:"Topics that one session may be in, its inbox and * included."`
	Sessions  int `default:"1000" env:"ROOKERY_LIMIT_SESSIONS" help:"Sessions that one user may have on this node."`

	UserPublishes int `default:"0" env:"ROOKERY_LIMIT_USER_PUBLISHES" help:"Publishes and signals that one user's sessions on this node may make a second together; 0 is twice what one session may."`
	IPHandshakes  int `name:"ip-handshakes" default:"100" env:"ROOKERY_LIMIT_IP_HANDSHAKES" help:"Connections taken from one IP address (IPv6: /64) a second; others are told to come back. Loopback and trusted proxies have no such limit."`
	IPSessions    int `name:"ip-sessions" default:"10000" env:"ROOKERY_LIMIT_IP_SESSIONS" help:"Sessions that one IP address (IPv6: /64) may have on this node; likewise."`
}

func (f limitFlags) check() error {
	for _, l := range []struct {
		flag         string
		value, least int
	}{
		{"frames", f.Frames, 1}, {"bytes", f.Bytes, 1}, {"publishes", f.Publishes, 1}, {"topics", f.Topics, 1}, {"sessions", f.Sessions, 1},
		{"user-publishes", f.UserPublishes, 0}, {"ip-handshakes", f.IPHandshakes, 1}, {"ip-sessions", f.IPSessions, 1},
	} {
		if l.value < l.least {
			return fmt.Errorf("--limit-%s %d: want at least %d", l.flag, l.value, l.least)
		}
	}
	return nil
}

func (f limitFlags) node() node.Limits {
	return node.Limits{
		Frames: f.Frames, Bytes: f.Bytes, Publishes: f.Publishes, Topics: f.Topics, Sessions: f.Sessions,
		UserPublishes: f.UserPublishes, IPHandshakes: f.IPHandshakes, IPSessions: f.IPSessions,
	}
}
