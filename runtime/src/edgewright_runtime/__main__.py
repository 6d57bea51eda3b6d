# SPDX-License-Identifier: Apache-2.0
"""`python -m edgewright_runtime`."""

from edgewright_runtime.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
