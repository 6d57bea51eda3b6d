# SPDX-License-Identifier: Apache-2.0
"""Which Debian packages a device needs beyond a bare base: asked of apt's own resolver, in a room of its own.

apt runs on a private root (own sources, lists, state and status file), so that what this host has
installed or configured decides nothing; only its proxy settings are carried over. Signatures are checked
with Debian's archive keyring. The bare base is what the suite's essential and required packages and apt
resolve to, as `mmdebstrap` or `debootstrap --variant=minbase` would install.

    with AptRoom(release) as room:
        room.update()
        base = room.resolve(room.essential())
        more = room.resolve(["podman"], installed=base)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from edgewright.archives import address
from edgewright.errors import InputError, MissingToolError, UnreachableError

__all__ = ["AptRoom", "Deb"]

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_URI_LINE = re.compile(r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+)")


@dataclass(frozen=True)
class Deb:
    """One package file: what the lock says about it, and its stanza of the archive's index."""

    name: str
    version: str
    arch: str
    filename: str
    url: str
    size: int
    sha256: str
    source: str
    stanza: str

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
        }
        if bootstrap:
            found["bootstrap"] = True
        return found


class AptRoom:
    """A private apt. Use it as a context manager: its directory is gone afterwards.

    Args:
        arch: Debian's name of the devices' architecture.
        sources: The release's `apt.sources`.

    Raises:
        InputError: This host has no address for a source.
    """

    def __init__(self, arch: str, sources: Sequence[Mapping[str, Any]]) -> None:
        self._arch = arch
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
        for path in ("etc", "state/lists/partial", "cache/archives/partial"):
            (self._room / path).mkdir(parents=True)
        (self._room / "status").touch()
        (self._room / "etc/sources.list").write_text("".join(self._source_lines()))
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
            )
        dates = []
        for path in sorted((self._room / "state/lists").glob("*_Packages")):
            self._read_index(path)
        for path in sorted((self._room / "state/lists").glob("*Release")):
            found = re.search(r"^Date: (.+)$", path.read_text("utf-8"), re.MULTILINE)
            if found:
                dates.append(found.group(1).strip())
        return max(dates, key=parsedate_to_datetime)

    def essential(self) -> list[str]:
        """Names of what every installation has: essential and required packages, and apt.

        `usr-is-merged` is among them where the suite has it: bootstrapping tools choose it over `usrmerge`,
        which would bring perl, and what the base lacks in doubt, the lock holds.
        """
        wanted = re.compile(r"^(Essential: yes|Priority: required)$", re.MULTILINE)
        names = {deb.name for deb in self._index.values()}
        always = {"apt", "usr-is-merged"} & names
        return sorted({deb.name for deb in self._index.values() if wanted.search(deb.stanza)} | always)

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
        done = self._apt("install", "--print-uris", "-qq", "--no-install-recommends", *asked)
        if done.returncode != 0:
            raise InputError(
                f"resolving {', '.join(asked)}: apt refuses: {_last(done.stderr or done.stdout, 12)}; "
                "correct the package names in release.yml"
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
            raise InputError(f"resolving {name}: {_last(done.stderr)}; correct the name in release.yml")
        return self._by_url(lines[0])

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

    def _source_lines(self) -> Iterable[str]:
        for source, base in self._sources:
            for suite in source["suites"]:
                options = f"arch={self._arch} signed-by={_KEYRING}"
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
        named, base, suite = self._origin(path.name)
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

    def _origin(self, index_name: str) -> tuple[str, str, str]:
        """The release's name, address and suite of an index, from the name that apt gives its file."""
        for source, base in self._sources:
            flat = urllib.parse.urlsplit(base)
            prefix = f"{flat.netloc}{flat.path}".replace("/", "_")
            for suite in source["suites"]:
                if index_name.startswith(f"{prefix}_dists_{suite}_"):
                    return source["uri"], base, suite
        raise InputError(f"reading the package indices: {index_name} belongs to no source of release.yml")


def _last(text: str, lines: int = 4) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-lines:])
