# Part "overhead": what a deploy costs beyond what it does for the app.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

# What is waited on purpose: the example's min_healthy.
hold_ms=3000
phases=(checkout build gate:check gate:migrate start health swap verify drain retire)

bench_overhead() {
  local run builder
  bench_floor
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

# ---- the floor ------------------------------------------------------------------

# What a push of a trivial app costs beyond building and running its image: `docker
# build` and `docker run` until it answers, then the same change by a push, until the
# first new answer through Caddy and until the push ends.
bench_floor() {
  local run builder
  step "overhead: a trivial app, min_healthy 0s"
  start_server windlass-local/caddy
  builder=$(buildkit_client)
  times=$raw/floor
  mkdir -p "$times"
  create_trivial
  for ((run = 1; run <= ${BENCH_RUNS:-7}; run++)); do
    trivial_bare "$run" "$builder"
    trivial_push "$run"
  done
  report_floor
  stop_server
}

create_trivial() {
  trivial=$WINDLASS_HOME/trivial
  windlass app create trivial --domain trivial.localhost >/dev/null
  network=$(network_of trivial)
  repository "$trivial" trivial
  printf '[health]\nmin_healthy = "0s"\n' >"$trivial/windlass.toml"
  printf 'FROM windlass-local/python\nCOPY . /site\nWORKDIR /site\nEXPOSE 8000\nCMD ["python", "-m", "http.server", "8000"]\n' \
    >"$trivial/Dockerfile"
  echo first >"$trivial/index.html"
  commit "$trivial" First
  push "$trivial" trivial live "$raw/trivial-first.txt"
}

# answers TEXT URL: waits until the page says just that
answers() {
  local limit=$(($(now_ms) + 60000))
  until [[ $(curl -fs --noproxy '*' --max-time 2 -H 'Host: trivial.localhost' "$2" || true) == "$1" ]]; do
    (($(now_ms) < limit)) || return 1
    sleep 0.01
  done
}

trivial_bare() { # RUN BUILDER
  local began id ip text="bare $1 of $EPOCHREALTIME"
  echo "$text" >"$trivial/index.html"
  began=$(now_ms)
  DOCKER_BUILDKIT=1 "$2" build -q --label "windlass.bench=$WINDLASS_HOME" -t "trivial-bench-$$" "$trivial" >/dev/null
  note floor-build $(($(now_ms) - began))
  id=$(docker run -d --label "windlass.bench=$WINDLASS_HOME" --network "$network" "trivial-bench-$$")
  ip=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$id")
  answers "$text" "http://$ip:8000/" || die "the bare container does not answer"
  note floor $(($(now_ms) - began))
  docker rm -f "$id" >/dev/null
}

trivial_push() { # RUN
  local began asking text="push $1 of $EPOCHREALTIME"
  echo "$text" >"$trivial/index.html"
  commit "$trivial" "Push $1"
  began=$(now_ms)
  { answers "$text" "http://127.0.0.1:$site_port/" && now_ms >"$times/answered"; } &
  asking=$!
  push_only "$trivial" "$times/trivial-$1.txt"
  note floor-push $(($(now_ms) - began))
  wait "$asking" || die "no answer of the new version"
  note floor-answer $(($(<"$times/answered") - began))
  [[ $(newest trivial | jq -r .status) == live ]] || die "the trivial app is not live"
  note floor-live "$(newest trivial | jq .live_ms)"
  # The next run does not share the machine with this one's drain.
  until [[ $(newest trivial | jq -r .finished_at) != null ]]; do sleep 0.1; done
}

# push_only FOLDER OUTPUT: nothing but the push
push_only() { git -C "$1" push prod main >"$2" 2>&1 || true; }

report_floor() {
  local floor answer whole
  floor=$(of floor) answer=$(of floor-answer) whole=$(of floor-push)
  sum ""
  sum "A trivial app, min_healthy 0s, medians of ${BENCH_RUNS:-7} pushes, in ms"
  sum "$(printf '%-52s %7d' "floor: docker build, docker run until it answers" "$floor")"
  sum "$(printf '%-52s %7d' "  docker build of that" "$(of floor-build)")"
  sum "$(printf '%-52s %7d' "push to the first new answer" "$answer")"
  sum "$(printf '%-52s %7d' "push, all of it" "$whole")"
  sum "$(printf '%-52s %7d' "live_ms" "$(of floor-live)")"
  bound "first new answer beyond the floor" "$(seconds $((answer - floor)))" 0.2 s
  bound "whole push beyond the floor" "$(seconds $((whole - floor)))" 0.35 s
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
  until shown=$(newest "$app") && [[ $(jq -r .finished_at <<<"$shown") != null ]]; do sleep 0.1; done
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
