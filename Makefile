# What developers and continuous integration run. `make` lists it.

# The build stamps the version itself, and need not ask git about the checkout again.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ARGS     ?= # of make run: for example --redis redis://localhost
FUZZTIME ?= 30s
FUZZROUNDS ?= 1 # 0: until it is stopped
SOAKTIME ?= 20m
SEED     ?= 0 # of make soak; 0 chooses
CLIENTS  ?= 5000 # of make drill, each of which needs two descriptors (ulimit -n)
REDIS    ?= single # of make soak: or sentinel, cluster
COMPOSE  ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
NODES    ?= 3 # of make up

.NOTPARALLEL:
.PHONY: help build run up test check deps go-test process-test js-test fuzz soak drill failovers bench growth screenshots test-compose test-manifests

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: ## make bin/rookery, which needs no library of the system
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/rookery ./cmd/rookery

run: build ## run a node, with the flags in ARGS
	@echo "The chat page is at http://127.0.0.1:8000/ (unless --listen says otherwise)"
	bin/rookery serve $(ARGS)

up: ## run a cluster in containers: three nodes behind haproxy, Redis, Prometheus and Grafana
	@deploy/env
	ROOKERY_VERSION=$(VERSION) $(COMPOSE) up -d --build --scale node=$(NODES)
	@echo "The chat page is at http://127.0.0.1:8000/, dashboards at http://127.0.0.1:3000/ (admin; the password is in .env)"

test: deps check go-test process-test js-test ## run all tests; on Debian, root gets what is missing installed

# Tests that run the binary, browsers and other programs, and have little to race in themselves.
PROCESSES = ./faults ./web ./examples/... ./deploy/...

go-test:
	scripts/go-test -race -p 2 -vet=off -timeout 10m $(TESTFLAGS) -- $$(go list ./... | grep -vxF "$$(go list $(PROCESSES))")

process-test:
	scripts/go-test -p 2 -vet=off -timeout 12m $(TESTFLAGS) -- $(PROCESSES)

js-test:
	cd web && node --experimental-websocket --test --test-reporter=spec

test-compose: ## try docker-compose.yml for real: five nodes in containers, under load and faults
	COMPOSE="$(COMPOSE)" scripts/test-compose

test-manifests: ## read docker-compose.yml as the compose plugin does, the manifests as Kubernetes does, and dashboards as Grafana does
	cd deploy/compose && go vet ./... && go test -count=1 ./...
	cd deploy/kubernetes && go vet ./... && go test -count=1 ./...
	cd deploy/grafana/testing && npm ci --silent --no-audit --no-fund && npm test --silent

check: ## look at the code: format, vet, staticcheck, structure
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "not formatted, run gofmt -w on:" $$files; exit 1; fi
	go vet ./...
	go tool -modfile=scripts/tools.mod staticcheck ./...
	go test -count=1 .

deps: ## install the programs and packages that the tests run
	@scripts/install-test-deps
	@cd web/testing && npm ci --silent --no-audit --no-fund

fuzz: ## run every fuzz target for FUZZTIME, FUZZROUNDS times
	@FUZZTIME=$(FUZZTIME) FUZZROUNDS=$(FUZZROUNDS) scripts/fuzz

soak: ## let random faults happen to a cluster for SOAKTIME, and judge what everybody got
	go test ./faults -run '^TestSoak$$' -count=1 -v -timeout 0 -soak $(SOAKTIME) -redis $(REDIS) -seed $(SEED)

drill: ## move CLIENTS at once: a rolling restart, and the death of a node, behind haproxy
	go test ./faults -run '^(TestRollingRestart|TestReconnectStorm)$$' -count=1 -v -clients $(CLIENTS)

failovers: ## lose acknowledged messages in 100 failovers, and look for a position that names two
	go test ./bus -run '^TestLossyFailovers$$' -count=1 -v -timeout 0 -failovers 100

bench: ## measure two nodes against the budgets, for twelve minutes, into docs/benchmarks.md; BENCH=quick prints a quick look
	go run ./bench/suite

growth: ## measure how cost grows with nodes, topics and people, for eight minutes, into docs/benchmarks.md; BENCH=quick likewise
	go run ./bench/suite growth

screenshots: ## make the pictures of the chat page that the README shows
	go test ./web -run '^TestScreenshots$$' -count=1 -screenshots ../docs/images

microbench: ## run the benchmarks of packages
	go test -run '^$$' -bench . -benchmem -p 1 ./...
