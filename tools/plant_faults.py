#!/usr/bin/env python3
"""Faults planted one at a time in a copy of the sources, and whether a quick subset of the tests finds each.

    python3 tools/plant_faults.py                  # all of them: hours
    python3 tools/plant_faults.py --sample 8 --seed 1
    python3 tools/plant_faults.py --only packing
    python3 tools/plant_faults.py --check          # only that each has its place

Status 1 where fewer than 95 % are found, or a fault has no place, or several, any more. A fault that does not build counts as
none: it says nothing of the tests, and is to be mended here.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from faults import FAULTS

ROOT = Path(__file__).resolve().parent.parent
ENOUGH = 0.95
# The tests that a change of these places should meet first, of the crate alone.
QUICK = ["--lib", "--test", "build", "--test", "kernels", "--test", "elementwise", "--test", "parts", "--test", "plan",
         "--test", "graph", "--test", "parallel"]
MINUTES = 20


def check(faults) -> None:
    """Ends the program where a fault has no place, or several."""
    wrong = []
    for area, file, there, instead in faults:
        places = (ROOT / file).read_text().count(there)
        if places != 1 or there == instead:
            wrong.append(f"{area}: {file}: {places} places, expected 1: {there}")
    if wrong:
        raise SystemExit("\n".join(wrong))


def copy_to(folder: Path) -> None:
    """The tracked files, and those that are about to be."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run(folder: Path, target: Path) -> str:
    """`passes`, `found`, or `does not build`."""
    command = ["cargo", "test", "--release", "--quiet", "--offline", "--target-dir", str(target), *QUICK]
    build = subprocess.run([*command, "--no-run"], cwd=folder, capture_output=True, text=True)
    if build.returncode != 0:
        print(build.stderr[-2000:])
        return "does not build"
    try:
        tests = subprocess.run(command, cwd=folder, capture_output=True, timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        return "found"
    return "passes" if tests.returncode == 0 else "found"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sample", type=int, help="so many, chosen by the seed")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", help="those of one area")
    arguments.add_argument("--check", action="store_true", help="plants none")
    options = arguments.parse_args()
    check(FAULTS)
    areas = sorted({area for area, *_ in FAULTS})
    chosen = [fault for fault in FAULTS if options.only in (None, fault[0])]
    if not chosen:
        raise SystemExit(f"--only {options.only}: expected one of {', '.join(areas)}")
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.check:
        print(f"{len(FAULTS)} faults in {len(areas)} areas: {', '.join(areas)}")
        return 0
    target = ROOT / "target/faults"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        if run(folder, target) != "passes":
            raise SystemExit("the tests fail where no fault was planted")
        results = []
        for area, file, there, instead in chosen:
            text = (folder / file).read_text()
            (folder / file).write_text(text.replace(there, instead))
            results.append(run(folder, target))
            (folder / file).write_text(text)
            print(f"{results[-1]}: {area}: {file}: {there!r} is {instead!r}", flush=True)
    found, built = results.count("found"), len(results) - results.count("does not build")
    print(f"{found} of {built} found, {len(results) - built} do not build")
    return 0 if built and found >= ENOUGH * built and built == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
