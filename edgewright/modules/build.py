# SPDX-License-Identifier: Apache-2.0
"""From locked inputs to the unsigned package of kernel modules, once per content.

    built = build_modules(entry, store)
    store.path(built.sha256)            # the package

The result is named in the cache by what it is made of: every input's sha256 and the recipe. It appears there
only when it is whole; a build that is killed leaves a working directory, which the next one removes.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes, sha256_file
from edgewright.depot.progress import say
from edgewright.errors import InputError, IntegrityError
from edgewright.modules.debpack import Member, write_deb
from edgewright.modules.host import ensure_runs
from edgewright.modules.modinfo import read_modinfo, vermagic_release
from edgewright.modules.tree import (
    SCRIPT,
    Dkms,
    Kernel,
    check_compiler,
    check_preemption,
    read_dkms,
    remove_tree,
    run_dkms,
    unpack,
)
from edgewright.paths import cache_dir
from edgewright.release.ocitar import canonical_json
from edgewright.twin.keys import locked

__all__ = [
    "MANIFEST",
    "Built",
    "build_key",
    "build_modules",
    "check_headers",
    "check_modules",
    "control_fields",
    "module_directory",
    "scripts",
    "sweep",
]

_RECIPE = 1
"""Raised by whoever changes how a package is made of modules."""

MANIFEST = "usr/share/edgewright/modules/{package}.json"
"""Where a package tells what it holds, below the root."""

_DEPMOD = """#!/bin/sh
set -e
# The kernel's package may be unpacked and not configured, or be gone: depmod then has nothing to read.
if [ -e /lib/modules/{release}/modules.builtin ] && command -v depmod > /dev/null; then
    depmod {release}
fi
"""


@dataclass(frozen=True)
class Built:
    """An unsigned package in the store: its sha256, its size in bytes, and whether it was there already."""

    sha256: str
    size: int
    cached: bool


def module_directory(release: str) -> str:
    """Where a package puts its modules, below the root: depmod searches there before the kernel's own."""
    return f"lib/modules/{release}/updates/edgewright"


def build_key(entry: Mapping[str, Any]) -> str:
    """What an entry's package is made of, as one sha256: inputs, recipe, and what its control fields say."""
    told = {name: entry.get(name) for name in ("name", "package", "version", "arch", "driver", "kernel")}
    told |= {name: entry.get(name) for name in ("source", "needs", "provides", "flavour")}
    inputs = sorted(deb["sha256"] for deb in entry["debs"])
    return sha256_bytes(canonical_json([_RECIPE, SCRIPT, _DEPMOD, told, inputs]))


def check_headers(entry: Mapping[str, Any]) -> None:
    """Refuse inputs whose headers are not of the kernel's own version.

    Raises:
        InputError: Naming both versions.
    """
    kernel = Kernel.of(entry["kernel"])
    name = f"linux-headers-{kernel.release}"
    versions = [deb["version"] for deb in entry["debs"] if deb["name"] == name]
    if versions != [kernel.version]:
        raise InputError(
            f"building modules {entry['name']}: the kernel is {kernel.package} {kernel.version}, so {name} "
            "must "
            f"be {kernel.version}, got {', '.join(versions) or 'none'}; lock the release anew"
        )


def build_modules(entry: Mapping[str, Any], store: BlobStore) -> Built:
    """Build the unsigned package of a lock's entry, or take it from the cache.

    Args:
        entry: An entry of the lock's `modules`; its `sha256` and `size` are not looked at.
        store: Holds the inputs, gets the package.

    Returns:
        The package.

    Raises:
        InputError: The inputs do not fit each other.
        IntegrityError: An input cannot be unpacked, or a module is not for this kernel.
        EdgewrightError: The build failed; nothing is left but its log, which the message quotes.
        MissingToolError: A program is not installed.
    """
    check_headers(entry)
    key = build_key(entry)
    place = cache_dir() / "modules"
    place.mkdir(parents=True, exist_ok=True)
    note = place / f"{key}.json"
    with locked(place / f".{key}.lock"):
        kept = _kept(note, store)
        if kept is not None:
            return kept
        emulated = ensure_runs(entry["arch"], f"building {entry['package']}")
        sweep(place, key)
        work = Path(tempfile.mkdtemp(prefix=f".{key}.", suffix=".work", dir=place))
        start = time.monotonic()
        say(f"building {entry['package']} {entry['version']} in a clean tree (kept in the cache)")
        if emulated:
            say(f"NOTICE: the compiler is one of {entry['arch']} and runs emulated here: many times slower")
        try:
            made = _build(entry, store, work)
            size = made.stat().st_size
            digest = store.put_file(made)
        finally:
            remove_tree(work / "tree")
            shutil.rmtree(work, ignore_errors=True)
        part = note.with_suffix(".new")
        part.write_text(json.dumps({"package": entry["package"], "sha256": digest, "size": size}))
        part.replace(note)
        say(f"built {entry['package']} in {time.monotonic() - start:.0f} s")
    return Built(digest, size, cached=False)


def sweep(place: Path, key: str) -> None:
    """Remove what was left by builds, and signings, that were killed.

    Args:
        place: Where they work, each in `.KEY.*.work` and under the lock `.KEY.lock`.
        key: Whose lock the caller holds; others are left alone while somebody holds theirs.
    """
    for left in sorted(place.glob(".*.work")):
        other = left.name.split(".")[1]
        with (place / f".{other}.lock").open("w", encoding="utf-8") as lock:
            if other != key:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
            remove_tree(left)


def _kept(note: Path, store: BlobStore) -> Built | None:
    """The package that an earlier build left, if it is whole."""
    try:
        told = json.loads(note.read_text("utf-8"))
        digest, size = str(told["sha256"]), int(told["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not store.has(digest, size) or sha256_file(store.path(digest)) != digest:
        say(f"NOTICE: the cached modules {digest[:12]} are gone or damaged; building them again")
        store.path(digest).unlink(missing_ok=True)
        return None
    return Built(digest, size, cached=True)


def _build(entry: Mapping[str, Any], store: BlobStore, work: Path) -> Path:
    kernel, tree = Kernel.of(entry["kernel"]), work / "tree"
    unpack(entry["debs"], store, tree, say)
    compiler = check_compiler(tree, kernel)
    check_preemption(tree, kernel)
    dkms = read_dkms(tree, entry["source"]["name"])
    if dkms.version != entry["driver"]:
        raise InputError(
            f"building modules {entry['name']}: the release wants driver {entry['driver']}, "
            f"{entry['source']['name']} {entry['source']['version']} holds {dkms.version}; correct "
            "modules[].driver, or the sources"
        )
    found = run_dkms(tree, kernel, dkms, work / "build.log", say)
    told = check_modules(
        {path.name: path.read_bytes() for path in found}, kernel, dkms.name, entry["flavour"]
    )
    files = {f"{module_directory(kernel.release)}/{path.name}": Member(path) for path in found}
    notice = tree / "usr/share/doc" / entry["source"]["name"] / "copyright"
    if notice.is_file():
        files[f"usr/share/doc/{entry['package']}/copyright"] = Member(notice)
    manifest = {**_manifest(entry, dkms, compiler), "modules": told, "signer": None}
    files[MANIFEST.format(package=entry["package"])] = Member(canonical_json(manifest) + b"\n")
    target = work / str(entry["filename"])
    write_deb(target, control_fields(entry, ""), files, scripts(kernel.release), dkms.moment)
    return target


def _manifest(entry: Mapping[str, Any], dkms: Dkms, compiler: str) -> dict[str, Any]:
    return {
        "schema": "edgewright.modules/v1",
        "name": entry["name"],
        "flavour": entry["flavour"],
        "driver": entry["driver"],
        "kernel": dict(entry["kernel"]),
        "source": dict(entry["source"]),
        "compiler": compiler,
        "moment": dkms.moment,
    }


def check_modules(
    modules: Mapping[str, bytes], kernel: Kernel, name: str, flavour: str
) -> dict[str, dict[str, Any]]:
    """Check that modules are for a kernel and of a flavour, and tell what they say of themselves.

    Args:
        modules: Their bytes by file name.
        kernel: The kernel.
        name: The source's name, for messages.
        flavour: `open` or `proprietary`.

    Returns:
        By file name: `sha256`, `vermagic`, `depends`, `license`.

    Raises:
        IntegrityError: One was built for another kernel, or not for PREEMPT_RT where the kernel is, or the
            sources are of the other flavour.
    """
    told: dict[str, dict[str, Any]] = {}
    for file, data in sorted(modules.items()):
        info = read_modinfo(data, file)
        magic = " ".join(info.get("vermagic", [])).strip()
        if vermagic_release(info) != kernel.release:
            raise IntegrityError(
                f"checking {file} of {name}: expected a module for {kernel.release}, its vermagic says "
                f"{magic or 'nothing'}; the headers in the tree are another kernel's"
            )
        if not _fits(magic.split(), kernel.flavour):
            raise IntegrityError(
                f"checking {file} of {name}: the kernel {kernel.release} is of flavour {kernel.flavour}, the "
                f"module's vermagic says {magic}; the headers in the tree are another kernel's"
            )
        depends = [word for text in info.get("depends", []) for word in text.split(",") if word]
        licence = ", ".join(info.get("license", []))
        told[file] = {
            "sha256": sha256_bytes(data), "vermagic": magic, "depends": depends, "license": licence
        }  # fmt: skip
    # Of the proprietary driver only some modules are; of the open one all say a licence that includes GPL.
    closed = sorted({str(each["license"]) for each in told.values() if "GPL" not in str(each["license"])})
    if bool(closed) != (flavour == "proprietary"):
        raise IntegrityError(
            f"checking the modules of {name}: expected the {flavour} flavour, their licences are "
            f"{', '.join(sorted({str(each['license']) for each in told.values()}))}; correct "
            "modules[].flavour or "
            "modules[].source"
        )
    return told


def _fits(magic: list[str], flavour: str) -> bool:
    """Whether a vermagic's words are those of a kernel of a flavour (include/linux/vermagic.h).

    A PREEMPT_RT kernel with CONFIG_PREEMPT_BUILD, as Debian 13's 6.12 is, says `preempt` as others do; that
    the headers are of the right flavour `check_preemption` has seen in their configuration.
    """
    if flavour == "rt":
        return not {"preempt_rt", "preempt"}.isdisjoint(magic)
    return "preempt_rt" not in magic


def control_fields(entry: Mapping[str, Any], signer: str) -> dict[str, str]:
    """The package's control fields.

    Args:
        entry: The lock's entry.
        signer: sha256 of the certificate that signed, empty where nothing is signed.
    """
    kernel = Kernel.of(entry["kernel"])
    signed = (
        f"They are signed by the key with certificate sha256 {signer}." if signer else "They are not signed."
    )
    fields = {
        "Package": entry["package"],
        "Version": entry["version"],
        "Architecture": entry["arch"],
        "Maintainer": "Edgewright <edgewright@archive.example>",
        "Section": "kernel",
        "Priority": "optional",
        "Depends": ", ".join([f"{kernel.package} (= {kernel.version})", *entry["needs"]]),
        "Conflicts": entry["source"]["name"],
        "Provides": ", ".join(entry["provides"]),
        "Description": (
            f"{entry['name']} {entry['driver']} kernel modules for {kernel.release}\n"
            f"Built from {entry['source']['name']} {entry['source']['version']} for exactly this "
            f"kernel.\n{signed}"
        ),
    }
    return {key: value for key, value in fields.items() if value}


def scripts(release: str) -> dict[str, str]:
    """The package's maintainer scripts."""
    text = _DEPMOD.format(release=release)
    return {"postinst": text, "postrm": text}
