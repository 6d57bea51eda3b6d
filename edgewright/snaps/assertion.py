# SPDX-License-Identifier: Apache-2.0
"""Assertions: the signed documents by which snapd believes anything about a snap.

    for assertion in read_assertions(Path("pc-kernel_2011.assert").read_bytes(), "pc-kernel_2011.assert"):
        print(assertion.type, assertion.text("snap-id"))

An assertion is headers, an empty line, a body of `body-length` bytes where there is one, an empty line, and
a signature over all that stands before it. Several in one file are parted by an empty line. Headers hold
texts, lists and maps of texts. Read as snapd reads them, and never more freely: sizes are bounded, a header
written twice is refused, text must be UTF-8.

Source: snapd 2.57.6 (Debian's golang-github-snapcore-snapd-dev), asserts/headers.go and asserts/asserts.go
(`Decoder.Decode`, `assemble`); the format in words:
https://documentation.ubuntu.com/core/reference/assertions/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewright.snaps.refusal import SnapRefused

__all__ = [
    "MAX_FILE_BYTES",
    "PRIMARY_KEYS",
    "Assertion",
    "Header",
    "read_assertions",
    "read_headers",
    "write_headers",
]

Header = str | list["Header"] | dict[str, "Header"]

MAX_HEADERS_BYTES = 128 * 1024
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_SIGNATURE_BYTES = 128 * 1024
"""Bounds of snapd (asserts/asserts.go: MaxHeadersSize, MaxBodySize, MaxSignatureSize)."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A file of assertions; `snap download` writes about 10 kB for one snap."""

MAX_NESTING = 16
"""Lists and maps within each other; snapd's own assertions need six."""

PRIMARY_KEYS: Mapping[str, tuple[str, ...]] = {
    "account": ("account-id",),
    "account-key": ("public-key-sha3-384",),
    "base-declaration": ("series",),
    "model": ("series", "brand-id", "model"),
    "serial": ("brand-id", "model", "serial"),
    "snap-build": ("snap-sha3-384",),
    "snap-declaration": ("series", "snap-id"),
    "snap-developer": ("snap-id", "publisher-id"),
    "snap-resource-pair": ("snap-id", "resource-name", "resource-revision", "snap-revision", "provenance"),
    "snap-resource-revision": ("snap-id", "resource-name", "resource-sha3-384", "provenance"),
    "snap-revision": ("snap-sha3-384", "provenance"),
    "store": ("store",),
    "system-user": ("brand-id", "email"),
    "validation": ("series", "snap-id", "approved-snap-id", "approved-snap-revision"),
    "validation-set": ("series", "account-id", "name", "sequence"),
}
"""What names an assertion of each type that may travel with snaps (asserts/asserts.go: AssertionType).

Those of resources, which are a snap's components, came with a later snapd (2.67 has them for good).
"""

_DEFAULTS = {"provenance": "global-upload"}
"""Parts of a primary key that may be left out (snap/naming/provenance.go: DefaultProvenance)."""

_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_DIGEST = re.compile(r"[A-Za-z0-9_-]{64}\Z")


@dataclass(frozen=True)
class Assertion:
    """One signed document.

    Attributes:
        type: Such as `snap-revision`.
        headers: Everything it says, by name.
        body: Its body; of an account-key the public key.
        content: The bytes that are signed.
        signature: The signature as it is written: base64 of a version byte and an OpenPGP packet.
        source: File and number, for messages.
    """

    type: str
    headers: Mapping[str, Header]
    body: bytes
    content: bytes
    signature: bytes
    source: str

    def text(self, name: str) -> str:
        """A header that must be a text.

        Raises:
            SnapRefused: It is missing, empty, or a list.
        """
        value = self.headers.get(name, _DEFAULTS.get(name))
        if not isinstance(value, str) or not value:
            found = "nothing" if not value else type(value).__name__
            raise SnapRefused(
                "format", f"reading {self.source}: {name}: expected a text, got {found}{_AGAIN}"
            )
        return value

    def number(self, name: str) -> int:
        """A header that must be a whole number, as snapd writes one.

        Raises:
            SnapRefused: It is none.
        """
        value = self.text(name)
        if not _NUMBER.match(value):
            raise SnapRefused(
                "format",
                f"reading {self.source}: {name}: expected a whole number, got {value[:40]!r}{_AGAIN}",
            )
        return int(value)

    @property
    def key(self) -> tuple[str, ...]:
        """Type and primary key: what this assertion is about."""
        return (self.type, *(self.text(name) for name in PRIMARY_KEYS[self.type]))

    @property
    def told(self) -> str:
        """What it is, for people: `snap-revision (file.assert, assertion 4)`."""
        return f"{self.type} ({self.source})"

    def encoded(self) -> bytes:
        """The whole assertion again, ending in one line's end."""
        return self.content + b"\n\n" + self.signature.rstrip(b"\n") + b"\n"


_AGAIN = "; get the file again from where `snap download` wrote it"


def read_assertions(data: bytes, source: str) -> list[Assertion]:
    """Read every assertion of a file.

    Args:
        data: The file's bytes.
        source: Its name, for messages.

    Returns:
        The assertions in the file's order; at least one.

    Raises:
        SnapRefused: It is no file of assertions, or one of them is misshapen; signatures are not looked at.
    """
    if len(data) > MAX_FILE_BYTES:
        raise SnapRefused(
            "format", f"reading {source}: expected at most {MAX_FILE_BYTES} bytes, got {len(data)}{_AGAIN}"
        )
    found: list[Assertion] = []
    rest = data
    while rest:
        here = f"{source}, assertion {len(found) + 1}"
        assertion, rest = _one(rest, here)
        found.append(assertion)
    if not found:
        raise SnapRefused("format", f"reading {source}: it is empty{_AGAIN}")
    return found


def _one(data: bytes, here: str) -> tuple[Assertion, bytes]:
    head, parted, rest = data.partition(b"\n\n")
    if len(head) > MAX_HEADERS_BYTES:
        raise _wrong(here, f"its headers are longer than {MAX_HEADERS_BYTES} bytes")
    if not parted:
        raise _wrong(here, "the file ends within its headers")
    headers = read_headers(head, here)
    length = _length(headers, here)
    body, content = b"", head
    if length:
        body, rest = rest[:length], rest[length:]
        if len(body) < length or not rest.startswith(b"\n\n"):
            raise _wrong(here, f"its body does not end after body-length, {length} bytes")
        content, rest = head + b"\n\n" + body, rest[2:]
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _wrong(here, "its body is not UTF-8") from error
    elif rest.startswith(b"\n\n"):  # an empty body that is written out
        content, rest = head + b"\n\n", rest[2:]
    signature, _, rest = rest.partition(b"\n\n")
    if not signature.strip():
        raise _wrong(here, "it has no signature")
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise _wrong(here, f"its signature is longer than {MAX_SIGNATURE_BYTES} bytes")
    kind = headers.get("type")
    if not isinstance(kind, str) or kind not in PRIMARY_KEYS:
        raise _wrong(here, f"type: expected one of {', '.join(sorted(PRIMARY_KEYS))}, got {str(kind)[:60]!r}")
    assertion = Assertion(kind, headers, body, content, signature, here)
    _check_common(assertion)
    return assertion, rest


def _check_common(assertion: Assertion) -> None:
    """Check the headers that every assertion has."""
    here, headers = assertion.source, assertion.headers
    if not _DIGEST.match(assertion.text("sign-key-sha3-384")):
        raise _wrong(here, "sign-key-sha3-384: expected 64 letters, digits, - and _")
    assertion.text("authority-id")
    for name in ("revision", "format"):
        if name in headers:
            assertion.number(name)
    if "signatory-id" in headers and headers["signatory-id"] != headers["authority-id"]:
        raise _wrong(here, "signatory-id: an assertion that another account signs is not supported")
    _ = assertion.key  # every part of it is there


def _length(headers: Mapping[str, Header], here: str) -> int:
    value = headers.get("body-length", "0")
    if not isinstance(value, str) or not _NUMBER.match(value) or int(value) > MAX_BODY_BYTES:
        raise _wrong(here, f"body-length: expected at most {MAX_BODY_BYTES}, got {str(value)[:40]!r}")
    return int(value)


def read_headers(head: bytes, here: str) -> dict[str, Header]:
    """Read the headers of an assertion.

    Args:
        head: Their bytes, without the empty line after them.
        here: File and number, for messages.

    Raises:
        SnapRefused: They are not written as headers are.
    """
    try:
        lines = head.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _wrong(here, "its headers are not UTF-8") from error
    reader = _Reader(lines, here)
    headers: dict[str, Header] = {}
    at = 0
    while at < len(lines):
        at = reader.named(headers, at, "", 0, 0)
    return headers


class _Reader:
    """Reads the lines of headers; nested values are known by their indentation."""

    def __init__(self, lines: Sequence[str], here: str) -> None:
        self._lines = lines
        self._here = here

    def named(self, into: dict[str, Header], at: int, prefix: str, indent: int, depth: int) -> int:
        """Read one `name: value` of headers or of a map. Returns the line after it."""
        entry = self._lines[at].removeprefix(prefix)
        name, colon, _ = entry.partition(":")
        if not colon or not _NAME.match(name):
            raise self._bad(at, f"expected NAME: VALUE, got {entry[:60]!r}")
        if name in into:
            raise self._bad(at, f"{name} is written twice")
        into[name], after = self._value(at, len(prefix) + len(name) + 1, indent, depth)
        return after

    def _value(self, at: int, used: int, indent: int, depth: int) -> tuple[Header, int]:
        line = self._lines[at]
        if used < len(line):
            if line[used] != " ":
                raise self._bad(at, f"expected a blank or the line's end before the value: {line[:60]!r}")
            return line[used + 1 :], at + 1
        if depth > MAX_NESTING:
            raise self._bad(at, f"nested deeper than {MAX_NESTING}")
        prefix = " " * indent + "  "
        if at + 1 < len(self._lines) and self._lines[at + 1].startswith(prefix):
            rest = self._lines[at + 1][len(prefix) :]
            if rest.startswith("-"):
                return self._list(at + 1, f"{prefix}-", depth)
            if rest and not rest.startswith(" "):
                return self._map(at + 1, prefix, depth)
        return self._lines_of_text(at + 1, " " * indent + "    ")

    def _list(self, at: int, prefix: str, depth: int) -> tuple[Header, int]:
        found: list[Header] = []
        while at < len(self._lines) and self._lines[at].startswith(prefix):
            value, at = self._value(at, len(prefix), len(prefix) - 1, depth + 1)
            found.append(value)
        return found, at

    def _map(self, at: int, prefix: str, depth: int) -> tuple[Header, int]:
        found: dict[str, Header] = {}
        while at < len(self._lines) and self._lines[at].startswith(prefix):
            at = self.named(found, at, prefix, len(prefix), depth + 1)
        return found, at

    def _lines_of_text(self, at: int, prefix: str) -> tuple[Header, int]:
        text = []
        while at < len(self._lines) and self._lines[at].startswith(prefix):
            text.append(self._lines[at].removeprefix(prefix))
            at += 1
        if not text:
            raise self._bad(at, f"expected a text, list or map after {self._lines[at - 1][:60]!r}")
        return "\n".join(text), at

    def _bad(self, at: int, what: str) -> SnapRefused:
        return _wrong(self._here, f"line {min(at, len(self._lines) - 1) + 1}: {what}")


def write_headers(headers: Mapping[str, Header], first: Sequence[str] = ()) -> bytes:
    """Write headers as snapd does.

    Args:
        headers: Texts, lists and maps; empty lists and maps are left out.
        first: Names that come first, in this order; the others follow sorted.
    """
    order = [name for name in first if name in headers] + sorted(headers.keys() - set(first))
    return "".join(_written(f"{name}:", headers[name], 0) for name in order).removeprefix("\n").encode()


def _written(intro: str, value: Header, indent: int) -> str:
    if isinstance(value, str):
        if "\n" in value:
            prefix = "\n" + " " * indent + "    "
            return f"\n{intro}{prefix}" + value.replace("\n", prefix)
        return f"\n{intro} {value}"
    if not value:
        return ""
    if isinstance(value, list):
        prefix = " " * indent + "  -"
        return f"\n{intro}" + "".join(_written(prefix, item, indent + 2) for item in value)
    prefix = " " * indent + "  "
    return f"\n{intro}" + "".join(
        _written(f"{prefix}{name}:", value[name], indent + 2) for name in sorted(value)
    )


def _wrong(here: str, what: str) -> SnapRefused:
    return SnapRefused("format", f"reading {here}: {what}{_AGAIN}")
