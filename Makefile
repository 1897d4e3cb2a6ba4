# Every target sets up what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the static binary ./rotatord
	@tools/setup go
	CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags '-s -w -X main.version=$(VERSION)' -o rotatord ./cmd/rotatord
	@echo "built ./rotatord $(VERSION)"

.PHONY: demo
demo: build ## show the whole loop on this machine, in about ten seconds
	./rotatord demo

.PHONY: test
test: ## run all tests with the race detector
	@tools/setup go cc
	go run ./internal/testservers/cmd/build
	go test -race -shuffle=on ./...

.PHONY: lint
lint: ## run the linters and look at the formatting
	@tools/setup go
	"$$(tools/setup golangci-lint)" run ./...
	"$$(tools/setup golangci-lint)" fmt --diff

.PHONY: fmt
fmt: ## format the code
	"$$(tools/setup golangci-lint)" fmt

.PHONY: vuln
vuln: ## look for known vulnerabilities (needs https://vuln.go.dev)
	@tools/vuln

.PHONY: crash-matrix
crash-matrix: ## kill rotatord at every point and write the table into docs/crash-matrix.md (about a quarter of an hour)
	@tools/setup go
	go run ./internal/testservers/cmd/build
	go test -count=1 -timeout 60m ./internal/crashmatrix -run TestMatrix -matrix all -write docs/crash-matrix.md -v

.PHONY: network
network: ## disturb every connection at each step of a rotation (three minutes)
	@tools/setup go
	go run ./internal/testservers/cmd/build
	go test -count=1 ./internal/crashmatrix -run TestNetwork -network all -v

.PHONY: mutants
mutants: ## switch off each defence in turn: the tests must see the promise break
	@tools/setup go
	go test -count=1 ./internal/mutants -mutants -v

WORLDS ?= 100000

.PHONY: soak
soak: ## kill rotatord 500 times at random, then draw 4 × WORLDS new worlds (default 100000: an hour or so)
	@tools/setup go
	go run ./internal/testservers/cmd/build
	go test -count=1 -timeout 4h ./internal/crashmatrix -run TestKill -rounds 500 -v
	go test -count=1 -timeout 24h ./rotator -run TestPromises -sim.fresh -rapid.checks=$(WORLDS) -v

.PHONY: bench
bench: ## measure speed, memory and lateness beside a bare loop (ten minutes on a quiet machine)
	@tools/setup go
	go run ./bench/cmd/bench

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 60s)
	@tools/setup go
	@tools/fuzz

.PHONY: docs
docs: ## write the state diagram of the code into docs/concepts.md
	@tools/setup go
	@tools/docs-states write

.PHONY: ci
ci: ## run what must hold before a merge
	@.ci/run
