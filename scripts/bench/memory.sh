# Part "memory": the server's resident memory, idle and at its peaks, and whether
# the log of a noisy build is complete. Sourced by bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_memory() {
  step "memory"
  start_server windlass-local/caddy
  sum ""
  sum "Memory of the server (resident), MB"
  sleep 5
  bound "idle, after the start" "$(rss)" 15 MB
  create_files
  sleep 5
  bound "idle, after one deploy" "$(rss)" 15 MB
  log_ins
  noisy_build
  large_context
  stop_server
}

# In MB, as the kernel counts: now, and the most since reset_peak.
rss() { awk '$1 == "VmRSS:" { printf "%.1f", $2 / 1024 }' "/proc/$server/status"; }
peak() { awk '$1 == "VmHWM:" { printf "%.1f", $2 / 1024 }' "/proc/$server/status"; }
reset_peak() { echo 5 >"/proc/$server/clear_refs"; }

# ---- log-ins ------------------------------------------------------------------------

log_ins() {
  local password code
  password=$(sed -n "s/^The dashboard's first user is admin, with the password //p" "$server_log")
  reset_peak
  for _ in {1..5}; do
    code=$(curl -s --noproxy '*' -o /dev/null -w '%{http_code}' --data-urlencode name=admin \
      --data-urlencode "password=$password" "$dashboard/login")
    [[ $code == 303 ]] || die "a log-in answered $code"
  done
  sum "$(printf '%-52s %9s MB' "peak during five log-ins" "$(peak)")"
  sleep 10
  bound "idle, after five log-ins" "$(rss)" 15 MB
}

# ---- a build that prints a million lines ------------------------------------------------

# In pieces with pauses, over several steps: engine 20.10 loses a burst of more
# than about 1 MiB.
noisy_dockerfile() { # LINES
  local step each=$(($1 / 5))
  printf 'FROM windlass-local/python\nCOPY salt noisy.py ./\n'
  for step in 0 1 2 3 4; do
    printf 'RUN python noisy.py %d %d\n' $((step * each + 1)) $((step * each + each))
  done
  printf 'EXPOSE 8000\nCMD ["python", "-m", "http.server", "8000"]\n'
}

noisy_build() {
  local lines=${BENCH_LINES:-1000000} id
  noisy_dockerfile "$lines" >"$folder/Dockerfile"
  date +%s%N >"$folder/salt"
  cat >"$folder/noisy.py" <<'PYTHON'
import sys
import time

first, last = map(int, sys.argv[1:])
for number in range(first, last + 1):
    sys.stdout.write(f"line {number:07d} of a noisy build\n")
    if number % 5000 == 0:
        sys.stdout.flush()
        time.sleep(0.1)
PYTHON
  commit "$folder" "Noise"
  reset_peak
  push "$folder" files live "$raw/noisy-push.txt"
  bound "peak of a deploy whose build prints $lines lines" "$(peak)" 40 MB
  id=$(newest files | jq .id)
  windlass deploy log "$id" --phase build >"$raw/noisy-log.txt"
  complete "windlass deploy log $id --phase build" "$raw/noisy-log.txt" "$lines"
  complete "what the pusher saw" "$raw/noisy-push.txt" "$lines"
  sleep 10
  sum "$(printf '%-52s %9s MB' "10 s after it" "$(rss)")"
}

# complete WHAT FILE LINES: every line is there once, whole, and in order
complete() {
  local got
  # What git and Windlass put before a line, and the spaces git puts behind it.
  LC_ALL=C awk '/ of a noisy build *$/ { sub(/^(remote: )? *[0-9.ms]+  /, ""); sub(/ *$/, ""); print }' "$2" >"$2.lines"
  got=$(wc -l <"$2.lines")
  if seq -f 'line %07.0f of a noisy build' 1 "$3" | cmp -s - "$2.lines"; then
    sum "  $1: $got of $3 lines, in order"
  else
    sum "  $1: $got of $3 lines, NOT COMPLETE OR NOT IN ORDER"
    missed=$((missed + 1))
  fi
}

# ---- a large build context ----------------------------------------------------------------

large_context() {
  local megabytes=${BENCH_CONTEXT_MB:-1000} file
  mkdir "$folder/data"
  for file in 0 1 2 3 4 5 6 7 8 9; do
    head -c $((megabytes * 100000)) /dev/urandom >"$folder/data/$file"
  done
  printf 'FROM windlass-local/python\nEXPOSE 8000\nCMD ["python", "-m", "http.server", "8000"]\n' >"$folder/Dockerfile"
  commit "$folder" "Data"
  reset_peak
  push "$folder" files live "$raw/context-push.txt"
  bound "peak of a deploy with a context of $megabytes MB" "$(peak)" 40 MB
}
