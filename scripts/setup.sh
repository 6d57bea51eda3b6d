#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set up a checkout: Debian packages, .venv, and the checkout linked as the collection inside it.
# Safe to run again: it does only what is missing, and takes about a second when nothing is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }

mapfile -t wanted < <(grep -Ev '^\s*(#|$)' scripts/system-packages.txt)
missing=()
for package in "${wanted[@]}"; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
    missing+=("$package")
  fi
done
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
# shellcheck disable=SC2016 # $(ORIGIN) is apt's to expand
debian_lists() { apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' | grep -x Debian >/dev/null; }
may_install() { [ ${#root[@]} -eq 0 ] || sudo -n true 2>/dev/null; }
if [ ${#missing[@]} -gt 0 ]; then
  if ! may_install; then
    say "these Debian packages are missing, and this user is neither root nor able to use sudo:"
    printf '  apt-get install -y --no-install-recommends %s\n' "${missing[*]}"
    exit 1
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  # Only programs of these are used here: a set-up must not open a machine to ssh or start snapd on it.
  services=()
  for package in "${missing[@]}"; do
    case $package in
      openssh-server) services+=(ssh.service ssh.socket) ;;
      snapd) services+=(snapd.service snapd.socket snapd.seeded.service snapd.apparmor.service) ;;
    esac
  done
  command -v systemctl >/dev/null || services=()
  [ ${#services[@]} -eq 0 ] || "${root[@]}" systemctl --quiet mask "${services[@]}"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  if [ ${#services[@]} -gt 0 ]; then
    "${root[@]}" systemctl --quiet unmask "${services[@]}"
    "${root[@]}" systemctl --quiet disable "${services[@]}" || true # some exist in later suites only
  fi
elif ! debian_lists; then
  # Releases and twins find Debian's archives by what apt's lists say of themselves (edgewright/archives.py).
  may_install || { say "apt has no lists of Debian's archive yet; run as root: apt-get update"; exit 1; }
  say "reading apt's lists"
  "${root[@]}" apt-get update -q
fi
scripts/newer-qemu.sh

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  say "no Python 3.11 or later with venv was found; on Debian 12: apt-get install python3 python3-venv"
  exit 1
fi

[ -x .venv/bin/python ] || { say "making .venv with $("$python" --version)"; "$python" -m venv .venv; }
stamp=.venv/.edgewright-setup
digest=$({ cat pyproject.toml scripts/setup.sh; .venv/bin/python --version; pwd; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$digest" ]; then
  say "installing Python packages into .venv (some minutes the first time)"
  # The checkout itself stands in the environment as the collection edgewright.factory, under its own names. pip would
  # put a copy of it there, which no later edit reaches; and it must not write through a link that is there already.
  collections=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/ansible_collections
  rm -rf "$collections/edgewright/factory"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
  rm -rf "$collections/edgewright/factory"
  mkdir -p "$collections/edgewright"
  ln -s "$PWD" "$collections/edgewright/factory"
  printf '%s\n' "$digest" >"$stamp"
fi
say "ready: $(.venv/bin/edgewright --version), $(.venv/bin/ansible --version | sed -n 1p)"
