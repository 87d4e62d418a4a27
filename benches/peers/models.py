"""Networks in engines: their files are written, loaded, and checked against each other."""

import functools
import hashlib
import pathlib

import numpy as np

import write_ncnn
import write_onnx
from engines import PEERS, Peer
from environments import PINNED, Failure, call, once, progress, python_of
from networks import Network
from weights import image

SOURCES = pathlib.Path(__file__).resolve().parent
#: The engine whose outputs the others must agree with, and how far off they may lie, in parts of the largest.
REFERENCE = "onnxruntime"
TOLERANCE = 1e-3


@functools.cache
def edition(writer: str) -> str:
    """A digest that changes when files of a kind have to be written again."""
    digest = hashlib.sha256(repr(PINNED).encode())
    for module in ("networks", "weights", writer):
        digest.update((SOURCES / f"{module}.py").read_bytes())
    return digest.hexdigest()


def written(directory: pathlib.Path, network: Network, suffix: str, batch: int = 1) -> pathlib.Path:
    """Names the file of `network` that ends in `suffix` (onnx, param or tflite), which is written first if need be.

    Only an ONNX file says how many images a run has.
    """
    folder = directory / "models"
    folder.mkdir(exist_ok=True)
    images = f"_batch_{batch}" if suffix == "onnx" and batch > 1 else ""
    path = folder / f"{network.name}{images}.{suffix}"
    writer = {"onnx": "write_onnx", "param": "write_ncnn", "tflite": "write_tflite"}[suffix]

    def write():
        match suffix:
            case "onnx":
                write_onnx.write(network, path, batch)
            case "param":
                write_ncnn.write(network, path)
            case "tflite":
                python = python_of(directory, "convert")
                call([python, SOURCES / f"{writer}.py", network.name, path], f"{path.name}: TensorFlow")
        progress(f"{path}: written")

    once(folder / f"{path.name}.edition", edition(writer), write)
    return path


def load(directory: pathlib.Path, network: Network, names: list[str], threads: int, batch: int = 1) -> dict[str, Peer]:
    """Loads a network into engines, which have to agree on random images."""
    pixels = image(network, batch)

    def loaded(name: str) -> Peer:
        kind = PEERS[name]
        return kind.load(written(directory, network, kind.suffix, batch), threads, pixels)

    peers = {name: loaded(name) for name in names}
    wanted = outputs_of(peers.get(REFERENCE) or loaded(REFERENCE))
    for name, peer in peers.items():
        distance = float(np.abs(outputs_of(peer) - wanted).max() / np.abs(wanted).max())
        if name != REFERENCE:
            progress(f"{network.name}: {name} is within {distance:.0e} of {REFERENCE}, in parts of the largest output")
        if not distance <= TOLERANCE:
            raise Failure(f"{network.name}: {name} is {distance:.1e} off; expected at most {TOLERANCE}")
    return peers


def outputs_of(peer: Peer) -> np.ndarray:
    """Returns all that a network puts out in one row."""
    return np.concatenate([np.asarray(output).ravel() for output in peer.outputs()])
