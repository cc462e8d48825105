# Part "viewers": what it costs a deploy, and the server, that many people watch its log. Sourced by
# bench.sh.
# shellcheck shell=bash disable=SC2154 # what bench.sh and lib.sh set

bench_viewers() {
  local many=${BENCH_VIEWERS:-500} runs=${BENCH_RUNS:-3} alone watched
  step "viewers"
  start_server windlass-local/caddy
  create_files
  log_in_to_dashboard
  talking_app
  sum ""
  sum "A deploy whose gate prints 200 lines a second for 20 s"
  alone=$(for ((n = 1; n <= runs; n++)); do talk 0 "$n"; done | median)
  reset_peak
  watched=$(for ((n = 1; n <= runs; n++)); do talk "$many" "$n"; done | median)
  sum "$(printf '%-52s %9s s' "the deploy, with nobody watching (median of $runs)" "$(seconds "$alone")")"
  sum "$(printf '%-52s %9s s' "the deploy, with $many watching (median of $runs)" "$(seconds "$watched")")"
  bound "how much slower it is for $many viewers" "$(awk -v a="$alone" -v b="$watched" 'BEGIN { printf "%.1f", (b - a) * 100 / a }')" 5 %
  bound "peak of the server's memory with $many viewers" "$(peak)" 60 MB
  sum "  viewers: $(sort "$raw"/viewers-*.txt | uniq -c | awk '{ n = $1; $1 = ""; printf "%s%s x%s", sep, $0, n; sep = ";" }')"
  if grep -qv ' all 4000 lines once, in order, and its end$' "$raw"/viewers-*.txt; then missed=$((missed + 1)); fi
  stop_server
}

# An app with a gate that takes its time, however fast the machine is.
talking_app() {
  cat >"$folder/talk.py" <<'PYTHON'
import time

began = time.monotonic()
for number in range(1, 4001):
    print(f"line {number:04d}: what a gate prints while it proves something", flush=number % 10 == 0)
    time.sleep(max(0, began + number / 200 - time.monotonic()))
PYTHON
  cat >>"$folder/windlass.toml" <<'TOML'
[[gates]]
name = "talk"
run = ["python", "talk.py"]
TOML
  printf 'FROM windlass-local/python\nCOPY talk.py ./\nEXPOSE 8000\nCMD ["python", "-m", "http.server", "8000"]\n' >"$folder/Dockerfile"
  commit "$folder" "Talk"
  push "$folder" files live "$raw/talk-first.txt"
}

# talk VIEWERS RUN: deploys it with so many watching, and prints how many milliseconds that took
talk() {
  local id pid=""
  git -C "$folder" commit -q --allow-empty -m "With $1 viewers, $2"
  git -C "$folder" push prod main >"$raw/talk-$1-$2.txt" 2>&1 &
  local pushing=$!
  for _ in {1..300}; do
    id=$(newest files | jq -r 'select(.phases[-1].phase == "gate:talk") | .id')
    [[ -n $id ]] && break
    sleep 0.1
  done
  [[ -n $id ]] || die "the gate does not begin"
  if (($1 > 0)); then
    watch_it "$1" "$id" >"$raw/viewers-$2.txt" &
    pid=$!
  fi
  wait "$pushing" || die "a push failed, see $raw/talk-$1-$2.txt"
  if [[ -n $pid ]]; then wait "$pid" || die "the viewers failed"; fi
  newest files | jq -e 'select(.status == "live") | .duration_ms'
}

# watch_it VIEWERS DEPLOY: that many event streams, to their end; a line of what each saw
watch_it() {
  python3 - "${dashboard#http://}" "$cookie" "/apps/files/deploys/$2/events" "$1" <<'PYTHON'
import asyncio
import re
import sys

address, cookie, path, viewers = sys.argv[1:]
host, port = address.split(":")
ASK = f"GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n".encode()
LINES = re.compile(rb"line (\d{4}): what")


async def view():
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    writer.write(ASK)
    expected, told, tail, ended = 1, "", b"", False
    while piece := await reader.read(1 << 16):
        # A number may be cut in two, between two pieces or by the head of a chunk.
        data = tail + re.sub(rb"\r\n[0-9a-f]+\r\n", b"", piece)
        last = 0
        for found in LINES.finditer(data):
            if int(found[1]) != expected:
                told = told or f"line {int(found[1])} where {expected} was due"
            expected, last = int(found[1]) + 1, found.end()
        ended = ended or b"event: finished" in data
        tail = data[max(last, len(data) - 64):]
    writer.close()
    if told or expected != 4001 or not ended:
        return f"a viewer: {told or expected - 1} {'and its end' if ended else 'and no end'}"
    return "a viewer: all 4000 lines once, in order, and its end"


async def main():
    async def later(n):
        await asyncio.sleep(n * 0.004)
        return await view()

    for told in await asyncio.gather(*(later(n) for n in range(int(viewers)))):
        print(told)


asyncio.run(asyncio.wait_for(main(), 120))
PYTHON
}
