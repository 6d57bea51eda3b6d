#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An arm64 twin with Debian's real-time kernel, under emulation: installs what it needs beyond the set-up,
# makes its image (a quarter of an hour the first time, then cached), boots it, and says what kernel runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
inventory=tests/fixtures/inventories/one_vm_arm64
scripts/newer-qemu.sh qemu-system-arm qemu-user-static
packages=(qemu-efi-aarch64 binfmt-support arch-test)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    printf 'twin-aarch64: as root, first: apt-get install -y --no-install-recommends %s\n' "${missing[*]}"
    exit 1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
# Programs for arm64 run through the kernel's binfmt_misc; where nothing mounted it at boot, do it now.
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] && [ "$(id -u)" -eq 0 ]; then
  mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  update-binfmts --enable qemu-aarch64
fi
edgewright twin up -i "$inventory"
name=$(edgewright twin list -i "$inventory" --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["name"])')
edgewright twin ssh -i "$inventory" "$name" -- uname -mv
