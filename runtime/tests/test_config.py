# SPDX-License-Identifier: Apache-2.0
"""Configuration out of options and environment."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from edgewright_runtime import __version__
from edgewright_runtime.config import ServerConfig, config_from, usable_cpus
from edgewright_runtime.errors import ConfigError


def test_one_version_number() -> None:
    root = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    assert root["project"]["version"] == __version__


def test_defaults(tmp_path: Path) -> None:
    config = config_from({"models": str(tmp_path)}, None)
    assert config == ServerConfig(models=tmp_path, threads=len(usable_cpus()))
    assert (config.host, config.port, config.socket) == ("127.0.0.1", 8000, None)


def test_the_environment_counts_only_when_given(tmp_path: Path) -> None:
    environment = {
        "EDGEWRIGHT_MODELS": str(tmp_path),
        "EDGEWRIGHT_SOCKET": "/run/edgewright/server.sock",
        "EDGEWRIGHT_MAX_REQUEST_BYTES": "1000",
        "EDGEWRIGHT_THREADS": "3",
        "EDGEWRIGHT_QUEUE": "",
    }
    config = config_from({"threads": "2"}, environment)
    assert config.socket == Path("/run/edgewright/server.sock")
    assert (config.max_request_bytes, config.threads, config.queue) == (1000, 2, ServerConfig.queue)
    with pytest.raises(ConfigError, match="no directory of models: give --models, or EDGEWRIGHT_MODELS"):
        config_from({}, None)


def test_a_port_as_option_beats_a_socket_of_the_environment(tmp_path: Path) -> None:
    environment = {"EDGEWRIGHT_SOCKET": "/run/x.sock", "EDGEWRIGHT_MODELS": str(tmp_path)}
    config = config_from({"port": "0"}, environment)
    assert (config.socket, config.port) == (None, 0)


WRONG = [
    ({"port": "http"}, "--port: expected a whole number of (TCP port), found 'http'"),
    ({"port": "65536"}, "--port: expected 0 to 65535"),
    ({"threads": "0"}, "--threads: expected 1 to 1024 threads, found 0"),
    ({"workers": "-1"}, "--workers: expected 1 to"),
    ({"queue": "1.5"}, "--queue: expected a whole number of requests, found '1.5'"),
    ({"max_request_bytes": "8M"}, "--max-request-bytes: expected a whole number of bytes, found '8M'"),
    ({"body_timeout": "soon"}, "--body-timeout: expected a number of seconds"),
    ({"stop_timeout": "nan"}, "--stop-timeout: expected 0.1 to 3600 seconds, found 'nan'"),
    ({"socket": "server.sock"}, "--socket: expected an absolute path"),
    ({"socket": "/" + "x" * 107}, "--socket: a unix socket's path has at most 107 bytes"),
    ({"socket": "/run/x.sock", "port": "1"}, "--socket cannot go with --host or --port"),
    ({"host": "no such host"}, "--host: 'no such host' is no address"),
    ({"pin": "yes"}, "--pin: expected auto, on or off, found 'yes'"),
    ({"pin": "on", "workers": "2"}, "--pin: pinning needs one worker"),
    ({"models": "/nowhere"}, "--models: '/nowhere' is not a directory"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[row[1][:40] for row in WRONG])
def test_wrong_values_name_their_option(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({"models": str(tmp_path), **options}, None)
    assert str(caught.value).startswith(words)


def test_wrong_values_name_their_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^EDGEWRIGHT_THREADS: expected a whole number"):
        config_from({"models": str(tmp_path)}, {"EDGEWRIGHT_THREADS": "x"})


PINS = [
    # pin, threads, workers, CPUs of the machine, usable CPUs, expected
    ("auto", 2, 1, 4, {2, 3}, (2, 3)),
    ("auto", 1, 1, 4, {2, 3}, (2,)),
    ("auto", 2, 1, 4, {0, 1, 2, 3}, ()),
    ("auto", 2, 2, 4, {2, 3}, ()),
    ("auto", 3, 1, 4, {2, 3}, ()),
    ("on", 2, 1, 2, {0, 1}, (0, 1)),
    ("off", 2, 1, 4, {2, 3}, ()),
]


@pytest.mark.parametrize(("pin", "threads", "workers", "machine", "usable", "expected"), PINS)
def test_pinned_cpus(  # noqa: PLR0917 # one per column of the table
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pin: str,
    threads: int,
    workers: int,
    machine: int,
    usable: set[int],
    expected: tuple[int, ...],
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: usable)
    config = ServerConfig(models=tmp_path, threads=threads, workers=workers, pin=pin)
    assert config.pinned_cpus() == expected
