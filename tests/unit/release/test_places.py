# SPDX-License-Identifier: Apache-2.0
"""Every complaint about `release.yml` names the file and the line."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from edgewright.errors import InputError
from edgewright.release.documents import load_release
from edgewright.release.licences import (
    expression_fault,
    forbidden,
    refuse_expired,
    waivers,
    words_forbid,
)
from edgewright.release.yamlmarks import read_marked
from tests.unit.release.tiny import Folder

ZEROS = "0" * 64

WAIVER = "    waiver: {who: Legal, why: contract 7, until: 2027-01-31}\n"

BAD = {
    # name: (text to replace, by what, line of the complaint, words of it)
    "no YAML": ("name: tiny", "name: [tiny", 3, "is not YAML: while parsing a flow sequence"),
    "a tab": ("  family:", "\tfamily:", 5, "is not YAML: while scanning for the next token"),
    "two documents": ("name: tiny", "---\nname: tiny", 2, "but found another document"),
    "a key twice": ("version: 1.0.0", "name: other", 3, "key 'name' is written twice (first in line 2)"),
    "a key that is a list": ("name: tiny", "[a]: tiny", 2, "a key must be a word"),
    "an anchor in itself": ("name: tiny", "name: &a [*a]", 2, "an anchor holds itself"),
    "an object of Python": ("name: tiny", "name: !!python/name:os.system", 2, "could not determine"),
    "unknown key": ("  suite: bookworm", "  siute: bookworm", 6, "os: unknown key 'siute', did you mean"
    " 'suite'?"),
    "missing key, told at its mapping": ("  suite: bookworm\n", "", 4, "os: missing 'suite'"),
    "item of a list": ("[openssl]\n  boot", "[a b]\n  boot", 12, "apt.packages[0]: 'a b' does not match"),
    "what is copied first": ("bootstrap: [openssl]", "bootstrap: [vim]", 13, "vim not in apt.packages"),
    "supplied file without digest": (f'    sha256: "{ZEROS}"\n', "", 16, "files[0]: missing 'sha256'"
    " (sha256: what"),
    "flat archive": (
        "suites: [bookworm], components: [main]",
        "suites: ['./'], components: [main]",
        11,
        "`deb ADDRESS /`, is no source: supply its packages as files, docs/how-to/supply-nvidia-files.md",
    ),
    "flat archive without components": (
        "suites: [bookworm], components: [main]",
        "suites: [bookworm]",
        11,
        "missing 'components' (components: such as main; a flat archive",
    ),
    "digest cut short": (ZEROS, "0" * 63, 18, "64 lower-case hexadecimal digits"),
    "file without licence": ("    licence: MIT\n", "", 16, "missing 'licence' (licence: an SPDX expression)"),
    "file from nowhere": ("    path: supplied/tool.deb\n", "", 16, "tool.deb: expected path (supplied) or"
    " url"),
    "fetched file without size": (
        "path: supplied/tool.deb",
        "url: https://archive.example/tool.deb",
        16,
        "tool.deb: missing 'size' (bytes)",
    ),
    "path upwards": ("supplied/tool.deb", "../tool.deb", 17, "expected a path below the release's directory"),
    "path from the root": ("supplied/tool.deb", "/etc/shadow", 17, "expected a path below"),
    "name with a slash": ("name: tool.deb", "name: a/tool.deb", 16, "letters, digits and ._+~- only"),
    "licence misspelt": ("    licence: MIT\n", "    licence: Apache-2\n", 19, "did you mean 'Apache-2.0'?"),
    "licence no expression": ("    licence: MIT\n", "    licence: MIT OR\n", 19, "is no SPDX expression"),
    "NVIDIA's licence": (
        "    licence: MIT\n",
        "    licence: LicenseRef-NVIDIA-SLA\n",
        19,
        "tool.deb: the licence 'LicenseRef-NVIDIA-SLA' does not let it be handed on: NVIDIA's licences allow",
    ),
    "non-commercial": ("    licence: MIT\n", "    licence: CC-BY-NC-4.0\n", 19, "it allows non-commercial"
    " use only"),
    "a licence that nobody knows": ("    licence: MIT\n", "    licence: LicenseRef-X\n", 19, "nothing is"
    " known of"),
    "a waiver for nothing": ("    licence: MIT\n", f"    licence: MIT\n{WAIVER}", 20, "needs a waiver;"
    " remove it"),
    "a waiver without a name": (
        "    licence: MIT\n",
        "    licence: LicenseRef-X\n    waiver: {why: y, until: 2027-01-31}\n",
        20,
        "files[0].waiver: missing 'who' (who: who answers for it)",
    ),
    "a waiver until no day": (
        "    licence: MIT\n",
        "    licence: LicenseRef-X\n    waiver: {who: me, why: y, until: 2027-02-31}\n",
        20,
        "expected a date such as 2027-06-30, got '2027-02-31'",
    ),
    "two images of one name": ("name: tiny/tool", "name: tiny/runtime", 24, "two images are called"
    " 'tiny/runtime'"),
    "image from nowhere": ("      from: {kind: registry, ", "      from: {", 27, "missing 'kind'"),
    "image from an unknown kind": ("kind: registry", "kind: ftp", 27, "'ftp' is not one of"),
    "archive without digest": (
        '{kind: registry, reference: "registry.example/tool:1"}',
        "{kind: oci-archive, path: a.tar}",
        27,
        "kind oci-archive: missing 'sha256' (sha256 of the archive file",
    ),
    "wants for no profile": ("apt:\n", "nvidia: {want: [cuda]}\napt:\n", 9, "missing 'nvidia.profiles': name"
    " the hardware"),
    "no profiles": ("apt:\n", "nvidia: {profiles: []}\napt:\n", 9, "nvidia.profiles: [] should be non-empty"),
    "a profile twice": ("apt:\n", "nvidia:\n  profiles: [a, a]\napt:\n", 10, "has non-unique elements"),
    "a profile's path": ("apt:\n", "nvidia:\n  profiles:\n    - a/b.yml\napt:\n", 11, "(name of a hardware"
    " profile, such as x86_t4)"),
    "a want for no item": (
        "apt:\n",
        "nvidia:\n  profiles: [x86_t4]\n  want:\n    - cudda==12.4\napt:\n",
        12,
        "there is no item 'cudda', did you mean cuda?",
    ),
    "a want that compares nothing": (
        "apt:\n",
        'nvidia:\n  profiles: [x86_t4]\n  want: ["cuda=>12"]\napt:\n',
        11,
        "is no comparison; write it as `tensorrt>=10,<11`",
    ),
    "a waiver for real time until no day": (
        "apt:\n",
        "nvidia:\n  rt_waiver:\n    who: me\n    why: y\n    until: soon\napt:\n",
        13,
        "nvidia.rt_waiver.until: expected a date such as 2027-06-30, got 'soon'",
    ),
    "a waiver for real time without a reason": (
        "apt:\n", "nvidia:\n  rt_waiver: {who: me, until: 2027-01-31}\napt:\n", 10, "nvidia.rt_waiver:"
        " missing 'why'"
    ),
    "a key of another kind": ("{kind: registry, ", "{kind: registry, path: a.tar, ", 27, "has no key 'path'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_complaint_names_its_line(case: str, folder: Folder) -> None:
    old, new, line, words = BAD[case]
    with pytest.raises(InputError) as told:
        folder.read((old, new))
    assert f"{folder.file}:{line}: " in str(told.value)
    assert words in str(told.value)


def test_all_complaints_are_told_at_once_in_the_order_of_the_lines(folder: Folder) -> None:
    with pytest.raises(InputError) as told:
        folder.read(("arch: amd64", "arch: vax"), ("name: tiny\n", "name: Tiny\nnme: x\n"))
    assert [int(line) for line in re.findall(r"release\.yml:(\d+):", str(told.value))] == [2, 3, 8]


def test_the_tiny_release_is_right_and_its_places_are_known(folder: Folder) -> None:
    marked = folder.read()
    assert marked.place("os", "arch") == f"{folder.file}:7"
    assert marked.line("images", "extra", 0, "licence") == 26
    assert marked.line("apt", "packages", 7) == 12, "the nearest place above"
    assert marked.line("nothing") == 1


def test_bytes_that_are_no_text_are_refused_with_their_line(folder: Folder) -> None:
    folder.file.write_bytes(b"schema: x\nname: \xff\xfe\n")
    with pytest.raises(InputError, match=r"release\.yml:2: it is not YAML: .*save it as UTF-8"):
        load_release(folder.path)


def test_aliases_give_their_anchors_value_and_cannot_explode(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    marked = read_marked("\n".join(rows).encode(), tmp_path / "x.yml")
    assert marked.content["a1"] == [["x", "x"], ["x", "x"]]
    assert len(marked.lines) < 400


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("MIT", None),
        ("Apache-2.0 WITH LLVM-exception", None),
        ("LicenseRef-own-work", None),
        ("LicenseRef-NVIDIA-CUDA OR Apache-2.0", None),
        ("(MIT AND LicenseRef-NVIDIA-CUDA)", "NVIDIA"),
        ("LicenseRef-Vendor-EULA", "proprietary"),
        ("CC-BY-NC-SA-4.0 AND MIT", "non-commercial"),
    ],
)
def test_expressions(expression: str, why: str | None) -> None:
    assert expression_fault(expression) is None
    found = forbidden(expression)
    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("BSD License", False),
        ("MIT AND (Apache-2.0 OR BSD-2-Clause)", False),
        ("ISC, License :: OSI Approved", False),
        ("NVIDIA Proprietary Software", True),
        ("Other/Proprietary License", True),
        ("Free for non-commercial use", True),
    ],
)
def test_words_of_packages(words: str, refused: bool) -> None:
    assert (words_forbid(words) is not None) == refused


def test_a_waiver_lets_pass_until_its_day(folder: Folder) -> None:
    release = folder.read(
        ("    licence: MIT\n", f"    licence: LicenseRef-NVIDIA-SLA\n{WAIVER}"),
        ("requirements: []}", "requirements: [], waivers: {tensorrt: {who: me, why: y, until: 2026-01-01}}}"),
    ).content
    assert dict(waivers(release)) == {
        ("python", "waivers", "tensorrt"): {"who": "me", "why": "y", "until": "2026-01-01"},
        ("files", 0): {"who": "Legal", "why": "contract 7", "until": "2027-01-31"},
    }
    refuse_expired(release, "release.yml", datetime.date(2026, 1, 1))
    with pytest.raises(InputError, match=r"python\.waivers\.tensorrt: the waiver of me ended on 2026-01-01"):
        refuse_expired(release, "release.yml", datetime.date(2026, 1, 2))


def test_the_waiver_of_a_locked_stack_ends_and_none_is_none() -> None:
    waiver = {"who": "me", "why": "y", "until": "2026-01-01"}
    lock = {"nvidia": [{"profile": "a", "waiver": None}, {"profile": "b", "waiver": waiver}]}
    assert dict(waivers(lock)) == {("nvidia", 1): waiver}
    with pytest.raises(InputError, match=r"nvidia\.1: the waiver of me ended on 2026-01-01"):
        refuse_expired(lock, "release.lock.yml", datetime.date(2026, 1, 2))


def test_the_waiver_for_real_time_ends_as_others_do(folder: Folder) -> None:
    release = folder.read(
        ("apt:\n", "nvidia: {rt_waiver: {who: me, why: y, until: 2026-01-01}}\napt:\n")
    ).content
    refuse_expired(release, "release.yml", datetime.date(2026, 1, 1))
    with pytest.raises(InputError, match=r"nvidia\.rt_waiver: the waiver of me ended on 2026-01-01"):
        refuse_expired(release, "release.yml", datetime.date(2026, 1, 2))
