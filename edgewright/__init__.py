# SPDX-License-Identifier: Apache-2.0
"""Edgewright: Python for the controller and the build host. Nothing below imports Ansible."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("edgewright")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
