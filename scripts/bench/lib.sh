# What every part of the benchmark needs: a server of its own, an app with its
# database, pushes, figures. Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

domain=guestbook.localhost
app=guestbook
server=""
children=()
missed=0

step() { printf '\n== %s\n' "$*"; }
say() { printf 'bench: %s\n' "$*"; }
die() {
  printf '\nbench: FAILED: %s\n' "$*" >&2
  if [[ -s ${server_log:-} ]]; then tail -n 15 "$server_log" | sed 's/^/  | /' >&2; fi
  exit 1
}
# A line of the summary, shown at once as well.
sum() { printf '%s\n' "$*" | tee -a "$summary"; }
# bound WHAT VALUE LIMIT UNIT: a figure with its verdict
bound() {
  local verdict=ok
  if ! awk -v v="$2" -v l="$3" 'BEGIN { exit !(v <= l) }'; then
    verdict=MISSED
    missed=$((missed + 1))
  fi
  sum "$(printf '%-52s %9s %-3s at most %s: %s' "$1" "$2" "$4" "$3" "$verdict")"
}

windlass() { "$binary" "$@"; }
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
ms_of() { date -d "$1" +%s%3N; } # RFC 3339
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.2f", ms / 1000 }'; }

free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 10000))
    if ! ss -Hltn "sport = :$port" | grep -q .; then
      echo "$port"
      return
    fi
  done
  die "no free port between 20000 and 30000"
}

# ---- a server -------------------------------------------------------------------

# start_server CADDY_IMAGE: a fresh home and a server on it
start_server() {
  export WINDLASS_HOME
  WINDLASS_HOME=$(mktemp -d "$work/h.XXXX")
  server_log=$WINDLASS_HOME/server.log
  site_port=$(free_port)
  dashboard=http://127.0.0.1:$(free_port)
  cat >"$WINDLASS_HOME/config.toml" <<TOML
listen = "${dashboard#http://}"
[caddy]
image = "$1"
http_port = $site_port
tls = "off"
TOML
  "$binary" serve >"$server_log" 2>&1 </dev/null &
  server=$!
  for _ in {1..300}; do
    if windlass app list >/dev/null 2>&1; then return; fi
    kill -0 "$server" 2>/dev/null || die "the server ended"
    sleep 0.1
  done
  die "the server does not answer after 30 seconds"
}

# Ends the server and removes what bears its home as a label (Windlass's own or the
# benchmark's), and nothing else.
stop_server() {
  [[ -n $server ]] || return 0
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=""
  ours docker ps -aq | xargs -r docker rm -fv >/dev/null || true
  ours docker network ls -q | xargs -r docker network rm >/dev/null || true
  ours docker volume ls -q | xargs -r docker volume rm >/dev/null || true
  ours docker image ls -q | xargs -r docker image rm -f >/dev/null || true
  rm -rf "$WINDLASS_HOME"
}
ours() {
  local label
  for label in windlass.home windlass.bench; do "$@" --filter "label=$label=$WINDLASS_HOME"; done | sort -u
}

# shellcheck disable=SC2317
clean_up() {
  trap - EXIT
  trap '' INT TERM
  local child
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  stop_server
  rm -rf "$work"
}

# ---- an app ---------------------------------------------------------------------

network_of() { docker network ls -q --filter "label=windlass.app=$1" --filter "label=windlass.home=$WINDLASS_HOME"; }
live_container() { docker ps -q --filter "name=_$1_live\$" --filter "label=windlass.home=$WINDLASS_HOME"; }

# repository FOLDER APP: an empty folder becomes a repository that is pushed to APP
repository() {
  mkdir -p "$1"
  git -C "$1" init -q -b main
  git -C "$1" config user.name "Windlass bench"
  git -C "$1" config user.email bench@example.com
  # Large random files: neither compressed nor compared with one another.
  git -C "$1" config core.compression 0
  git -C "$1" config core.bigFileThreshold 1m
  git -C "$1" remote add prod "$WINDLASS_HOME/repos/$2.git"
}

commit() { # FOLDER SUBJECT
  git -C "$1" add -A
  git -C "$1" commit -q -m "$2"
}

# create_guestbook: examples/django with a PostgreSQL, ready to be pushed from $src
create_guestbook() {
  local password
  password=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
  windlass app create "$app" --domain "$domain" >/dev/null
  network=$(network_of "$app")
  database=$(docker run -d --label "windlass.bench=$WINDLASS_HOME" --network "$network" --network-alias "$app-db" \
    -e POSTGRES_USER="$app" -e POSTGRES_PASSWORD="$password" windlass-local/postgres)
  for _ in {1..150}; do
    # Over TCP: during its first start PostgreSQL answers on its socket only.
    if docker exec "$database" pg_isready -q -h 127.0.0.1; then break; fi
    sleep 0.2
  done
  environment=("SECRET_KEY=$(printf '%s' {a..z} {a..z})$password" "ALLOWED_HOSTS=$domain" SECURE_SSL_REDIRECT=0
    "DATABASE_URL=postgres://$app:$password@$app-db/$app")
  windlass env set "$app" "${environment[@]}" >/dev/null
  src=$WINDLASS_HOME/src
  repository "$src" "$app"
  cp -R "$root/examples/django/." "$src"
}

# A text that no earlier run had: else the build would be in the engine's cache.
edition() { printf 'VERSION_TEXT = "Guestbook, edition %s of %s"\n' "$1" "$EPOCHREALTIME" >"$src/entries/version.py"; }

# newest APP: the newest deploy as JSON
newest() { windlass deploys "$1" --limit 1 --json | jq -c '.[0]'; }

# push FOLDER APP EXPECTED OUTPUT: pushes and holds the deploy's status against what is expected
push() {
  local status
  git -C "$1" push prod main >"$4" 2>&1 || true
  status=$(newest "$2" | jq -r .status)
  [[ $status == "$3" ]] && return
  tail -n 25 "$4" >&2
  die "the deploy is $status, not $3"
}

# create_files: an app called files that only serves its folder, $folder, and is live
create_files() {
  folder=$WINDLASS_HOME/files
  windlass app create files --domain files.localhost >/dev/null
  repository "$folder" files
  cat >"$folder/windlass.toml" <<'TOML'
[health]
min_healthy = "0ms"
[drain]
stop_grace = "1s"
TOML
  printf 'FROM windlass-local/python\nEXPOSE 8000\nCMD ["python", "-m", "http.server", "8000"]\n' >"$folder/Dockerfile"
  commit "$folder" "First"
  push "$folder" files live "$raw/files-first.txt"
}

# A Docker client that can do BuildKit: one without its buildx cannot.
buildkit_client() {
  local client empty=$work/empty
  mkdir -p "$empty"
  for client in $(type -ap docker); do
    if printf 'FROM scratch\nLABEL windlass.bench=%s\n' "$WINDLASS_HOME" |
      DOCKER_BUILDKIT=1 "$client" build -q -f - "$empty" >/dev/null 2>&1; then
      echo "$client"
      return
    fi
  done
  die "no Docker client here builds with BuildKit (install docker-buildx)"
}
