"""What every program of the comparison starts with: the pinned packages, their environments, work that is done once."""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import typing
import venv

NUMPY, ONNX = "numpy==2.4.6", "onnx==1.23.2"
#: What each environment under the comparison's directory holds.
PINNED = {
    "run": [
        NUMPY,
        ONNX,
        "onnxruntime==1.32.0",
        "openvino==2026.4.1",
        "ncnn==1.0.20261020",
        "ai-edge-litert==2.3.0",
    ],
    "convert": [NUMPY, "tensorflow-cpu==2.21.0"],  # only writes TFLite files
    # For tract.py.
    "write": [NUMPY, ONNX],
    "torch": [NUMPY, ONNX, "torch==2.15.0", "torchvision==0.29.2", "timm==1.0.31"],
}


class Failure(Exception):
    """A sentence for the person at the terminal."""


def guarded(main: typing.Callable[[], int]) -> typing.NoReturn:
    """Exits with what `main` returns, or with 2 and a sentence when it fails."""
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(2)


def positive(value: str) -> int:
    """Reads a number of the command line that is at least 1."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r}: expected a number that is at least 1")
    return int(value)


def listed(known: typing.Collection[str]) -> typing.Callable[[str], list[str]]:
    """Reads names out of `known`, separated by commas."""

    def read(value: str) -> list[str]:
        names = list(dict.fromkeys(value.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}: expected names out of {', '.join(known)}")
        return names

    return read


def numbers(value: str) -> list[int]:
    """Reads numbers that are at least 1, separated by commas."""
    return [positive(number) for number in dict.fromkeys(value.split(","))]


def progress(text: str):
    """Prints a line at once, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def call(command: list, purpose: str, **options) -> str:
    """Runs a command and returns what it prints; where it fails, shows the end of its messages."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, **options)
    except OSError as fault:
        raise Failure(f"{purpose}: {command[0]} does not start: {fault.strerror}") from fault
    if done.returncode != 0:
        raise Failure(f"{purpose}: status {done.returncode}, expected 0\n{done.stderr[-2000:].strip()}")
    return done.stdout


def once(record: pathlib.Path, content: str, work: typing.Callable[[], None]):
    """Does `work` unless `record` holds `content`, which it does afterwards."""
    if not record.exists() or record.read_text() != content:
        work()
        record.write_text(content)


def python_of(directory: pathlib.Path, environment: str) -> pathlib.Path:
    """Names the Python of an environment, which is made and filled first where it is not."""
    home = directory / environment
    python = home / "bin" / "python"
    packages = PINNED[environment]

    def install():
        if not python.exists():
            if importlib.util.find_spec("ensurepip") is None:
                raise Failure("this Python makes no virtual environments; expected one with its venv package")
            progress(f"{home}: making a virtual environment")
            try:
                venv.create(home, with_pip=True)
            except (OSError, subprocess.CalledProcessError) as fault:
                raise Failure(f"{home}: no virtual environment could be made: {fault}") from fault
        progress(f"{home}: installing {', '.join(packages)}")
        call([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], "pip install")

    once(directory / f"{environment}.installed", "\n".join(packages) + "\n", install)
    return python


def enter(directory: pathlib.Path):
    """Goes on only under the Python of the `run` environment: any other starts that one with the same arguments."""
    if sys.version_info < (3, 11):
        raise Failure(f"Python {sys.version.split()[0]}: expected 3.11 or newer")
    directory.mkdir(parents=True, exist_ok=True)
    if pathlib.Path(sys.prefix).resolve() != (directory / "run").resolve():
        python = str(python_of(directory, "run"))
        sys.stdout.flush()
        os.execv(python, [python, *sys.argv])
