#!/usr/bin/env python3
"""Fits the coefficients of the pointwise kernels' cost model (src/kernel/cost.rs) to measured times.

    cargo run --release --example tune -- --json >times.json    # on a quiet machine; --net NAME for one network
    python3 tools/fit_cost.py record times.json --cpu "AMD EPYC (Zen 3)"   # its rows of benches/pointwise_times.csv
    python3 tools/fit_cost.py check                             # what the coefficients in cost.rs lose against the best
    python3 tools/fit_cost.py fit --cpu "AMD EPYC (Zen 3)"      # coefficients that lose less, to be written there

The loss is the regret: the time of the kernels that the model chooses over that of the fastest ones, each shape as often as
the networks have it. Of equal choices the closer estimates win. `check` exits with 1 above 2 %.
"""

import argparse
import csv
import dataclasses
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMES = ROOT / "benches" / "pointwise_times.csv"
MODEL = ROOT / "src" / "kernel" / "cost.rs"
FIELDS = ["cpu", "double_pumped", "l1d", "isa", "kernel", "lanes", "mr_by_vectors", "m", "k", "n", "layers", "us"]
#: The most regret that `check` accepts, in percent.
MOST = 2.0


class Failure(Exception):
    """A sentence for the person at the terminal."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """One kernel on one shape, and how long it takes."""

    kernel: str
    lanes: int
    mr_by_vectors: tuple
    us: float


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape of the networks on one CPU and instruction set, with every kernel that competes for it."""

    cpu: str
    isa: str
    double_pumped: bool
    l1d: int
    m: int
    k: int
    n: int
    layers: int
    tiles: tuple


def coefficients(path=MODEL):
    """The named coefficients of cost.rs."""
    block = re.search(r"const \w+: Coefficients = Coefficients \{(.*?)\n\};", path.read_text(), re.S)
    if not block:
        raise Failure(f"{path}: no list of coefficients, expected `const NAME: Coefficients = Coefficients {{ ... }};`")
    values = re.findall(r"^\s*(\w+): ([^,]+),$", block[1], re.M)
    # `(24 << 10) as f64` is how Rust spells sizes.
    return {name: float(eval(value.replace("as f64", ""), {"__builtins__": {}})) for name, value in values}


def units(tile, shape, c):
    """What cost.rs estimates: the same arithmetic, line by line."""
    nr, full = tile.lanes * len(tile.mr_by_vectors), len(tile.mr_by_vectors)
    rest = -(-(shape.n % nr) // tile.lanes)
    halves = shape.double_pumped and tile.kernel.endswith("_avx512")
    vector = c["double_pumped"] if halves else 1.0

    def panel(vectors):
        most = tile.mr_by_vectors[vectors - 1]
        mr = shape.m / -(-shape.m // most)
        width = vectors * vector
        loads = (mr + width) / (mr * width) / c["loads"]
        size = shape.k * vectors * tile.lanes * 4
        l2 = 1.0 / (c["l2_vectors"] * mr) if size > c["l1_panel"] * shape.l1d else 0.0
        single = c["single_vector"] if vectors == 1 else 1.0
        general = c["general_epilogue"] if vectors < full else 0.0
        between_tiles = c["addresses"] / vectors**2 + most / c["accumulators"] + general
        return width * single * (shape.k * (1.0 + loads + l2) + between_tiles)

    return (shape.n // nr) * panel(full) + (panel(rest) if rest else 0.0)


def regret(shapes, c):
    """How much longer the chosen kernels take than the fastest, in percent, and the error of the estimates."""
    chosen = best = 0.0
    errors = []
    for shape in shapes:
        estimates = [units(tile, shape, c) for tile in shape.tiles]
        chosen += shape.layers * shape.tiles[estimates.index(min(estimates))].us
        best += shape.layers * min(tile.us for tile in shape.tiles)
        # Only the ratios among the kernels of a shape matter.
        ratios = [math.log(tile.us / estimate) for tile, estimate in zip(shape.tiles, estimates)]
        mean = sum(ratios) / len(ratios)
        errors += [(ratio - mean) ** 2 for ratio in ratios]
    return 100.0 * (chosen / best - 1.0), math.sqrt(sum(errors) / len(errors))


def fit(shapes, c):
    """Coordinate descent from `c`: one coefficient at a time, in ever smaller steps, as long as something gains."""

    def loss(c):
        percent, error = regret(shapes, c)
        return percent + error

    pumped = any(shape.double_pumped for shape in shapes)
    best, names = loss(c), [name for name in c if name != "double_pumped" or pumped]
    for step in [2.0, 1.5, 1.2, 1.1, 1.05]:
        gained = True
        while gained:
            gained = False
            for name in names:
                for factor in [step, 1.0 / step]:
                    tried = {**c, name: c[name] * factor}
                    if (now := loss(tried)) < best - 1e-9:
                        c, best, gained = tried, now, True
    return c


def read(path=None):
    """The shapes of the file of times, and its rows."""
    try:
        with open(path or TIMES, newline="") as file:
            rows = [row for row in csv.DictReader(line for line in file if not line.startswith("#"))]
    except OSError as fault:
        raise Failure(f"{path or TIMES}: {fault.strerror}, expected a file of {','.join(FIELDS)}") from fault
    grouped = {}
    for row in rows:
        key = tuple(row[name] for name in ["cpu", "isa", "double_pumped", "l1d", "m", "k", "n", "layers"])
        mr_by_vectors = tuple(int(mr) for mr in row["mr_by_vectors"].split("/"))
        grouped.setdefault(key, []).append(Tile(row["kernel"], int(row["lanes"]), mr_by_vectors, float(row["us"])))
    shapes = [
        Shape(cpu, isa, pumped == "yes", int(l1d), int(m), int(k), int(n), int(layers), tuple(tiles))
        for (cpu, isa, pumped, l1d, m, k, n, layers), tiles in grouped.items()
    ]
    return shapes, rows


def record(report, cpu, double_pumped, l1d):
    """Puts the rows of a report of `tune --json` in the place of the CPU's and its instruction set's."""
    isa, rows = report["isa"], {}
    gemms = [
        (row["gemm"], len(row["layers"])) for table in report["tables"] for row in table["rows"] if row.get("gemm")
    ]
    for gemm, layers in gemms:
        # One pixel has a kernel of its own, and is no question for the model.
        for tile in gemm["tiles"] if gemm["m"] > 1 else []:
            key = (gemm["m"], gemm["k"], gemm["n"], tile["kernel"])
            if key in rows:
                rows[key]["layers"] += layers
                rows[key]["us"] = min(rows[key]["us"], round(tile["ms"] * 1e3, 2))
                continue
            rows[key] = {
                "cpu": cpu, "double_pumped": "yes" if double_pumped else "no", "l1d": l1d, "isa": isa, "kernel": tile["kernel"],
                "lanes": tile["lanes"], "mr_by_vectors": "/".join(map(str, tile["mr_by_vectors"])),
                "m": gemm["m"], "k": gemm["k"], "n": gemm["n"], "layers": layers, "us": round(tile["ms"] * 1e3, 2),
            }  # fmt: skip
    if not rows:
        raise Failure("no times of pointwise kernels, expected what `tune --json` prints")
    kept = [row for row in read()[1] if (row["cpu"], row["isa"]) != (cpu, isa)] if TIMES.exists() else []
    with open(TIMES, "w", newline="") as file:
        file.write("# Microseconds of a pointwise layer by each kernel, hot, one thread (tools/fit_cost.py).\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + list(rows.values()))
    return len(rows)


def by_machine(shapes):
    """The shapes of each CPU and instruction set where there is a choice."""
    grouped = {}
    for shape in shapes:
        if len(shape.tiles) > 1:
            grouped.setdefault((shape.cpu, shape.isa), []).append(shape)
    return grouped


def run(arguments):
    """Returns the exit status."""
    if arguments.command == "record":
        try:
            report = json.loads(pathlib.Path(arguments.report).read_text())
        except (OSError, ValueError) as fault:
            raise Failure(f"{arguments.report}: {fault}, expected what `tune --json` prints") from fault
        print(f"{TIMES}: {record(report, arguments.cpu, arguments.double_pumped, arguments.l1d)} rows of {arguments.cpu}")
        return 0
    machines, c = by_machine(read()[0]), coefficients()
    if not machines:
        raise Failure(f"{TIMES}: no shape with two kernels, expected rows of `record`")
    if arguments.command == "check":
        worst = 0.0
        for (cpu, isa), shapes in machines.items():
            percent, error = regret(shapes, c)
            worst = max(worst, percent)
            print(f"{cpu}, {isa}: regret {percent:.2f} % over {len(shapes)} shapes, estimates within {error:.3f} (rms)")
        return int(worst > MOST)
    chosen = [shape for (cpu, _), shapes in machines.items() for shape in shapes if arguments.cpu in (None, cpu)]
    if not chosen:
        raise Failure(f"--cpu {arguments.cpu}: expected one of {', '.join(sorted({cpu for cpu, _ in machines}))}")
    fitted = fit(chosen, c)
    for name, value in fitted.items():
        print(f"    {name}: {value:.4g},")
    print("regret {:.2f} % (rms {:.3f}); with those of cost.rs {:.2f} % ({:.3f})".format(*regret(chosen, fitted), *regret(chosen, c)))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="add the times of a report of `tune --json`")
    recording.add_argument("report", metavar="FILE")
    recording.add_argument("--cpu", required=True, metavar="NAME", help="what the CPU is called in the file")
    recording.add_argument("--double-pumped", action="store_true", help="it computes 512-bit vectors as halves")
    recording.add_argument("--l1d", type=int, default=32 << 10, metavar="BYTES", help="first-level data cache of a core [default: 32768]")
    commands.add_parser("check", help="the regret of the coefficients in src/kernel/cost.rs")
    fitting = commands.add_parser("fit", help="coefficients with less regret")
    fitting.add_argument("--cpu", metavar="NAME", help="fit to this CPU alone")
    try:
        return run(parser.parse_args())
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
