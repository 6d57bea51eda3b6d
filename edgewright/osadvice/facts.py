# SPDX-License-Identifier: Apache-2.0
"""What is known of Debian and Ubuntu Core: one row for each question and system, with its source.

    facts = load_os_facts()
    row = facts.row("rt_kernel", "ubuntu_core")
    row.answer, row.told            # "yes", the source and its date

A row that was not verified answers `unknown`, whatever it says: it can't say yes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import InputError
from edgewright.release.yamlmarks import Marked, read_marked

__all__ = [
    "DEBIAN",
    "SYSTEMS",
    "TOPICS",
    "UBUNTU_CORE",
    "OsFacts",
    "OsRow",
    "carried_os_facts",
    "load_os_facts",
    "rules_of",
]

SCHEMA = "edgewright.os-facts/v1"
DEBIAN = "debian"
UBUNTU_CORE = "ubuntu_core"
SYSTEMS: Mapping[str, str] = {DEBIAN: "Debian RT", UBUNTU_CORE: "Ubuntu Core"}
"""The systems, and what people call them."""

TOPICS: Mapping[str, str] = {
    "rt_kernel": "a PREEMPT_RT kernel",
    "rt_image": "an image with that kernel without a store of one's own",
    "isolation": "CPUs set apart",
    "wakeup": "an intent's bound on wake-up is measured on the device",
    "nvidia": "an NVIDIA card, generic kernel",
    "nvidia_rt": "an NVIDIA card, PREEMPT_RT kernel",
    "jetson": "a Jetson",
    "jetson_rt": "a Jetson, PREEMPT_RT kernel",
    "transactional_update": "the system is updated whole or not at all",
    "model_rollback": "runtime and model go back apart",
    "system_rollback": "the system goes back by itself when a boot fails",
    "minimal_surface": "no package manager, read-only root",
    "kernel_by_site": "the site may change the kernel",
    "kernel_by_brand": "only the brand may change the kernel",
    "offline": "works with no network",
    "journey": "from bare to an accepted record, in one run",
    "drift": "what is changed behind our back is found and mended",
    "power_cut": "power lost during an update leaves a device that the next run finishes",
    "site_updates": "only the site updates; nothing else is asked",
    "free_image": "an image without an account at a store",
}
"""The questions, in the order of the table, and what each asks for."""

ANSWERS = ("yes", "no", "waiver", "unknown")

_TEXT = {"type": "string", "minLength": 1}


def rules_of(schema: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of a file of facts: its `sources` by name, and `rows` that each have source and day.

    Args:
        schema: What the file's key `schema` says.
        row: What each row has beside `source`, `date` and `verified`; all of it needed.
    """
    of_row = {
        **row,
        "source": _TEXT,
        "date": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "verified": {"type": "boolean"},
    }
    rows = {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": list(of_row),
            "properties": of_row,
        },
    }
    sources = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
    keys = {"schema": {"const": schema}, "sources": sources, "rows": rows}
    return {"type": "object", "additionalProperties": False, "required": list(keys), "properties": keys}


_SCHEMA = rules_of(
    SCHEMA,
    {
        "topic": {"enum": list(TOPICS)},
        "os": {"enum": list(SYSTEMS)},
        "answer": {"enum": list(ANSWERS)},
        "says": _TEXT,
        "basis": {"enum": ["measured", "published"]},
    },
)


@dataclass(frozen=True)
class OsRow:
    """What is known of one question on one system.

    Attributes:
        topic: Of `TOPICS`.
        os: Of `SYSTEMS`.
        written: The answer in the file.
        says: The fact, a sentence.
        basis: `measured` or `published`.
        source: In words.
        date: The day on which it was read or tried, such as 2026-11-21.
        verified: Whether it was.
    """

    topic: str
    os: str
    written: str
    says: str
    basis: str
    source: str
    date: str
    verified: bool

    @property
    def answer(self) -> str:
        """`yes`, `no`, `waiver` or `unknown`; always the last where nobody verified it."""
        return self.written if self.verified else "unknown"

    @property
    def how(self) -> str:
        """`measured`, `published` or `not verified`."""
        return self.basis if self.verified else "not verified"

    @property
    def told(self) -> str:
        """The source with its date, for messages."""
        return f"{self.how}, {self.date}: {' '.join(self.source.split())}"


@dataclass(frozen=True)
class OsFacts:
    """All rows by topic and system: one each."""

    rows: Mapping[tuple[str, str], OsRow]

    def row(self, topic: str, os: str) -> OsRow:
        """The row for a question and system."""
        return self.rows[topic, os]


def carried_os_facts() -> Path:
    """The file that Edgewright carries."""
    return Path(__file__).resolve().parents[1] / "data" / "os" / "facts.yml"


def load_os_facts(path: Path | None = None) -> OsFacts:
    """Read and check the facts.

    Args:
        path: Another file than the carried one.

    Raises:
        InputError: It is wrong; with FILE:LINE of every complaint.
    """
    path = path or carried_os_facts()
    try:
        marked = read_marked(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"reading the facts {path}: {error.strerror}; name a file of {SCHEMA}") from error
    told = _faults(marked)
    if told:
        lines = [f"{path}:{line}: {words}" for line, words in sorted(told)]
        raise InputError(
            "reading " + "\n  ".join(lines) + "; docs/reference/os-choice.md tells what a row is"
        )
    content = marked.content
    rows = [
        OsRow(
            row["topic"],
            row["os"],
            row["answer"],
            " ".join(row["says"].split()),
            row["basis"],
            content["sources"][row["source"]],
            row["date"],
            row["verified"],
        )
        for row in content["rows"]
    ]
    return OsFacts({(row.topic, row.os): row for row in rows})


def _faults(marked: Marked) -> set[tuple[int, str]]:
    import jsonschema  # noqa: PLC0415 - a device that is as wanted needs no facts, and each run would pay for it

    content = marked.content
    found = {
        (
            marked.line(*error.absolute_path),
            f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}",
        )
        for error in jsonschema.Draft202012Validator(_SCHEMA).iter_errors(content)
    }
    if found:
        return found
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(content["rows"]):
        here = marked.line("rows", number)
        if row["source"] not in content["sources"]:
            found.add(
                (marked.line("rows", number, "source"), f"source {row['source']!r} is not among sources")
            )
        try:
            datetime.date.fromisoformat(row["date"])
        except ValueError:
            found.add(
                (marked.line("rows", number, "date"), f"date {row['date']!r} is no day of the calendar")
            )
        key = (row["topic"], row["os"])
        if key in seen:
            found.add((here, f"a second row for {row['topic']} on {row['os']}"))
        seen.add(key)
    missing = [f"{topic} on {os}" for topic in TOPICS for os in SYSTEMS if (topic, os) not in seen]
    if missing:
        found.add((1, f"no row for {', '.join(missing)}"))
    used = {row["source"] for row in content["rows"]}
    for name in content["sources"].keys() - used:
        found.add((marked.line("sources", name), f"source {name!r} is named by no row; remove it"))
    return found
