#!/usr/bin/env bash
# Holds what is linked in to deny.toml: licences, sources and bans, and advisories where their database
# lies on this machine (`cargo deny fetch` brings it). Builds cargo-deny first where it is missing, which
# takes some three minutes; with --if-built it says so instead, and does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.20.2
if ! command -v cargo-deny >/dev/null; then
  if [[ ${1:-} == --if-built ]]; then
    echo "deny: skipped, as cargo-deny is not here; make deny builds it, and make test-all runs it"
    exit 0
  fi
  echo "deny: building cargo-deny $version, once"
  cargo install --quiet --locked "cargo-deny@$version"
fi
cargo deny --locked check bans licenses sources
if [[ -d ${CARGO_HOME:-$HOME/.cargo}/advisory-dbs ]]; then
  cargo deny --locked --offline check advisories
else
  echo "deny: no database of advisories here; cargo deny fetch brings one"
fi
