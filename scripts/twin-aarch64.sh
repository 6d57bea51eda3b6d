#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An arm64 twin with Debian's real-time kernel, under emulation: installs what it needs beyond the set-up,
# makes its image (an hour or so the first time, then cached), boots it, and says what kernel runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
inventory=tests/fixtures/inventories/one_vm_arm64
packages=(qemu-system-arm qemu-efi-aarch64 qemu-user-static binfmt-support arch-test)
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
edgewright twin up -i "$inventory"
name=$(edgewright twin list -i "$inventory" --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["name"])')
edgewright twin ssh -i "$inventory" "$name" -- uname -mv
