# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests: tiny models, packages, and a served process."""
