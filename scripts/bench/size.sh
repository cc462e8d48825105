# Part "size": the binary, and how long the small things take. Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_size() {
  local began run
  step "size and time"
  sum ""
  sum "Size and time"
  sum "$(printf '%-52s %9s MB' "the binary, stripped" "$(stat -c %s "$binary" | awk '{ printf "%.1f", $1 / 1e6 }')")"
  began=$(now_ms)
  "$root/scripts/setup.sh" --tests >"$raw/setup.txt"
  sum "$(printf '%-52s %9s s' "make setup when all is there" "$(seconds $(($(now_ms) - began)))")"
  start_server windlass-local/caddy
  create_files
  : >"$raw/trivial"
  for ((run = 1; run <= ${BENCH_RUNS:-5}; run++)); do
    echo "$run" >"$folder/version"
    commit "$folder" "Version $run"
    began=$(now_ms)
    push "$folder" files live "$raw/trivial-push.txt"
    echo $(($(now_ms) - began)) >>"$raw/trivial"
  done
  sum "$(printf '%-52s %9s s' "git push of a trivial app, min_healthy 0, to its end" "$(seconds "$(median <"$raw/trivial")")")"
  newest files | jq -r '.phases[] | "  \(.phase) \(.duration_ms) ms"' >"$raw/trivial-phases.txt"
  stop_server
}
