# SPDX-License-Identifier: Apache-2.0
"""An Ubuntu Core image from a specification and the depot's snaps: signed model, defaults, prepared tree.

    made = make_image(load_spec(Path("image.yml")), depot, Signer("site"), Path("out"), now=datetime.now(UTC))

What comes out, in one directory that is there whole or not at all:

    model.json, model.assert      the model assertion, before and after `snap sign`
    auto-import.assert            account, account-key and system-user, for a stick (where a user is named)
    gadget-defaults.yaml          what the gadget's meta/gadget.yaml must hold
    first-boot.md                 the checklist, with what was tried and what was not
    image/                        what `snap prepare-image` made: gadget, kernel, seed

The tools are Debian's `snapd` package; snapd itself need not run, no store is asked. Tried here with stand-in
snaps; with the store's own snaps it is designed, not proven, and every product says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from edgewright.depot.build import exchange
from edgewright.depot.progress import say
from edgewright.errors import EdgewrightError, InputError, MissingToolError
from edgewright.snaps import trusted
from edgewright.snaps.answers import assertion_service
from edgewright.snaps.assertion import MAX_FILE_BYTES, Assertion, read_assertions
from edgewright.snaps.chain import believe
from edgewright.snaps.checklist import write_checklist
from edgewright.snaps.depot import DIRECTORY, INDEX, MAX_INDEX_BYTES, check_depot_snaps, load_index
from edgewright.snaps.grade import DANGEROUS
from edgewright.snaps.openpgp import read_public_key, verify
from edgewright.snaps.spec import (
    ImageSpec,
    dump_yaml,
    gadget_defaults,
    model_headers,
    over_soon,
    system_user_headers,
)

__all__ = ["MadeImage", "Signer", "make_image"]

_MARK = "model.json"
"""The file by which a directory is known as one of ours."""

_TIMEOUT_S = 1800


@dataclass(frozen=True)
class Signer:
    """The site's key: its `name` in snap's keyring, and the keyring's `home` (None: snap's own)."""

    name: str
    home: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment for `snap`."""
        return {**os.environ, **({"SNAP_GNUPG_HOME": str(self.home)} if self.home else {})}


@dataclass(frozen=True)
class MadeImage:
    """What was made.

    Attributes:
        directory: Where.
        prepared: Whether `snap prepare-image` ran.
        notes: Sentences that a person should read: what was not proven, what differs.
    """

    directory: Path
    prepared: bool
    notes: tuple[str, ...]


def make_image(
    spec: ImageSpec, depot: Path, signer: Signer, output: Path, *, now: datetime, prepare: bool = True
) -> MadeImage:
    """Make an image's parts.

    Args:
        spec: What it shall be.
        depot: A depot's tree, with `snaps/`.
        signer: Signs model and system-user.
        output: The directory that becomes it; an earlier one of ours is replaced.
        now: The time it is taken to be.
        prepare: Whether to call `snap prepare-image`; without, all else is written.

    Returns:
        What was made.

    Raises:
        InputError: The specification does not fit the depot or the brand's assertions, or the output is
            something else.
        IntegrityError: A snap is not what its assertions say.
        MissingToolError: `snap` is not installed.
        EdgewrightError: `snap` refused.
    """
    _ours(output)
    if prepare and spec.newer:
        raise InputError(
            f"making an image: {spec.path} names {' and '.join(spec.newer)}, which the `snap` that prepares "
            "images here (2.57.6) does not know; write the model with --no-image, and prepare it with a snap "
            "of 2.67 or newer"
        )
    snaps = _snaps_of(spec, depot, now, prepare)
    brand = _brand(spec, now)
    ids = {name: entry["snap_id"] for name, entry in snaps.items() if "snap_id" in entry}
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        headers = model_headers(spec, ids)
        (work / _MARK).write_text(json.dumps(headers, indent=1) + "\n")
        model = _sign(headers, signer, brand)
        (work / "model.assert").write_bytes(model.encoded())
        user = system_user_headers(spec)
        if user is not None:
            signed = _sign(user, signer, brand)
            told = [each.encoded() for each in [*brand, signed]]
            (work / "auto-import.assert").write_bytes(b"\n".join(told))
        defaults = gadget_defaults(spec)
        (work / "gadget-defaults.yaml").write_text(dump_yaml(defaults) if defaults else "{}\n")
        notes = [*over_soon(spec, now), *_gadget_notes(spec, snaps, depot, defaults)]
        if prepare:
            notes += _prepare(spec, snaps, depot, brand, work)
        else:
            notes.append("image: skipped, as asked for; only the model and what goes with it were written")
        if spec.newer:
            notes.append(
                f"{' and '.join(spec.newer)}: written as later snapds read them; prepare the image with a "
                "snap of 2.67 or newer, which has to find them in its seed"
            )
        notes.append(
            "designed, not proven: no Ubuntu Core image of the store's own snaps has been booted with what "
            "was written here; first-boot.md lists what to look at"
        )
        (work / "first-boot.md").write_text(write_checklist(spec, snaps, notes))
        work.chmod(0o755)
        exchange(work, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return MadeImage(output, prepare, tuple(notes))


def _ours(output: Path) -> None:
    if output.exists() and not (
        output.is_dir() and (not any(output.iterdir()) or (output / _MARK).is_file())
    ):
        raise InputError(
            f"making an image: {output} exists and is none that this command made; name another place or "
            "remove it"
        )


def _snaps_of(spec: ImageSpec, depot: Path, now: datetime, prepare: bool) -> dict[str, dict[str, Any]]:
    """The depot's entries of the specification's snaps, checked against their assertions."""
    index = depot / INDEX
    if not index.is_file():
        if prepare:
            raise InputError(
                f"making an image: {depot} has no {INDEX}: no snaps; put them into release.yml (docs/how-to/"
                "store-snaps.md), or write the model alone with --no-image"
            )
        return {}
    check_depot_snaps(depot, str(depot), now)
    with index.open("rb") as stream:
        entries = {
            each["name"]: each for each in load_index(stream.read(MAX_INDEX_BYTES + 1), str(index))["snaps"]
        }
    wanted = [snap["name"] for snap in spec.content["snaps"]]
    missing = [name for name in wanted if name not in entries]
    if missing and prepare:
        raise InputError(
            f"making an image: {depot} lacks {', '.join(missing)} of {spec.path}; put them into release.yml "
            "(docs/how-to/store-snaps.md), or write the model alone with --no-image"
        )
    found = {name: entries[name] for name in wanted if name in entries}
    unasserted = [name for name, entry in found.items() if entry["grade"] == DANGEROUS]
    if unasserted and not spec.dangerous:
        raise InputError(
            f"making an image: {', '.join(unasserted)} has no assertion, and the model's grade is "
            f"{spec.content['grade']}; supply assertions, or make it a trial with grade: dangerous"
        )
    return found


def _brand(spec: ImageSpec, now: datetime) -> list[Assertion]:
    """The brand's account and key, believed up to the root; none where the specification names none."""
    named = spec.content.get("brand_assertions")
    if named is None:
        say(
            f"NOTICE: {spec.path} names no brand_assertions: the model of GRADE DANGEROUS is signed by a "
            "key that "
            "no store knows; for trials only"
        )
        return []
    path = spec.path.parent / named
    try:
        data = path.read_bytes()[: MAX_FILE_BYTES + 1]
    except OSError as error:
        raise InputError(
            f"reading the brand's assertions {path}: {error.strerror}; `snap known --remote account "
            "account-id=...` and `... account-key public-key-sha3-384=...` write them on a connected machine"
        ) from error
    assertions = read_assertions(data, str(path))
    believed = believe(assertions, trusted.canonical_roots(), now)
    brand = spec.content["brand"]
    if ("account", brand) not in believed.found:
        raise InputError(f"reading {path}: it holds no account of the brand {brand}; correct one of the two")
    if not any(each.text("account-id") == brand for each in believed.of_type("account-key")):
        raise InputError(f"reading {path}: it holds no account-key of the brand {brand}; add it")
    return assertions


def _sign(headers: Mapping[str, Any], signer: Signer, brand: Sequence[Assertion]) -> Assertion:
    """Have `snap sign` make an assertion, and check that it says what was asked, by the brand's key."""
    what = f"the {headers['type']}"
    done = _snap(["sign", "-k", signer.name], signer.environment(), f"signing {what}", json.dumps(headers))
    (made,) = read_assertions(done.encode(), f"snap sign -k {signer.name}")
    said = {name: value for name, value in made.headers.items() if name != "sign-key-sha3-384"}
    if said != headers:
        odd = sorted(name for name in {*said, *headers} if said.get(name) != headers.get(name))
        raise EdgewrightError(
            f"signing {what}: expected the headers that were given, `snap sign` changed "
            f"{', '.join(odd)}; use "
            "Debian's snapd 2.57 or newer"
        )
    if brand:
        used = made.text("sign-key-sha3-384")
        holder = next(
            (
                each
                for each in brand
                if each.type == "account-key" and each.text("public-key-sha3-384") == used
            ),
            None,
        )
        if holder is None:
            raise InputError(
                f"signing {what}: the key {signer.name} is {used}, and the brand's assertions have no "
                "account-key "
                "of it; register it with `snapcraft register-key`, or name the key that is registered"
            )
        verify(made, read_public_key(holder.body, holder.told))
    return made


def _prepare(
    spec: ImageSpec,
    snaps: Mapping[str, Mapping[str, Any]],
    depot: Path,
    brand: Sequence[Assertion],
    work: Path,
) -> list[str]:
    """Call `snap prepare-image`; returns what a person should know."""
    assertions = list(brand)
    for entry in snaps.values():
        if "assertions" in entry:
            path = depot / DIRECTORY / entry["assertions"]["filename"]
            assertions += read_assertions(path.read_bytes(), path.name)
    words = ["prepare-image", str(work / "model.assert"), str(work / "image")]
    for name in snaps:
        words += ["--snap", str((depot / DIRECTORY / snaps[name]["filename"]).absolute())]
    say(f"preparing the image {spec.content['model']} from {len(snaps)} snaps of the depot")
    with assertion_service(assertions) as service:
        environment = {**os.environ, **service.environment}
        if not brand:  # only with grade dangerous, and said loudly: see _brand
            environment["UBUNTU_IMAGE_SKIP_COPY_UNVERIFIED_MODEL"] = "1"
        _snap(words, environment, f"preparing the image {spec.content['model']}")
    if service.refused:
        raise EdgewrightError(
            f"preparing the image {spec.content['model']}: `snap prepare-image` asked a store for "
            f"{', '.join(service.refused[:5])}; the depot must hold every snap of the model"
        )
    unasserted = [name for name, entry in snaps.items() if entry["grade"] == DANGEROUS]
    notes = [f"image: prepared by `snap prepare-image` from {', '.join(snaps)}; no store was asked"]
    if unasserted:
        notes.append(f"GRADE DANGEROUS: without assertions: {', '.join(unasserted)}; for trials only")
    if not brand:
        notes.append("GRADE DANGEROUS: no store knows the key that signed the model; for trials only")
    return notes


def _gadget_notes(
    spec: ImageSpec, snaps: Mapping[str, Mapping[str, Any]], depot: Path, defaults: Mapping[str, Any]
) -> list[str]:
    """Whether the gadget in the depot has the defaults that the specification wants."""
    gadget = next(snap["name"] for snap in spec.content["snaps"] if snap["type"] == "gadget")
    if not defaults or gadget not in snaps:
        return [] if not defaults else [f"gadget defaults: not checked, {gadget} is not in the depot"]
    path = depot / DIRECTORY / snaps[gadget]["filename"]
    text = _run(
        ["unsquashfs", "-cat", str(path), "meta/gadget.yaml"],
        dict(os.environ),
        "squashfs-tools",
        f"reading {gadget}",
    )
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"reading meta/gadget.yaml of {gadget}: it is not YAML: {error}; supply a gadget"
        ) from error
    odd = list(_lacking(defaults, found if isinstance(found, Mapping) else {}, ""))
    if not odd:
        return [f"gadget defaults: {gadget} in the depot has them all"]
    return [
        f"gadget defaults: {gadget} in the depot lacks {', '.join(odd)}; build a gadget of the brand's "
        "own with "
        "gadget-defaults.yaml in its meta/gadget.yaml, or set them by hand as first-boot.md tells"
    ]


def _lacking(wanted: Any, found: Any, where: str) -> list[str]:
    if isinstance(wanted, Mapping):
        below = found if isinstance(found, Mapping) else {}
        return [
            odd for key, value in wanted.items() for odd in _lacking(value, below.get(key), f"{where}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list):
        return [] if set(wanted) <= set(found) else [where.lstrip(".")]
    return [] if wanted == found else [where.lstrip(".")]


def _snap(words: Sequence[str], environment: Mapping[str, str], doing: str, given: str | None = None) -> str:
    return _run(["snap", *words], environment, "snapd", doing, given)


def _run(
    command: Sequence[str], environment: Mapping[str, str], package: str, doing: str, given: str | None = None
) -> str:
    try:
        done = subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=dict(environment),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingToolError(
            f"{doing}: the program {command[0]} is not installed; apt install {package}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EdgewrightError(
            f"{doing}: {command[0]} did not end within {_TIMEOUT_S} s; look at its input"
        ) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise InputError(
            f"{doing}: `{command[0]} {command[1]}` refused: {said}; correct that and run it again"
        )
    return done.stdout
