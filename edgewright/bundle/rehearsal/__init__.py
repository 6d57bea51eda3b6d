# SPDX-License-Identifier: Apache-2.0
"""The whole site procedure before a stick leaves the office, on fresh twins that reach only each other."""
