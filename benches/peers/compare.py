#!/usr/bin/env python3
"""Times whole networks in ONNX Runtime, OpenVINO, ncnn and TFLite beside sepconv, each in turn, round after round.

    python benches/peers/compare.py DIR

DIR receives the engines in virtual environments (2.5 GB) and the networks in each engine's format, once; then
comparison.md, comparison.csv and comparison.svg. Everything is f32, with batch 1 or that of --batch, whose files are
comparison_batch_8.md and so on. ShuffleNet V1 and V2 and SqueezeNet are ONNX files alone: of the peers, ONNX Runtime
and OpenVINO run them. ncnn knows no batches.
"""

import argparse
import dataclasses
import pathlib
import statistics
import typing

import chart
from engines import OURS, PEERS, Kind, Program, built, turns, version
from environments import enter, guarded, listed, numbers, positive, progress
from networks import NETWORKS, Network
from report import Occasion, table, write_csv


@dataclasses.dataclass(frozen=True)
class Result:
    """What one engine needed for one network."""

    network: str
    threads: int
    engine: str
    version: str
    minimum: float  # milliseconds
    median: float  # milliseconds
    round_minimum: float  # the median over the rounds of the shortest inference of each, milliseconds
    gflops: float  # at the minimum


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How much faster we are than the fastest other engine; below 1, how much slower."""

    network: str
    threads: int
    peer: str
    by_minimum: float
    by_median: float  # of the minima of the rounds


def need(value: str) -> tuple[str, int, float]:
    """Reads NET:THREADS:RATIO."""
    try:
        name, threads, ratio = value.split(":")
        return name, int(threads), float(ratio)
    except ValueError:
        message = f"{value!r}: expected NET:THREADS:RATIO, such as xception:1:1.05"
        raise argparse.ArgumentTypeError(message) from None


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--nets", type=listed(NETWORKS), default=",".join(NETWORKS), help="networks [%(default)s]")
    parser.add_argument("--threads", type=numbers, default="1,2", help="numbers of threads [%(default)s]")
    parser.add_argument("--batch", type=positive, default=1, help="images an inference [%(default)s]")
    parser.add_argument("--peers", type=listed(PEERS), default=",".join(PEERS),
                        help="engines [%(default)s]; without tflite, no TensorFlow is installed")
    parser.add_argument("--rounds", type=positive, default=10, help="turns of each engine [%(default)s]")
    parser.add_argument("--per-round", type=positive, default=5, help="inferences of a turn [%(default)s]")
    parser.add_argument("--need", type=need, action="append", default=[], metavar="NET:THREADS:RATIO",
                        help="exit with 1 unless the fastest peer takes RATIO times as long as we do; repeatable")
    arguments = parser.parse_args()
    for name, threads, _ in arguments.need:
        if name not in arguments.nets or threads not in arguments.threads:
            parser.error(f"--need {name}:{threads}: expected a network and threads among those that are timed")
    for name in arguments.nets:
        if not present(arguments.peers, NETWORKS[name](), arguments.batch):
            able = " and ".join(present(list(PEERS), NETWORKS[name](), arguments.batch))
            parser.error(f"--nets {name}: only {able} run it; expected one of them among --peers")
    return arguments


def present(peers: list[str], network: Network, batch: int) -> list[str]:
    """Those of `peers` that a file of a network is written for, and that run so many images at a time."""

    def able(kind: Kind) -> bool:
        return (kind.suffix == "onnx" or not network.onnx_alone) and (kind.batches or batch == 1)

    return [name for name in peers if able(PEERS[name])]


def time_network(arguments: argparse.Namespace, network: Network, threads: int, program: pathlib.Path) -> list[Result]:
    """Loads a network into every engine and times them."""
    import models  # which only the environment entered has the packages for

    batch = arguments.batch
    peers = models.load(arguments.directory, network, present(arguments.peers, network, batch), threads, batch)
    progress(f"{network.name}, {threads_of(threads)}: timing")
    with Program(program, {"--net": network.name, "--threads": threads, "--batch": batch} | network.flags) as ours:
        clocks = {OURS: ours.clock} | {name: peer.clock for name, peer in peers.items()}
        times = turns(clocks, arguments.rounds, arguments.per_round)
    return [
        Result(
            network=network.name,
            threads=threads,
            engine=name,
            version=version(name),
            minimum=min(map(min, rounds)),
            median=statistics.median(time for inferences in rounds for time in inferences),
            round_minimum=statistics.median(map(min, rounds)),
            gflops=2 * batch * network.multiplications / min(map(min, rounds)) / 1e6,
        )
        for name, rounds in times.items()
    ]


def ratio_of(results: list[Result]) -> Ratio:
    """Compares ours with the fastest peer."""
    [ours], peers = [r for r in results if r.engine == OURS], [r for r in results if r.engine != OURS]
    fastest = min(peers, key=lambda result: result.minimum)
    by_median = min(result.round_minimum for result in peers) / ours.round_minimum
    return Ratio(ours.network, ours.threads, fastest.engine, fastest.minimum / ours.minimum, by_median)


def threads_of(count: int) -> str:
    """Writes a number of threads."""
    return f"{count} thread{'s' if count > 1 else ''}"


def report(arguments: argparse.Namespace, results: list[Result], ratios: list[Ratio]):
    """Prints the tables; writes them, every figure and a chart."""
    occasion = Occasion()
    found = {(result.network, result.threads, result.engine): result for result in results}
    every = []
    for ratio in ratios:
        for engine in [OURS, *arguments.peers]:
            result = found.get((ratio.network, ratio.threads, engine))
            every.append({
                "network": ratio.network,
                "threads": ratio.threads,
                "engine": f"{engine} {version(engine)}",
                "min ms": f"{result.minimum:.2f}" if result else "absent",
                "median ms": f"{result.median:.2f}" if result else "absent",
                "GFLOP/s": f"{result.gflops:.1f}" if result else "absent",
            })
    summary = [
        {
            "network": ratio.network,
            "threads": ratio.threads,
            "fastest peer": ratio.peer,
            "peer / ours by minimum": f"{ratio.by_minimum:.3f}",
            "by median of the rounds' minima": f"{ratio.by_median:.3f}",
        }
        for ratio in ratios
    ]
    counts = sorted({result.threads for result in results})
    work = f"f32, batch {arguments.batch}"
    conditions = f"{occasion.cpu}, {occasion.date}, {work}, {arguments.rounds} rounds of {arguments.per_round}"
    text = f"{conditions}\n\n{table(every)}\n{table(summary)}"
    print(text, end="")

    # What is beside the point of one image stays out of its files.
    batch = {"batch": arguments.batch} if arguments.batch > 1 else {}
    directory, name = arguments.directory, f"comparison_batch_{arguments.batch}" if batch else "comparison"
    (directory / f"{name}.md").write_text(text)
    quantity = {"rounds": arguments.rounds, "per_round": arguments.per_round} | batch
    write_csv(directory / f"{name}.csv", occasion, [
        {
            "network": result.network,
            "threads": result.threads,
            "engine": result.engine,
            "version": result.version,
            "minimum_ms": f"{result.minimum:.4f}",
            "median_ms": f"{result.median:.4f}",
            "median_of_round_minima_ms": f"{result.round_minimum:.4f}",
            "gflops_at_minimum": f"{result.gflops:.2f}",
            **quantity,
        }
        for result in results
    ])
    chart.draw(
        directory / f"{name}.svg",
        f"Whole networks with {' and '.join(map(str, counts))} thread{'s' if counts != [1] else ''}, {work}",
        f"{occasion.cpu}, {occasion.date}. Longer is faster; labels are the fastest inference of each.",
        "GFLOP/s",
        [
            chart.Bar(
                threads_of(result.threads), result.network, result.engine, result.gflops, f"{result.minimum:.2f} ms"
            )
            for result in results
        ],
    )
    progress(f"{directory}: {name}.md, {name}.csv and {name}.svg written")


def main() -> int:
    """Times everything and reports it; 1 where a needed ratio was missed."""
    arguments = parse()
    enter(arguments.directory)
    progress("building example latency")
    program = built("latency")
    results, ratios = [], {}
    for name in arguments.nets:
        for threads in arguments.threads:
            group = time_network(arguments, NETWORKS[name](), threads, program)
            results += group
            ratios[name, threads] = ratio_of(group)
    report(arguments, results, list(ratios.values()))
    missed = 0
    for name, threads, wanted in arguments.need:
        got = ratios[name, threads].by_minimum
        if got < wanted:
            progress(f"{name}, {threads_of(threads)}: fastest peer / ours is {got:.3f}, expected at least {wanted}")
            missed = 1
    return missed


if __name__ == "__main__":
    guarded(main)
