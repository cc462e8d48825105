# Part "overhead": what a deploy costs beyond what it does for the app.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

# What is waited on purpose: the example's min_healthy, and in verify Caddy's refresh.
hold_ms=3000
refresh_ms=1100
phases=(checkout build gate:check gate:migrate start health swap verify drain retire)

bench_overhead() {
  local run builder
  step "overhead: examples/django"
  start_server windlass-local/caddy
  builder=$(buildkit_client)
  create_guestbook
  commit "$src" "A guestbook"
  push "$src" "$app" live "$raw/first.txt"
  times=$raw/overhead
  mkdir -p "$times"
  for ((run = 1; run <= ${BENCH_RUNS:-5}; run++)); do
    bare "$run" "$builder"
    timed_push "$run"
  done
  report_overhead
  stop_server
}

# note NAME MILLISECONDS; of NAME: the median of what was noted
note() { echo "$2" >>"$times/$1"; }
of() { median <"$times/$1"; }

# What any tool would have to do: build the image (of a like commit: of the same,
# all would be in the cache) and run it until it answers.
bare() { # RUN BUILDER
  local began id ip variable arguments=()
  edition "bare $1"
  began=$(now_ms)
  DOCKER_BUILDKIT=1 "$2" build -q --label "windlass.bench=$WINDLASS_HOME" -t "$app-bench-$$" "$src" >/dev/null
  note bare-build $(($(now_ms) - began))
  for variable in "${environment[@]}"; do arguments+=(-e "$variable"); done
  began=$(now_ms)
  id=$(docker run -d --label "windlass.bench=$WINDLASS_HOME" --network "$network" "${arguments[@]}" "$app-bench-$$")
  ip=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$id")
  until curl -fs --noproxy '*' --max-time 2 -o /dev/null -H "Host: $domain" "http://$ip:8000/healthz"; do
    (($(now_ms) < began + 60000)) || die "the bare container does not answer"
    sleep 0.02
  done
  note bare-run $(($(now_ms) - began))
  note own $(($(now_ms) - $(ms_of "$(docker inspect -f '{{.State.StartedAt}}' "$id")")))
  docker rm -f "$id" >/dev/null
}

# Pushes one more edition and notes each piece of the way.
timed_push() { # RUN
  local began shown hook queued live name ms trace=$times/trace-$1.json
  edition "$1"
  commit "$src" "Edition $1"
  began=$(now_ms)
  GIT_TRACE2_EVENT=$trace push "$src" "$app" live "$times/push-$1.txt"
  note push $(($(now_ms) - began))
  shown=$(newest "$app")
  hook=$(ms_of "$(jq -r 'select(.event == "child_start" and .hook_name == "post-receive").time' "$trace" | head -n 1)")
  queued=$(ms_of "$(jq -r .queued_at <<<"$shown")")
  live=$(ms_of "$(jq -r '.phases[] | select(.phase == "verify").started_at' <<<"$shown")")
  while read -r name ms; do
    note "$name" "$ms"
    if [[ $name == verify ]]; then live=$((live + ms)); fi
  done < <(jq -r '.phases[] | "\(.phase) \(.duration_ms)"' <<<"$shown")
  note hook $((queued - hook))
  note live $((live - hook))
  note between $((live - queued - $(jq '[.phases[] | select(.phase != "drain" and .phase != "retire").duration_ms] | add' <<<"$shown")))
}

report_overhead() {
  local phase ms over total=0 own
  own=$(of own)
  sum ""
  sum "Overhead: examples/django, medians of ${BENCH_RUNS:-5} deploys, in ms"
  sum "$(printf '%-16s %7s %9s  %s' phase median overhead 'not counted')"
  for phase in hook between "${phases[@]}"; do
    ms=$(of "$phase")
    over=$ms
    case $phase in
      build | gate:*) over=0 what="the app's" ;;
      # Part of the app's own time lies in start already, which counts in full.
      health) over=$((ms - hold_ms - own > 0 ? ms - hold_ms - own : 0)) what="min_healthy $hold_ms, the app's own time to healthy $own" ;;
      verify) over=$((ms - refresh_ms)) what="Caddy's refresh $refresh_ms" ;;
      drain | retire) over=0 what="after live" ;;
      *) what="" ;;
    esac
    total=$((total + over))
    sum "$(printf '%-16s %7d %9d  %s' "$phase" "$ms" "$over" "$what")"
  done
  sum "$(printf '%-16s %7d' "hook to live" "$(of live)")"
  sum "$(printf '%-16s %7d' "git push, all" "$(of push)")"
  sum "$(printf '%-40s %7d' "bare docker build (BuildKit)" "$(of bare-build)")"
  sum "$(printf '%-40s %7d' "bare docker run until healthy" "$(of bare-run)")"
  bound "overhead of a deploy" "$(seconds "$total")" 1.5 s
}
