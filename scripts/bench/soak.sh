# Part "soak": many pushes of a small app, and what grew with them. Rows, refs,
# commits and logs grow up to [keep]; nothing else may. Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_soak() {
  local pushes=${SOAK:-500} first number began
  first=$((pushes / 5))
  ((first >= 2)) || die "SOAK must be at least 10"
  step "soak: $pushes pushes"
  start_server windlass-local/caddy
  create_files
  : >"$raw/soak-ms"
  for ((number = 2; number <= pushes; number++)); do
    echo "$number" >"$folder/version"
    commit "$folder" "Version $number"
    began=$(now_ms)
    push "$folder" files live "$raw/soak-push.txt"
    echo $(($(now_ms) - began)) >>"$raw/soak-ms"
    if ((number == first || number == pushes)); then
      say "$number pushes"
      # Idle connections and threads have gone by then.
      sleep 15
      soak_measure "$number" >"$raw/soak-$number"
    fi
  done
  soak_report "$first" "$pushes"
  stop_server
}

# soak_measure PUSHES: a figure a line, as NAME VALUE
soak_measure() {
  local repo=$WINDLASS_HOME/repos/files.git part
  tail -n $((${SOAK:-500} / 5 - 1)) "$raw/soak-ms" | median | sed 's/^/push_ms /'
  awk '$1 == "VmRSS:" { print "rss_kb", $2 } $1 == "Threads:" { print "threads", $2 }' "/proc/$server/status"
  echo "fds $(find "/proc/$server/fd" -mindepth 1 -printf . | wc -c)"
  echo "docker_connections $(docker_connections)"
  for part in repos logs caddy run; do
    echo "${part}_kb $(du -sk "$WINDLASS_HOME/$part" | cut -f1)"
  done
  echo "database_kb $(du -ck "$WINDLASS_HOME"/windlass.db* | tail -n 1 | cut -f1)"
  echo "elsewhere_kb $(du -sk --exclude={repos,logs,caddy,run,windlass.db\*,server.log,files} "$WINDLASS_HOME" | cut -f1)"
  echo "refs $(git -C "$repo" for-each-ref | wc -l)"
  git -C "$repo" count-objects -v | awk '$1 == "count:" || $1 == "in-pack:" { all += $2 } END { print "objects", all }'
  soak_rows
  echo "log_folders $(find "$WINDLASS_HOME/logs" -mindepth 1 -maxdepth 1 -printf . | wc -c)"
  echo "containers $(ours docker ps -aq | wc -l)"
  echo "images $(ours docker image ls -aq | wc -l)"
  echo "volumes $(ours docker volume ls -q | wc -l)"
  echo "networks $(ours docker network ls -q | wc -l)"
  windlass doctor --json | jq -r '.[] | select(.check == "images of files") | "images_kb \(.bytes / 1024 | floor)"'
  windlass doctor --json | jq -r '.[] | select(.check == "build cache") | "build_cache_kb \(.bytes / 1024 | floor)"'
}

soak_rows() {
  python3 - "$WINDLASS_HOME/windlass.db" <<'PYTHON'
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
for table in ("deploys", "phases", "releases"):
    print(table, *database.execute(f"SELECT count(*) FROM {table}").fetchone())
PYTHON
}

# Connections that the server has open to the engine: the engine's side knows the
# socket's name, ours its number.
docker_connections() {
  ss -Hxa | awk '$5 ~ /docker\.sock$/ { print $8 }' | sort -u >"$raw/soak-peers"
  find "/proc/$server/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | tr -dc '0-9\n' | sort -u |
    comm -12 - "$raw/soak-peers" | wc -l
}

# What may grow by how much: NAME KIND LIMIT WHAT. `each`: per push; `all`: over all
# pushes between the two measurements; `ratio`: the second in hundredths of the first;
# `is`: exactly this both times; `shown`: not judged, as it is the whole engine's.
soak_limits='
push_ms ratio 150 time of a push, median, ms
rss_kb all 4096 memory of the server, KiB
threads all 2 threads of the server
fds all 6 open files of the server
docker_connections all 4 connections to the engine
containers is 2 containers: the app and Caddy
images is 3 images: keep.releases
images_kb all 64 images, what is their own, KiB
volumes is 0 volumes
networks is 2 networks
deploys each 1 rows: deploys
phases each 11 rows: phases
releases each 1 rows: releases
database_kb each 6 database, KiB
refs each 1 refs
objects each 3 git objects
repos_kb each 24 repository, KiB
log_folders each 1 folders of logs
logs_kb each 64 logs, KiB
caddy_kb all 64 folder of Caddy, KiB
run_kb all 0 folder run, KiB
elsewhere_kb all 8 elsewhere in the home folder, KiB
build_cache_kb shown 0 build cache of the engine, KiB
'

soak_report() { # FIRST LAST
  local name kind limit what
  sum ""
  sum "$(printf 'After %d and %d pushes, keep.* as by default%18s %9s %9s  %s' "$1" "$2" "$1" "$2" "per push" "limit")"
  while read -r name kind limit what; do
    [[ -n $name ]] || continue
    soak_line "$(value_of "$name" "$raw/soak-$1")" "$(value_of "$name" "$raw/soak-$2")" $(($2 - $1)) "$kind" "$limit" "$what"
  done <<<"$soak_limits"
}

value_of() { awk -v name="$1" '$1 == name { print $2 }' "$2"; }

soak_line() { # BEFORE AFTER PUSHES KIND LIMIT WHAT
  local line
  [[ -n $1 && -n $2 ]] || die "no figure for $6"
  if ! line=$(awk -v a="$1" -v b="$2" -v n="$3" -v kind="$4" -v limit="$5" -v what="$6" 'BEGIN {
    each = (b - a) / n
    if (kind == "each") { good = each <= limit; text = "each push " limit }
    if (kind == "all") { good = b - a <= limit; text = "altogether " limit }
    if (kind == "ratio") { good = b * 100 <= a * limit; text = "at most " limit " %" }
    if (kind == "is") { good = a == limit && b == limit; text = "always " limit }
    if (kind == "shown") { good = 1; text = "" }
    printf "%-56s %9d %9d %9.2f  %s%s", what, a, b, each, text, good ? "" : ": MISSED"
    exit !good
  }'); then
    missed=$((missed + 1))
  fi
  sum "$line"
}
