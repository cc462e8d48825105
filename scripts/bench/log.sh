# Part "log": how quickly the page of a deploy whose build printed a million lines comes, on the server's
# side and in Chromium, and a search through all of them. Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_log() {
  local lines=${BENCH_LINES:-1000000} id path middle
  step "log"
  start_server windlass-local/caddy
  create_files
  log_in_to_dashboard
  id=$(newest files | jq .id)
  long_log "$id" "$lines"
  path=/apps/files/deploys/$id
  middle=$((lines / 2))
  sum ""
  sum "A log of $lines lines, s"
  # The first look counts the lines; the others remember.
  bound "the page, the first time" "$(asked "$path")" 1 s
  bound "the page, after that (median of 5)" "$(often "$path")" 1 s
  bound "the page at line $middle" "$(often "$path?line=1.$middle")" 1 s
  bound "a search that finds one line" "$(often "$path?q=line+$(printf %07d "$middle")+of")" 1 s
  bound "a search that finds every line" "$(often "$path?q=noisy+build")" 1 s
  in_chromium "$path?line=1.$middle#p1-L$middle" "$middle"
  bound "memory of the server after it, MB" "$(rss)" 40 MB
  stop_server
}

# long_log DEPLOY LINES: the log of a build as a noisy one leaves it. That such a build's lines are all
# there is measured by the part "memory".
long_log() {
  local file
  file=$(echo "$WINDLASS_HOME/logs/$1"/01-build.log)
  [[ -f $file ]] || die "there is no log of a build at $file"
  seq -f 'line %07.0f of a noisy build, which says what it does' 1 "$2" |
    awk '{ printf "%d\t%s\n", NR / 20, $0 }' >"$file"
  say "its log has $(du -m "$file" | cut -f1) MB"
}

# asked PATH: how many seconds the answer takes, to its last byte
asked() {
  curl -s --noproxy '*' -o "$raw/page.html" -w '%{time_total}' -H "cookie: $cookie" "$dashboard$1"
  grep -q 'data-deploy=' "$raw/page.html" || die "no page of a deploy at $1"
}
often() {
  local n
  for n in 1 2 3 4 5; do
    asked "$1"
    echo
  done | median
}

# in_chromium PATH LINE: how long until that line is in sight, and what the page then takes. By the
# driver's own protocol, which curl speaks.
in_chromium() {
  local driver port session told
  chromedriver --port=0 >"$raw/driver.txt" 2>&1 &
  driver=$!
  children+=("$driver")
  for _ in {1..100}; do
    port=$(sed -n 's/.*started successfully on port \([0-9]*\).*/\1/p' "$raw/driver.txt")
    [[ -n $port ]] && break
    sleep 0.1
  done
  webdriver() { curl -s --noproxy '*' -H 'content-type: application/json' "$@"; }
  local base=http://127.0.0.1:$port/session
  session=$(webdriver "$base" -d '{"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": ["--headless", "--no-sandbox",
    "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--no-proxy-server"]}}}}' |
    jq -r .value.sessionId)
  base=$base/$session
  webdriver "$base/url" -d "{\"url\": \"$dashboard/login\"}" >/dev/null
  webdriver "$base/cookie" -d "{\"cookie\": {\"name\": \"${cookie%%=*}\", \"value\": \"${cookie#*=}\"}}" >/dev/null
  webdriver "$base/url" -d "{\"url\": \"$dashboard$1\"}" >/dev/null
  told=$(webdriver "$base/execute/sync" -d "{\"args\": [], \"script\": \"const t = performance.getEntriesByType('navigation')[0];
    const row = document.getElementById('p1-L$2').getBoundingClientRect();
    return [t.loadEventEnd, row.top >= 0 && row.bottom <= innerHeight ? 1 : 0, document.querySelectorAll('#sections .log > div').length,
      performance.memory.usedJSHeapSize / 1048576].join(' ')\"}" | tr '\n' ' ' | jq -r .value)
  webdriver -X DELETE "$base" >/dev/null
  kill "$driver" 2>/dev/null || true
  wait "$driver" 2>/dev/null || true
  local took sight rows heap
  read -r took sight rows heap <<<"$told" || true
  [[ ${sight:-0} == 1 ]] || die "line $2 is not in sight in Chromium: $told"
  bound "Chromium: until line $2 is in sight" "$(seconds "$took")" 1 s
  bound "Chromium: rows in the page" "$rows" 3000 ""
  bound "Chromium: the page's JavaScript heap" "$(printf '%.1f' "$heap")" 20 MB
}
