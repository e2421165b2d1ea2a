// Command groupchat is somebody's own web server: it serves one page, which talks with a node.
package main

import (
	"cmp"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

//go:embed index.html
var page string // names the node as http://127.0.0.1:8000

func main() {
	log.SetFlags(0)
	site := flag.String("site", cmp.Or(os.Getenv("EXAMPLE_SITE"), "127.0.0.1:8080"), "where to serve the page")
	url := flag.String("url", cmp.Or(os.Getenv("ROOKERY_URL"), "ws://127.0.0.1:8000/ws"), "any node of the cluster, as browsers reach it")
	flag.Parse()
	node := "http" + strings.TrimSuffix(strings.TrimPrefix(*url, "ws"), "/ws")
	page = strings.ReplaceAll(page, "http://127.0.0.1:8000", node)

	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
	})
	fmt.Printf("open http://%s/ in two windows\n", *site)
	log.Fatal("groupchat: ", http.ListenAndServe(*site, nil))
}
