#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on an example site, the way that a release takes to a device: lock, bundle, verify, install, site.yml.
# Each step says what it does and how far it is; each finds its own earlier result, so that a second run takes little
# and changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
inventory=${1:?usage: provision.sh INVENTORY}
release=releases/label-reader
state=.edgewright
stick=$state/stick
export EDGEWRIGHT_KEYS=$state/keys
start=$SECONDS

step() { printf '\n== %s (%d s so far)\n' "$*" "$((SECONDS - start))"; }

step "1 of 5: the twins of $inventory"
edgewright twin up -i "$inventory"

step "2 of 5: what moved upstream since $release was locked"
edgewright release lock --check "$release" || echo "The locked versions are used; nothing was changed."

step "3 of 5: the bundle of $release, on $stick"
edgewright bundle build "$release" -o "$stick"

step "4 of 5: the bundle, verified and taken in as the controller's depot"
fingerprint=$(edgewright keys fingerprint "$EDGEWRIGHT_KEYS")
edgewright bundle install "$stick" --depots "$state/depots" --trust "$state/trust" --fingerprint "$fingerprint"

step "5 of 5: ansible-playbook site.yml -i $inventory"
ansible-playbook site.yml -i "$inventory"

step "done"
edgewright record list "$state/records"
