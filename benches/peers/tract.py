#!/usr/bin/env python3
"""Runs ONNX models by tract alone and with sepconv under it: holds the results to each other, and times both.

    python benches/peers/tract.py DIR

DIR receives the models, and what writes them, once: the networks of the comparison (numpy and onnx, 100 MB), and models of
torchvision and timm whose batch normalisation stands by itself (PyTorch, 6 GB). Everything is f32 with batch 1. Each row's
ratio is the time of the faster of tract and tract's own `conv_nhwc` over that with sepconv, by the fastest of the runs.
"""

import argparse
import array
import dataclasses
import json
import pathlib
import sys

from environments import PINNED, Failure, call, guarded, listed, numbers, once, positive, progress, python_of
from networks import NETWORKS

SOURCES = pathlib.Path(__file__).resolve().parent
ROOT = SOURCES.parents[1]
#: How far the results may be apart, in parts of the largest number.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Torch:
    """A model of torchvision or timm."""

    size: int
    #: Whether sepconv has all of its operators.
    whole: bool = True


TORCH = {
    "torchvision.mobilenet_v2": Torch(224),
    "torchvision.shufflenet_v2_x1_0": Torch(224),
    "torchvision.squeezenet1_1": Torch(224),
    "timm.mobilenetv1_100": Torch(224),
    "timm.legacy_xception": Torch(299),
    "torchvision.mobilenet_v3_small": Torch(224, whole=False),
}
MODELS = [*NETWORKS, *TORCH]


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--models", type=listed(MODELS), default=",".join(MODELS), help="models [%(default)s]")
    parser.add_argument("--threads", type=numbers, default="1,2", help="numbers of threads [%(default)s]")
    parser.add_argument("--rounds", type=positive, default=20, help="runs of each engine [%(default)s]")
    return parser.parse_args()


def written(directory: pathlib.Path, name: str) -> pathlib.Path:
    """Names the file of a model, which is written first if need be."""
    path = directory / f"{name}.onnx"
    environment, writer, *size = ("torch", "write_torch", TORCH[name].size) if name in TORCH else ("write", "write_onnx")
    python, source = python_of(directory, environment), SOURCES / f"{writer}.py"
    edition = "\n".join([*PINNED[environment], source.read_text(), (SOURCES / "networks.py").read_text()])

    def write():
        call([python, source, name, *size, path], f"{path.name}: {writer}")
        progress(f"{path}: written")

    once(directory / f"{name}.edition", edition, write)
    return path


def largest(path: pathlib.Path) -> float:
    """The largest absolute number of an .npy file of the example, whose header takes two bytes for its length."""
    data = path.read_bytes()
    values = array.array("f", data[10 + int.from_bytes(data[8:10], "little"):])
    if sys.byteorder != "little":
        values.byteswap()
    return max(map(abs, values))


def run(program: pathlib.Path, arguments: argparse.Namespace, name: str, threads: int) -> dict:
    """What the example says of a model; a failure where its results are apart, or too little of it was replaced."""
    model, output = written(arguments.directory, name), arguments.directory / "output.npy"
    options = ["--threads", threads, "--rounds", arguments.rounds, "--output", output, "--json"]
    report = json.loads(call([program, model, *options], f"{name}: example onnx"))
    difference = report["max_abs_difference"] / largest(output)
    if not difference <= TOLERANCE:
        raise Failure(f"{name}: {difference} of the largest number apart, expected at most {TOLERANCE}")
    replaced, total = report["nodes_replaced"], report["nodes_total"]
    whole = name not in TORCH or TORCH[name].whole
    if replaced < (total if whole else 1) or (whole and report["subgraphs"] != 1):
        raise Failure(f"{name}: {replaced} of {total} nodes in {report['subgraphs']} subgraphs, expected all in one")
    return report


def main() -> int:
    """Runs everything and prints a table."""
    arguments = parse()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    progress("building example onnx")
    build = ["cargo", "build", "--release", "-p", "sepconv-tract", "--example", "onnx", "--message-format", "json"]
    messages = map(json.loads, call(build, "cargo build", cwd=ROOT).splitlines())
    program = [message["executable"] for message in messages if message.get("executable")][-1]
    columns = ["model", "threads", "nodes by sepconv", "subgraphs", "tract", "its `conv_nhwc`", "with sepconv", "ratio"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for name in arguments.models:
        for threads in arguments.threads:
            report = run(program, arguments, name, threads)
            times = [f"{report[f'{engine}_ms']:.2f}" for engine in ("tract", "tract_nhwc", "sepconv")]
            nodes = f"{report['nodes_replaced']} of {report['nodes_total']}"
            row = [name, str(threads), nodes, str(report["subgraphs"]), *times, f"{report['ratio']:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    guarded(main)
