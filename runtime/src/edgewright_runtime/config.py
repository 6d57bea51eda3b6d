# SPDX-License-Identifier: Apache-2.0
"""Configuration of the server: a frozen value, from environment variables and options.

The environment is read only with `--config-from-env`; an option beats its variable.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright_runtime.errors import ConfigError, shown

__all__ = ["ENVIRONMENT", "ServerConfig", "config_from", "usable_cpus"]

# Setting -> environment variable. The option is the setting's name with dashes.
ENVIRONMENT: dict[str, str] = {
    "models": "EDGEWRIGHT_MODELS",
    "socket": "EDGEWRIGHT_SOCKET",
    "host": "EDGEWRIGHT_HOST",
    "port": "EDGEWRIGHT_PORT",
    "max_request_bytes": "EDGEWRIGHT_MAX_REQUEST_BYTES",
    "threads": "EDGEWRIGHT_THREADS",
    "workers": "EDGEWRIGHT_WORKERS",
    "queue": "EDGEWRIGHT_QUEUE",
    "body_timeout": "EDGEWRIGHT_BODY_TIMEOUT",
    "stop_timeout": "EDGEWRIGHT_STOP_TIMEOUT",
    "pin": "EDGEWRIGHT_PIN",
}

_SUN_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its closing zero
_MAX_THREADS = 1024


@dataclass(frozen=True)
class ServerConfig:
    """What one server process does.

    Args:
        models: directory with one directory per model package.
        socket: path of the unix socket to listen on; None to listen on `host` and `port`.
        host: address to listen on when there is no socket.
        port: TCP port to listen on when there is no socket; 0 lets the kernel choose.
        max_request_bytes: largest request body, in bytes, after decompression.
        threads: threads that work on one inference.
        workers: inferences that run at the same time.
        queue: requests that may wait beyond those that run; one more is refused with 503.
        body_timeout: seconds a client may take to send its body.
        stop_timeout: seconds that requests in flight get to finish after SIGTERM.
        pin: "on" gives every computing thread a CPU of its own; "off" leaves it to the scheduler; "auto"
            is "on" where the process may use only some of the machine's CPUs and one worker runs. An isolated
            cpuset partition balances no load, so that without it all threads may share one CPU.
    """

    models: Path
    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_request_bytes: int = 8 * 1024 * 1024
    threads: int = 1
    workers: int = 1
    queue: int = 16
    body_timeout: float = 30.0
    stop_timeout: float = 25.0
    pin: str = "auto"

    def pinned_cpus(self) -> tuple[int, ...]:
        """CPUs for the computing threads, one each, first the worker's; empty when nothing is pinned."""
        cpus = usable_cpus()
        wanted = self.pin == "on" or (
            self.pin == "auto" and self.workers == 1 and len(cpus) < (os.cpu_count() or 1)
        )
        if not wanted or self.threads > len(cpus):
            return ()
        return cpus[: self.threads]


def usable_cpus() -> tuple[int, ...]:
    """Numbers of the CPUs that this process may use, sorted: follows cpusets and `taskset`."""
    return tuple(sorted(os.sched_getaffinity(0)))


def _integer(name: str, text: str, least: int, most: int, unit: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name}: expected a whole number of {unit}, found {shown(text)}") from None
    if not least <= value <= most:
        raise ConfigError(f"{name}: expected {least} to {most} {unit}, found {value}")
    return value


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{name}: expected a number of seconds, found {shown(text)}") from None
    if not 0.1 <= value <= 3600:
        raise ConfigError(f"{name}: expected 0.1 to 3600 seconds, found {shown(text)}")
    return value


def _socket_path(name: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ConfigError(f"{name}: expected an absolute path, found {shown(text)}")
    if len(os.fsencode(text)) > _SUN_PATH_BYTES:
        raise ConfigError(
            f"{name}: a unix socket's path has at most {_SUN_PATH_BYTES} bytes, found {shown(text)}"
        )
    return path


def config_from(options: Mapping[str, str | None], environment: Mapping[str, str] | None) -> ServerConfig:
    """The configuration out of options and, if given, environment variables.

    Args:
        options: setting name (a key of `ENVIRONMENT`) to its text as typed; None where not given.
        environment: environment variables, or None when they shall not be read.

    Returns:
        The configuration, every value checked.

    Raises:
        ConfigError: a value is missing or wrong; the message names the variable or the option.
    """
    texts: dict[str, tuple[str, str]] = {}
    for setting, variable in ENVIRONMENT.items():
        if environment is not None and environment.get(variable):
            texts[setting] = (variable, environment[variable])
    given = {setting: text for setting, text in options.items() if text is not None}
    if given.keys() & {"host", "port"} and "socket" not in given:
        texts.pop("socket", None)
    for setting, text in given.items():
        texts[setting] = ("--" + setting.replace("_", "-"), text)

    if "models" not in texts:
        raise ConfigError(
            f"no directory of models: give --models, or {ENVIRONMENT['models']} with --config-from-env"
        )
    if "socket" in given and given.keys() & {"host", "port"}:
        raise ConfigError("--socket cannot go with --host or --port: a server listens in one place")

    name, text = texts["models"]
    models = Path(text)
    if not models.is_dir():
        raise ConfigError(f"{name}: {shown(text)} is not a directory; it must hold one directory per model")
    socket_path = _socket_path(*texts["socket"]) if "socket" in texts else None
    host = texts["host"][1] if "host" in texts else ServerConfig.host
    if socket_path is None:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(
                f"{texts.get('host', ('--host', ''))[0]}: {shown(host)} is no address: {error}"
            ) from None

    def integer(setting: str, default: int, least: int, most: int, unit: str) -> int:
        return _integer(*texts[setting], least, most, unit) if setting in texts else default

    def seconds(setting: str, default: float) -> float:
        return _seconds(*texts[setting]) if setting in texts else default

    pin_name, pin = texts.get("pin", ("", ServerConfig.pin))
    if pin not in {"auto", "on", "off"}:
        raise ConfigError(f"{pin_name}: expected auto, on or off, found {shown(pin)}")
    config = ServerConfig(
        models=models,
        socket=socket_path,
        host=host,
        port=integer("port", ServerConfig.port, 0, 65535, "(TCP port)"),
        max_request_bytes=integer("max_request_bytes", ServerConfig.max_request_bytes, 1, 1 << 40, "bytes"),
        threads=integer("threads", min(len(usable_cpus()), _MAX_THREADS), 1, _MAX_THREADS, "threads"),
        workers=integer("workers", ServerConfig.workers, 1, _MAX_THREADS, "inferences"),
        queue=integer("queue", ServerConfig.queue, 0, 1_000_000, "requests"),
        body_timeout=seconds("body_timeout", ServerConfig.body_timeout),
        stop_timeout=seconds("stop_timeout", ServerConfig.stop_timeout),
        pin=pin,
    )
    if config.pin == "on" and (config.workers > 1 or config.threads > len(usable_cpus())):
        raise ConfigError(
            f"{pin_name}: pinning needs one worker and a CPU per thread; found {config.workers} workers, "
            f"{config.threads} threads and {len(usable_cpus())} usable CPUs"
        )
    return config
