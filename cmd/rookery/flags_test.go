package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Every flag of every command can be set by its environment variable, and says what it is.
func TestEveryFlagHasAVariable(t *testing.T) {
	t.Parallel()
	var c cli
	k, err := kong.New(&c, kong.Vars{"version": "test"})
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for _, command := range k.Model.Leaves(false) {
		if command.Help == "" {
			t.Errorf("%s says nothing of itself", command.Name)
		}
		for _, f := range command.Flags {
			flags++
			if len(f.Envs) == 0 || !strings.HasPrefix(f.Envs[0], "ROOKERY_") {
				t.Errorf("%s --%s has the variables %v", command.Name, f.Name, f.Envs)
			}
			if f.Help == "" {
				t.Errorf("%s --%s says nothing of itself", command.Name, f.Name)
			}
		}
	}
	if flags < 10 {
		t.Errorf("saw only %d flags", flags)
	}
}

// Nothing but loopback is open without being asked for, and the error names the flag.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, "--anonymous"},
		{[]string{"--listen", ":0"}, "--auth-secret"},
		{[]string{"--listen", "[::]:0"}, "--listen"},
		{[]string{"--listen", "example.com:0"}, "--listen"},
		{[]string{"--listen", "nonsense"}, "--listen"},
		{[]string{"--anonymous", "--admin", "0.0.0.0:0"}, "--admin"},
		{[]string{"--push", "0.0.0.0:0"}, "--push-secret"},
		{[]string{"--tcp", "0.0.0.0:0"}, "--anonymous"},
		{[]string{"--tcp", "0.0.0.0:0"}, "--tcp"},
		{[]string{"--tcp", "7000"}, "--tcp"},
		{[]string{"--log", "team:*"}, "--log"},
		{[]string{"--log", "team:*=0,1h"}, "--log"},
		{[]string{"--log", "team:*=5,1s"}, "--log"},
		{[]string{"--log", "=5,1h"}, "--log"},
		{[]string{"--api-key", "short"}, "--api-key"},
		{[]string{"--api-key", "", "--admin", "0.0.0.0:0"}, "--api-key"},
		{[]string{"--limit-publishes", "0"}, "--limit-publishes"},
		{[]string{"--limit-user-publishes=-1"}, "--limit-user-publishes"},
		{[]string{"--limit-ip-handshakes", "0"}, "--limit-ip-handshakes"},
		{[]string{"--limit-ip-sessions", "0"}, "--limit-ip-sessions"},
		{[]string{"--handshakes", "0"}, "--handshakes"},
		{[]string{"--trusted-proxies", "10.0.0.0/8,example.com"}, "--trusted-proxies"},
		{[]string{"--trusted-proxies", "0.0.0.0/0"}, "--trusted-proxies"},
		{[]string{"--hook", "https://example.com/hook"}, "--hook-secret"},
		{[]string{"--hook", "https://example.com/hook", "--hook-secret", "short"}, "24"},
		{[]string{"--hook", "https://example.com/hook", "--hook-secret", "whsec_c2hvcnQ="}, "24"},
		{[]string{"--hook", "https://example.com/hook", "--hook-secret", "whsec_this is no base64, however long"}, "base64"},
		{[]string{"--hook", "ftp://example.com", "--hook-secret", "0123456789012345678901234567"}, "http"},
		{[]string{"--hook", "https://", "--hook-secret", "0123456789012345678901234567"}, "host"},
		{[]string{"--hook", "http://example.com", "--hook-secret", "a,b,c"}, "two"},
		{[]string{"--hook-secret", "0123456789012345678901234567"}, "--hook,"},
		{[]string{"--hook-publish"}, "--hook,"},
		{[]string{"--hook-publish-open"}, "--hook-publish"},
		{[]string{"--tls-cert", "flags_test.go"}, "--tls-key"},
		{[]string{"--redis", "foo://x"}, "--redis"},
		{[]string{"--redis", "localhost:6379"}, "redis://"},
		{[]string{"--redis", "redis://a,b"}, "redis+cluster"},
		{[]string{"--redis", "redis+sentinel://a,b,c"}, "name of the master"},
		{[]string{"--redis", "redis+sentinel://a/main", "--redis", "redis+sentinel://b/main"}, "one URL"},
		{[]string{"--log-length", "0"}, "--log-length"},
		{[]string{"--log-age", "0s"}, "--log-age"},
		{[]string{"--log-age=-1h"}, "--log-age"},
		{[]string{"--api-key", "one key of two words"}, "white space"},
		{[]string{"--drain-delay=-1s"}, "--drain-delay -1s"},
		{[]string{"--drain", "1s", "--drain-delay", "2s"}, "--drain"},
		{[]string{"--auth-secret", "short"}, "--auth-secret"},
	} {
		var c cli
		k, err := kong.New(&c, kong.Vars{"version": "test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse(append([]string{"serve"}, row.args...)); err != nil {
			t.Fatalf("%v: %v", row.args, err)
		}
		if err := c.Serve.Run(t.Context()); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%v: %v, want something of %s", row.args, err, row.says)
		}
	}
}

// A URL of Redis may name several hosts, so commas do not separate URLs: spaces do, which the
// environment needs.
func TestRedisURLs(t *testing.T) {
	const sentinels, a, b = "redis+sentinel://:p@a:1,b:2,c/main?sentinel_password=s", "rediss://a", "rediss://b:1"
	for _, row := range []struct {
		env  string
		args []string
		want []string
	}{
		{args: []string{"--redis", sentinels}, want: []string{sentinels}},
		{args: []string{"--redis", a, "--redis", b}, want: []string{a, b}},
		{env: sentinels, want: []string{sentinels}},
		{env: a + " " + b, want: []string{a, b}},
	} {
		t.Setenv("ROOKERY_REDIS", row.env)
		var c cli
		k, err := kong.New(&c, kong.Vars{"version": "test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse(append([]string{"serve"}, row.args...)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Serve.Redis, row.want) {
			t.Errorf("%q, %v: %q, want %q", row.env, row.args, c.Serve.Redis, row.want)
		}
	}
}

// White space around what a variable lists is no part of it.
func TestSpacedLists(t *testing.T) {
	for name, value := range map[string]string{
		"ROOKERY_REDIS":       "  redis+cluster://a:1  redis://b:2 ",
		"ROOKERY_API_KEY":     "first-key-0123456789, second-key-0123456789 ",
		"ROOKERY_ORIGINS":     "chat.example.com, *.example.org",
		"ROOKERY_LOG":         "team:*=5000,72h; lobby=5,1h ",
		"ROOKERY_HOOK":        "ftp://example.com", // it ends here
		"ROOKERY_HOOK_SECRET": "first-secret-of-a-hook-0123456789, second-secret-of-a-hook-0123456789",
	} {
		t.Setenv(name, value)
	}
	var c cli
	k, err := kong.New(&c, kong.Vars{"version": "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{"serve"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Serve.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--hook") {
		t.Errorf("ended with %v", err)
	}
	for _, row := range []struct{ got, want []string }{
		{c.Serve.Redis, []string{"redis+cluster://a:1", "redis://b:2"}},
		{c.Serve.APIKey, []string{"first-key-0123456789", "second-key-0123456789"}},
		{c.Serve.Origins, []string{"chat.example.com", "*.example.org"}},
		{c.Serve.Log, []string{"team:*=5000,72h", "lobby=5,1h"}},
		{c.Serve.Hook.Secret, []string{"first-secret-of-a-hook-0123456789", "second-secret-of-a-hook-0123456789"}},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%q, want %q", row.got, row.want)
		}
	}
}
