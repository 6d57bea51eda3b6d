# SPDX-License-Identifier: Apache-2.0
"""Checking a finished package of modules, without installing it and without trusting its own words.

for line in inspect_package(Path("edgewright-nvidia-modules-....deb"), Path("mok.crt")):
    print(line)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import sha256_bytes
from edgewright.errors import IntegrityError
from edgewright.modules.build import check_modules, module_directory
from edgewright.modules.debpack import read_members
from edgewright.modules.signing import check_signature, is_signed, split_signature
from edgewright.modules.tree import Kernel

__all__ = ["inspect_package"]


def inspect_package(package: Path, certificate: Path | None = None) -> list[str]:
    """Check every module of a package: vermagic, licence, digest, signature.

    Args:
        package: The package.
        certificate: Whose signature each module must carry, PEM; without, signatures are only told.

    Returns:
        A line for each module, after one for the package.

    Raises:
        IntegrityError: It is no such package, or a module is not what it should be.
        MissingToolError: openssl is not installed.
    """
    manifest = _manifest(package)
    try:
        kernel = Kernel.of(manifest["kernel"])
        flavour, name, told = manifest["flavour"], manifest["source"]["name"], manifest["modules"]
        signer = manifest["signer"]
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"checking {package}: its manifest lacks {error}") from error
    place = module_directory(kernel.release)
    modules = {Path(path).name: data for path, data in read_members(package, place).items()}
    if sorted(modules) != sorted(told):
        raise IntegrityError(
            f"checking {package}: its manifest names {', '.join(sorted(told))}, it holds "
            f"{', '.join(sorted(modules)) or 'none'}"
        )
    check_modules(modules, kernel, name, flavour)
    lines = [f"{package.name}: {name}, {flavour}, for {kernel.package} {kernel.version} ({kernel.flavour})"]
    for file, data in sorted(modules.items()):
        plain = split_signature(data, file)[0] if is_signed(data) else data
        if sha256_bytes(plain) != told[file]["sha256"]:
            raise IntegrityError(
                f"checking {file} of {package}: expected sha256 {told[file]['sha256']} without its "
                "signature, "
                f"got {sha256_bytes(plain)}"
            )
        if certificate is not None:
            check_signature(data, certificate, file)
        words = "not signed"
        if is_signed(data):
            words = "signature right" if certificate else f"signed, as it says by certificate sha256 {signer}"
        lines.append(f"  {file}: {told[file]['vermagic']}; {words}")
    return lines


def _manifest(package: Path) -> dict[str, Any]:
    found = read_members(package, "usr/share/edgewright/modules")
    try:
        (data,) = found.values()
        content = json.loads(data)
    except ValueError as error:
        raise IntegrityError(
            f"checking {package}: expected a package of modules that Edgewright made, with one manifest "
            "below "
            f"usr/share/edgewright/modules, found {len(found)}"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != "edgewright.modules/v1":
        raise IntegrityError(f"checking {package}: its manifest is not of schema edgewright.modules/v1")
    return content
