package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/node"
)

// adminHandler serves what operators and load balancers ask a node. Anybody may ask whether it
// is alive and ready; what else it tells of itself is for whom the server API serves.
func (c *serveCmd) adminHandler(n *node.Node, registry *prometheus.Registry, cluster api.Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := n.Ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("/v1/", api.NewHTTP(cluster, &api.Options{Keys: c.APIKey}))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
	if !c.OpenMetrics {
		metrics = api.Guard(metrics, c.APIKey)
	}
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /debug/pprof/", api.Guard(profiles(), c.APIKey))
	return mux
}

// profiles are those of net/http/pprof but for the command line, which may have secrets in it.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
