# SPDX-License-Identifier: Apache-2.0
"""Snaps as a part of a release: their assertions read and checked, their place in lock, bundle and depot.

`assertion` reads snapd's signed documents, `openpgp` their keys and signatures, `chain` holds a snap's file
to them, up to the root key that snapd itself carries (`trusted`). `inputs` takes snaps from a release into
its lock, `depot` lays them out and checks them again wherever a bundle is verified or taken in. `model` and
`image` are about whole Ubuntu Core images.
"""
