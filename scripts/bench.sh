#!/usr/bin/env bash
# Measures what the README claims, on this machine and with real parts: an engine,
# Caddy, PostgreSQL, git pushes. `make bench` builds what this runs.
#
#   BENCH="swap loads overhead memory size pages log viewers soak"   which parts (default: all)
#   BENCH_CADDY="caddy26 caddy"         swap, loads: with which windlass-local images of Caddy
#   BENCH_LOADS=50                      loads: how many apps come and go
#   BENCH_RUNS=5                        overhead, size: deploys a median is taken of
#   BENCH_LINES=1000000                 memory: lines that the build prints; log: lines that it has
#   BENCH_VIEWERS=500                   viewers: how many watch
#   BENCH_CONTEXT_MB=1000               memory: size of the large build context
#   SOAK=500                            soak: how many pushes
#   BENCH_KEEP=DIR                      where raw results stay (default: removed)
#   BENCH_BINARY=FILE                   a binary other than target/release/windlass
#
# Everything listens on this machine only, is bounded in count and time, and is
# removed at the end, also after a failure. Exit status 1 if a bound is missed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/bench/lib.sh
source "$root/scripts/bench/lib.sh"
for part in load swap loads overhead memory size pages log viewers soak; do
  # shellcheck source=/dev/null
  source "$root/scripts/bench/$part.sh"
done

binary=${BENCH_BINARY:-$root/target/release/windlass}
[[ -x $binary ]] || { echo "no $binary: run make bench" >&2; exit 1; }

# A short path: unix sockets lie below it, and theirs may have 107 characters.
work=$(mktemp -d /tmp/wl-bench.XXXX)
raw=${BENCH_KEEP:-$work/raw}
summary=$raw/summary.txt
mkdir -p "$raw"
: >"$summary"
trap clean_up EXIT
trap 'exit 130' INT TERM

for part in ${BENCH:-swap loads overhead memory size pages log viewers soak}; do
  case $part in
    swap | loads | overhead | memory | size | pages | log | viewers | soak) "bench_$part" ;;
    *) die "there is no part $part; there are: swap loads overhead memory size pages log viewers soak" ;;
  esac
done

step "summary"
cat "$summary"
if ((missed)); then
  echo "$missed of the bounds above were missed" >&2
  exit 1
fi
