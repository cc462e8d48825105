#!/usr/bin/env bash
# Brings a Debian or Ubuntu machine to where Windlass can be built, tested and
# shown: tools, a running Docker engine, base images. Looks first and acts only
# where something is missing, so a second run takes about a second.
#
#   scripts/setup.sh            what `make demo` needs
#   scripts/setup.sh --tests    also what the tests and the benchmark need
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin"

started=$EPOCHREALTIME
say() {
  local us=$(( ${EPOCHREALTIME/[.,]/} - ${started/[.,]/} ))
  printf 'setup [%4d.%d s] %s\n' $(( us / 1000000 )) $(( us / 100000 % 10 )) "$*"
}
# die WHAT HAPPENED, WHAT TO DO
die() {
  say "FAILED: $1"
  printf '  to mend it: %s\n' "$2"
  exit 1
} >&2
have() { command -v "$1" >/dev/null 2>&1; }

with_tests=false
case "${1:-}" in
  '') ;;
  --tests) with_tests=true ;;
  *) echo "usage: scripts/setup.sh [--tests]" >&2; exit 2 ;;
esac

sudo=()
if (( EUID != 0 )); then
  sudo=(sudo)
fi
as_root() {
  if (( EUID != 0 )) && ! have sudo; then
    die "root is needed to run: $1" "run make setup as root, or install sudo"
  fi
  "${sudo[@]}" "$@"
}

log=${WINDLASS_SETUP_LOG:-${TMPDIR:-/tmp}/windlass-setup.$UID.log}
# logged WHAT_FAILED HINT COMMAND…: the output goes to the log, its end is shown on failure
logged() {
  local what=$1 hint=$2
  shift 2
  printf '\n=== %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null && return 0
  local status=$?
  tail -n 15 "$log" | sed 's/^/  | /' >&2
  die "$what (exit status $status, all of it in $log)" "$hint"
}

systemd_runs() { [[ -d /run/systemd/system ]]; }

# One setup at a time: two would step on each other's package manager and images.
lock=${TMPDIR:-/tmp}/windlass-setup.$UID.lock
if have flock; then
  exec {lock_fd}>"$lock"
  if ! flock -n "$lock_fd"; then
    say "another setup is running, waiting for it"
    flock -w 1800 "$lock_fd" || die "the other setup did not end within 30 minutes" "look for it with: fuser -v $lock"
  fi
fi
: >"$log"

# ---- tools --------------------------------------------------------------------

packages=()
need() { # COMMAND PACKAGE…
  have "$1" || packages+=("${@:2}")
}
need git git
need curl curl
need jq jq
need cc gcc libc6-dev
need ip iproute2
[[ -s /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
installs_engine=false
if ! have dockerd && ! docker info >/dev/null 2>&1; then
  installs_engine=true
  packages+=(docker.io)
fi
if $installs_engine || have dockerd; then
  need iptables iptables
fi
if $with_tests; then
  need python3 python3
  # For schemathesis, which has an environment of its own.
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  need mount mount
  need pgrep procps
  need mkfs.ext4 e2fsprogs
  need hey hey
  # A library that programs load, not a command.
  dpkg -s libfaketime >/dev/null 2>&1 || packages+=(libfaketime)
  have chromium || have chromium-browser || packages+=(chromium)
  have chromedriver || packages+=(chromium-driver)
  axe=${XDG_CACHE_HOME:-$HOME/.cache}/windlass/axe-4.12.1.min.js
  [[ -s $axe ]] || python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
fi
installs_sshd=false
if $with_tests && ! have sshd; then
  installs_sshd=true
fi

apt_updated=false
apt_install() {
  have apt-get || die "missing: $*, and there is no apt-get" "install them by hand, then run this again"
  local apt=(as_root env DEBIAN_FRONTEND=noninteractive)
  # Without systemd a package must not start its service: the engine needs our settings.
  systemd_runs || apt+=(RUNLEVEL=1)
  apt+=(apt-get -q -y -o "DPkg::Lock::Timeout=300")
  if ! $apt_updated; then
    # One unreachable third-party source must not stop us: the install tells.
    "${apt[@]}" update >>"$log" 2>&1 </dev/null || say "apt-get update had errors (see $log), going on"
    apt_updated=true
  fi
  local wanted=() package
  for package in "$@"; do
    # Ubuntu's names
    if ! apt-cache show "$package" >/dev/null 2>&1; then
      case $package in
        chromium) package=chromium-browser ;;
        chromium-driver) package=chromium-chromedriver ;;
      esac
    fi
    wanted+=("$package")
  done
  logged "apt-get could not install: ${wanted[*]}" "run: apt-get update && apt-get install ${wanted[*]}" \
    "${apt[@]}" install --no-install-recommends "${wanted[@]}"
}

# BuildKit clips a step's log at 2 MiB and 200 KiB/s unless its engine is told
# otherwise. Not by -1: engine 20.10 takes that for "nothing at all".
unclipped=2147483647
buildkit_env=("BUILDKIT_STEP_LOG_MAX_SIZE=$unclipped" "BUILDKIT_STEP_LOG_MAX_SPEED=$unclipped")

# The MTU of the default route's interface, if containers have to be told.
small_mtu() {
  local interface mtu
  interface=$(ip -o route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
  [[ -n $interface && -r /sys/class/net/$interface/mtu ]] || return 0
  mtu=$(<"/sys/class/net/$interface/mtu")
  if (( mtu < 1500 )); then echo "$mtu"; fi
}

# Settings for an engine that systemd will start, in place before its package is.
prepare_systemd_engine() {
  local mtu
  as_root mkdir -p /etc/systemd/system/docker.service.d
  printf '[Service]\nEnvironment=%s %s\n' "${buildkit_env[@]}" |
    as_root tee /etc/systemd/system/docker.service.d/windlass.conf >/dev/null
  mtu=$(small_mtu)
  if [[ -n $mtu && ! -e /etc/docker/daemon.json ]]; then
    as_root mkdir -p /etc/docker
    printf '{ "mtu": %s }\n' "$mtu" | as_root tee /etc/docker/daemon.json >/dev/null
  fi
  as_root systemctl daemon-reload
}

if (( ${#packages[@]} )); then
  say "installing: ${packages[*]}"
  if $installs_engine && systemd_runs; then prepare_systemd_engine; fi
  apt_install "${packages[@]}"
fi
# The tests start sshd themselves, on a port and with a configuration of their
# own. The machine's is not to begin with it.
install_sshd() {
  local policy=/usr/sbin/policy-rc.d ours=false status=0
  if [[ ! -e $policy ]]; then
    ours=true
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 0755 "$policy"
  fi
  (apt_install openssh-server) || status=$?
  if $ours; then as_root rm -f "$policy"; fi
  (( status == 0 )) || exit "$status"
  if systemd_runs; then
    as_root systemctl disable ssh.service ssh.socket >>"$log" 2>&1 || true
  fi
}
if $installs_sshd; then
  say "installing: openssh-server (not started)"
  install_sshd
fi
# What looks for barriers in the dashboard's pages, out of a package that is nothing but its carrier.
fetch_axe() {
  local wheel want=84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc
  wheel=$(mktemp -d)
  logged "axe could not be downloaded from PyPI" "look at pip's settings (pip config list), then run this again" \
    python3 -m pip download -q --no-deps --only-binary :all: -d "$wheel" axe-playwright-python==0.1.8
  mkdir -p "${axe%/*}"
  python3 -m zipfile -e "$wheel"/*.whl "$wheel/out"
  echo "$want  $wheel/out/axe_playwright_python/axe.min.js" | sha256sum --quiet -c - ||
    die "the axe that came is not the one expected" "look at the package axe-playwright-python 0.1.8 on PyPI"
  mv "$wheel/out/axe_playwright_python/axe.min.js" "$axe"
  rm -rf "$wheel"
}
if $with_tests && [[ ! -s $axe ]]; then
  say "fetching: axe"
  fetch_axe
fi
if ! have cargo; then
  die "no Rust toolchain (cargo)" "install it from https://rustup.rs, then run this again"
fi
say "tools: $(git --version | sed 's/git version /git /'), $(cargo --version | cut -d' ' -f1,2)"

# ---- the engine ---------------------------------------------------------------

engine_log=/var/log/windlass-dockerd.log
engine_version() { docker version --format '{{.Server.Version}}' 2>/dev/null; }

# An engine that was cut off leaves pid files behind, and a new one takes any
# process that now has that number for the old one.
drop_stale_pid_file() { # FILE COMMAND
  local pid
  pid=$(as_root cat "$1" 2>/dev/null) || return 0
  if [[ $(cat "/proc/$pid/comm" 2>/dev/null || true) != "$2" ]]; then
    as_root rm -f "$1"
  fi
}

start_engine_by_hand() {
  local mtu arguments=()
  mtu=$(small_mtu)
  [[ -z $mtu ]] || arguments=(--mtu "$mtu")
  drop_stale_pid_file /var/run/docker.pid dockerd
  drop_stale_pid_file /var/run/docker/containerd/containerd.pid containerd
  # Detached from this shell, its terminal and every file it has open (make's
  # pipes and our lock among them), so that nobody waits for the engine to end.
  # shellcheck disable=SC2016
  as_root env "${buildkit_env[@]}" bash -c '
    log=$1; shift
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if (( fd > 2 )); then eval "exec $fd>&-" 2>/dev/null || true; fi
    done
    cd /
    exec setsid --fork dockerd "$@" </dev/null >>"$log" 2>&1
  ' start-engine "$engine_log" "${arguments[@]}"
}

wait_for_engine() {
  local deadline=$(( SECONDS + 60 ))
  until as_root docker version >/dev/null 2>&1; do
    if (( SECONDS >= deadline )) || ! { systemd_runs || [[ -n $(engine_pid) ]] || (( SECONDS < deadline - 55 )); }; then
      return 1
    fi
    sleep 0.2
  done
}

engine_pid() {
  local pid comm
  pid=$(cat /var/run/docker.pid 2>/dev/null || true)
  [[ -n $pid ]] || return 0
  comm=$(cat "/proc/$pid/comm" 2>/dev/null || true)
  if [[ $comm == dockerd ]]; then echo "$pid"; fi
}

start_engine() {
  if systemd_runs; then
    say "starting the Docker engine (systemctl)"
    logged "systemd did not start Docker" "see: journalctl -u docker -n 50" as_root systemctl enable --now docker
    wait_for_engine || die "Docker was started but does not answer" "see: journalctl -u docker -n 50"
    return
  fi
  say "starting the Docker engine (no systemd here: dockerd in the background, log $engine_log)"
  start_engine_by_hand
  wait_for_engine && return
  as_root tail -n 15 "$engine_log" | sed 's/^/  | /' >&2
  die "dockerd does not answer" "read the end of $engine_log above; often it is cgroups or iptables that are missing, or another dockerd on the same folder"
}

# The engine's socket belongs to root and the group docker.
let_user_in() {
  (( EUID != 0 )) || return 0
  docker version >/dev/null 2>&1 && return 0
  say "letting $USER use the Docker engine (group docker)"
  as_root usermod -aG docker "$USER"
  # The new group counts from the next log-in on; until then the socket lets us in by name.
  have setfacl || apt_install acl
  as_root setfacl -m "u:$USER:rw" /var/run/docker.sock
  docker version >/dev/null 2>&1 || die "$USER may not use the Docker engine yet" "log in again, then run this again"
}

version=$(engine_version || true)
if [[ -z $version ]]; then
  if [[ -z ${DOCKER_HOST:-} ]]; then
    as_root docker version >/dev/null 2>&1 || start_engine
    let_user_in
  fi
  version=$(engine_version || true)
  [[ -n $version ]] || die "no Docker engine answers at ${DOCKER_HOST:-/var/run/docker.sock}" "start it, or unset DOCKER_HOST"
fi
say "engine: Docker $version"

pid=$(engine_pid)
if [[ -n $pid ]] && environment=$("${sudo[@]}" cat "/proc/$pid/environ" 2>/dev/null | tr '\0' '\n'); then
  if ! grep -q "^BUILDKIT_STEP_LOG_MAX_SIZE=$unclipped\$" <<<"$environment"; then
    say "hint: this engine clips long build logs; for complete ones start it with ${buildkit_env[*]} in its environment"
  fi
fi

# ---- base images --------------------------------------------------------------

declare -A official=(
  [python]=python:3.13-slim
  [caddy]=caddy:2
  [caddy26]=caddy:2.6.2
  [postgres]=postgres:17
)
# Goes up with a change in base-images.sh that images built before it lack.
recipe=1
missing=()
for name in python caddy caddy26 postgres; do
  built_by=$(docker image inspect --format '{{index .Config.Labels "windlass-local.recipe"}}' "windlass-local/$name" 2>/dev/null) ||
    built_by=missing
  # A pulled image has no such label and is good as it is.
  case $built_by in
    '' | '<no value>' | "$recipe") ;;
    *) missing+=("$name") ;;
  esac
done

# Whether the first image's pull gets as far as the registry's answer within
# ten seconds. Without a network the refusal mostly comes at once.
registry_answers() {
  local image=$1 pull pull_log
  pull_log=$(mktemp)
  docker pull "$image" >"$pull_log" 2>&1 </dev/null &
  pull=$!
  for _ in {1..100}; do
    if grep -q 'Pulling from' "$pull_log"; then
      wait "$pull" && { rm -f "$pull_log"; return 0; }
      break
    fi
    kill -0 "$pull" 2>/dev/null || break
    sleep 0.1
  done
  kill "$pull" 2>/dev/null || true
  wait "$pull" 2>/dev/null || true
  cat "$pull_log" >>"$log"
  rm -f "$pull_log"
  return 1
}

pull_images() {
  local name
  for name in "$@"; do
    say "pulling ${official[$name]} as windlass-local/$name"
    if docker pull "${official[$name]}" >>"$log" 2>&1 </dev/null; then
      docker tag "${official[$name]}" "windlass-local/$name"
    else
      to_build+=("$name")
    fi
  done
}

build_images() {
  have debootstrap || { say "installing: debootstrap"; apt_install debootstrap; }
  local keep=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE
  keep+=,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_TRUSTED_HOST,PIP_CERT,PIP_CONFIG_FILE,PIP_DEFAULT_TIMEOUT
  (( EUID == 0 )) || sudo=(sudo "--preserve-env=$keep")
  "${sudo[@]}" bash "$here/base-images.sh" "$recipe" "$@" 2>>"$log" </dev/null | while IFS= read -r line; do say "$line"; done || {
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    die "a base image could not be built (all of it in $log)" "it needs Debian's or Ubuntu's packages, PyPI and 1 GB in /var/tmp; then run this again"
  }
}

if (( ${#missing[@]} )); then
  to_build=()
  say "asking the registry for ${official[${missing[0]}]}"
  if registry_answers "${official[${missing[0]}]}"; then
    pull_images "${missing[@]}"
  else
    say "no registry answers: building the base images from packages"
    to_build=("${missing[@]}")
  fi
  if (( ${#to_build[@]} )); then build_images "${to_build[@]}"; fi
fi
say "base images: windlass-local/{python,caddy,caddy26,postgres}"
say "ready"
