# SPDX-License-Identifier: Apache-2.0
"""What an Ubuntu Core image shall be: a file that a person writes, and the assertions' headers that follow.

    spec = load_spec(Path("image.yml"))
    headers = model_headers(spec, {"pc": "UqFz..."})       # what `snap sign` takes

Checked here, with the file's lines, as snapd checks it (2.57.6, asserts/model.go and asserts/system_user.go),
so that what `snap sign` or `snap prepare-image` would refuse is told before anything is signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from edgewright.errors import InputError
from edgewright.osadvice.components import refusal
from edgewright.release.yamlmarks import Marked, read_marked

__all__ = ["SCHEMA", "ImageSpec", "gadget_defaults", "load_spec", "model_headers", "system_user_headers"]

SCHEMA = "edgewright.ubuntu-core/v1"
ESSENTIAL = ("gadget", "kernel", "base", "snapd")
ARCHES = ("amd64", "arm64", "armhf", "riscv64")

_ACCOUNT = r"^(?:[a-z0-9A-Z]{32}|[-a-z0-9]{2,28})$"  # asserts/account.go: validAccountID
_MODEL = r"^[a-zA-Z0-9](?:-?[a-zA-Z0-9])*$"  # asserts/header_checks.go: validModel
_SNAP = r"^(?=[a-z0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$"  # snap/naming/validate.go: isValidName
_SNAP_ID = r"^[a-z0-9A-Z]{32}$"  # snap/naming/validate.go: ValidSnapID
_USER = r"^[a-z0-9][-a-z0-9._]*$"  # asserts/system_user.go: validSystemUserUsernames
_MOMENT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"
FOREVER = "forever"
"""A hold without an end, which snapd knows from 2.58 on (https://snapcraft.io/docs/managing-updates)."""

_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "pattern": _MOMENT}

_RULES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "model", "brand", "architecture", "base", "grade", "timestamp", "snaps"],
    "properties": {
        "schema": {"const": SCHEMA},
        "model": {"type": "string", "pattern": _MODEL, "maxLength": 100},
        "brand": {"type": "string", "pattern": _ACCOUNT},
        "architecture": {"enum": list(ARCHES)},
        "base": {"enum": ["core22", "core24"]},
        "grade": {"enum": ["dangerous", "signed", "secured"]},
        "timestamp": _TIME,
        "revision": {"type": "integer", "minimum": 0},
        "store": _TEXT,
        "brand_assertions": {"type": "string", "pattern": r"^[^/]"},
        "snaps": {
            "type": "array",
            "minItems": 3,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "type", "channel"],
                "properties": {
                    "name": {"type": "string", "pattern": _SNAP, "minLength": 2, "maxLength": 40},
                    "type": {"enum": [*ESSENTIAL, "app"]},
                    "channel": {
                        "type": "string",
                        "pattern": r"^[a-z0-9][a-z0-9.-]*/(stable|candidate|beta|edge)$",
                    },
                    "id": {"type": "string", "pattern": _SNAP_ID},
                    "presence": {"enum": ["required", "optional"]},
                    "components": {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"pattern": _SNAP, "maxLength": 40},
                        "additionalProperties": {"enum": ["required", "optional"]},
                    },
                },
            },
        },
        "validation_sets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["account", "name", "sequence", "mode"],
                "properties": {
                    "account": {"type": "string", "pattern": _ACCOUNT},
                    "name": {"type": "string", "pattern": r"^[a-z0-9](?:-?[a-z0-9])*$"},
                    "sequence": {"type": "integer", "minimum": 1},
                    "mode": {"enum": ["enforce", "prefer-enforce"]},
                },
            },
        },
        "system_user": {
            "type": "object",
            "additionalProperties": False,
            "required": ["email", "username", "ssh_keys", "since", "until"],
            "properties": {
                "email": {"type": "string", "pattern": r"^[^@\s<>]+@[^@\s<>]+$"},
                "name": _TEXT,
                "username": {"type": "string", "pattern": _USER},
                "ssh_keys": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "string",
                        "pattern": r"^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ "
                        "[A-Za-z0-9+/=]+( .*)?$",
                    },
                },
                "since": _TIME,
                "until": _TIME,
            },
        },
        "defaults": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "refresh_hold": {"type": "string", "pattern": rf"^{FOREVER}$|{_MOMENT}"},
                "store_offline": {"type": "boolean"},
                "kernel_parameters": {
                    "type": "array",
                    "items": {"type": "string", "pattern": r"^[^\s\"']+$"},
                },
                "quota": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name", "snaps"],
                    "properties": {
                        "name": {"type": "string", "pattern": r"^[a-z](-?[a-z0-9])*$"},
                        "snaps": {"type": "array", "minItems": 1, "items": _TEXT},
                        "cpus": {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 0},
                            "uniqueItems": True,
                        },
                        "memory_mib": {"type": "integer", "minimum": 1},
                    },
                },
            },
        },
    },
}


@dataclass(frozen=True)
class ImageSpec:
    """A checked specification: its `content`, and the `path` it stands in."""

    content: Mapping[str, Any]
    path: Path

    @property
    def dangerous(self) -> bool:
        """Whether the model is of grade dangerous."""
        return bool(self.content["grade"] == "dangerous")

    @property
    def newer(self) -> tuple[str, ...]:
        """What it names that Debian's snapd 2.57.6 signs and does not understand; 2.67 and later do."""
        parts = any("components" in snap for snap in self.content["snaps"])
        sets = "validation_sets" in self.content
        return (*(["components"] if parts else []), *(["validation sets"] if sets else []))


def load_spec(path: Path) -> ImageSpec:
    """Read and check a specification.

    Raises:
        InputError: It is missing or wrong; with FILE:LINE of every complaint.
    """
    try:
        marked = read_marked(path.read_bytes(), path)
    except OSError as error:
        raise InputError(
            f"reading the image's specification {path}: {error.strerror}; write one as "
            "docs/reference/ubuntu-core-image.md shows"
        ) from error
    found = set(_faults(marked))
    if found:
        lines = [f"{path}:{line}: {words}" for line, words in sorted(found)]
        raise InputError(
            "reading " + "\n  ".join(lines) + "; docs/reference/ubuntu-core-image.md explains each key"
        )
    return ImageSpec(marked.content, path)


def _faults(marked: Marked) -> Iterator[tuple[int, str]]:
    content = marked.content
    wrong = False
    for error in jsonschema.Draft202012Validator(_RULES).iter_errors(content):
        wrong = True
        steps = list(error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            steps += [key for key in error.instance if key not in error.schema.get("properties", {})][:1]
        yield marked.line(*steps), f"{'.'.join(map(str, steps)) or 'the top level'}: {error.message[:200]}"
    if wrong:
        return
    for place, text in _moments(content):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            yield marked.line(*place), f"{'.'.join(place)}: {text!r} is no moment"
            return
    yield from _snap_faults(marked)
    yield from _newer_faults(marked)
    user = content.get("system_user")
    if user and user["until"] <= user["since"]:
        yield marked.line("system_user", "until"), "system_user.until: it must come after since"
    if user and "brand_assertions" not in content:
        yield (
            marked.line("system_user"),
            "system_user: needs brand_assertions: a device takes auto-import.assert only with the "
            "brand's account "
            "and key in it",
        )
    if content["grade"] != "dangerous" and "brand_assertions" not in content:
        yield (
            marked.line("grade"),
            f"grade {content['grade']}: needs brand_assertions: the file with the brand's account and "
            "account-key, "
            "as `snap known --remote` writes them",
        )


def _moments(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    yield ("timestamp",), content["timestamp"]
    for name in ("since", "until"):
        if "system_user" in content:
            yield ("system_user", name), content["system_user"][name]
    if content.get("defaults", {}).get("refresh_hold", FOREVER) != FOREVER:
        yield ("defaults", "refresh_hold"), content["defaults"]["refresh_hold"]


def _snap_faults(marked: Marked) -> Iterator[tuple[int, str]]:
    content = marked.content
    names: set[str] = set()
    kinds: dict[str, str] = {}
    for number, snap in enumerate(content["snaps"]):
        line, name, kind = marked.line("snaps", number), snap["name"], snap["type"]
        if name in names:
            yield line, f"snaps: {name} is listed twice"
        names.add(name)
        essential = kind in {"gadget", "kernel", "snapd"} or name == content["base"]
        if essential and kind in kinds:
            yield line, f"snaps: {name} is a second {kind}, after {kinds[kind]}"
        if essential:
            kinds[kind] = name
        if essential and "presence" in snap:
            yield line, f"snaps: {name}: presence: a {kind} is always there; remove it"
        if name == content["base"] and kind != "base":
            yield line, f"snaps: {name}: the model's base needs type base, got {kind}"
    for kind in ("gadget", "kernel"):
        if kind not in kinds:
            yield marked.line("snaps"), f"snaps: a snap of type {kind} is missing"
    if content["base"] not in names:
        yield marked.line("snaps"), f"snaps: the base {content['base']} is missing"
    if "snapd" not in kinds:
        yield marked.line("snaps"), "snaps: snapd (type snapd) is missing: Ubuntu Core runs from it"
    quota = content.get("defaults", {}).get("quota", {})
    for name in quota.get("snaps", []):
        if name not in names:
            yield marked.line("defaults", "quota", "snaps"), f"defaults.quota.snaps: {name} is not in snaps"


def _newer_faults(marked: Marked) -> Iterator[tuple[int, str]]:
    """Complaints about components and validation sets."""
    content = marked.content
    for number, snap in enumerate(content["snaps"]):
        said = refusal(list(snap.get("components", {})), snap["name"], snap["channel"])
        if said:
            yield marked.line("snaps", number, "components"), f"snaps: {said}"
    sets = [(each["account"], each["name"]) for each in content.get("validation_sets", [])]
    for account, name in sorted({each for each in sets if sets.count(each) > 1}):
        yield marked.line("validation_sets"), f"validation_sets: {account}/{name} is listed twice"


def model_headers(spec: ImageSpec, ids: Mapping[str, str]) -> dict[str, Any]:
    """The model assertion's headers, as JSON for `snap sign`.

    Args:
        spec: The specification.
        ids: Snap-ids by name, from the depot; a specification's own `id` must agree.

    Raises:
        InputError: A snap has no id where the grade needs one, or two.
    """
    content = spec.content
    snaps = []
    for snap in content["snaps"]:
        named, known = snap.get("id"), ids.get(snap["name"])
        if named and known and named != known:
            raise InputError(
                f"writing the model {content['model']}: {spec.path} says id {named} of {snap['name']}, its "
                f"assertions in the depot say {known}; correct the specification"
            )
        if not (named or known) and not spec.dangerous:
            raise InputError(
                f"writing the model {content['model']}: {snap['name']} has no snap-id, which grade "
                f"{content['grade']} needs; put the snap with its assertions into the release, or name its id"
            )
        entry = {"name": snap["name"], "type": snap["type"], "default-channel": snap["channel"]}
        entry |= {"id": named or known} if named or known else {}
        entry |= {key: snap[key] for key in ("presence", "components") if key in snap}
        snaps.append(entry)
    headers: dict[str, Any] = {"type": "model", "series": "16"}
    headers |= {"authority-id": content["brand"], "brand-id": content["brand"], "model": content["model"]}
    headers |= {key: content[key] for key in ("architecture", "base", "grade", "timestamp")}
    headers |= {"store": content["store"]} if "store" in content else {}
    headers |= {"revision": str(content["revision"])} if content.get("revision") else {}
    return headers | {"snaps": snaps} | _sets(spec)


def _sets(spec: ImageSpec) -> dict[str, Any]:
    """Validation sets that the model has snapd enforce from the seed on, with no store.

    Source: canonical/snapd, asserts/model.go (`checkOptionalModelValidationSets`), read 2026-11-21; 2.57.6
    keeps such a header and does not understand it.
    """
    sets = [
        {
            "account-id": each["account"],
            "name": each["name"],
            "sequence": str(each["sequence"]),
            "mode": each["mode"],
        }
        for each in spec.content.get("validation_sets", [])
    ]
    return {"validation-sets": sets} if sets else {}


def system_user_headers(spec: ImageSpec) -> dict[str, Any] | None:
    """The system-user assertion's headers; None where the specification names no user."""
    user = spec.content.get("system_user")
    if user is None:
        return None
    brand = spec.content["brand"]
    headers: dict[str, Any] = {"type": "system-user", "authority-id": brand, "brand-id": brand}
    headers |= {"series": ["16"], "models": [spec.content["model"]]}
    headers |= {key: user[key] for key in ("email", "username", "since", "until", "name") if key in user}
    return headers | {"ssh-keys": list(user["ssh_keys"])}


def gadget_defaults(spec: ImageSpec) -> dict[str, Any]:
    """What the gadget's `meta/gadget.yaml` must hold: `defaults` of the system, allowed kernel parameters.

    The names of the options: snapcraft.io/docs/system-options (refresh.hold as a time, as snapd 2.57.6 reads
    it in overlord/configstate/configcore/refresh.go), store.access of snapd 2.61, and
    ubuntu.com/core/docs/modify-kernel-options (`kernel-cmdline: allow`, system.kernel.cmdline-append).
    """
    wanted = spec.content.get("defaults", {})
    system: dict[str, Any] = {}
    if "refresh_hold" in wanted:
        system["refresh"] = {"hold": wanted["refresh_hold"]}
    if wanted.get("store_offline"):
        system["store"] = {"access": "offline"}
    found: dict[str, Any] = {}
    parameters = wanted.get("kernel_parameters", [])
    if parameters:
        system["system"] = {"kernel": {"cmdline-append": " ".join(parameters)}}
        found["kernel-cmdline"] = {"allow": list(parameters)}
    return ({"defaults": {"system": system}} if system else {}) | found


def dump_yaml(content: Mapping[str, Any]) -> str:
    """YAML for reading."""
    text: str = yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=False, width=110)
    return text


def over_soon(spec: ImageSpec, now: datetime) -> list[str]:
    """Sentences about moments in the specification that are over or nearly so."""
    told = []
    for steps, text in _moments(spec.content):
        if steps in {("system_user", "until"), ("defaults", "refresh_hold")}:
            left = datetime.fromisoformat(text).astimezone(UTC) - now
            if left < timedelta(days=30):
                told.append(
                    f"{'.'.join(steps)} is {text}: {'over' if left < timedelta() else 'less than 30 days'}"
                )
    return told
