# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA stack: one set of versions from kernel to TensorRT, chosen and explained from facts.

    facts (data/facts/*.yml) -> universe of a profile -> resolve() -> a Stack, or a Refusal that tells why

`facts` reads and checks the rows, `relations` judges pairs of versions by them, `universe` puts both
together for a hardware profile, `resolution` searches, `failure` tells why nothing fits, `explain` why
this version and not another, `check` judges a set that exists. No IO but the reading of facts and input.
"""
