# The load under which versions are swapped: 20 clients that GET, 10 that POST 20 kB,
# 3 that wait in requests of 5 seconds, and one that holds an event stream of 10.
# Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

# Requests a second and client, so that the machine is busy but not choked.
get_rate=5
post_rate=2
# Far longer than any series; each ends by an interrupt, on which hey reports.
load_limit=40m

# load_start FOLDER PORT: results go to the folder
load_start() {
  local dir=$1 url=http://127.0.0.1:$2 client
  mkdir -p "$dir"
  rm -f "$dir/stop"
  # awk, not yes | head: a reader that leaves early is an error under pipefail
  awk 'BEGIN { while (n < 20000) { line = "I was here, and it was good. "; printf "%s", line; n += length(line) } }' >"$dir/body"
  client=(hey -z "$load_limit" -t 30 -host "$domain" -disable-redirects)
  "${client[@]}" -c 20 -q "$get_rate" "$url/" >"$dir/get" 2>&1 &
  load=("$!")
  "${client[@]}" -c 10 -q "$post_rate" -m POST -D "$dir/body" "$url/api/entries?name=bench" >"$dir/post" 2>&1 &
  load+=("$!")
  "${client[@]}" -c 3 "$url/slow/5" >"$dir/slow" 2>&1 &
  load+=("$!")
  children=("${load[@]}")
  hold_streams "$dir" "$url" &
  load+=("$!")
  children+=("$!")
}

# One stream after another; each has to come to its end.
hold_streams() {
  local dir=$1 all=0 cut=0
  while [[ ! -e $dir/stop ]]; do
    all=$((all + 1))
    if ! curl -sN --noproxy '*' --max-time 30 -H "Host: $domain" "$2/events?n=10" >"$dir/stream" ||
      ! grep -q '^event: end' "$dir/stream"; then
      cut=$((cut + 1))
      date -u +%T.%3N >>"$dir/cut"
      sleep 0.2
    fi
    echo "$all $cut" >"$dir/streams"
  done
}

load_stop() { # FOLDER
  local pid
  touch "$1/stop"
  kill -INT "${load[@]:0:3}" 2>/dev/null || die "a client of the load ended early, see $1"
  for pid in "${load[@]}"; do wait "$pid" || true; done
  children=()
}

# Of a report of hey's: all requests and those that failed. It counts answers by
# their status and errors by their text.
hey_counts() {
  awk '
    /^Status code distribution:/ { part = "status" }
    /^Error distribution:/ { part = "error" }
    match($1, /^\[[0-9]+\]$/) {
      n = substr($1, 2, length($1) - 2)
      if (part == "status") { all += $2; if (n < 200 || n > 299) failed += $2 }
      if (part == "error") { all += n; failed += n }
    }
    END { if (!all) exit 1; print all + 0, failed + 0 }' "$1"
}

# load_result FOLDER: "requests failed", all clients together
load_result() {
  local kind counts all=0 failed=0
  for kind in get post slow; do
    counts=$(hey_counts "$1/$kind") || die "hey gave no report, see $1/$kind"
    all=$((all + ${counts% *}))
    failed=$((failed + ${counts#* }))
  done
  counts=$(<"$1/streams")
  echo "$((all + ${counts% *})) $((failed + ${counts#* }))"
}

# What failed, for whoever wants to know why.
load_failures() {
  local kind
  for kind in get post slow; do
    sed -n "/^Status code distribution/,\$ { /\[2..\]/d; /^ *\[/s/^/  $kind /p }" "$1/$kind"
  done
  if [[ -s $1/cut ]]; then echo "  stream [cut]	$(wc -l <"$1/cut") streams"; fi
}
