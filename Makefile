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

test: ## from a bare machine to all short tests passed, and a share of the long ones
	@$(MAKE) --no-print-directory tests

test-all: ## both tiers whole: all faults and kills, 100,000 lives, storms, pictures, the API under schemathesis
	@$(MAKE) --no-print-directory tests DENY= TESTS=--all

DENY := --if-built
TESTS :=
.PHONY: tests
tests:
	@scripts/setup.sh --tests
	cargo fmt --check
	@scripts/deny.sh $(DENY)
	@scripts/tests.py $(TESTS) --beside "cargo clippy --all-targets --locked -- -D warnings"

bench: ## the figures in the README
	@scripts/setup.sh --tests
	cargo build --release --locked
	@scripts/bench.sh

lint: ## format and clippy, as the tests do first
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

deny: ## licences, sources, bans and advisories of what is linked in
	@scripts/deny.sh
