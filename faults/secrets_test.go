package faults_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// No token, key or secret is in any line of the log, at any level, however it came in.
func TestNoSecretInTheLog(t *testing.T) {
	t.Parallel()
	const secret, key, push = "a secret of more than thirty-two bytes", "api-key-0123456789", "push-secret-0123456789"
	const hookPassword, whsec = "hook-password-0123456789", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // the standard's own example
	pushAddr := processtest.FreeAddr(t)
	node := serve(t, redistest.Start(t), "--log-level=debug", "--auth-secret="+secret, "--api-key="+key, "--push="+pushAddr, "--push-secret="+push,
		"--hook=http://user:"+hookPassword+"@127.0.0.1:1/?token="+hookPassword, "--hook-secret="+hookSecret, "--hook-secret="+whsec, "--hook-publish")
	good, err := auth.Mint(secret, "alice", time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	expired, _ := auth.Mint(secret, "alice", -time.Hour, nil)
	tokens := []string{good, expired, good[:len(good)-4] + "xxxx"}
	for _, token := range tokens {
		for _, header := range []http.Header{nil, {"Authorization": {"Bearer " + token}}} {
			conn, _, err := websocket.Dial(t.Context(), node.URL()+"?token="+token, &websocket.DialOptions{HTTPHeader: header})
			if err != nil {
				t.Fatal(err)
			}
			hello := wire.Command{Type: "hello", ID: 1, Token: token}
			if header != nil {
				hello.Token = ""
			}
			conn.Write(t.Context(), websocket.MessageText, hello.Append(nil))
			conn.Read(t.Context())
			conn.CloseNow()
		}
	}
	c := processtest.HTTP
	for _, k := range []string{key, key + "-wrong"} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+node.Admin+"/v1/nodes?key="+k, nil)
		r.Header.Set("Authorization", "Bearer "+k)
		w, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		if want := map[string]int{key: 200, key + "-wrong": 401}[k]; w.StatusCode != want && !(k == key && w.StatusCode == 400) {
			t.Errorf("key %s: %s", k, w.Status)
		}
	}
	conn, err := net.Dial("tcp", pushAddr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "{\"uid\":\"alice\",\"secret\":%q}\n{\"uid\":\"alice\",\"secret\":\"%s-wrong\"}\nnot JSON %s\n", push, push, push)
	answers := make([]byte, 64)
	for got := 0; strings.Count(string(answers[:got]), "\n") < 3; {
		n, err := conn.Read(answers[got:])
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	conn.Close()
	await(t, "the hook failed", func() bool { return strings.Contains(node.Said(), "hook: events wait") })
	node.Kill()
	log := node.Said()
	if !strings.Contains(log, "listening") {
		t.Fatal("there is no log to look at")
	}
	for _, word := range append(tokens, secret, key, push, hookPassword, hookSecret, strings.TrimPrefix(whsec, "whsec_")) {
		if strings.Contains(log, word) || strings.Contains(log, strings.Split(word, ".")[0]+".") && strings.Contains(word, ".") {
			t.Errorf("the log tells %q", word)
		}
	}
}
