"""SIMD kernels for depthwise-separable convolutional networks on CPUs.

>>> import numpy, sepconv
>>> net = sepconv.Network("mobilenet_v1", width=0.25, resolution=128, weights="hash")
>>> net(numpy.zeros((2, 128, 128, 3), numpy.float32)).shape
(2, 1000)

`load` reads a weight file, `Network` is a network of the literature by name, `Graph` builds one's own, `from_torch` takes a
PyTorch module. Arrays are numpy's, of float32, images x height x width x channels unless `layout="nchw"` says otherwise. What
is wrong is an `Error`.
"""

from ._native import (
    Clamp,
    Error,
    Flatten,
    Graph,
    Layer,
    Network,
    Padding,
    Step,
    Tensor,
    Window,
    isas,
    load,
)
from ._torch import from_torch

__all__ = [
    "Clamp",
    "Error",
    "Flatten",
    "Graph",
    "Layer",
    "Network",
    "Padding",
    "Step",
    "Tensor",
    "Window",
    "from_torch",
    "isas",
    "load",
]
