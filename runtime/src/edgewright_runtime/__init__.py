# SPDX-License-Identifier: Apache-2.0
"""Model server of an Edgewright device.

It serves model packages (directories with a `model.yml`) over the Open Inference Protocol v2, HTTP.
A model is read, compared with its sha256, loaded, run on its golden inputs and compared with its
golden outputs before the server listens at all: a socket that exists belongs to models that were checked.

The order of the parts, each a module:

    cli -> config -> model_package -> backend (onnx_backend) -> repository -> app (body, protocol, work)
        -> server
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
