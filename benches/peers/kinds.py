#!/usr/bin/env python3
"""Draws comparisons of several machines side by side.

    python benches/peers/kinds.py OUT.svg NAME=FILE.csv [NAME=FILE.csv ...] [--threads 1]

Each FILE is the comparison.csv that compare.py wrote on a machine, which the chart calls NAME; all with as many threads.
"""

import argparse
import csv
import pathlib
import sys

import chart


def machine(value: str) -> tuple[str, pathlib.Path]:
    """Reads NAME=FILE."""
    name, equals, path = value.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{value!r}: expected NAME=FILE.csv")
    return name, pathlib.Path(path)


def bars(name: str, path: pathlib.Path, threads: int) -> list[chart.Bar]:
    """The bars of one machine; its panel has the date of the measurement."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["threads"]) == threads]
    return [
        chart.Bar(
            f"{name}, {row['date']}",
            row["network"],
            row["engine"],
            float(row["gflops_at_minimum"]),
            f"{float(row['minimum_ms']):.2f} ms",
        )
        for row in rows
    ]


def main() -> int:
    """Draws the chart; 2 where a file has nothing to draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chart", metavar="OUT.svg", type=pathlib.Path)
    parser.add_argument("machines", metavar="NAME=FILE.csv", type=machine, nargs="+")
    parser.add_argument("--threads", type=int, default=1, help="threads of the inferences that are drawn [%(default)s]")
    arguments = parser.parse_args()
    drawn = []
    for name, path in arguments.machines:
        try:
            added = bars(name, path, arguments.threads)
        except (OSError, KeyError, ValueError) as error:
            print(f"error: {path}: {error}; expected a comparison.csv of compare.py", file=sys.stderr)
            return 2
        if not added:
            print(f"error: {path}: no row has {arguments.threads} threads", file=sys.stderr)
            return 2
        drawn += added
    threads = f"{arguments.threads} thread{'s' if arguments.threads > 1 else ''}"
    chart.draw(
        arguments.chart,
        f"Whole networks on several kinds of CPU, {threads}",
        "f32, batch 1, the fastest inference of each engine, all in turn on one machine",
        "GFLOP/s",
        drawn,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
