#!/usr/bin/env python3
"""A seeded sample of the faults that cargo-mutants makes of operators and bodies, and whether quick tests find each.

    python3 tools/mutants.py                       # 200 of them, in about an hour of two cores
    python3 tools/mutants.py --sample 20 --seed 2

The library's own tests meet each fault first; what passes them meets the quick ones of tests/. .cargo/mutants.toml says what is
changed, and what is not. Status 1 where fewer than 95 % are found of those that change a result. Results stay in target/mutants/.
"""

import argparse
import collections
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target/mutants"
ENOUGH = 0.95
# Missed by all tests, and by any that there could be, as the results are the same: file, part of the line, the fault, why.
EQUAL = (
    ("src/graph/arrange.rs", "listed > MOST_LISTED", "replace > with >= in arrange", "one channel of 16 Mi more or less is put in order"),
    ("src/ops/operator.rs", "(1, 1)", "replace Packed::blocks -> (usize, usize) with (0, 1)", "what is cut into no parts is cut into one"),
    ("src/ops/pointwise.rs", "(pixels + block / 2) / block", "replace / with * in <impl Packed for Pointwise>::blocks", "where a GEMM is cut, for the caches"),
    ("src/ops/depthwise.rs", "Some(self.kernel.lanes())", "replace <impl Packed for Depthwise>::channel_step -> Option<usize> with Some(1)",
     "the expansion before it has a step that is a multiple"),
    ("src/parallel/crew.rs", "tasks > 1", "replace > with >= in Crew::run", "one task goes to the crew, which is slower"),
    ("src/parallel/sync.rs", "", "replace pause with ()", "a wait without rest"),
    ("src/plan/lower.rs", "                at += 1;", "replace += with *= in Lowering<'_>::place_side_by_side",
     "behind what was placed in part, the same copy is looked at once more"),
    ("src/plan/compile.rs", "batch > 1", "replace > with == in images_as_rows", "more calls for the same rows"),
    ("src/weights/file.rs", "data.len() / 4,", "replace / with % in <impl Weights for SafetensorsWeights<'_>>::tensor", "room for fewer numbers grows"),
)
TESTS = ("bad_input", "elementwise", "graph", "parallel", "parts", "plan", "tiny", "views", "weights")
STAGES = (("lib", ["--lib"]), ("tests", [word for test in TESTS for word in ("--test", test)]))
RESULTS = ("caught", "timeout", "unviable", "missed")
SECONDS = 100


def list_all() -> list[str]:
    listed = subprocess.run(["cargo", "mutants", "--list", "--colors", "never"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def plant(stage: str, tests: list[str], names: list[str]) -> dict[str, list[str]]:
    """Those names by result."""
    results = TARGET / stage / "mutants.out"
    results.mkdir(parents=True, exist_ok=True)
    # Patterns of names leave some faults in; what an earlier run is said to have caught stays out.
    for result in RESULTS:
        (results / f"{result}.txt").unlink(missing_ok=True)
    (results / "previously_caught.txt").write_text("".join(f"{name}\n" for name in list_all() if name not in names))
    # For builds too, so that these make no more than the tests need.
    of_cargo = [f"--cargo-arg={argument}" for argument in tests]
    command = ["cargo", "mutants", "--iterate", "--output", results.parent, "--timeout", str(SECONDS), "--colors", "never", *of_cargo]
    environment = {"CARGO_TARGET_DIR": str(TARGET)} | os.environ
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if status not in (0, 2, 3):  # All found; some missed; some never ended.
        raise SystemExit(f"cargo mutants ended with {status}")
    return {result: (results / f"{result}.txt").read_text().splitlines() for result in RESULTS}


def equal(name: str) -> bool:
    """Whether the fault, `file:line:column: what`, is known to change no result."""
    place, what = name.split(": ", 1)
    file, line, _ = place.split(":")
    text = (ROOT / file).read_text().splitlines()[int(line) - 1]
    return any((file, what) == (known, fault) and part in text for known, part, fault, _ in EQUAL)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sample", type=int, default=200, help="so many, chosen by the seed")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    all_names = list_all()
    left = random.Random(options.seed).sample(all_names, min(options.sample, len(all_names)))
    results = collections.defaultdict(list)
    for stage, tests in STAGES:
        if left:
            of_stage = plant(stage, tests, left)
            left = of_stage.pop("missed")
            for result, names in of_stage.items():
                results[result] += names
    results["equal"] = [name for name in left if equal(name)]
    results["missed"] = left = [name for name in left if not equal(name)]
    folder = lambda name: name.split("/")[1]
    for area in sorted({folder(name) for names in results.values() for name in names}):
        counts = (f"{sum(folder(name) == area for name in results[result])} {result}" for result in (*RESULTS, "equal"))
        print(f"{area}: {', '.join(counts)}")
    found = len(results["caught"]) + len(results["timeout"])
    print("\n".join(f"missed: {name}" for name in left))
    print(f"{found} of {found + len(left)} found ({len(results['timeout'])} never ended), {len(results['equal'])} change no result, {len(results['unviable'])} do not build")
    return 0 if found >= ENOUGH * (found + len(left)) else 1


if __name__ == "__main__":
    sys.exit(main())
