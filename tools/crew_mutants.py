#!/usr/bin/env python3
"""Faults in src/parallel/crew.rs, each of which the model in crates/crew-model must find.

    python3 tools/crew_mutants.py

Every ordering stronger than Relaxed is weakened, one at a time, and the steps that claim, finish, end and unwind are left out
or swapped; each in a copy of the model's sources. Status 1 where the model passes with a fault, or a fault has no place
any more.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CREW = "src/parallel/crew.rs"

# What it is called, what stands there, and what takes its place.
STEPS = [
    ("a task is claimed by two", "self.unclaimed.fetch_update(Ordering::Acquire, Ordering::Relaxed, take)",
     "({ let seen = self.unclaimed.load(Ordering::Acquire); take(seen).map(|left| { self.unclaimed.store(left, "
     "Ordering::Relaxed); seen }).ok_or(()) })"),
    ("the leader does not wait", "patiently(|_| self.finished.load(Ordering::Acquire) == tasks);", ""),
    ("the leader waits for one less", "self.finished.load(Ordering::Acquire) == tasks",
     "self.finished.load(Ordering::Acquire) >= tasks - 1"),
    ("finished is reset too late", "self.finished.store(0, Ordering::Relaxed);\n        self.unclaimed.store(tasks, Ordering::Release);",
     "self.unclaimed.store(tasks, Ordering::Release);\n        self.finished.store(0, Ordering::Relaxed);"),
    ("the task is not written", "self.task.with_mut(|slot| unsafe { *slot = Some(task) });\n", ""),
    ("a helper inside a run stays", "let Some(_inside) = Inside::enter() else { return };", "let _inside = Inside::enter();"),
    ("who is inside a run forgets it", ".then(|| Inside(()))", ".then_some(Inside(()))"),
    ("a half does not know that it is in a run", "let _inside = Inside::enter();\n    match", "match"),
    ("a helper never gives up", " || patience.is_over(turn)", ""),
    ("the run never ends", "self.0.over.store(true", "self.0.over.store(false"),
    ("a task leads again", " && !self.leading.swap(true, Ordering::Relaxed)", ""),
    ("whoever runs leads", "if leads && tasks > 1", "if tasks > 1"),
    ("two lead at once", "self.leader.compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed).is_err()",
     "self.leader.swap(thread, Ordering::Acquire) == usize::MAX"),
    ("a panic is lost", "if let Some(panic) = panic {", "if let Some(panic) = panic.filter(|_| false) {"),
    ("a panic comes out of a later run", "self.panic().take()", "None::<Box<dyn Any + Send>>"),
    ("a task that panicked never finishes", "if first.is_none() { *first = Some(panic) } else { std::mem::forget(panic) }",
     "*first = Some(panic); return true;"),
    ("a half loses a task", "halve(middle..tasks.end", "halve(middle + 1..tasks.end"),
]


def orderings(text: str):
    """Each stronger ordering, weakened by itself."""
    for found in re.finditer(r"Ordering::(Acquire|Release|AcqRel|SeqCst)", text):
        line = text.count("\n", 0, found.start()) + 1
        weakened = text[: found.start()] + "Ordering::Relaxed" + text[found.end() :]
        yield f"line {line}: {found.group(1)} is Relaxed, `{text.splitlines()[line - 1].strip()}`", weakened


def mutants(text: str):
    yield from orderings(text)
    for name, there, instead in STEPS:
        if text.count(there) != 1:
            raise SystemExit(f"{name}: {text.count(there)} places, expected 1: {there}")
        yield name, text.replace(there, instead)


def passes(folder: Path) -> bool:
    """Whether the model builds and finds nothing."""
    command = ["cargo", "test", "--release", "--quiet", "--offline", "--manifest-path", str(folder / "crates/crew-model/Cargo.toml")]
    build = subprocess.run([*command, "--no-run"], capture_output=True, text=True)
    if build.returncode != 0:
        raise SystemExit(f"a fault does not build: status {build.returncode}\n{build.stderr}")
    try:
        return subprocess.run(command, capture_output=True, timeout=900).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main() -> int:
    text = (ROOT / CREW).read_text()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        model = copy / "crates/crew-model"
        shutil.copytree(ROOT / "crates/crew-model", model)
        (copy / CREW).parent.mkdir(parents=True)
        # A workspace of its own, with the versions of this one.
        with open(model / "Cargo.toml", "a") as manifest:
            manifest.write("\n[workspace]\n")
        shutil.copy(ROOT / "Cargo.lock", model / "Cargo.lock")
        (copy / CREW).write_text(text)
        if not passes(copy):
            raise SystemExit("the model finds a fault where none was planted")
        survivors, count = [], 0
        for name, mutant in mutants(text):
            (copy / CREW).write_text(mutant)
            found = not passes(copy)
            count += 1
            print(f"{'found' if found else 'MISSED'}: {name}", flush=True)
            survivors += [] if found else [name]
    print(f"{count - len(survivors)} of {count} faults found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
