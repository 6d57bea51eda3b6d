#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On Debian 12: QEMU from Debian's own backports in place of 7.2. Where twins are emulated, 7.2 takes about twice the CPU
# time of 10 for short processes, and those are what ansible and dpkg start (docs/how-to/twins.md has the figures).
# The backports are asked for this once and do not stay among apt's sources. Where they can't be reached, QEMU stays as
# it is, and twins only take longer. Safe to run again; takes no time when nothing is to do.
#     scripts/newer-qemu.sh [PACKAGE...]    and install these of QEMU's packages too
set -euo pipefail

say() { printf 'setup: %s\n' "$*"; }
status() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true; }

missing=()
for package in "$@"; do
  [ "$(status "$package")" = installed ] || missing+=("$package")
done
old=()
while read -r source package version state; do
  if [ "$source $state" = "qemu installed" ] && dpkg --compare-versions "$version" lt 1:8; then
    old+=("$package")
  fi
done < <(dpkg-query -W -f '${source:Package} ${Package} ${Version} ${db:Status-Status}\n')
# shellcheck source=/dev/null
suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[ "$suite" = bookworm ] || old=()
[ ${#missing[@]} -gt 0 ] || [ ${#old[@]} -gt 0 ] || exit 0

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
if [ ${#root[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; then
  if [ ${#missing[@]} -gt 0 ]; then
    say "as root, first: apt-get install -y --no-install-recommends ${missing[*]}"
    exit 1
  fi
  say "twins would be emulated faster with QEMU from bookworm-backports; installing it takes root"
  exit 0
fi
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }

from_backports() {
  local work=$1 archive
  # shellcheck disable=SC2016 # the fields are apt's to expand
  archive=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "Debian" {print $1; exit}')
  if [ -z "$archive" ]; then
    echo "nothing of an archive of Debian's bookworm; its lists come with: apt-get update"
    return 1
  fi
  cat /etc/apt/sources.list >"$work/sources.list" 2>/dev/null || true
  printf 'deb [signed-by=%s] %s bookworm-backports main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$archive" \
    >>"$work/sources.list"
  chmod 0755 "$work"
  local options=(-o "Dir::Etc::sourcelist=$work/sources.list")
  apt "${options[@]}" -o APT::Update::Error-Mode=any update &&
    apt "${options[@]}" install -y -t bookworm-backports --no-install-recommends "${old[@]}" "${missing[@]}"
}

if [ "$suite" = bookworm ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  say "installing QEMU from bookworm-backports: ${old[*]} ${missing[*]}"
  if from_backports "$work" >"$work/log" 2>&1; then
    exit 0
  fi
  say "bookworm-backports can't be used, so QEMU stays as it is and emulated twins take longer; apt said:"
  tail -n 3 "$work/log"
fi
[ ${#missing[@]} -eq 0 ] || apt install -y --no-install-recommends "${missing[@]}"
