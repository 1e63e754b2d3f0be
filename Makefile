# Everything a developer or operator runs here. `make` alone lists it.
GO       ?= go
BIN      := bin/grensloos
TOOL     := $(GO) tool -modfile=tools.mod
FUZZTIME ?= 20s

.PHONY: help build demo test race lint fuzz bench image ci clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

build: ## build bin/grensloos
	@echo 'building grensloos; the first time takes about two minutes on two cores'
	@rm -f $(BIN)
	@$(GO) build -v -trimpath -o $(BIN) ./cmd/grensloos 2>&1 | awk -v tty="$$(test -t 1 && echo 1)" \
		'/[ :]/ {print; next} {n++; if (tty) printf "\r\033[K  %d packages", n; else if (n % 50 == 0) print "  " n " packages"; fflush()} END {if (tty && n) print ""}'
	@test -x $(BIN)

demo: build ## a region on this machine (ARGS=--keep leaves it running)
	@$(BIN) demo $(ARGS)

test: ## all tests, on nothing but Go
	$(GO) test $(TESTFLAGS) ./...

race: ## all tests under the race detector
	$(GO) test -race ./...

lint: ## golangci-lint with .golangci.yml
	$(TOOL) golangci-lint run ./...

fuzz: ## every fuzz target for FUZZTIME (20s)
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f[++n]=$$1} /^ok/ {for (i=1;i<=n;i++) print $$2, f[i]; n=0}' | \
	while read -r pkg target; do echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg" || exit 1; done

bench: build ## the chains beside bare proxies, and what has a goal (BENCHFLAGS=-short: one minute); docs/performance.md
	GRENSLOOS_BENCH=$(CURDIR)/bin/bench GRENSLOOS_BENCH_PROGRAM=$(CURDIR)/$(BIN) \
		$(GO) test -run '^$$' -bench '^BenchmarkMetingen$$' -benchtime 1x -timeout 20m $(BENCHFLAGS) ./cmd/grensloos

image: ## the container image grensloos:latest, by docker, podman or buildah, whichever is there
	@mkdir -p bin/image
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/image/grensloos ./cmd/grensloos
	@cp deploy/image/Dockerfile bin/image/
	@if [ -n "$(BUILDER)" ]; then b="$(BUILDER)"; elif docker info >/dev/null 2>&1; then b='docker build'; elif command -v podman >/dev/null; then b='podman build'; else b='buildah bud'; fi; \
	set -x; $$b -t grensloos:latest bin/image

ci: ## what the continuous integration runs
	bash .ci/run

clean: ## remove what was built
	rm -rf bin .demo
