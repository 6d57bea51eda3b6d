# SPDX-License-Identifier: Apache-2.0
"""Kernel modules built once, at lock and bundle time, so that no device needs a compiler.

    release.yml `modules:` --order--> inputs by sha256 --build--> unsigned package --ship--> depot

`order` finds what a build is made of, `build` compiles in a clean tree of locked packages and packs the
result, `signing` appends signatures for Secure Boot, `ship` gives the depot its packages. The unsigned
package is the same to the byte wherever it is built, so that its sha256 stands in the lock.
"""
