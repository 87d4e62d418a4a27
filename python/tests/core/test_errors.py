"""What is wrong is an error with the sentence of the Rust crate, and nothing is cast, cropped or broadcast."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import DIGITS, ROOT, images

import sepconv

SIZE = 33
NET = sepconv.Network("mobilenet_v1", width=0.25, resolution=SIZE, weights="hash")
X: Any = images(2, SIZE, SIZE, 3)

IMAGE = 'input "image": got '
FLOATS = ", expected a numpy array of float32"
ARRAYS: dict[str, tuple[Any, str]] = {
    "float64": (X.astype(np.float64), f"{IMAGE}an array of float64{FLOATS}"),
    "float16": (X.astype(np.float16), f"{IMAGE}an array of float16{FLOATS}"),
    "uint8": (X.astype(np.uint8), f"{IMAGE}an array of uint8{FLOATS}"),
    "other endian": (X.astype(">f4"), f"{IMAGE}an array of >f4{FLOATS}"),
    "objects": (X.astype(object), f"{IMAGE}an array of object{FLOATS}"),
    "a list": (X.tolist(), f"{IMAGE}list{FLOATS}"),
    "nothing": (None, f"{IMAGE}NoneType{FLOATS}"),
    "one image": (X[0], f'{IMAGE}an array of 3 axes, 33x33x3, expected images x 33x33x3 (layout="nhwc")'),
    "five axes": (X[None], f'{IMAGE}an array of 5 axes, 1x2x33x33x3, expected images x 33x33x3 (layout="nhwc")'),
    "too wide": (
        np.pad(X, ((0, 0), (0, 0), (0, 1), (0, 0))),
        f'{IMAGE}an array of 4 axes, 2x33x34x3, expected images x 33x33x3 (layout="nhwc")',
    ),
    "grey": (X[..., :1], f'{IMAGE}an array of 4 axes, 2x33x33x1, expected images x 33x33x3 (layout="nhwc")'),
    "by planes": (
        X.transpose(0, 3, 1, 2),
        f'{IMAGE}an array of 4 axes, 2x3x33x33, expected images x 33x33x3 (layout="nhwc")',
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_refused(name: str) -> None:
    array, sentence = ARRAYS[name]
    with pytest.raises(sepconv.Error, match=f"^{re.escape(sentence)}$"):
        NET(array)


def network(name: str = "mobilenet_v1", weights: Any = "hash", **arguments: Any) -> sepconv.Network:
    return sepconv.Network(name, weights=weights, **arguments)


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "layout": (lambda: NET(X, layout="chwn"), 'layout: got "chwn", expected "nhwc" or "nchw"'),  # type: ignore[arg-type]
    "nchw": (lambda: NET(X, layout="nchw"), 'got an array of 4 axes, 2x33x33x3, expected images x 3x33x33 (layout="nchw")'),
    "no array": (lambda: NET(), "inputs: got 0 arrays, expected 1"),
    "two arrays": (lambda: NET(X, X), "inputs: got 2 arrays, expected 1"),
    "name": (lambda: network("alexnet"), "network alexnet: expected one of digits, mobilenet_v1,"),
    "width": (lambda: network(width=-1.0), "width -1: expected more than 0, at most 16"),
    "resolution": (lambda: network(resolution=0), "resolution 0: expected 1 to 8192 pixels"),
    "negative": (lambda: network(resolution=-5), "number: got -5, expected one from 0 on that fits the address space"),
    "large": (lambda: network(classes=1 << 80), f"number: got {1 << 80}, expected one from 0 on"),
    "flavor": (lambda: network(flavor="caffe"), "flavor caffe: expected one of torch, timm, tf, keras, slim for mobilenet_v1"),
    "groups": (lambda: network(groups=3), "groups 3: expected none for mobilenet_v1"),
    "activation": (lambda: network(activation="gelu"), "activation gelu: expected one of linear, relu, relu6"),
    "epsilon": (lambda: network(epsilon=2.0), "epsilon 2: expected 0 or more, below 1"),
    "threads": (lambda: network(threads=0), "threads: got 0, expected 1 to 1024"),
    "isa": (lambda: network(isa="mmx"), 'unknown ISA "mmx": expected one of portable, neon, avx2, avx512'),
    "weights": (lambda: network(weights=3), 'weights: got int, expected "hash", the path of a safetensors file, or a dict'),
    "no file of weights": (lambda: network(weights=ROOT / "README.md"), "not a readable safetensors file: "),
    "another network's": (lambda: network(weights=DIGITS), "these weights look like digits, not mobilenet_v1_1.0_224_torch: build digits, or give other weights"),
    "types of tensors": (
        lambda: network("digits", weights={"conv_1.weight": np.zeros((16, 1, 1, 1))}),
        "conv_1.weight: an array of float64, expected a numpy array of float32",
    ),
    "shapes of tensors": (
        lambda: network("digits", weights={"conv_1.weight": np.zeros((16, 1), np.float32)}),
        "conv_1.weight: shape [16, 1], expected [16, 1, 1, 1]",
    ),
    "load": (lambda: sepconv.load(ROOT / "Cargo.toml"), "not a readable safetensors file: "),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused(name: str) -> None:
    call, sentence = CALLS[name]
    with pytest.raises(sepconv.Error, match=re.escape(sentence)):
        call()


def test_an_isa_that_cannot_run_here() -> None:
    lacking = next(isa for isa in ("neon", "avx2", "avx512") if isa not in sepconv.isas())
    with pytest.raises(sepconv.Error, match=f"ISA {lacking} cannot run here: this CPU and build support portable"):
        network(isa=lacking)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nonesuch.safetensors"
    with pytest.raises(FileNotFoundError) as caught:
        network(weights=path)
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        sepconv.load(path)
    with pytest.raises(IsADirectoryError):
        sepconv.load(tmp_path)


def test_numbers_of_other_types() -> None:
    for wrong in ("two", 2.0, None):
        with pytest.raises(TypeError):
            network(threads=wrong)
    assert network("digits", resolution=np.int64(30)).inputs == [("image", (30, 30, 1))]
