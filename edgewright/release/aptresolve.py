# SPDX-License-Identifier: Apache-2.0
"""Which Debian packages a device needs beyond a bare base: asked of apt's own resolver, in a room of its own.

apt runs on a private root (own sources, lists, state and status file), so that what this host has
installed or configured decides nothing; only its proxy settings are carried over. Signatures are checked
with Debian's archive keyring, or the key that a source names. An index past its `Valid-Until` is refused by
this host's clock; one of a snapshot archive is judged by the moment that the release names.

The bare base is what the suite's essential and required packages and apt resolve to, as `mmdebstrap` or
`debootstrap --variant=minbase` would install.

    with AptRoom(arch, sources) as room:
        room.update()
        base = room.resolve(room.essential())
        more = room.resolve(["podman"], installed=base)

Packages that a site supplies are one more source, a file in the room; see `edgewright.release.supplied`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from edgewright.archives import address, release_date
from edgewright.errors import InputError, MissingToolError, UnreachableError
from edgewright.release.supplied import SCHEME, SuppliedDeb

__all__ = ["AptConflictError", "AptRoom", "Deb"]

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SNAPSHOT = "%Y%m%dT%H%M%SZ"
"""How a release writes a snapshot's moment, UTC: as snapshot archives write it in their addresses."""

_HELD = re.compile(
    r"(?:Depends|PreDepends|Breaks|Conflicts): (?P<name>[^\s:]+)\S* .*?but \S+ is to be installed"
)
_LACKING = re.compile(r"(?:Unable to locate package|no package called|Package) '?([a-z0-9][a-z0-9+.-]+)'?")
_WHO = re.compile(r"^ (?P<who>[a-z0-9][a-z0-9+.-]+)(?::\S+)? : ")
_UNMET = re.compile(
    r"(?:Pre-?)?Depends: (?P<what>(?P<name>\S+).*?) but "
    r"(?:it is not installable|(?P<got>\S+) is to be installed)"
)
_SUPPLIED = "supplied"
"""Directory of the room, and `source` of what comes from there."""

_URI_LINE = re.compile(r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+)")


@dataclass(frozen=True)
class Deb:
    """One package file: what the lock says about it, and its stanza of the archive's index.

    `told` is what is known of it otherwise: licence and waiver of a supplied one.
    """

    name: str
    version: str
    arch: str
    filename: str
    url: str
    size: int
    sha256: str
    source: str
    stanza: str
    told: Mapping[str, Any] = field(default_factory=dict)

    def entry(self, bootstrap: bool = False) -> dict[str, Any]:
        """The lock's entry."""
        found: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "arch": self.arch,
            "filename": self.filename,
            "url": self.url,
            "size": self.size,
            "sha256": self.sha256,
            "source": self.source,
            **self.told,
        }
        if bootstrap:
            found["bootstrap"] = True
        return found


class AptConflictError(InputError):
    """Dependencies that contradict each other; `held` names packages whose version stands in the way."""

    def __init__(self, message: str, held: Iterable[str]) -> None:
        super().__init__(message)
        self.held = frozenset(held)


class AptRoom:
    """A private apt. Use it as a context manager: its directory is gone afterwards.

    Args:
        arch: Debian's name of the devices' architecture.
        sources: The release's `apt.sources`.
        release_dir: Where the paths of sources' keys begin.
        place: `FILE:LINE` of a package's name in the release, for messages; None where it names it nowhere.
        supplied: Packages that the site supplies; they come before others of their names.

    Raises:
        InputError: This host has no address for a source, or a key is not there.
    """

    def __init__(
        self,
        arch: str,
        sources: Sequence[Mapping[str, Any]],
        release_dir: Path = Path(),
        place: Callable[[str], str | None] = lambda _: None,
        supplied: Sequence[SuppliedDeb] = (),
    ) -> None:
        self._supplied = {deb.name: deb for deb in supplied}
        self._held: set[str] = set()
        self._arch = arch
        self._place = place
        self._keys = [_key(source, release_dir) for source in sources]
        self._sources = [(source, address(source["uri"])) for source in sources]
        self._index: dict[str, Deb] = {}
        self._room = Path()

    def __enter__(self) -> AptRoom:
        for tool, package in (("apt-get", "apt"), ("apt-config", "apt")):
            if shutil.which(tool) is None:
                raise MissingToolError(f"locking a release: {tool} is not installed; install {package}")
        if not _KEYRING.is_file():
            raise MissingToolError(
                f"locking a release: {_KEYRING} is missing, Debian's signatures cannot be checked; "
                "install debian-archive-keyring"
            )
        self._room = Path(tempfile.mkdtemp(prefix="edgewright-apt-"))
        self._room.chmod(0o755)  # apt's sandbox user reads here
        for path in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (self._room / path).mkdir(parents=True)
        (self._room / "status").touch()
        self._keys = [self._readable(key, number) for number, key in enumerate(self._keys)]
        (self._room / "etc/sources.list").write_text("".join(self._source_lines()))
        if self._supplied:
            self._supply()
        self.pin({})
        (self._room / "apt.conf").write_text(self._configuration())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._room, ignore_errors=True)

    def update(self) -> str:
        """Fetch and verify the indices.

        Returns:
            The newest date of the archives' Release files (RFC 5322), the moment that the lock stands for.

        Raises:
            UnreachableError: A source does not answer or is signed wrongly; apt's words are told.
        """
        done = self._apt("update", "-qq", "-o", "APT::Update::Error-Mode=any")
        if done.returncode != 0:
            raise UnreachableError(
                f"reading the package indices: apt-get update failed: {_last(done.stderr)}"
                f"{_advice(done.stderr)}"
            )
        dates: list[str] = []
        lists = sorted((self._room / "state/lists").iterdir())
        lists = [path for path in lists if not path.name.startswith("_")]  # of a host: not what is supplied
        for path in lists:
            if path.name.endswith("_Packages"):
                self._read_index(path)
        for path in (path for path in lists if path.name.endswith("Release")):
            told = dict(re.findall(r"^(Date|Valid-Until): (.+)$", path.read_text("utf-8"), re.MULTILINE))
            source, _, suite = self._origin(path.name)
            if "snapshot" in source:
                _check_snapshot(f"{source['uri']} {suite}", told, source["snapshot"])
            if "Date" in told:
                dates.append(told["Date"].strip())
        if not dates:
            raise UnreachableError("reading the package indices: no source has a Release file with a date")
        return max(dates, key=release_date)

    def essential(self) -> list[str]:
        """Names of what every installation has: essential and required packages, and apt.

        `usr-is-merged` is among them where the suite has it: bootstrapping tools choose it over `usrmerge`,
        which would bring perl, and what the base lacks in doubt, the lock holds.
        """
        wanted = re.compile(r"^(Essential: yes|Priority: required)$", re.MULTILINE)
        archived = [deb for deb in self._index.values() if deb.source != _SUPPLIED]
        always = {"apt", "usr-is-merged"} & {deb.name for deb in archived}
        return sorted({deb.name for deb in archived if wanted.search(deb.stanza)} | always)

    def resolve(self, names: Iterable[str], installed: Iterable[Deb] = ()) -> list[Deb]:
        """What apt would install, recommended packages left out.

        Args:
            names: Packages wanted.
            installed: What is there already.

        Returns:
            The packages beyond `installed`, sorted by name.

        Raises:
            InputError: A package does not exist or its dependencies contradict; apt's words are told.
        """
        stanzas = [f"{deb.stanza}\nStatus: install ok installed\n" for deb in installed]
        (self._room / "status").write_text("\n".join(stanzas))
        asked = sorted(set(names))
        done = self._apt("install", "--print-uris", "-q", "--no-install-recommends", *asked)
        if done.returncode != 0:
            words = f"{done.stdout}\n{done.stderr}"
            self._refuse_unmet(words)
            lacking = [name for name in dict.fromkeys(_LACKING.findall(done.stderr)) if name in asked]
            places = [f"{self._place(name)}: {name}" for name in lacking if self._place(name)]
            raise AptConflictError(
                f"resolving {', '.join(places or lacking or asked)}: apt refuses: "
                f"{_last(words, 12)}; correct the package names in release.yml",
                _HELD.findall(words),
            )
        found = [self._by_url(line) for line in done.stdout.splitlines() if line.startswith("'")]
        return sorted(found, key=lambda deb: deb.name)

    def newest(self, name: str) -> Deb:
        """The version of a package that apt would install, dependencies aside.

        Raises:
            InputError: The sources have no such package.
        """
        done = self._apt("download", "--print-uris", "-qq", name)
        lines = [line for line in done.stdout.splitlines() if line.startswith("'")]
        if done.returncode != 0 or not lines:
            where = f"{self._place(name)}: " if self._place(name) else ""
            raise InputError(
                f"resolving {where}{name}: {_last(done.stderr)}; correct the name in release.yml"
            )
        return self._by_url(lines[0])

    def has(self, name: str) -> bool:
        """Whether the sources have a package of this very name."""
        return any(deb.name == name for deb in self._index.values())

    def providers(self, name: str) -> list[Deb]:
        """Packages that provide a name, sorted by name and version."""
        wanted = re.compile(rf"^Provides: (.*, *)?{re.escape(name)} *(\(.*?\))? *(,|$)", re.MULTILINE)
        found = [deb for deb in self._index.values() if wanted.search(deb.stanza)]
        return sorted(found, key=lambda deb: (deb.name, deb.version))

    def pin(self, versions: Mapping[str, str]) -> list[str]:
        """Hold packages at versions, until the next call.

        Args:
            versions: Version by package name.

        Returns:
            Names of those that the sources no longer have in that version; they are not held.
        """
        there = {(deb.name, deb.version) for deb in self._index.values()}
        held = {name: version for name, version in sorted(versions.items()) if (name, version) in there}
        self._held = set(held)
        held |= {name: deb.version for name, deb in self._supplied.items()}
        stanzas = [
            f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" for name, version in held.items()
        ]
        (self._room / "etc/preferences").write_text("\n".join(stanzas))
        return sorted(set(versions) - set(held))

    def _supply(self) -> None:
        """Make the supplied packages' source: an index of their own control data, and no signature."""
        here = self._room / _SUPPLIED
        here.mkdir()
        stanzas = []
        for deb in self._supplied.values():
            name, size, sha256 = (deb.file[key] for key in ("name", "size", "sha256"))
            stanza = f"{deb.control}\nFilename: ./{name}\nSize: {size}\nSHA256: {sha256}"
            stanzas.append(f"{stanza}\n")
            told = {key: deb.file[key] for key in ("licence", "waiver") if key in deb.file}
            one = (deb.name, deb.version, deb.arch, name, f"{SCHEME}{name}", size, sha256, _SUPPLIED, stanza)
            self._index[f"file:{here}/./{name}"] = Deb(*one, told)
        listing = "\n".join(stanzas).encode()
        (here / "Packages").write_bytes(listing)
        digest = hashlib.sha256(listing).hexdigest()
        (here / "Release").write_text(f"Suite: {_SUPPLIED}\nSHA256:\n {digest} {len(listing)} Packages\n")
        with (self._room / "etc/sources.list").open("a") as stream:
            stream.write(f"deb [arch={self._arch} trusted=yes] file:{here} ./\n")  # pinned by sha256 instead

    def _refuse_unmet(self, words: str) -> None:
        """Tell a supplied package whose dependency nothing has, of all that apt complains of."""
        who = ""
        for line in words.splitlines():
            begins = _WHO.match(line)
            who = begins["who"] if begins else who if line.startswith("  ") else ""
            unmet = _UNMET.search(line)
            if unmet and who in self._supplied and unmet["name"] not in self._held:
                deb = self._supplied[who]
                why = "which no archive of the release has"
                if unmet["got"]:
                    why = f"of which {unmet['got']} is what the release's archives have"
                raise InputError(
                    f"resolving {deb.place}: {deb.file['name']}: it depends on {unmet['what']}, {why} for "
                    f"{self._arch} and no file supplies; supply that too (files[] with kind: deb), or name "
                    "an archive that has it in apt.sources"
                )

    def _by_url(self, line: str) -> Deb:
        match = _URI_LINE.match(line)
        found = self._index.get(urllib.parse.unquote(match["url"])) if match else None
        if found is None:
            raise InputError(f"resolving packages: apt names a file that no index lists: {line}")
        return found

    def _apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "APT_CONFIG": str(self._room / "apt.conf"),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._room,
        )

    def _readable(self, key: Path, number: int) -> Path:
        """The key where apt's sandbox user can read it: a release may lie in a closed directory."""
        if key == _KEYRING:
            return key
        copy = self._room / "etc" / f"source-{number}{key.suffix}"
        shutil.copyfile(key, copy)
        copy.chmod(0o644)
        return copy

    def _source_lines(self) -> Iterable[str]:
        for (source, base), key in zip(self._sources, self._keys, strict=True):
            for suite in source["suites"]:
                options = f"arch={self._arch} signed-by={key}"
                if "snapshot" in source:
                    options += " check-valid-until=no"  # judged by `_check_snapshot` instead
                yield f"deb [{options}] {base} {suite} {' '.join(source['components'])}\n"

    def _configuration(self) -> str:
        proxies = subprocess.run(
            ["apt-config", "dump", "--format", '%F "%v";%n'], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        carried = [line for line in proxies if re.match(r"Acquire::https?::Proxy[: ]", line)]
        return "\n".join(
            [
                *carried,
                f'Dir "{self._room}";',
                'Dir::Etc "etc";',
                'Dir::Etc::sourceparts "-";',
                'Dir::State "state";',
                f'Dir::State::status "{self._room}/status";',
                'Dir::Cache "cache";',
                f'APT::Architecture "{self._arch}";',
                f'APT::Architectures {{ "{self._arch}"; }};',
                'Acquire::Languages "none";',
                'Acquire::GzipIndexes "false";',
                'APT::Get::Assume-Yes "true";',
                'Debug::NoLocking "true";',
                "",
            ]
        )

    def _read_index(self, path: Path) -> None:
        source, base, suite = self._origin(path.name)
        named = source["uri"]
        for stanza in path.read_text("utf-8").split("\n\n"):
            fields = dict(
                re.findall(r"^(Package|Version|Architecture|Filename|Size|SHA256): (.+)$", stanza, re.M)
            )
            if len(fields) != 6:
                continue
            self._index[f"{base}/{fields['Filename']}"] = Deb(
                name=fields["Package"],
                version=fields["Version"],
                arch=fields["Architecture"],
                filename=Path(fields["Filename"]).name,
                url=f"{named}/{fields['Filename']}",
                size=int(fields["Size"]),
                sha256=fields["SHA256"],
                source=suite,
                stanza=stanza.strip("\n"),
            )

    def _origin(self, index_name: str) -> tuple[Mapping[str, Any], str, str]:
        """The release's source, address and suite of an index, from the name that apt gives its file."""
        for source, base in self._sources:
            flat = urllib.parse.urlsplit(base)
            prefix = f"{flat.netloc}{flat.path}".replace("/", "_")
            for suite in source["suites"]:
                if index_name.startswith(f"{prefix}_dists_{suite}_"):
                    return source, base, suite
        raise InputError(f"reading the package indices: {index_name} belongs to no source of release.yml")


def _key(source: Mapping[str, Any], release_dir: Path) -> Path:
    """The file with the key that a source's indices are signed with."""
    if "key" not in source:
        return _KEYRING
    key: Path = (release_dir / source["key"]).resolve()
    if not key.is_file():
        raise InputError(
            f"reading the key of {source['uri']}: there is no file {release_dir / source['key']}; put the "
            "archive's "
            "public key there (.asc armoured, .gpg binary)"
        )
    return key


def _check_snapshot(what: str, told: Mapping[str, str], snapshot: str) -> None:
    """Judge an index by the moment that the release names, instead of this host's clock."""
    moment = datetime.strptime(snapshot, _SNAPSHOT).replace(tzinfo=UTC)
    if "Date" not in told:
        raise InputError(f"reading {what}: its Release file has no Date, so it cannot stand for {snapshot}")
    made = release_date(told["Date"])
    if made > moment:
        raise InputError(
            f"reading {what}: expected an index no younger than the snapshot {snapshot}, it was made on "
            f"{told['Date']}; is the address that of a snapshot archive? Correct uri or snapshot in "
            "release.yml"
        )
    if "Valid-Until" in told and release_date(told["Valid-Until"]) < moment:
        raise InputError(
            f"reading {what}: its index was valid until {told['Valid-Until']}, which is before the snapshot "
            f"{snapshot}: the archive had stopped then; correct uri or snapshot in release.yml"
        )


def _advice(words: str) -> str:
    """What to do about apt's commonest refusals of an index."""
    today = datetime.now(UTC)
    if "is expired" in words:
        return (
            "; the index is past its Valid-Until: the mirror stands still, or this host's clock "
            f"({today:%F %R} UTC) "
            "is wrong: mend that; for a snapshot archive name its moment as `snapshot` of the source"
        )
    if "is not valid yet" in words:
        return f"; is this host's clock ({today:%F %R} UTC) right?"
    if "NO_PUBKEY" in words or "not signed" in words:
        return "; name the archive's public key as `key` of the source in release.yml"
    return ""


def _last(text: str, lines: int = 4) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-lines:])
