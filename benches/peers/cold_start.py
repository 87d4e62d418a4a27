#!/usr/bin/env python3
"""Times MobileNet V2 from the file to the first logits in each engine beside sepconv, one thread.

    python benches/peers/cold_start.py DIR

Each engine loads its file, makes itself ready and runs one image, in a process that has done so before; the file lies in
the page cache and is opened anew. Ours starts from weights, as the others do, and from a plan that was saved. DIR is that of compare.py; it receives cold_start.csv and cold_start.md.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import time
import typing

from engines import OURS, PEERS, Clock, Kind, Program, built, turns, version
from environments import Failure, call, enter, guarded, once, positive, progress
from networks import mobilenet_v2
from report import Occasion, table, write_csv

if typing.TYPE_CHECKING:
    import numpy as np


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--rounds", type=positive, default=20, help="starts of each engine [%(default)s]")
    return parser.parse_args()


def clock(kind: Kind, path: pathlib.Path, pixels: "np.ndarray") -> Clock:
    """Times an engine from its file to its first outputs."""

    def starts(count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            peer = kind.load(path, 1, pixels)
            peer.outputs()
            times.append((time.perf_counter() - start) * 1e3)
            del peer
        return times

    return starts


def written(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes our files, and names each behind its flag: weights, which have to give the logits of the others, and a plan."""
    import models  # which only the environment entered has the packages for
    import numpy as np
    import write_safetensors
    from weights import image

    network = mobilenet_v2()
    models.written(directory, network, "onnx")
    path = directory / "models" / f"{network.name}.safetensors"

    def write():
        write_safetensors.write(network, path)
        progress(f"{path}: written")

    once(path.with_name(f"{path.name}.edition"), models.edition("write_safetensors"), write)
    picture = directory / "models" / "image.safetensors"
    write_safetensors.save(picture, {"input": image(network)}, {})
    plan = path.with_suffix(".plan")
    command = [built("logits"), "--weights", path, "--input", picture, "--save", plan]
    said = json.loads(call(command, f"{path}: example logits"))
    [peer] = models.load(directory, network, [models.REFERENCE], 1).values()
    wanted = models.outputs_of(peer)
    distance = float(np.abs(np.float32(said["logits"]) - wanted).max() / np.abs(wanted).max())
    if not distance <= models.TOLERANCE:
        raise Failure(f"{path}: {distance:.1e} off {models.REFERENCE}; expected at most {models.TOLERANCE}")
    return {"--weights": path, "--plan": plan}


def main() -> int:
    """Times every engine and reports them."""
    arguments = parse()
    enter(arguments.directory)
    progress("building examples logits and latency")
    program, files = built("latency"), written(arguments.directory)

    import models
    from weights import image

    network = mobilenet_v2()
    pixels = image(network)
    paths = {name: models.written(arguments.directory, network, kind.suffix) for name, kind in PEERS.items()}
    progress("timing")
    with contextlib.ExitStack() as stack:
        ours = {
            (OURS, file.suffix): stack.enter_context(Program(program, {flag: file, "--cold": None})).clock
            for flag, file in files.items()
        }
        others = {(name, path.suffix): clock(PEERS[name], path, pixels) for name, path in paths.items()}
        times = turns(ours | others, arguments.rounds, 1)
    taken = {key: sum(rounds, []) for key, rounds in times.items()}
    medians = {key: statistics.median(starts) for key, starts in taken.items()}
    rows = [
        {
            "engine": f"{name} {version(name)}",
            "file": suffix,
            "median ms": f"{medians[name, suffix]:.2f}",
            "min ms": f"{min(starts):.2f}",
        }
        | {f"over ours from {of.suffix}": f"{medians[name, suffix] / medians[OURS, of.suffix]:.2f}" for of in files.values()}
        for (name, suffix), starts in taken.items()
    ]
    occasion = Occasion()
    text = (
        f"{occasion.cpu}, {occasion.date}, {network.name} from the file to the first logits, f32, batch 1, 1 thread, "
        f"{arguments.rounds} starts\n\n{table(rows)}"
    )
    print(text, end="")
    (arguments.directory / "cold_start.md").write_text(text)
    write_csv(arguments.directory / "cold_start.csv", occasion, [
        {
            "network": network.name,
            "engine": name,
            "version": version(name),
            "file": suffix,
            "median_ms": f"{medians[name, suffix]:.4f}",
            "minimum_ms": f"{min(starts):.4f}",
            "starts": arguments.rounds,
        }
        for (name, suffix), starts in taken.items()
    ])
    progress(f"{arguments.directory}: cold_start.md and cold_start.csv written")
    return 0


if __name__ == "__main__":
    guarded(main)
