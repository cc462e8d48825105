#!/usr/bin/env bash
# Shows a whole life of an app: a server of its own in a temporary folder, the
# guestbook with its PostgreSQL pushed live, then a change, a broken commit that
# a gate stops, and a revert. `make demo` builds what this runs.
#
#   DEMO_EXIT=1   stop and clean up at the end instead of waiting for Ctrl-C
#   DEMO_PORT     the site's port (80 where it is free, else 8080 or above)
#   DEMO_BEGAN    when `make demo` began, in milliseconds since the epoch (make sets it)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${CARGO_TARGET_DIR:-$root/target}/demo/windlass
app=guestbook
domain=guestbook.localhost
[[ -x $binary ]] || { echo "no $binary: run make demo" >&2; exit 1; }

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() {
  printf '\ndemo: FAILED: %s\n' "$*" >&2
  if [[ -s ${home:-}/server.log ]]; then tail -n 15 "$home/server.log" | sed 's/^/  | /' >&2; fi
  exit 1
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
began=${DEMO_BEGAN:-$(now_ms)}

# A short path: unix sockets lie below it, and theirs may have 107 characters.
home=$(mktemp -d /tmp/wl-demo.XXXX)
export WINDLASS_HOME=$home/w
work=$home/guestbook
mkdir "$WINDLASS_HOME"
server=""
database=""

# Removes what this run started and nothing else: its processes by id, and on
# the engine what bears the label of this run's own home folder.
# shellcheck disable=SC2317
clean_up() {
  trap - EXIT
  trap '' INT TERM
  step "cleaning up"
  if [[ -n $database ]]; then docker rm -fv "$database" >/dev/null || true; fi
  if [[ -n $server ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  local ours=label=windlass.home=$WINDLASS_HOME
  docker ps -aq --filter "$ours" | xargs -r docker rm -fv >/dev/null || true
  docker network ls -q --filter "$ours" | xargs -r docker network rm >/dev/null || true
  docker volume ls -q --filter "$ours" | xargs -r docker volume rm >/dev/null || true
  docker image ls -q --filter "$ours" | sort -u | xargs -r docker image rm -f >/dev/null || true
  rm -rf "$home"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The first of these ports that nobody listens on.
free_port() {
  local port
  for port in "$@"; do
    if ! ss -Hltn "sport = :$port" | grep -q .; then echo "$port"; return; fi
  done
  die "none of the ports $* is free; choose one with DEMO_PORT"
}

windlass() { "$binary" "$@"; }

# ---- the server ---------------------------------------------------------------

site_port=${DEMO_PORT:-$(free_port 80 8080 8081 8082 8083)}
dashboard_port=$(free_port 7070 7071 7072 7073)
site=http://$domain
[[ $site_port == 80 ]] || site+=:$site_port

step "starting Windlass in $WINDLASS_HOME"
cat >"$WINDLASS_HOME/config.toml" <<TOML
listen = "127.0.0.1:$dashboard_port"
[caddy]
image = "windlass-local/caddy"
http_port = $site_port
tls = "off"
[keep]
build_cache = "off" # of this machine's engine, not the demo's
TOML
"$binary" serve >"$home/server.log" 2>&1 </dev/null &
server=$!
for _ in {1..300}; do
  if windlass app list >/dev/null 2>&1; then break; fi
  kill -0 "$server" 2>/dev/null || die "the server ended"
  sleep 0.1
done
windlass app list >/dev/null || die "the server does not answer after 30 seconds"

# ---- the app and its database ---------------------------------------------------

step "windlass app create $app --domain $domain"
windlass app create "$app" --domain "$domain"
network=$(docker network ls -q --filter "label=windlass.app=$app" --filter "label=windlass.home=$WINDLASS_HOME")
[[ -n $network ]] || die "the app has no network"

step "a PostgreSQL for it, on the app's network"
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
password=$(random 16)
database=$(docker run -d --network "$network" --network-alias "$app-db" \
  -e POSTGRES_USER="$app" -e POSTGRES_PASSWORD="$password" windlass-local/postgres)
for _ in {1..150}; do
  # Over TCP: during its first start PostgreSQL answers on its socket only.
  if docker exec "$database" pg_isready -q -h 127.0.0.1; then break; fi
  sleep 0.2
done
docker exec "$database" pg_isready -q -h 127.0.0.1 || die "PostgreSQL does not answer"
windlass env set "$app" "SECRET_KEY=$(random 32)" "ALLOWED_HOSTS=$domain" SECURE_SSL_REDIRECT=0 \
  "DATABASE_URL=postgres://$app:$password@$app-db/$app"

# ---- its life ---------------------------------------------------------------------

cp -R "$root/examples/django" "$work"
git -C "$work" init -q -b main
git -C "$work" config user.name "Windlass demo"
git -C "$work" config user.email demo@example.com
git -C "$work" remote add prod "$WINDLASS_HOME/repos/$app.git"

commit() {
  git -C "$work" add -A
  git -C "$work" commit -q -m "$1"
}
# push EXPECTED: pushes, and holds the newest deploy's status against what should come of it
push() {
  local status
  git -C "$work" push prod main || true
  status=$(windlass deploys "$app" --limit 1 --json | jq -r '.[0].status')
  [[ $status == "$1" ]] || die "the deploy is $status, not $1"
}
# served TEXT: what the world sees, through Caddy
served() {
  local page
  page=$(curl -fsS --max-time 10 -H "Host: $domain" "http://127.0.0.1:$site_port/") || die "$site does not answer"
  grep -qF "$1" <<<"$page" || die "$site does not show: $1"
  echo "$site shows: $1"
}
edition() { printf 'VERSION_TEXT = "Guestbook, %s edition"\n' "$1" >"$work/entries/version.py"; }

step "git push prod main: the first release"
commit "A guestbook"
push live
live_at=$(now_ms)
served "Guestbook, first edition"
printf 'from make demo to first live push: %d s\n' $(((live_at - began) / 1000))

step "git push prod main: a change"
edition second
commit "Bring the second edition"
push live
served "Guestbook, second edition"

step "git push prod main: a broken commit (imports a module that is not there)"
edition third
sed -i '1i import a_module_that_is_not_there' "$work/entries/views.py"
commit "Break the views"
push failed
served "Guestbook, second edition"

step "windlass revert $app: back to the first release"
windlass revert "$app" --wait
served "Guestbook, first edition"

step "its deploys"
windlass deploys "$app"

step "the guestbook is live"
echo "site:       $site"
echo "dashboard:  http://127.0.0.1:$dashboard_port"
grep -i -m 1 'password' "$home/server.log" || true
echo "commands:   WINDLASS_HOME=$WINDLASS_HOME $binary …"
echo "push again: from $work"
if [[ ${DEMO_EXIT:-} == 1 ]]; then exit 0; fi
echo "Ctrl-C stops everything and cleans up."
# A signal ends a wait at once, a foreground command it would not.
wait "$server" || true
die "the server ended"
