# SPDX-License-Identifier: Apache-2.0
"""What is in a bundle: a CycloneDX bill of materials of everything that its lock names.

    data = make_sbom(release, lock, lock_sha256, store, signed_at)      # sbom.cdx.json

Each package, wheel, image, model and supplied file is a component with its package URL, sha256, licence and
what it needs of the others. Nothing is guessed: a licence is the one that the lock gives, a dependency the
one that the package itself declares. Serial number and time come from the lock, so the same lock always gives
the same bytes, and a document that the official schema does not accept is never given out. With a `memory`
only lines that differ from the last bill's are made and held to the schema, see `bill`.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.model.license import License
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import BY_SCHEMA_VERSION
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

import edgewright
from edgewright.bundle import bill as lines
from edgewright.bundle.bill import Bill, Line, Memory, line
from edgewright.bundle.carried import Carried
from edgewright.bundle.needs import deb_needs, wheel_needs
from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError
from edgewright.modules.parts import Shipped, module_entries
from edgewright.release.supplied import SCHEME, is_supplied
from edgewright.release.wheels import normal_name
from edgewright.snaps.components import carried
from edgewright.snaps.release import image_debs, snap_debs

__all__ = ["SPEC_VERSION", "make_sbom", "validate_sbom"]

SPEC_VERSION: SchemaVersion = max(SchemaVersion)
"""The newest version of CycloneDX that the library writes and carries the official schema of."""

_PREFIX = "edgewright"
"""Namespace of our properties; the CycloneDX property taxonomy asks for one."""

_LONG = ("components", "dependencies")
_PIECE = 32

Entry = Mapping[str, Any]


def make_sbom(  # noqa: PLR0917 - what a build has at hand, in its order
    release: Mapping[str, Any],
    lock: Mapping[str, Any],
    lock_sha256: str,
    store: BlobStore,
    signed_at: datetime,
    installer: Sequence[Carried] = (),
    *,
    memory: Path | None = None,
    shipped: Mapping[str, Shipped] | None = None,
) -> bytes:
    """Write the bill of materials of a bundle: of its lock, and of its installer.

    Args:
        release: The release, for what it asks for itself.
        lock: Its lock.
        lock_sha256: Of the lock's file, in hex: the serial number comes from it.
        store: Holds the packages and wheels, which say what they need.
        signed_at: The lock's own moment.
        installer: Parts of what a bare controller starts with; none where the bundle carries no installer.
        shipped: Packages of kernel modules as devices get them, by file name; as the lock has them without.
        memory: Where the last bill's lines are remembered; all are made anew without.

    Returns:
        The document, as JSON.

    Raises:
        IntegrityError: The store lacks a package, or one is not what its name says.
        EdgewrightError: The official schema does not accept what was made.
    """
    root = _release(lock, lock_sha256)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.UUID(hex=lock_sha256[:32]), f"sbom {lock_sha256}"),
        metadata=BomMetaData(
            component=root.make(),
            timestamp=signed_at.astimezone(UTC),
            tools=ToolRepository(components=[_tool()]),
        ),
    )
    bill = Bill(Memory(memory, _made_by()), SPEC_VERSION)
    _fill(bill, root, release, lock, store, installer, shipped or {})
    head = json.loads(BY_SCHEMA_VERSION[SPEC_VERSION](bom).output_as_string())
    head = {name: value for name, value in head.items() if name not in _LONG}
    fault = _fault(bill.unproven(head))
    if fault:
        raise EdgewrightError(
            f"writing the SBOM of {lock['release']['name']}: the schema of CycloneDX "
            f"{SPEC_VERSION.to_version()} refuses it: {fault}; this is a fault of Edgewright: report it"
        )
    bill.remember()
    return bill.write(head)


@functools.cache
def _made_by() -> str:
    """What a line depends on beside its entry: this code, and the libraries that tell it."""
    code = b"".join(Path(module).read_bytes() for module in (__file__, lines.__file__))
    versions = [
        installed(name) for name in ("cyclonedx-python-lib", "packageurl-python", "license-expression")
    ]
    return sha256(code + json.dumps([edgewright.__version__, *versions]).encode()).hexdigest()


def validate_sbom(data: bytes) -> str | None:
    """What the official schema of the document's version has against it; None when it is valid."""
    try:
        return _fault(json.loads(data))
    except ValueError as error:
        return f"it is no CycloneDX document: {error!r}"


def _fault(document: dict[str, Any]) -> str | None:
    try:
        validator = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"]))
        for place, part in _parts(document):
            fault = validator.validate_str(json.dumps(part))
            if fault is not None:
                return f"{place}{_told(fault)}"
    except (ValueError, KeyError, TypeError) as error:
        return f"it is no CycloneDX document: {error!r}"
    return None


def _parts(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A document as several small ones that are valid together just when it is.

    The validator compares all items of a list with one another: of 1,000 components that takes seconds. Lists
    are held to the schema a piece at a time, and to having no item twice here.
    """
    lists = {name: document[name] for name in _LONG if isinstance(document.get(name), list)}
    rest = {name: value for name, value in document.items() if name not in lists}
    yield "", rest
    for name, items in lists.items():
        if len({json.dumps(item, sort_keys=True) for item in items}) < len(items):
            raise ValueError(f"{name} has an item twice")
        for start in range(0, len(items), _PIECE):
            yield f"from {name}/{start} on, ", {**rest, name: items[start : start + _PIECE]}


def _told(fault: object) -> str:
    error = getattr(fault, "data", fault)
    place = "/".join(str(step) for step in getattr(error, "absolute_path", []))
    return f"{place}: {str(getattr(error, 'message', error))[:300]}"


def _fill(  # noqa: PLR0917 - what a bill is filled from
    bom: Bill,
    root: Line,
    release: Entry,
    lock: Entry,
    store: BlobStore,
    installer: Sequence[Carried],
    shipped: Mapping[str, Shipped],
) -> None:
    """Add every component, and who needs whom."""
    components: dict[str, Line] = {}
    needs: dict[str, set[str]] = {}
    asked, python = set(), release["python"]
    inside = [deb for image in lock["images"] for deb in image.get("debs", [])]
    for part, version in _targets(release, lock):
        packages, wheels = part["apt"]["packages"], part["python"]["wheels"]
        for name, component in _packages(packages, wheels, part["os"]["suite"]):
            components.setdefault(name, component)  # a file that several targets have is one component
        found = deb_needs(packages, store)
        found |= wheel_needs(wheels, python["requirements"], version, part["os"]["arch"], store)
        for name, others in found.items():
            needs.setdefault(name, set()).update(others)
        wanted = {*release["apt"]["packages"], part["kernel"]["package"]}
        asked |= {deb["filename"] for deb in packages if deb["name"] in wanted}
    for image in lock["images"]:
        suite = _target_of(image, lock)["os"]["suite"]
        for name, component in _packages(image.get("debs", []), [], suite):
            components.setdefault(name, component)
    for name, others in deb_needs(inside, store).items():
        needs.setdefault(name, set()).update(others)
    components |= {  # a supplied package or wheel is told of as what it is
        f"file:{entry['name']}": _file(entry) for entry in lock.get("files", []) if "kind" not in entry
    }
    for entry in module_entries(lock):
        components[entry["filename"]] = _modules(_as_shipped(entry, shipped.get(entry["filename"])))
    components |= {f"snap:{entry['name']}": _snap(entry) for entry in carried(lock)}
    images = [_image(image) for image in lock["images"]]
    for component in [*components.values(), *images]:
        bom.add(component)

    for name, needed in needs.items():
        bom.register_dependency(components[name], [components[other] for other in sorted(needed)])
    own: list[str] = []
    for image, component in zip(lock["images"], images, strict=True):
        within = [deb["filename"] for deb in image_debs(image)]
        if image["role"] == "runtime":
            _snaps_of(bom, image, component, lock, components)
            wheels = [wheel["filename"] for wheel in _target_of(image, lock)["python"]["wheels"]]
            within, own = [*within, *wheels], [*own, *wheels]
        bom.register_dependency(component, [components[name] for name in within])
    held = {other for others in needs.values() for other in others}
    held |= {deb["filename"] for deb in inside} | set(own)
    direct = asked | (components.keys() - held)
    shared = {
        wheel["filename"]: wheel["sha256"]
        for part in [lock, *lock.get("targets", [])]
        for wheel in part["python"]["wheels"]
    }
    tools = _add_installer(
        bom,
        [
            (part, components[part.filename] if shared.get(part.filename) == part.sha256 else None)
            for part in installer
        ],
    )
    bom.register_dependency(root, [*(components[name] for name in sorted(direct)), *images, *tools])


def _add_installer(bom: Bill, parts: Sequence[tuple[Carried, Line | None]]) -> list[Line]:
    """Add what a controller's environment is made of; a wheel that the release has too is one with it."""
    if not parts:
        return []
    needed = []
    for part, shared in parts:
        component = shared or _carried(part)
        if shared is None:
            bom.add(component)
        needed.append(component)
    whole = _whole(edgewright.__version__)
    bom.add(whole)
    bom.register_dependency(whole, needed)
    return [whole]


@line
def _whole(version: str) -> Component:
    return Component(
        type=ComponentType.APPLICATION, bom_ref="installer", name="edgewright-installer", version=version
    )


@line
def _carried(part: Carried) -> Component:
    name, version = part.name, part.version or None
    if part.kind == "wheel":
        url = PackageURL("pypi", None, name, version, {"file_name": part.filename})
    else:
        namespace, _, plain = name.rpartition(".")
        url = PackageURL("generic", f"ansible/{namespace}", plain, version)
    # A collection lies in an archive with others, whose digest would not be its own.
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"installer:{part.filename if part.kind == 'wheel' else name}",
        name=name,
        version=version,
        purl=url,
        hashes=_hashes(part.sha256) if part.kind == "wheel" else [],
        licenses=[LicenseFactory().make_from_string(part.licence)] if part.licence else [],
        properties=_properties({"filename": part.filename, "file_sha256": part.sha256, "part": "installer"}),
    )


def _packages(debs: Sequence[Entry], wheels: Sequence[Entry], suite: str) -> Iterator[tuple[str, Line]]:
    """Components by file name."""
    for deb in debs:
        yield deb["filename"], _deb(deb, suite)
    for wheel in wheels:
        yield wheel["filename"], _wheel(wheel)


def _targets(release: Entry, lock: Entry) -> Iterator[tuple[Entry, str]]:
    """The lock's targets, its own first, each with the version of Python that runs its wheels."""
    python = release["python"]["version"]
    yield lock, python
    named = {(target["suite"], target["arch"]): target for target in release.get("targets", [])}
    for part in lock.get("targets", []):
        target = named.get((part["os"]["suite"], part["os"]["arch"]), {})
        yield part, target.get("python", {}).get("version", python)


def _target_of(image: Entry, lock: Entry) -> Entry:
    """The target that an image is made of: the first one of its platform."""
    arch = image["platform"].rpartition("/")[2]
    parts = [lock, *lock.get("targets", [])]
    return next((part for part in parts if part["os"]["arch"] == arch), lock)


@line
def _release(lock: Entry, lock_sha256: str) -> Component:
    named = lock["release"]
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref="release",
        name=named["name"],
        version=named["version"],
        properties=_properties(
            {
                "release_sha256": named["sha256"],
                "lock_sha256": lock_sha256,
                "kernel": lock["kernel"]["release"],
            }
        ),
    )


def _tool() -> Component:
    return Component(
        type=ComponentType.APPLICATION, bom_ref="tool", name="edgewright", version=edgewright.__version__
    )


@line
def _deb(deb: Entry, suite: str) -> Component:
    vendor = None if is_supplied(deb) else "debian"
    url = PackageURL("deb", vendor, deb["name"], deb["version"], {"arch": deb["arch"], "distro": suite})
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"deb:{deb['filename']}",
        name=deb["name"],
        version=deb["version"],
        purl=url,
        hashes=_hashes(deb["sha256"]),
        licenses=_licences(deb),
        external_references=_from(deb),
        properties=_facts(deb, "filename", "size", "source", "bootstrap"),
    )


@line
def _wheel(wheel: Entry) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"wheel:{wheel['filename']}",
        name=wheel["name"],
        version=wheel["version"],
        purl=PackageURL(
            "pypi", None, normal_name(wheel["name"]), wheel["version"], {"file_name": wheel["filename"]}
        ),
        hashes=_hashes(wheel["sha256"]),
        licenses=_licences(wheel),
        properties=_facts(wheel, "filename", "size"),
    )


@line
def _image(image: Entry) -> Component:
    """An image, or a model; what it was taken from is its pedigree, for that is not in the bundle itself."""
    model = image["role"] == "model"
    os_, _, arch = image["platform"].partition("/")
    url = PackageURL(
        "oci",
        None,
        image["name"].rpartition("/")[2],
        image["digest"],
        {"arch": arch, "os": os_, "tag": image["version"]},
    )
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL if model else ComponentType.CONTAINER,
        bom_ref=f"image:{image['name']}@{image['digest']}",
        name=image["model"] if model else image["name"],
        group=image["name"].rpartition("/")[0] or None if model else None,
        version=image["version"],
        purl=url,
        hashes=_hashes(image["digest"].removeprefix("sha256:")),
        licenses=_licences(image),
        pedigree=Pedigree(ancestors=[_wheel(image["wheel"]).make()]) if "wheel" in image else None,
        properties=_properties({"image": image["name"], **_origin(image)})
        + _facts(image, "role", "size", "platform", "sources"),
    )


def _origin(image: Entry) -> dict[str, str]:
    """Where an image that others built was taken from."""
    return {
        f"from_{name}": image["from"][name] for name in ("kind", "reference") if name in image.get("from", {})
    }


@line
def _file(entry: Entry) -> Component:
    """What a site supplies itself, or what was fetched from an address."""
    name = entry["name"]
    return Component(
        type=ComponentType.FILE,
        bom_ref=f"file:{name}",
        name=name,
        version=entry.get("version"),
        purl=PackageURL(
            "generic", None, name, entry.get("version"), {"checksum": f"sha256:{entry['sha256']}"}
        ),
        hashes=_hashes(entry["sha256"]),
        licenses=_licences(entry),
        external_references=_from(entry),
        properties=_facts(entry, "size"),
    )


def _snaps_of(bom: Bill, image: Entry, component: Line, lock: Entry, components: Mapping[str, Line]) -> None:
    """Say of the snaps that are packed from an image what they hold: it, and packages of their own."""
    for snap in lock.get("snaps", []):
        if snap.get("image") == image["digest"]:
            own = [components[deb["filename"]] for deb in snap_debs(image)]
            bom.register_dependency(components[f"snap:{snap['name']}"], [component, *own])


def _as_shipped(entry: Entry, shipped: Shipped | None) -> Entry:
    """What a bill tells of a package of kernel modules: as devices get it, where that is known."""
    told = {"name": entry["filename"], **{key: entry[key] for key in ("version", "size", "sha256")}}
    if shipped is None:
        return told
    signed = {"unsigned_sha256": entry["sha256"], "signer_sha256": shipped.signer} if shipped.signer else {}
    return told | {"size": shipped.size, "sha256": shipped.sha256, "modules": dict(shipped.modules)} | signed


@line
def _modules(entry: Entry) -> Component:
    """A package of kernel modules; each module by its digest as it lies on a device."""
    made = _file(entry).make()
    for name in ("unsigned_sha256", "signer_sha256"):
        made.properties.update(_facts(entry, name))
    made.properties.update(
        _properties({f"sha256:{path}": told for path, told in entry.get("modules", {}).items()})
    )
    return made


@line
def _snap(entry: Entry) -> Component:
    """A snap; package URLs have no type for it, so a generic one with its digest."""
    version = str(entry.get("revision", entry["grade"]))
    held = {"assertions": entry["assertions"]["sha256"]} if "assertions" in entry else {}
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref=f"snap:{entry['filename']}",
        name=entry["name"],
        version=version,
        purl=PackageURL("generic", None, entry["name"], version, {"checksum": f"sha256:{entry['sha256']}"}),
        hashes=_hashes(entry["sha256"]),
        licenses=_licences(entry),
        properties=_properties(held)
        + _facts(entry, "filename", "size", "grade", "channel", "snap_id", "publisher_id", "sha3_384"),
    )


def _hashes(sha256: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]


def _licences(entry: Entry) -> list[License]:
    """The lock's licence: as an SPDX identifier or expression where it is one, else in the words it has."""
    licence = entry.get("licence")
    return [LicenseFactory().make_from_string(licence)] if licence else []


def _from(entry: Entry) -> list[ExternalReference]:
    """Where it was fetched; a name such as `archive:debian/...` is no place, and is a property instead."""
    url = entry.get("url", "")
    if not url.startswith(("http://", "https://")):
        return []
    return [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(url))]


def _facts(entry: Entry, *names: str) -> list[Property]:
    """Fields of the lock as properties, and who answers for a licence that needed a waiver."""
    told = {name: entry[name] for name in names if name in entry}
    if entry.get("url", "").startswith("archive:"):
        told["archive"] = entry["url"].removeprefix("archive:")
    if is_supplied(entry):
        told["supplied"] = entry["url"].removeprefix(SCHEME)
    for name, value in (entry.get("waiver") or {}).items():
        told[f"waiver_{name}"] = value
    return _properties(told)


def _properties(told: Mapping[str, Any]) -> list[Property]:
    return [Property(name=f"{_PREFIX}:{name}", value=_text(value)) for name, value in told.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
