// Command push is somebody's own web server: it serves one page, which a node refreshes when
// push.php tells it to.
package main

import (
	"cmp"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

//go:embed index.html
var page string // names the node as 127.0.0.1:8000

func main() {
	log.SetFlags(0)
	log.SetPrefix("push: ")
	site := flag.String("site", cmp.Or(os.Getenv("EXAMPLE_SITE"), "127.0.0.1:8080"), "where to serve the page")
	node := flag.String("url", cmp.Or(os.Getenv("ROOKERY_URL"), "ws://127.0.0.1:8000/ws"), "any node of the cluster, as browsers reach it")
	push := flag.String("push", cmp.Or(os.Getenv("ROOKERY_PUSH"), "127.0.0.1:5678"), "the push port of any node")
	flag.Parse()
	at, err := url.Parse(*node)
	if err != nil || at.Host == "" {
		log.Fatalf("-url %q: want an address such as ws://127.0.0.1:8000/ws", *node)
	}
	conn, err := net.DialTimeout("tcp", *push, 5*time.Second)
	if err != nil {
		log.Fatalf("the node has no push port at %s: end it, and let this start one, or start it with --push %[1]s", *push)
	}
	conn.Close()

	page = strings.ReplaceAll(page, "127.0.0.1:8000", at.Host)
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
	})
	listener, err := net.Listen("tcp", *site)
	if err != nil {
		log.Fatalf("-site: %v", err)
	}
	fmt.Printf("open http://%s/ and type: php examples/push/push.php uid1 88\n", *site)
	log.Fatal(http.Serve(listener, nil))
}
