#!/usr/bin/env python3
"""Times every depthwise layer of MobileNet V1 and V2 by itself in ONNX Runtime and OpenVINO beside sepconv, one thread.

    python benches/peers/depthwise.py DIR

An engine's time for a layer is what 24 of them take beyond 8 of them, divided by 16: calls, and changes of layout at
either end, cancel out. DIR is that of compare.py; it receives depthwise.csv and depthwise.md.
"""

import argparse
import math
import pathlib

from engines import OURS, Program, built, turns, version
from environments import Failure, enter, guarded, positive, progress
from networks import FEWEST, MOST, Layer, depthwise_layers, depthwise_stack
from report import Occasion, table, write_csv

PEERS = ["onnxruntime", "openvino"]


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--rounds", type=positive, default=20, help="turns of each stack of layers [%(default)s]")
    parser.add_argument("--per-round", type=positive, default=5, help="runs of a turn [%(default)s]")
    return parser.parse_args()


def time_layer(arguments: argparse.Namespace, layer: Layer, program: pathlib.Path) -> dict[str, float]:
    """Returns the milliseconds of a layer in each engine."""
    import models  # which only the environment entered has the packages for

    flags = {"--size": layer.input.size, "--channels": layer.input.channels, "--stride": layer.stride}
    with (
        Program(program, flags | {"--layers": FEWEST}) as ours_fewest,
        Program(program, flags | {"--layers": MOST}) as ours_most,
    ):
        clocks = {(OURS, FEWEST): ours_fewest.clock, (OURS, MOST): ours_most.clock}
        for count in (FEWEST, MOST):
            peers = models.load(arguments.directory, depthwise_stack(layer, count), PEERS, threads=1)
            clocks |= {(name, count): peer.clock for name, peer in peers.items()}
        times = turns(clocks, arguments.rounds, arguments.per_round)
    fastest = {key: min(map(min, rounds)) for key, rounds in times.items()}
    result = {}
    for name in [OURS, *PEERS]:
        result[name] = (fastest[name, MOST] - fastest[name, FEWEST]) / (MOST - FEWEST)
        if result[name] <= 0:
            raise Failure(
                f"{described(layer)}: {MOST} layers took {name} {fastest[name, MOST]:.3f} ms, expected more than the "
                f"{fastest[name, FEWEST]:.3f} ms of {FEWEST}; the machine is busy, or more --rounds are needed"
            )
    return result


def described(layer: Layer) -> str:
    """Writes the shape of a layer."""
    return f"{layer.input.size}x{layer.input.size}x{layer.input.channels} stride {layer.stride}"


def main() -> int:
    """Times every layer and reports them."""
    arguments = parse()
    enter(arguments.directory)
    progress("building example depthwise_latency")
    program = built("depthwise_latency")
    rows, records, ratios = [], [], {}
    for layer in depthwise_layers():
        times = time_layer(arguments, layer, program)
        ratio = ratios[described(layer)] = min(times[name] for name in PEERS) / times[OURS]
        gflops = {name: 2 * layer.multiplications / time / 1e6 for name, time in times.items()}
        progress(f"{described(layer)}: {ratio:.2f}")
        rows.append(
            {"layer": described(layer)}
            | {f"{name} ms": f"{time:.4f}" for name, time in times.items()}
            | {f"{name} GFLOP/s": f"{rate:.1f}" for name, rate in gflops.items()}
            | {"fastest peer / ours": f"{ratio:.2f}"}
        )
        shape = {"size": layer.input.size, "channels": layer.input.channels, "stride": layer.stride}
        records += [
            shape | {"engine": name, "version": version(name), "ms": f"{time:.5f}", "gflops": f"{gflops[name]:.2f}"}
            for name, time in times.items()
        ]
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    smallest = min(ratios, key=ratios.get)
    occasion = Occasion()
    text = (
        f"{occasion.cpu}, {occasion.date}, f32, batch 1, 1 thread\n\n{table(rows)}\n"
        f"Fastest peer / ours: geometric mean {mean:.3f}, smallest {ratios[smallest]:.3f} ({smallest})\n"
    )
    print(text, end="")
    (arguments.directory / "depthwise.md").write_text(text)
    write_csv(arguments.directory / "depthwise.csv", occasion, records)
    progress(f"{arguments.directory}: depthwise.md and depthwise.csv written")
    return 0


if __name__ == "__main__":
    guarded(main)
