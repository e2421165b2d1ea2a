package deploy_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

// metric is one of a node's, with its labels if it has any.
func metric(t *testing.T, c *cluster, host, name string) float64 {
	t.Helper()
	_, body := get("http://" + net.JoinHostPort(host, c.admin) + "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// texts returns the data of an event that is a message of the lobby.
func texts(ev any) string {
	if m, ok := ev.(*wire.Message); ok && m.Topic == "lobby" {
		return string(m.Data)
	}
	return ""
}
