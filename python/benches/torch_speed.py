"""A network beside PyTorch: eager, eager in channels_last, the frozen JIT, torch.compile, and what a call costs.

    python torch_speed.py --threads 1,2

In each round every engine runs in turn, with one inference that does not count and then `--per-round` that do; the fastest
of all rounds is told, and the median of the rounds' fastest. Each number of threads is a process of its own. With
`--need EAGER,OTHER` it ends with an error unless PyTorch's eager mode takes EAGER times as long as ours on one thread, and the
faster of the JIT and torch.compile OTHER times. Close other programs first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
import timeit
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import sepconv

Engines = dict[str, Callable[[], Any]]


def call_microseconds() -> float:
    """What a call costs at most: one pixel through a network that hands it on."""
    graph = sepconv.Graph()
    net = graph.build([graph.global_average_pool("mean", graph.input("image", (1, 1, 1)))])
    x = np.zeros((1, 1, 1, 1), np.float32)
    return min(timeit.repeat(lambda: net(x), number=10_000, repeat=20)) / 10_000 * 1e6


def engines(model: str, size: int, threads: int) -> Engines:
    """By name what runs one image; all have agreed on it."""
    import timm
    import torch
    import torchvision

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    known = hasattr(torchvision.models, model)
    module = torchvision.models.get_model(model, weights=None) if known else timm.create_model(model)
    module.eval()
    x = torch.randn(1, 3, size, size)
    net = sepconv.from_torch(module, x, threads=threads)
    pixels, planes = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1)), x.numpy()

    last = torch.channels_last
    module_last, x_last = copy.deepcopy(module).to(memory_format=last), x.to(memory_format=last)
    traced = torch.jit.freeze(torch.jit.trace(module, x))
    traced_last = torch.jit.freeze(torch.jit.trace(module_last, x_last))
    optimized = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module, x)))
    compiled = torch.compile(copy.deepcopy(module))
    frozen = torch.compile(copy.deepcopy(module), options={"freezing": True})
    found: Engines = {
        "sepconv": lambda: net(pixels),
        "sepconv, nchw": lambda: net(planes, layout="nchw"),
        "eager": lambda: module(x),
        "eager, channels_last": lambda: module_last(x_last),
        "jit, frozen": lambda: traced(x),
        "jit, frozen, channels_last": lambda: traced_last(x_last),
        "jit, optimize_for_inference": lambda: optimized(x),
        "compile": lambda: compiled(x),
        "compile, frozen": lambda: frozen(x),
    }
    expected = module(x).numpy()
    for name, run in found.items():
        difference = np.abs(np.asarray(run()) - expected).max() / np.abs(expected).max()
        if not difference <= 1e-4:
            raise SystemExit(f"{name}: {difference} of the largest output away from PyTorch")
    return found


def measure(arguments: argparse.Namespace, threads: int) -> dict[str, list[float]]:
    """By engine the milliseconds of the fastest inference of each round."""
    import torch

    with torch.no_grad():
        found = engines(arguments.model, arguments.size, threads)
        fastest: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(arguments.rounds):
            for name, run in found.items():
                run()
                times = []
                for _ in range(arguments.per_round):
                    begin = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - begin)
                fastest[name].append(min(times) * 1e3)
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2", help="of torchvision, or of timm")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the image")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--per-round", type=int, default=5)
    parser.add_argument("--need", help="EAGER,OTHER: how many times as long they have to take, one thread")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        print(json.dumps(measure(arguments, arguments.process)))
        return

    print(f"a call costs {call_microseconds():.2f} µs at most")
    for threads in map(int, arguments.threads.split(",")):
        command = [sys.executable, *sys.argv, "--process", str(threads)]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        fastest: dict[str, list[float]] = json.loads(lines[-1])
        best = {name: min(times) for name, times in fastest.items()}
        print(f"{arguments.model} {arguments.size}, threads: {threads}")
        for name, times in fastest.items():
            median = statistics.median(times)
            print(f"  {name:28} {best[name]:8.2f} ms {median:8.2f} median {best[name] / best['sepconv']:6.2f} times ours")
        if arguments.need and threads == 1:
            eager, other = map(float, arguments.need.split(","))
            others = min(time for name, time in best.items() if name.startswith(("jit", "compile")))
            if best["eager"] < eager * best["sepconv"] or others < other * best["sepconv"]:
                raise SystemExit(f"expected eager to take {eager} times as long as ours, the others {other} times")


if __name__ == "__main__":
    main()
