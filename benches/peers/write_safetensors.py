"""Writes MobileNet V2 as PyTorch's torchvision would save it, each convolution with a normalisation, and images for ours."""

import json
import math
import pathlib
import typing

import numpy as np

from networks import Network
from weights import weights

EPSILON = 1e-3
BLOCKS = 17


def write(network: Network, path: pathlib.Path):
    """Writes `network`, which is MobileNet V2, to `path`.

    The files of other engines have the normalisation folded away: here it scales by 1 and adds the bias.
    """
    tensors = {}
    for (weight, norm), (values, bias) in zip(names(), weights(network).values(), strict=True):
        tensors[f"{weight}.weight"] = values
        if norm is None:
            tensors[f"{weight}.bias"] = bias
            continue
        ones, zeros = np.ones_like(bias), np.zeros_like(bias)
        tensors |= {
            f"{norm}.weight": ones * np.float32(math.sqrt(1 + EPSILON)),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": zeros,
            f"{norm}.running_var": ones,
        }
    metadata = {"network": network.name, "bn_eps": str(EPSILON), **{
        flag.removeprefix("--"): str(value) for flag, value in network.flags.items()
    }}
    save(path, tensors, {f"sepconv.{key}": value for key, value in metadata.items()})


def names() -> typing.Iterator[tuple[str, str | None]]:
    """The names of each layer's weights and of its normalisation, in the order of the layers."""
    yield "features.0.0", "features.0.1"
    for block in range(BLOCKS):
        module, filters = f"features.{block + 1}.conv", 1 if block == 0 else 2
        for at in range(filters):
            yield f"{module}.{at}.0", f"{module}.{at}.1"
        yield f"{module}.{filters}", f"{module}.{filters + 1}"
    yield "features.18.0", "features.18.1"
    yield "classifier.1", None


def save(path: pathlib.Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]):
    """Writes f32 tensors to a safetensors file."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = (values.astype("<f4").tobytes() for values in tensors.values())
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *data]))
