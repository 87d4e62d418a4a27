#!/usr/bin/env python3
"""Faults planted one at a time in a copy of the sources, and whether a quick subset of the tests finds each.

    python3 tools/plant_faults.py                  # all of them
    python3 tools/plant_faults.py --sample 8 --seed 1
    python3 tools/plant_faults.py --only packing
    python3 tools/plant_faults.py --check          # only that each has its place

The test programs meet a fault one after the other, those that are likely to find it first, up to the first test that fails.
Status 1 where fewer than 95 % are found, or a fault has no place, or several, any more. A fault that does not build counts as
none: it says nothing of the tests, and is to be mended here.
"""

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from faults import FAULTS

ROOT = Path(__file__).resolve().parent.parent
ENOUGH = 0.95
# The test programs, and those that the faults of an area meet before the others.
PROGRAMS = ("lib", "graph", "plan", "parts", "kernels", "elementwise", "parallel", "views", "weights", "build")
FIRST = {"templates": "kernels", "vocabularies": "kernels", "packing": "kernels", "crew": "parallel"}
CARGO = ("cargo", "test", "--profile", "faults", "--offline")
# After so long a test never ends.
SECONDS = 240


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


def only_isas_that_run_here(folder: Path) -> None:
    """Leaves AVX-512's kernels out of the copy where no test can run them: half of what a fault in a template builds."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        isa = folder / "kernels/isa/avx512.toml"
        isa.write_text(isa.read_text().replace('arch = "x86_64"', 'arch = "none here"'))


def run(folder: Path, program: str) -> str:
    """`passes`, `found`, or `does not build`."""
    command = [*CARGO, *(["--lib"] if program == "lib" else ["--test", program])]
    build = subprocess.run([*command, "--quiet", "--no-run"], cwd=folder, capture_output=True, text=True)
    if build.returncode != 0:
        print(build.stderr[-2000:])
        return "does not build"
    tests = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0)

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tests.pid, signal.SIGKILL)

    timer = threading.Timer(SECONDS, end)
    timer.start()
    failed = any(line.startswith("test ") and line.endswith("FAILED\n") for line in tests.stdout)
    timer.cancel()
    if failed:
        end()
    return "found" if tests.wait() != 0 or failed else "passes"


def run_all(folder: Path, area: str) -> tuple[str, str]:
    """The same for all programs, and the program that found it."""
    for program in sorted(PROGRAMS, key=lambda program: program != FIRST.get(area)):
        result = run(folder, program)
        if result != "passes":
            return result, program
    return "passes", ""


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
    os.environ.setdefault("CARGO_TARGET_DIR", str(ROOT / "target/faults"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        only_isas_that_run_here(folder)
        if run_all(folder, "") != ("passes", ""):
            raise SystemExit("the tests fail where no fault was planted")
        results, by_area = [], collections.defaultdict(list)
        # In the order of the table: those of kernels together, which are built anew after each.
        for area, file, there, instead in sorted(chosen, key=FAULTS.index):
            text = (folder / file).read_text()
            (folder / file).write_text(text.replace(there, instead))
            result, program = run_all(folder, area)
            (folder / file).write_text(text)
            results.append(result)
            by_area[area].append(result)
            print(f"{result} {program}: {area}: {file}: {there!r} is {instead!r}", flush=True)
    for area, of_area in by_area.items():
        print(f"{area}: {of_area.count('found')} of {len(of_area)}")
    found, built = results.count("found"), len(results) - results.count("does not build")
    print(f"{found} of {built} found, {len(results) - built} do not build")
    return 0 if built and found >= ENOUGH * built and built == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
