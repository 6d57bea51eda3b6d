# SPDX-License-Identifier: Apache-2.0
"""Many devices at once: read them, plan what a run would do, tell what drifted."""
