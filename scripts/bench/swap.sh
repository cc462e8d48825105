# Part "swap": no request is lost while versions change; two usual ways beside it.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

# What happens while the load runs. Good ones, reverts and failures; "another"
# creates and destroys a second app.
series=(good good missing good revert good migration good sick good dies good verify good revert good another good)
baseline_swaps=5

bench_swap() {
  local caddy
  sum ""
  sum "No request lost: 20 clients GET, 10 POST 20 kB, 3 wait 5 s, 1 event stream of 10 s"
  sum "$(printf '%-34s %-8s %6s %9s %7s' variant Caddy swaps requests failed)"
  for caddy in ${BENCH_CADDY:-caddy26 caddy}; do
    step "swap: windlass, $caddy"
    start_server "windlass-local/$caddy"
    create_guestbook
    caddy_version=$(docker run --rm "windlass-local/$caddy" caddy version | sed 's/^v//; s/ .*//')
    shorten_waits
    commit "$src" "A guestbook"
    push "$src" "$app" live "$raw/first-$caddy.txt"
    measure_windlass "$raw/windlass-$caddy"
    measure_baseline stop-and-run "docker stop, docker run" "$caddy"
    measure_baseline alias "alias moved, refresh 5s" "$caddy"
    stop_server
  done
}

shorten_waits() {
  sed -i 's/^min_healthy = .*/min_healthy = "2s"\ndeadline = "30s"/
          /^\[verify\]/a timeout = "4s"' "$src/windlass.toml"
}

row() { # VARIANT SWAPS FOLDER
  local counts
  counts=$(load_result "$3")
  sum "$(printf '%-34s %-8s %6d %9d %7d' "$1" "$caddy_version" "$2" "${counts% *}" "${counts#* }")"
  load_failures "$3"
  failed=${counts#* }
}

measure_windlass() { # FOLDER
  local kind number=1 swaps=0 failed moved
  load_start "$1" "$site_port"
  sleep 3
  for kind in "${series[@]}"; do
    number=$((number + 1))
    moved=$(now_ms)
    "event_$kind" "$number" "$1"
    swaps=$((swaps + $(swaps_of "$kind")))
    say "$(printf '%-10s %s s' "$kind" "$(seconds $(($(now_ms) - moved)))")"
  done
  sleep 3
  load_stop "$1"
  row windlass "$swaps" "$1"
  if ((failed)); then missed=$((missed + 1)); fi
}

# How often the live name moves: a failed verify moves it there and back.
swaps_of() {
  case $1 in
    good | revert) echo 1 ;;
    verify) echo 2 ;;
    *) echo 0 ;;
  esac
}

event_good() {
  edition "$1"
  commit "$src" "Edition $1"
  push "$src" "$app" live "$2/push-$1.txt"
}

event_revert() {
  local last
  windlass revert "$app" --wait >"$2/revert-$1.txt" 2>&1 || die "the revert failed, see $2/revert-$1.txt"
  last=$(newest "$app" | jq -r '"\(.trigger) \(.status)"')
  [[ $last == "revert live" ]] || die "the newest deploy is: $last"
}

# broken NUMBER FOLDER PHASE: pushes what is in $src, expects it to fail in that
# phase, and goes back to the commit before
broken() {
  local phase
  commit "$src" "Broken: $3"
  push "$src" "$app" failed "$2/push-$1.txt"
  phase=$(newest "$app" | jq -r .failure.phase)
  [[ $phase == "$3" ]] || die "the deploy failed in $phase, not in $3, see $2/push-$1.txt"
  git -C "$src" reset -q --hard HEAD~
}

event_missing() {
  sed -i '1i import a_module_that_is_not_there' "$src/entries/views.py"
  broken "$1" "$2" gate:check
}

event_migration() {
  cat >"$src/entries/migrations/0002_broken.py" <<'PYTHON'
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("entries", "0001_initial")]
    operations = [migrations.RunSQL("select 1 / 0")]
PYTHON
  broken "$1" "$2" gate:migrate
}

event_sick() {
  sed -i 's|^path = "/healthz"|path = "/not-there"|; s/^deadline = .*/deadline = "6s"/' "$src/windlass.toml"
  broken "$1" "$2" health
}

# Healthy, and half a second later its main process quits.
event_dies() {
  cat >>"$src/gunicorn.conf.py" <<'PYTHON'


def post_request(worker, req, environ, resp):
    import os, signal, threading

    if req.path == "/healthz":
        threading.Timer(0.5, os.kill, (os.getppid(), signal.SIGQUIT)).start()
PYTHON
  broken "$1" "$2" health
}

event_verify() {
  sed -i '/^\[verify\]/,/^\[/ s|^path = .*|path = "/not-there"|' "$src/windlass.toml"
  broken "$1" "$2" verify
}

event_another() {
  windlass app create another --domain another.localhost >/dev/null
  sleep 2
  windlass app destroy another --yes >/dev/null
}

# ---- the usual ways ---------------------------------------------------------------

# run_version NAME DOCKER_ARGUMENT…: one more container of the live image
run_version() {
  local name=$1 variable arguments=()
  shift
  for variable in "${environment[@]}"; do arguments+=(-e "$variable"); done
  docker run -d --name "$name" --label "windlass.bench=$WINDLASS_HOME" --network "$net" \
    "${arguments[@]}" "$@" "$image" >/dev/null
}

wait_healthy() { # CONTAINER
  local ip
  ip=$(docker inspect -f "{{(index .NetworkSettings.Networks \"$net\").IPAddress}}" "$1")
  for _ in {1..600}; do
    if curl -fs --noproxy '*' --max-time 2 -o /dev/null -H "Host: $domain" "http://$ip:8000/healthz"; then return; fi
    sleep 0.05
  done
  die "a container of the baseline is not healthy after 30 seconds"
}

# The container is stopped as politely as can be, and another one takes its name.
swap_stop-and-run() {
  docker stop -t 30 "$net-web" >/dev/null
  docker rm "$net-web" >/dev/null
  run_version "$net-web" --network-alias web
  wait_healthy "$net-web"
}

# The new one is healthy before the alias moves to it; then the old one goes.
swap_alias() {
  run_version "$net-new"
  wait_healthy "$net-new"
  docker network disconnect "$net" "$net-new"
  docker network connect --alias web "$net" "$net-new"
  docker stop -t 30 "$net-web" >/dev/null
  docker rm "$net-web" >/dev/null
  docker rename "$net-new" "$net-web"
}

caddyfile() {
  local upstream="web:8000"
  if [[ $1 == alias ]]; then
    upstream='{
		dynamic a {
			name web
			port 8000
			refresh 5s
		}
	}'
  fi
  printf '{\n\tauto_https off\n}\n:80 {\n\treverse_proxy %s\n}\n' "$upstream"
}

measure_baseline() { # HOW TITLE CADDY
  local how=$1 dir=$raw/$1-$3 port failed
  step "swap: $2, $3"
  mkdir -p "$dir"
  port=$(free_port)
  net=wl-bench-$$-$how
  image=$(docker inspect -f '{{.Image}}' "$(live_container "$app")")
  docker network create --label "windlass.bench=$WINDLASS_HOME" "$net" >/dev/null
  docker network connect --alias "$app-db" "$net" "$database"
  caddyfile "$how" >"$dir/Caddyfile"
  run_version "$net-web" --network-alias web
  wait_healthy "$net-web"
  docker run -d --name "$net-caddy" --label "windlass.bench=$WINDLASS_HOME" --network "$net" \
    -p "127.0.0.1:$port:80" -v "$dir/Caddyfile:/etc/caddy/Caddyfile:ro" "windlass-local/$3" \
    caddy run --config /etc/caddy/Caddyfile --adapter caddyfile >/dev/null
  sleep 2
  load_start "$dir" "$port"
  sleep 3
  for ((i = 1; i <= baseline_swaps; i++)); do
    "swap_$how"
    sleep 5
  done
  load_stop "$dir"
  row "$2" "$baseline_swaps" "$dir"
  docker rm -f "$net-web" "$net-caddy" >/dev/null
  docker network disconnect "$net" "$database"
  docker network rm "$net" >/dev/null
}
