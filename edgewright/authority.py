# SPDX-License-Identifier: Apache-2.0
"""The site's authority on the controller: which of its certificates must be made or renewed, and why.

Pure: `due` is given what lies in the authority's directory and the time, and decides. Reading is done
by `plugins/modules/authority_info.py`, making by the role `authority` with community.crypto's modules.

    root.crt      self-signed, path length 1: what devices and clients trust
    issuing.crt   signed by the root, path length 0: signs devices, the controller and its clients
    leaves        controller (serverAuth and clientAuth), applications and operators (clientAuth)
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from edgewright.device.identity import subject_alt_names
from edgewright.errors import InputError

__all__ = ["Due", "Found", "Leaf", "due", "leaves"]

# A renewed root keeps its key and name, so that what it signed stays good; any other reason does not.
_RENEWAL = "renewal"

ROLES = ("controller", "operator", "application")


@dataclass(frozen=True)
class Leaf:
    """A certificate that the authority shall have issued for a machine or a person at the controller.

    Attributes:
        name: common name, and the name of its files in `clients/`.
        role: organisational unit: one of `ROLES`.
        names: subject alternative names, as `DNS:x` and `IP:y`, sorted.
    """

    name: str
    role: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What lies in the directory under one name: PEM texts, or None where there is no file."""

    certificate: str | None
    key: str | None


@dataclass(frozen=True)
class Due:
    """A certificate, or the chain file, that must be made anew.

    Attributes:
        name: `root`, `issuing`, `chain` or the leaf's name.
        why: reason, for a person.
    """

    name: str
    why: str


def leaves(clients: Sequence[Mapping[str, str]], controller_names: Sequence[str]) -> list[Leaf]:
    """The leaves that the inventory asks for; the controller's own is always the first.

    Args:
        clients: `[{name, role}]`, role `operator` or `application`.
        controller_names: DNS names and addresses under which devices reach the controller.

    Raises:
        InputError: a name or role that no certificate can carry, or a name used twice.
    """
    found = [Leaf("controller", "controller", tuple(subject_alt_names(["controller", *controller_names])))]
    for client in clients:
        name, role = client.get("name", ""), client.get("role", "")
        if role not in ROLES[1:]:
            raise InputError(
                f"authority_clients: {name or client!r}: expected role operator or application, got {role!r}"
            )
        alt_names = subject_alt_names([name])
        if any(leaf.name == name for leaf in found):
            raise InputError(
                f"authority_clients: the name {name!r} is used twice; each certificate needs its own"
            )
        found.append(Leaf(name, role, tuple(alt_names)))
    return found


def due(
    found: Mapping[str, Found],
    chain: str | None,
    wanted: Sequence[Leaf],
    *,
    organisation: str,
    renew: datetime.timedelta,
    now: datetime.datetime,
) -> list[Due]:
    """Decide what must be made.

    Args:
        found: what lies there for `root`, `issuing` and each leaf's name.
        chain: text of chain.crt.
        wanted: the leaves that shall be.
        organisation: of the subjects.
        renew: how long before its end a certificate is renewed.
        now: the time, with its zone.

    Returns:
        What is due, in the order in which it must be made.

    Raises:
        InputError: the authority there was made for another organisation, or its root's key is needed
            and not there. Nothing is made anew over a site's root by a changed variable.
    """
    result: list[Due] = []
    root = _parse(found["root"].certificate)
    issuing = _parse(found["issuing"].certificate)
    for name, certificate in (("root", root), ("issuing", issuing)):
        if certificate is not None and _attribute(certificate, NameOID.ORGANIZATION_NAME) != organisation:
            made_for = _attribute(certificate, NameOID.ORGANIZATION_NAME)
            raise InputError(
                f"the site's {name} certificate was made for the organisation {made_for!r}, and"
                f" authority_organisation is {organisation!r}: set it back, or move the authority's directory"
                " away to begin a new site, whose devices all get new certificates"
            )
    why_root = _why(found["root"], root, root, renew, now)
    if why_root:
        result.append(Due("root", why_root))
    why_issuing = _why(found["issuing"], issuing, root, renew, now)
    if why_root and not why_root.startswith(_RENEWAL):
        why_issuing = why_issuing or "the root is new"
    if why_issuing:
        if root is not None and not why_root and found["root"].key is None:
            raise InputError(
                f"the issuing CA must be made ({why_issuing}), and root.key is not in the authority's"
                " directory: bring the root's key back for this run"
            )
        result.append(Due("issuing", why_issuing))
    if result or not _same_chain(chain, [issuing, root]):
        result.append(
            Due("chain", result[0].why if result else "chain.crt is not the issuing CA and the root")
        )
    for leaf in wanted:
        why = _why_leaf(found[leaf.name], leaf, issuing, organisation=organisation, renew=renew, now=now)
        if why_issuing:
            why = why or "the issuing CA is new"
        if why:
            result.append(Due(leaf.name, why))
    return result


def _parse(pem: str | None) -> x509.Certificate | None:
    """First certificate of a PEM text; None when there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate((pem or "").encode())
    except ValueError:
        return None


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""


def _why(
    found: Found,
    certificate: x509.Certificate | None,
    issuer: x509.Certificate | None,
    renew: datetime.timedelta,
    now: datetime.datetime,
) -> str | None:
    """Why a certificate is due, as far as every kind of certificate is concerned; None when it is not."""
    if found.certificate is None:
        return "there is none yet"
    if certificate is None:
        return "its file holds no readable certificate"
    # The root's key may lie elsewhere once the issuing CA is made; then only the certificate is judged.
    if found.key is not None and not _fits(found.key, certificate):
        return "its key is another one, or damaged"
    if issuer is None:
        return "its issuer's certificate is missing"
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return "it was issued by another authority"
    left = certificate.not_valid_after_utc - now
    if left < renew:
        return f"{_RENEWAL}: it ends at {certificate.not_valid_after_utc:%Y-%m-%d}, {left.days} days from now"
    return None


def _why_leaf(
    found: Found,
    leaf: Leaf,
    issuing: x509.Certificate | None,
    *,
    organisation: str,
    renew: datetime.timedelta,
    now: datetime.datetime,
) -> str | None:
    certificate = _parse(found.certificate)
    why = _why(found, certificate, issuing, renew, now)
    if why or certificate is None:
        return why
    if found.key is None:
        return "its key is missing"
    got = (
        _attribute(certificate, NameOID.COMMON_NAME),
        _attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
        _attribute(certificate, NameOID.ORGANIZATION_NAME),
    )
    if got != (leaf.name, leaf.role, organisation):
        return f"its subject is {', '.join(got)}, not {leaf.name}, {leaf.role}, {organisation}"
    if _alt_names(certificate) != leaf.names:
        return f"its names are {', '.join(_alt_names(certificate)) or 'none'}, not {', '.join(leaf.names)}"
    if not _same_chain(found.certificate, [certificate, issuing]):
        return "the issuing CA's certificate does not follow it in its file"
    return None


def _fits(key_pem: str, certificate: x509.Certificate) -> bool:
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError):
        return False
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _alt_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    dns = [f"DNS:{name}" for name in names.get_values_for_type(x509.DNSName)]
    addresses = [f"IP:{address}" for address in names.get_values_for_type(x509.IPAddress)]
    return tuple(sorted(dns + addresses))


def _same_chain(pem: str | None, wanted: Sequence[x509.Certificate | None]) -> bool:
    try:
        certificates = x509.load_pem_x509_certificates((pem or "").encode())
    except ValueError:
        return False
    return certificates == list(wanted)
