# SPDX-License-Identifier: Apache-2.0
"""What the image of a `snapd` twin is made of: a VM twin with Debian's snapd and two stand-in snaps.

Canonical's own `snapd` and `core24` cannot be had without a store, and snapd installs nothing before it has
both. So the image carries two snaps packed from its own Debian packages, named like those and labelled
stand-ins in version and summary. They are installed once, when the image is made (`snapd_image`), not on each
twin: under emulation each takes half a minute.

What such a twin shows: the real snapd with its services, hooks, interfaces, confinement, revert and quota
groups. What it does not show: Canonical's base and snapd snaps, their assertions, a kernel snap, a gadget.
"""

from __future__ import annotations

from dataclasses import replace

from edgewright.twin.recipe import Recipe, vm_recipe

__all__ = ["STANDINS", "STANDINS_DIR", "snapd_recipe"]

STANDINS = ("snapd", "core24")
"""Names of the snaps that only stand in for Canonical's, in the order of their installation."""

STANDINS_DIR = "/var/lib/edgewright-standins"
"""Where a twin's image has their files and the script that installs them."""

_PACKAGES = ("apparmor", "snapd")

# What the base has of the image's own Debian: a shell and the small programs that start scripts and hooks
# use, each with the libraries that it links.
_PROGRAMS = (
    *(
        "bash",
        "basename",
        "cat",
        "chmod",
        "cp",
        "cut",
        "date",
        "dash",
        "dirname",
        "env",
        "grep",
        "head",
        "id",
    ),
    *("ln", "ls", "mkdir", "mv", "readlink", "rm", "sed", "sha256sum", "sleep", "sort", "stat", "tail"),
    *("touch", "tr", "true", "uname", "wc"),
)
# Where snap-confine mounts the host's directories: cmd/snap-confine/mount-support.c, snapd 2.57.6.
_MOUNT_POINTS = (
    *("dev", "etc/alternatives", "etc/ssl", "home", "media", "mnt", "proc", "root", "run", "snap", "sys"),
    *("tmp", "usr/lib/firmware", "usr/lib/modules", "usr/lib/snapd", "usr/src", "var/lib/extrausers"),
    *("var/lib/snapd", "var/log", "var/snap", "var/tmp"),
)

_PACK = """
set -eu
place="$tree{place}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -d -m 0755 "$place"

mkdir -p "$work/snapd/meta" "$work/snapd/snap" "$work/snapd/usr/lib" "$work/snapd/usr/bin"
mkdir -p "$work/snapd/etc/apparmor.d"
cp -a "$tree/usr/lib/snapd" "$work/snapd/usr/lib/"
cp -a "$tree/usr/bin/snap" "$work/snapd/usr/bin/"
ln -s ../lib/snapd/snapctl "$work/snapd/usr/bin/snapctl"
rm -f "$work/snapd/usr/lib/snapd/"snapd-aa-prompt-* "$work/snapd/usr/lib/snapd/"snap-gdb*
cp "$tree/etc/apparmor.d/usr.lib.snapd.snap-confine.real" "$work/snapd/etc/apparmor.d/"
version=$(sed -n 's/^VERSION=//p' "$tree/usr/lib/snapd/info")
cat > "$work/snapd/meta/snap.yaml" <<END
name: snapd
version: "$(echo "$version" | cut -c 1-20)-standin"
type: snapd
summary: A stand-in for Canonical's snapd, for twins only
description: Packed from Debian's package snapd $version. It is not Canonical's snap.
confinement: strict
architectures: [amd64]
END

base="$work/core24"
mkdir -p "$base/meta" "$base/usr/bin" "$base/usr/lib" "$base/usr/lib64" "$base/usr/sbin"
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$base/$name"; done
for name in {mounts}; do mkdir -p "$base/$name"; done
: > "$base/etc/nsswitch.conf"
for name in {programs}; do
    found=/usr/bin/$name
    cp -L "$tree$found" "$base/usr/bin/$name"
    for library in $(chroot "$tree" ldd "$found" | grep -o '/[^ ]*'); do
        case $library in /usr/*) target=$library ;; *) target=/usr$library ;; esac
        mkdir -p "$base$(dirname "$target")"
        cp -L "$tree$library" "$base$target"
    done
done
ln -s dash "$base/usr/bin/sh"
ln -s ../lib/snapd/snapctl "$base/usr/bin/snapctl"
cat > "$base/meta/snap.yaml" <<END
name: core24
version: debian12-standin
type: base
summary: A stand-in for Canonical's base core24, for twins only
description: A shell and its libraries from Debian 12. It is not Canonical's snap.
confinement: strict
architectures: [amd64]
END

for name in {standins}; do
    mksquashfs "$work/$name" "$place/$name.snap" -noappend -no-progress -quiet -comp lzo -no-xattrs \\
        -all-root -no-fragments -processors 1
done
rm -rf "$work"
trap - EXIT
cat > "$place/settle.sh" <<'END'
{settle}END
"""

# Run once, as root, on a twin that boots the new image; nothing of that one machine may stay.
_SETTLE = """set -eu
cd {place}
snap wait system seed.loaded
for name in {standins}; do
    echo "installing the stand-in $name"
    # A client that waits asks ten times a second, which an emulated CPU feels.
    change=$(snap install --no-wait --dangerous "./$name.snap")
    while snap change "$change" | grep -qE '^(Do|Doing|Wait) '; do sleep 5; done
    snap list "$name"
    rm "$name.snap"
done
snap set system experimental.quota-groups=true
snap list
snap debug confinement
"""

_LEFT = 3
"""Raised with any change of `snapd_image` that makes another image from the same recipe."""


def snapd_recipe() -> Recipe:
    """The image of a snapd twin (amd64): `vm_recipe`'s bare device, Debian's snapd, and the stand-ins."""
    bare = vm_recipe("amd64")
    standins = " ".join(STANDINS)
    settle = _SETTLE.format(place=STANDINS_DIR, standins=standins)
    pack = _PACK.format(
        place=STANDINS_DIR,
        mounts=" ".join(_MOUNT_POINTS),
        programs=" ".join(_PROGRAMS),
        standins=standins,
        settle=settle,
    )
    return replace(
        bare,
        kind="snapd",
        packages=tuple(sorted((*bare.packages, *_PACKAGES))),
        hook=bare.hook + pack,
        layout=bare.layout * 100 + _LEFT,
    )
