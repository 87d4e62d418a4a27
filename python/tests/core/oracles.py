"""What the results are held to: the image of the hash weights, the hash of bits, the repository's golden values."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "data/digits/digits.safetensors"

ARCHITECTURES = [
    "digits",
    "mobilenet_v1",
    "mobilenet_v2",
    "xception",
    "shufflenet_v1",
    "shufflenet_v2",
    "squeezenet_1_0",
    "squeezenet_1_1",
    "effnet",
]

Floats = NDArray[np.float32]


def fnv1a(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def bits(array: Floats) -> str:
    """The hash of an array's bits, as tests/data/bits.csv has it."""
    return f"{fnv1a(array.astype('<f4').tobytes()):016x}"


def image(height: int, width: int, channels: int) -> Floats:
    """The image that goes with the hash weights, as one of a batch: SplitMix64 from the hash of "input", by channels."""
    index = np.arange(1, height * width * channels + 1, dtype=np.uint64)
    z = np.uint64(fnv1a(b"input")) + index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    uniform = (z >> np.uint64(40)).astype(np.float64) / (1 << 24)
    planes = (2.0 * uniform - 1.0).astype(np.float32).reshape(1, channels, height, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def images(count: int, height: int, width: int, channels: int) -> Floats:
    """Different images."""
    return np.random.default_rng(7).uniform(-1, 1, (count, height, width, channels)).astype(np.float32)


def table(name: str) -> list[dict[str, str]]:
    """The rows of a file in tests/data."""
    with (ROOT / "tests/data" / name).open() as file:
        return list(csv.DictReader(file))


def arguments(row: str) -> dict[str, Any]:
    """The arguments of `Network` for a row such as `mobilenet_v1_0.5_160_tf`."""
    if row == "mobilenet_mnist_0.5":
        return {"name": "digits"}
    name = next(name for name in ARCHITECTURES if row.startswith(name))
    found: dict[str, Any] = {"name": name}
    for word in row[len(name) :].strip("_").split("_"):
        if word[0] == "g" and word[1:].isdigit():
            found["groups"] = int(word[1:])
        elif word.isdigit():
            found["resolution"] = int(word)
        elif word[0].isdigit():
            found["width"] = float(word.rstrip("x"))
        else:
            found["flavor"] = "torch" if word == "tv" else word
    return found


def tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    types = {"F32": "<f4", "F16": "<f2", "U8": "u1"}
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[start:end], types[entry["dtype"]]).reshape(entry["shape"])
    return found


def guide(*, torch: bool) -> str:
    """The code of the guide: that under the heading about PyTorch, or all other."""
    parts = (ROOT / "python/README.md").read_text().split("\n## ")
    chosen = [part for part in parts if part.startswith("From PyTorch") == torch]
    blocks = [block.split("```")[0] for part in chosen for block in part.split("```python\n")[1:]]
    return "import sepconv\n" + "\n".join(blocks)
