"""Writes tests/data/photographs.csv: what MobileNet V2 with torchvision's weights says of photographs.

    python3 tools/fetch_models.py models
    models/.sepconv-venv/bin/python tools/photograph_table.py models > tests/data/photographs.csv

Pillow decodes, tools/preprocess_tables.py prepares, and the network runs here in numpy's f64, after torchvision's own
definition. The table has every class above 1 %.
"""
import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps

from preprocess_tables import recipe

# Expansion, blocks, stride of the first block (Sandler et al. 2018, table 2).
STAGES = [(1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)]


def tensors(path):
    """The f32 tensors of a safetensors file, as f64."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])

    def tensor(entry):
        first, end = entry["data_offsets"]
        return np.frombuffer(data[start + first : start + end], "<f4").reshape(entry["shape"]).astype(float)

    return {name: tensor(entry) for name, entry in header.items() if name != "__metadata__"}


def convolved(x, kernel, stride):
    """CHW by OIHW: pointwise, or 3x3 with a border of zeros, whole or depthwise."""
    if kernel.shape[2] == 1:
        return np.einsum("oi,ihw->ohw", kernel[:, :, 0, 0], x, optimize=True)
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::stride, ::stride]
    if kernel.shape[1] == 1:
        return np.einsum("cyx,chwyx->chw", kernel[:, 0], windows)
    return np.einsum("ocyx,chwyx->ohw", kernel, windows, optimize=True)


def probabilities(weights, image):
    """Of the 1000 classes, for an image of 224 x 224 x 3."""

    def unit(x, convolution, norm, stride=1):
        x = convolved(x, weights[f"{convolution}.weight"], stride)
        mean, variance, scale, shift = (
            weights[f"{norm}.{field}"][:, None, None] for field in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(unit(image.transpose(2, 0, 1), "features.0.0", "features.0.1", 2))
    index = 0
    for expansion, blocks, first in STAGES:
        for block in range(blocks):
            index += 1
            name, y, at = f"features.{index}.conv", x, 0
            if expansion > 1:
                y, at = relu6(unit(y, f"{name}.0.0", f"{name}.0.1")), 1
            y = relu6(unit(y, f"{name}.{at}.0", f"{name}.{at}.1", 1 if block else first))
            y = unit(y, f"{name}.{at + 1}", f"{name}.{at + 2}")
            x = x + y if block else y
    x = relu6(unit(x, "features.18.0", "features.18.1")).mean((1, 2))
    logits = weights["classifier.1.weight"] @ x + weights["classifier.1.bias"]
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    weights = tensors(folder / "mobilenet_v2.safetensors")
    print("photo,class,probability")
    for photo in sorted((folder / "photos").iterdir()):
        levels = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
        p = probabilities(weights, recipe("torchvision", levels, 224))
        for k in np.argsort(-p):
            if p[k] > 0.01:
                print(f"{photo.name},{k},{p[k]:.5f}")
