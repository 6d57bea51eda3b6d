# SPDX-License-Identifier: Apache-2.0
"""Which operating system a device should have: Debian with its real-time kernel, or Ubuntu Core.

`facts` reads what is known of both, with sources; `advise` weighs what a device needs against it. Nothing is
recommended that no verified fact supports.
"""
