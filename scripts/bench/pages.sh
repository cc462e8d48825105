# Part "pages": how quickly the dashboard's pages come, with few apps and with many.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_pages() {
  local cookie last
  step "pages"
  start_server windlass-local/caddy
  create_files
  log_in_to_dashboard
  last=$(newest files | jq .id)
  sum ""
  sum "Pages of the dashboard: p99 with 20 clients, each 5 times a second, as they see it, ms"
  fill_database 10 1000
  pages_take "10 apps, 1,000 deploys" "$last"
  fill_database 1000 100000
  pages_take "1,000 apps, 100,000 deploys" "$last"
  stop_server
}

# log_in_to_dashboard: sets $cookie
log_in_to_dashboard() {
  local password
  password=$(sed -n "s/^The dashboard's first user is admin, with the password //p" "$server_log")
  cookie=$(curl -s --noproxy '*' -o /dev/null -D - --data-urlencode name=admin \
    --data-urlencode "password=$password" "$dashboard/login" | sed -n 's/^set-cookie: \([^;]*\).*/\1/Ip' | tr -d '\r')
  [[ -n $cookie ]] || die "the dashboard does not let admin in"
}

# fill_database APPS DEPLOYS: adds rows until there are so many, beside those of the app that really
# runs, which gets a thousandth of the deploys and at least 200. While the server runs: one that starts
# would make a network for each app.
fill_database() {
  python3 - "$WINDLASS_HOME/windlass.db" "$1" "$2" <<'PYTHON'
import ipaddress
import sqlite3
import sys
import time

path, apps, deploys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = sqlite3.connect(path, timeout=60)
now = int(time.time() * 1000)
subnets = list(ipaddress.ip_network("10.64.0.0/12").subnets(new_prefix=26))
phases = ["checkout", "build", "gate:check", "gate:migrate", "start", "health", "swap", "verify", "drain", "retire"]
with database:
    here = database.execute("SELECT count(*) FROM apps").fetchone()[0]
    for n in range(here, apps):
        app = database.execute(
            "INSERT INTO apps (name, subnet, port, created_at) VALUES (?, ?, 8000, ?) RETURNING id",
            (f"app-{n:04}", str(subnets[n]), now)).fetchone()[0]
        database.execute("INSERT INTO domains VALUES (?, ?, 0)", (f"app-{n:04}.example.com", app))
    real = database.execute("SELECT id FROM apps WHERE name = 'files'").fetchone()[0]
    others = [row[0] for row in database.execute("SELECT id FROM apps WHERE id <> ?", (real,))]
    live = {row[0] for row in database.execute("SELECT app_id FROM deploys WHERE status = 'live'")}
    there = database.execute("SELECT count(*) FROM deploys").fetchone()[0]
    for n in range(there, deploys):
        app = real if n % 1000 == 0 or n < 200 else others[n % len(others)]
        status = "failed" if n % 9 == 0 else "retired"
        if app not in live and status == "retired":
            live.add(app)
            status = "live"
        began = now - (deploys - n) * 60_000
        failed = status == "failed"
        id = database.execute(
            "INSERT INTO deploys (app_id, commit_id, subject, author, trigger, actor, status, queued_at, started_at, "
            "finished_at, duration_ms, failure_phase, failure_message) "
            "VALUES (?, ?, ?, 'Ada Lovelace', 'push', 'ada', ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (app, f"{n:040x}", f"Change number {n} of the shop's front page", status, began, began, began + 20_000,
             20_000, "gate:migrate" if failed else None, "exit status 1" if failed else None)).fetchone()[0]
        for ordinal, phase in enumerate(phases[:4] if failed else phases):
            last = failed and ordinal == 3
            database.execute(
                "INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (?, ?, ?, ?, ?, ?)",
                (id, ordinal, phase, "failed" if last else "ok", began + ordinal * 2000, 1500 + n % 700))
        if not failed:
            database.execute(
                "INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) "
                "VALUES (?, ?, ?, 'windlass/none', ?, '{}', 8000, x'', ?)",
                (id, app, f"{n:040x}", deploys - n < 3, began))
PYTHON
}

# pages_take WHAT DEPLOY: each page's p99, over loopback and as the client sees it
pages_take() {
  local page
  for page in / "/?page=2" /apps/files "/apps/files?status=failed" "/apps/files/deploys/$2" /apps/files/env /account /audit; do
    bound "  $1: $page" "$(ask_pages "$page" 2>"$raw/pages-errors.txt")" 10 ms ||
      die "$page was not answered, see $raw/pages-errors.txt"
  done
}

# ask_pages PATH: 20 clients that do not wait for one another, each 5 times a second for 8 seconds, at
# moments drawn by lot. Prints the 99th percentile in ms; fails if an answer is not 200.
ask_pages() {
  python3 - "${dashboard#http://}" "$1" "$cookie" <<'PYTHON'
import http.client
import random
import sys
import threading
import time

address, path, cookie = sys.argv[1:]
took, lock = [], threading.Lock()


def client(seed):
    lot = random.Random(seed)
    connection = http.client.HTTPConnection(address, timeout=10)
    end = time.monotonic() + 8
    while True:
        time.sleep(lot.uniform(0, 0.4))
        begin = time.monotonic()
        if begin > end:
            return
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        done = time.monotonic() - begin
        with lock:
            took.append(done if answer.status == 200 else None)


clients = [threading.Thread(target=client, args=(seed,)) for seed in range(20)]
for one in clients:
    one.start()
for one in clients:
    one.join()
if len(took) < 500 or None in took:
    sys.exit(f"{len(took)} answers, {took.count(None)} of them other than 200")
print(f"{sorted(took)[int(len(took) * 0.99)] * 1000:.1f}")
PYTHON
}
