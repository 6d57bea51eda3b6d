# SPDX-License-Identifier: Apache-2.0
"""Which certificates of the authority are due, and why: on real certificates, in a table."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewright import authority
from edgewright.authority import Found, Leaf
from edgewright.errors import InputError

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
ORGANISATION = "Edgewright site"
WANTED = authority.leaves([{"name": "line-4", "role": "application"}], ["10.0.2.100", "localhost"])


@dataclasses.dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.key.private_bytes(*form).decode()


def make(
    name: str,
    issuer: Made | None = None,
    *,
    unit: str = "",
    organisation: str = ORGANISATION,
    names: tuple[str, ...] = (),
    days: int = 1000,
) -> Made:
    """Make a certificate that ends so many days from NOW; without an issuer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, name)]
    subject += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    full = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    builder = (
        x509.CertificateBuilder()
        .subject_name(full)
        .issuer_name(issuer.certificate.subject if issuer else full)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=2000))
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    if names:
        alt: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name[3:]))
            if name.startswith("IP:")
            else x509.DNSName(name[4:])
            for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(alt), critical=False)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


class Site:
    """A whole authority in memory; a test breaks a part and asks what is due."""

    def __init__(self) -> None:
        self.root = make("root")
        self.issuing = make("issuing", self.root)
        self.found = {
            "root": Found(self.root.pem, self.root.key_pem),
            "issuing": Found(self.issuing.pem, self.issuing.key_pem),
        }
        self.chain: str | None = self.issuing.pem + self.root.pem
        for leaf in WANTED:
            self.put(leaf, make(leaf.name, self.issuing, unit=leaf.role, names=leaf.names))

    def put(self, leaf: Leaf, made: Made) -> None:
        self.found[leaf.name] = Found(made.pem + self.issuing.pem, made.key_pem)

    def due(self) -> list[tuple[str, str]]:
        renew = datetime.timedelta(days=90)
        result = authority.due(
            self.found, self.chain, WANTED, organisation=ORGANISATION, renew=renew, now=NOW
        )
        return [(item.name, item.why) for item in result]


def as_made(site: Site) -> None:
    assert site.chain


def nothing_yet(site: Site) -> None:
    site.found = {name: Found(None, None) for name in site.found}
    site.chain = None


def root_key_elsewhere(site: Site) -> None:
    site.found["root"] = Found(site.root.pem, None)


def no_chain(site: Site) -> None:
    site.chain = None


def chain_turned(site: Site) -> None:
    site.chain = site.root.pem + site.issuing.pem


def leaf_near_its_end(site: Site) -> None:
    site.put(WANTED[1], make("line-4", site.issuing, unit="application", names=WANTED[1].names, days=30))


def leaf_for_other_names(site: Site) -> None:
    site.put(WANTED[0], make("controller", site.issuing, unit="controller", names=("DNS:controller",)))


def leaf_of_another_role(site: Site) -> None:
    site.put(WANTED[1], make("line-4", site.issuing, unit="operator", names=WANTED[1].names))


def leaf_of_another_authority(site: Site) -> None:
    other = make("issuing", make("root"))
    site.put(WANTED[1], make("line-4", other, unit="application", names=WANTED[1].names))


def leaf_with_another_key(site: Site) -> None:
    site.found["line-4"] = Found(site.found["line-4"].certificate, make("x").key_pem)


def leaf_without_a_key(site: Site) -> None:
    site.found["line-4"] = Found(site.found["line-4"].certificate, None)


def leaf_without_its_issuer(site: Site) -> None:
    text = site.found["line-4"].certificate or ""
    site.found["line-4"] = Found(text.replace(site.issuing.pem, ""), site.found["line-4"].key)


def issuing_near_its_end(site: Site) -> None:
    made = make("issuing", site.root, days=10)
    site.found["issuing"] = Found(made.pem, made.key_pem)


def issuing_damaged(site: Site) -> None:
    site.found["issuing"] = Found("-----BEGIN CERTIFICATE-----\ncut", site.issuing.key_pem)


EVERYTHING = ["root", "issuing", "chain", "controller", "line-4"]
CASES: dict[str, tuple[Callable[[Site], None], list[str], str]] = {
    "as wanted": (as_made, [], ""),
    "nothing yet": (nothing_yet, EVERYTHING, "there is none yet"),
    "the root's key is kept elsewhere": (root_key_elsewhere, [], ""),
    "no chain": (no_chain, ["chain"], "chain.crt is not the issuing CA and the root"),
    "chain in the wrong order": (chain_turned, ["chain"], "chain.crt is not the issuing CA and the root"),
    "leaf near its end": (leaf_near_its_end, ["line-4"], "renewal: it ends at 2026-12-21, 30 days from now"),
    "leaf for other names": (
        leaf_for_other_names,
        ["controller"],
        "its names are DNS:controller, not DNS:controller",
    ),
    "leaf of another role": (leaf_of_another_role, ["line-4"], "its subject is line-4, operator"),
    "leaf of another authority": (
        leaf_of_another_authority,
        ["line-4"],
        "it was issued by another authority",
    ),
    "leaf with another key": (leaf_with_another_key, ["line-4"], "its key is another one, or damaged"),
    "leaf without a key": (leaf_without_a_key, ["line-4"], "its key is missing"),
    "leaf without its issuer": (
        leaf_without_its_issuer,
        ["line-4"],
        "the issuing CA's certificate does not follow",
    ),
    "issuing CA near its end": (issuing_near_its_end, EVERYTHING[1:], "renewal: it ends at 2026-12-01"),
    "issuing CA damaged": (issuing_damaged, EVERYTHING[1:], "its file holds no readable certificate"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_due_and_why(name: str) -> None:
    breaks, names, why = CASES[name]
    site = Site()
    breaks(site)
    found = site.due()
    assert [item for item, _ in found] == names
    assert not found or found[0][1].startswith(why)


def test_a_new_organisation_does_not_replace_a_sites_root() -> None:
    site = Site()
    renew = datetime.timedelta(days=90)
    with pytest.raises(InputError, match="set it back, or move the authority's directory away"):
        authority.due(site.found, site.chain, WANTED, organisation="Other", renew=renew, now=NOW)


def test_a_missing_root_key_is_told_when_it_is_needed() -> None:
    site = Site()
    root_key_elsewhere(site)
    issuing_near_its_end(site)
    with pytest.raises(InputError, match="bring the root's key back"):
        site.due()


BAD = {
    "an unknown role": ([{"name": "x", "role": "device"}], "expected role operator or application"),
    "no name": ([{"role": "operator"}], "expected DNS names"),
    "a name with a slash": ([{"name": "../x", "role": "operator"}], "neither a DNS name"),
    "the controller's name": ([{"name": "controller", "role": "operator"}], "used twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_client_is_refused(name: str) -> None:
    clients, words = BAD[name]
    with pytest.raises(InputError) as caught:
        authority.leaves(clients, [])
    assert words in str(caught.value)
