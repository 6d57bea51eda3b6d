#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on an example site: twins, depot, site.yml. Each step says what it does and how far it
# is; each finds its own earlier result, so that a second run takes little and changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
inventory=${1:?usage: provision.sh INVENTORY}
start=$SECONDS

step() { printf '\n== %s (%d s so far)\n' "$*" "$((SECONDS - start))"; }

step "1 of 3: the twins of $inventory"
edgewright twin up -i "$inventory"
step "2 of 3: the depot of release label-reader"
edgewright depot build releases/label-reader -o .edgewright/depot --keys .edgewright/keys
step "3 of 3: ansible-playbook site.yml -i $inventory"
ansible-playbook site.yml -i "$inventory"
step "done"
edgewright record list .edgewright/records
