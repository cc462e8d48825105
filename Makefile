.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all bench lint deny
export PATH := $(PATH):$(HOME)/.cargo/bin

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## the engine, the tools and the base images, where they are missing
	@scripts/setup.sh

# What "from make demo to the first live push" counts from: before setup looks for anything.
demo: export DEMO_BEGAN := $(shell date +%s%3N)
demo: setup ## from a bare machine to a live sample app (DEMO_EXIT=1 cleans up and ends)
	cargo build --profile demo --locked
	@scripts/demo.sh

test: ## from a bare machine to all tests passed
	@scripts/setup.sh --tests
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@scripts/deny.sh --if-built
	cargo test --locked

test-all: test deny ## the long tests as well: whole fault matrix, 100,000 lives, the API under schemathesis
	cargo test --locked -- --ignored --skip write

bench: ## the figures in the README
	@scripts/setup.sh --tests
	cargo build --release --locked
	@scripts/bench.sh

lint: ## format and clippy, as the tests do first
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

deny: ## licences, sources, bans and advisories of what is linked in
	@scripts/deny.sh
