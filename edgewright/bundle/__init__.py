# SPDX-License-Identifier: Apache-2.0
"""Bundles: a locked release whole on a stick, signed, verified and taken into a controller's depot."""
