#!/usr/bin/env python3
"""Counts the instructions of one inference of each network and compares them with benches/instructions.csv.

    cargo build --release --example latency
    python3 tools/instructions.py           # exits with 1 where a count is off by more than 2 %
    python3 tools/instructions.py --write   # writes the file anew, where a change was meant

A count needs no quiet machine. valgrind runs the example `latency` without and with one inference after its first; the
difference is what one inference takes. Fewer instructions than the file says fail too, so that the file stays true.
valgrind knows no AVX-512, hence AVX2; it computes each fused multiply-add in software, hence an Xception of half the
width on a small image. Counts depend on the compilers a little.
"""

import argparse
import concurrent.futures
import dataclasses
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = ROOT / "benches" / "instructions.csv"
LATENCY = ROOT / "target" / "release" / "examples" / "latency"
HEADER = "network,width,resolution,isa,instructions"


class Failure(Exception):
    """A sentence for the person at the terminal."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A network, and the instructions of one inference."""

    network: str
    width: str
    resolution: str
    isa: str
    instructions: int

    def __str__(self):
        return f"{self.network} {self.width} at {self.resolution}, {self.isa}"

    def line(self):
        return f"{self.network},{self.width},{self.resolution},{self.isa},{self.instructions}"


def read(path):
    """The lines of comments and the rows of the file of counts."""
    try:
        lines = path.read_text().splitlines()
    except OSError as fault:
        raise Failure(f"{path}: {fault.strerror}, expected a file of {HEADER}") from fault
    comments = [line for line in lines if line.startswith("#")]
    rows, header = [], None
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        if header is None:
            header = line
            if header != HEADER:
                raise Failure(f"{path}:{number}: {line!r}, expected {HEADER}")
            continue
        fields = line.split(",")
        if len(fields) != 5 or not fields[4].isdecimal() or int(fields[4]) == 0:
            raise Failure(f"{path}:{number}: {line!r}, expected {HEADER} with a count of at least 1")
        rows.append(Row(*fields[:4], int(fields[4])))
    if not rows:
        raise Failure(f"{path}: no rows, expected at least one of {HEADER}")
    return comments, rows


def collected(latency, row, inferences):
    """Instructions of the whole program with so many inferences after the first."""
    flags = ["--net", row.network, "--width", row.width, "--resolution", row.resolution, "--isa", row.isa]
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", latency, *flags, "--threads", "1"]
    done = subprocess.run([*map(str, command)], input=f"{inferences}\n", capture_output=True, text=True)
    match = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not match:
        # Lines of valgrind itself begin with the number of the process.
        said = [line for line in done.stderr.splitlines() if not line.startswith("==")]
        wrong = f"{row}: {command[0]} ended with status {done.returncode}, expected 0 and a count"
        raise Failure("\n".join([wrong, *said[-20:]]))
    return int(match[1])


def measure(latency, rows, jobs):
    """The rows with the counts of this build."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        counts = [[pool.submit(collected, latency, row, inferences) for inferences in (0, 1)] for row in rows]
        try:
            return [
                dataclasses.replace(row, instructions=more.result() - less.result())
                for row, (less, more) in zip(rows, counts)
            ]
        except Failure:
            pool.shutdown(cancel_futures=True)
            raise


def change(expected, got):
    """By how many percent a count differs from the expected one."""
    return 100 * (got.instructions / expected.instructions - 1)


def number(kind, least):
    """Reads a number of the command line that is at least `least`."""

    def parse(value):
        try:
            parsed = kind(value)
        except ValueError:
            parsed = math.nan
        if not least <= parsed < math.inf:
            raise argparse.ArgumentTypeError(f"{value!r}: expected a number that is at least {least}")
        return parsed

    return parse


def run(arguments):
    """Measures, compares or writes; the exit status."""
    if not shutil.which("valgrind"):
        raise Failure("valgrind: not found, expected it on the PATH (Debian and Ubuntu: apt-get install valgrind)")
    if not arguments.latency.is_file():
        built = "cargo build --release --example latency"
        raise Failure(f"{arguments.latency}: no such file, expected the example that `{built}` makes")
    comments, rows = read(arguments.counts)
    measured = measure(arguments.latency, rows, arguments.jobs)
    print(f"{'network':<14} {'width':>5} {'resolution':>10} {'isa':<8} {'expected':>14} {'got':>14} {'change':>10}")
    for expected, got in zip(rows, measured):
        print(
            f"{got.network:<14} {got.width:>5} {got.resolution:>10} {got.isa:<8} {expected.instructions:>14,} "
            f"{got.instructions:>14,} {change(expected, got):>+8.2f} %"
        )
    if arguments.write:
        arguments.counts.write_text("\n".join([*comments, HEADER, *(row.line() for row in measured)]) + "\n")
        return 0
    off = [pair for pair in zip(rows, measured) if abs(change(*pair)) > arguments.tolerance]
    for expected, got in off:
        print(
            f"{got}: {got.instructions:,} instructions, expected {expected.instructions:,} "
            f"+-{arguments.tolerance:g} %",
            file=sys.stderr,
        )
    if off:
        print("Where the change is meant: python3 tools/instructions.py --write", file=sys.stderr)
    return 1 if off else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=pathlib.Path, default=LATENCY, help="the built example")
    parser.add_argument("--counts", type=pathlib.Path, default=COUNTS, help="the file of counts")
    parser.add_argument("--tolerance", type=number(float, 0), default=2, metavar="PERCENT", help="default: 2")
    parser.add_argument("--jobs", type=number(int, 1), default=os.cpu_count(), help="programs at a time; default: CPUs")
    parser.add_argument("--write", action="store_true", help="write the counts of this build to the file")
    try:
        sys.exit(run(parser.parse_args()))
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
