package bus_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/bus"
)

func TestParseURLs(t *testing.T) {
	for _, test := range []struct {
		urls []string
		want redis.UniversalOptions
		tls  bool
	}{
		{urls: []string{"redis://localhost"}, want: redis.UniversalOptions{Addrs: []string{"localhost:6379"}}},
		{urls: []string{"redis://u:p%40@10.0.0.1:7000/3"}, want: redis.UniversalOptions{
			Addrs: []string{"10.0.0.1:7000"}, Username: "u", Password: "p@", DB: 3}},
		{urls: []string{"rediss://:p@[::1]:7000/"}, tls: true, want: redis.UniversalOptions{
			Addrs: []string{"[::1]:7000"}, Password: "p"}},
		{urls: []string{"redis://a", "redis://b:7000"}, want: redis.UniversalOptions{
			Addrs: []string{"a:6379", "b:7000"}, IsClusterMode: true}},
		{urls: []string{"redis+cluster://a:1"}, want: redis.UniversalOptions{
			Addrs: []string{"a:1"}, IsClusterMode: true}},
		{urls: []string{"rediss+cluster://u:p@a:1,b,[::1]:3"}, tls: true, want: redis.UniversalOptions{
			Addrs: []string{"a:1", "b:6379", "[::1]:3"}, Username: "u", Password: "p", IsClusterMode: true}},
		{urls: []string{"redis+sentinel://u:p@a,b:1/main/2?sentinel_username=su&sentinel_password=sp"}, want: redis.UniversalOptions{
			Addrs: []string{"a:26379", "b:1"}, Username: "u", Password: "p", DB: 2,
			MasterName: "main", SentinelUsername: "su", SentinelPassword: "sp"}},
	} {
		got, err := bus.ParseURLs(test.urls)
		if err != nil {
			t.Errorf("%q: %v", test.urls, err)
			continue
		}
		w := test.want
		if !slices.Equal(got.Addrs, w.Addrs) || got.Username != w.Username || got.Password != w.Password || got.DB != w.DB ||
			got.IsClusterMode != w.IsClusterMode || got.MasterName != w.MasterName ||
			got.SentinelUsername != w.SentinelUsername || got.SentinelPassword != w.SentinelPassword || (got.TLSConfig != nil) != test.tls {
			t.Errorf("%q became %+v", test.urls, got)
		}
		if got.MaxRetries != -1 || got.Dialer == nil {
			t.Errorf("%q: the client would repeat commands by itself, or dial as it likes", test.urls)
		}
	}
}

func TestParseURLsRefuses(t *testing.T) {
	for _, test := range []struct{ urls, want string }{
		{"", "no Redis URL"},
		{"localhost:6379", "redis://"},
		{":secret@localhost:6379", "redis://"},
		{"http://:secret@localhost", "scheme"},
		{"redis+tls://:secret@localhost", "scheme"},
		{"redis://", "host"},
		{"redis+cluster://a,:6379", "host"},
		{"redis+cluster://a,b:secret", "parsed"},
		{"redis://:secret@a,b", "redis+cluster"},
		{"redis://:secret@a/x", "number"},
		{"redis://:secret@a/1/2", "path"},
		{"redis://a?secret=1", "parameters"},
		{"redis://:sec%ret@a", "percent"},
		{"redis+cluster://:secret@a/1", "database 0"},
		{"redis+sentinel://:secret@a", "name of the master"},
		{"redis+sentinel://:secret@a?sentinel_password=secret", "name of the master"},
		{"redis+sentinel://a/main?x=secret", "unknown parameter"},
		{"redis://:secret@a redis://:other@b", "agree"},
		{"redis://a redis+sentinel://b/main", "one URL"},
	} {
		_, err := bus.ParseURLs(strings.Fields(test.urls))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: the error is %v, want one about %q", test.urls, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
