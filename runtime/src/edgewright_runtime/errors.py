# SPDX-License-Identifier: Apache-2.0
"""The errors of the runtime: one base, and one family per party who must act.

`ConfigError`: who starts the server (an option or an environment variable is wrong).
`ModelError`: who built the model package (or who damaged it).
`StartError`: who runs the device (the socket cannot be had).
`RequestError`: the client that sent a request; carries the HTTP status.
"""

from __future__ import annotations

__all__ = ["ConfigError", "ModelError", "RequestError", "RuntimeFault", "StartError", "one_line", "shown"]

_SHOWN_CHARS = 80
_LINE_CHARS = 600


class RuntimeFault(Exception):  # noqa: N818 # the base; its families carry the suffix
    """Base of every error that the runtime raises on purpose."""


class ConfigError(RuntimeFault):
    """An option or an environment variable is wrong: nothing was started."""


class ModelError(RuntimeFault):
    """A model package is wrong, damaged, or does not compute what it promises: it is not served."""


class StartError(RuntimeFault):
    """The server cannot listen where it was told to."""


class RequestError(RuntimeFault):
    """A request that is refused, with the reason for the client.

    Args:
        message: one sentence for the client.
        status: HTTP status code, 4xx; 503 when the server cannot take the request now.
        reason: short label for the metrics, from a fixed set.
    """

    def __init__(self, message: str, *, status: int = 400, reason: str = "bad_request") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def shown(value: object) -> str:
    """A foreign value for a message: its `repr`, cut to a length that does no harm."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def one_line(error: BaseException) -> str:
    """An error's message on one line, cut to a length that does no harm."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS - 3] + "..."
