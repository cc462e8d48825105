# What the coming, changing and going of apps costs the visitors of another one: 500
# new connections a second, POSTs on connections that were idle, and slow requests.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_loads() {
  local caddy apps=${BENCH_LOADS:-50}
  sum ""
  sum "loads: $apps apps come, get a second domain, lose it, and go (first releases, changes, ends: $((apps * 4)))"
  sum "$(printf '%-22s %9s %9s %9s %7s %7s %9s' "" "new conn." "idle POST" "slow" "failed" "loads" "threads")"
  for caddy in ${BENCH_CADDY:-caddy26 caddy}; do measure_loads "$caddy" "$apps"; done
}

measure_loads() { # CADDY APPS
  local dir=$raw/loads-$1 number began
  step "loads: $1"
  mkdir -p "$dir"
  start_server "windlass-local/$1"
  steady_app steady "$WINDLASS_HOME/steady" live "$dir/push-steady.txt"
  visit "$dir"
  sleep 2
  began=$(now_ms)
  for ((number = 1; number <= $2; number++)); do come_and_go "$number" "$dir"; done
  say "$2 apps came and went in $(seconds $(($(now_ms) - began))) s"
  sleep 2
  leave "$dir"
  result_of_loads "$1" "$dir"
  stop_server
}

# steady_app NAME FOLDER EXPECTED OUTPUT: an app that answers GET and POST, a thread for
# each connection, and is pushed
steady_app() {
  windlass app create "$1" --domain "$1.localhost" >/dev/null
  repository "$2" "$1"
  cp "$root/scripts/bench/steady.py" "$2/app.py"
  printf 'FROM windlass-local/python\nCOPY app.py /app.py\nEXPOSE 8000\nCMD ["python3", "/app.py"]\n' >"$2/Dockerfile"
  printf '[health]\nmin_healthy = "0ms"\n[drain]\nstop_grace = "1s"\n' >"$2/windlass.toml"
  commit "$2" "First"
  push "$2" "$1" "$3" "$4"
}

come_and_go() { # NUMBER FOLDER
  local app=passing-$1 folder=$WINDLASS_HOME/passing-$1
  steady_app "$app" "$folder" live "$2/push-$app.txt"
  windlass app domains "$app" --add "www.$app.localhost" >/dev/null
  expect_status "www.$app.localhost" 200
  windlass app domains "$app" --remove "www.$app.localhost" >/dev/null
  expect_status "www.$app.localhost" 404
  windlass app destroy "$app" --yes >/dev/null
  expect_status "$app.localhost" 404
  rm -rf "$folder"
}

expect_status() { # DOMAIN STATUS
  local status
  status=$(curl -s --noproxy '*' --max-time 20 -o /dev/null -w '%{http_code}' -H "Host: $1" "http://127.0.0.1:$site_port/") || true
  # An older Caddy's load may have cost this very request.
  [[ $status == "$2" || $status == 000 ]] || die "$1 answers $status, not $2"
}

visit() { # FOLDER
  local url=http://127.0.0.1:$site_port host=steady.localhost
  hey -z 40m -t 30 -host "$host" -disable-keepalive -c 50 -q 10 "$url/" >"$1/new" 2>&1 &
  load=("$!")
  hey -z 40m -t 30 -host "$host" -c 3 "$url/slow/3" >"$1/slow" 2>&1 &
  load+=("$!")
  python3 "$root/scripts/bench/idle.py" "$site_port" "$host" 100 2 >"$1/idle" 2>&1 &
  load+=("$!")
  children=("${load[@]}")
}

leave() { # FOLDER
  local pid
  # Told by the engine: one that is full of threads starts no program that counts them.
  threads=$(docker top "$(live_container steady)" -eL -o lwp,comm | grep -c python)
  kill -INT "${load[@]}" 2>/dev/null || die "a client of the load ended early, see $1"
  for pid in "${load[@]}"; do wait "$pid" || true; done
  children=()
}

# How many configurations Caddy says it was given.
loads_of() { windlass_loads=$(curl -s --unix-socket "$WINDLASS_HOME/caddy/run/admin.sock" http://127.0.0.1/metrics 2>/dev/null |
  awk '/^caddy_admin_http_requests_total.*code="200".*path="\/load"/ { n += $2 } END { print n + 0 }'); }

result_of_loads() { # CADDY FOLDER
  local new slow idle all failed
  new=$(hey_counts "$2/new") || die "hey gave no report, see $2/new"
  slow=$(hey_counts "$2/slow") || die "hey gave no report, see $2/slow"
  idle=$(tail -n 1 "$2/idle")
  [[ $idle =~ ^[0-9]+\ [0-9]+$ ]] || die "the idle connections gave no report, see $2/idle"
  loads_of
  all=$((${new% *} + ${slow% *} + ${idle% *}))
  failed=$((${new#* } + ${slow#* } + ${idle#* }))
  sum "$(printf '%-22s %9s %9s %9s %7s %7s %9s' "windlass, $1" "${new% *}" "${idle% *}" "${slow% *}" "$failed" "$windlass_loads" "$threads")"
  [[ $1 == caddy26 ]] || bound "failed of $all requests, $1" "$failed" 0 ""
}
