# SPDX-License-Identifier: Apache-2.0
"""The command line: check the models, then serve them.

Exit status: 0 stopped by a signal with all requests finished (or `--check` passed); 1 a model is wrong, the
socket cannot be had, or requests had to be given up; 2 an option or an environment variable is wrong.
The reason is one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from edgewright_runtime import __version__
from edgewright_runtime.config import ENVIRONMENT, ServerConfig, config_from
from edgewright_runtime.errors import ConfigError, RuntimeFault, one_line

__all__ = ["main"]

_HELP = {
    "models": "directory with one directory per model package",
    "socket": "unix socket to listen on (absolute path)",
    "host": f"address to listen on without a socket (default {ServerConfig.host})",
    "port": f"TCP port to listen on without a socket; 0 lets the kernel choose (default {ServerConfig.port})",
    "max_request_bytes": f"largest request body in bytes (default {ServerConfig.max_request_bytes})",
    "threads": "threads that work on one inference (default: as many as there are usable CPUs)",
    "workers": f"inferences that run at the same time (default {ServerConfig.workers})",
    "queue": f"requests that may wait beyond those; more are refused with 503 (default {ServerConfig.queue})",
    "body_timeout": f"seconds a client may take to send its body (default {ServerConfig.body_timeout:g})",
    "stop_timeout": f"seconds requests get to finish after SIGTERM (default {ServerConfig.stop_timeout:g})",
    "pin": "auto, on or off: give every computing thread a CPU of its own (default auto: where the process "
    "may use only some of the machine's CPUs)",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgewright-runtime", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--check", action="store_true", help="check and try the models, then end without serving"
    )
    parser.add_argument(
        "--config-from-env",
        action="store_true",
        help="read environment variables; an option beats its variable",
    )
    for setting, text in _HELP.items():
        option = "--" + setting.replace("_", "-")
        parser.add_argument(option, dest=setting, metavar="X", help=f"{text} [{ENVIRONMENT[setting]}]")
    return parser


def _say(line: str) -> None:
    print(f"edgewright-runtime: {line}", file=sys.stderr, flush=True)


def _stop_early(_sig: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server.

    Args:
        argv: the arguments; the process's own when None.

    Returns:
        The exit status.
    """
    arguments = vars(_parser().parse_args(argv))
    began = time.monotonic()
    try:
        environment = dict(os.environ) if arguments["config_from_env"] else None
        for name in sorted(environment or {}):
            if name.startswith("EDGEWRIGHT_") and name not in ENVIRONMENT.values():
                _say(f"warning: environment variable {name} is unknown here and has no effect")
        config = config_from({setting: arguments[setting] for setting in ENVIRONMENT}, environment)
        signal.signal(signal.SIGTERM, _stop_early)
        return _run(config, check_only=arguments["check"], began=began)
    except ConfigError as error:
        _say(f"error: {one_line(error)}")
        return 2
    except RuntimeFault as error:
        _say(f"error: {one_line(error)}")
        return 1
    except KeyboardInterrupt:
        return 0


def _give_memory_back() -> None:
    """Return to the kernel what loading no longer needs; with glibc, 17 MB of 119 with the label reader."""
    import ctypes  # noqa: PLC0415 # numpy has loaded it already

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other C libraries do without
        trim(0)


def _run(config: ServerConfig, *, check_only: bool, began: float) -> int:
    # Imported here: a wrong option is told before numpy and the engine are loaded, which takes seconds on
    # a slow or emulated CPU.
    from edgewright_runtime.backend import Engine  # noqa: PLC0415
    from edgewright_runtime.repository import load_models  # noqa: PLC0415

    cpus = config.pinned_cpus()
    placed = f"pinned to CPUs {','.join(map(str, cpus))}" if cpus else "not pinned"
    _say(
        f"version {__version__}: {config.threads} threads per inference, {placed}; models in {config.models}"
    )
    repository = load_models(config.models, Engine(config.threads, cpus), _say)
    if check_only:
        _say(f"all {len(repository.all())} models are good")
        return 0

    from edgewright_runtime.app import make_app  # noqa: PLC0415
    from edgewright_runtime.metrics import Metrics  # noqa: PLC0415
    from edgewright_runtime.server import address_of, listen, serve  # noqa: PLC0415
    from edgewright_runtime.work import Work  # noqa: PLC0415

    _give_memory_back()
    work = Work(config.workers, config.queue, cpus[0] if cpus else None)
    app = make_app(config, repository, work, Metrics())
    listening = listen(config)
    _say(f"ready on {address_of(listening, config)} after {time.monotonic() - began:.1f} s")
    finished = serve(app, config, work, listening, _say)
    _say("stopped" if finished else "stopped with requests unfinished")
    if not finished:
        os._exit(1)  # an ordinary end would wait for the threads that still compute
    return 0
